"""Laws of the rankers from the literature."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.train

from anthem_core.encoding.tokenizer import split_words
from anthem_model.data.batches import ListBatch
from rankers.bi_encoder import SentenceBiEncoder
from rankers.drmm import Drmm
from rankers.knrm import kernel_features
from rankers.letter_ngrams import NgramVocabulary
from rankers.lexicon import Lexicon, match_words
from rankers.registry import RANKER_BUILDERS
from rankers.word_vectors import cooccurrence_vectors

COLOURS = ("red", "blue", "green", "white", "black", "copper")
THINGS = ("hammer", "kettle", "ladder", "lamp", "faucet", "mirror", "drill", "shelf")
TITLES = [f"{colour} {thing} {size} inch" for size in (6, 12) for colour in COLOURS for thing in THINGS]
QUERIES = [f"{colour} {thing}" for colour in COLOURS for thing in THINGS]
NAMES = sorted(set(RANKER_BUILDERS) - {"minilm_tuned"})


@pytest.fixture(scope="module")
def transformer(tmp_path_factory):
    """Folder of a sentence transformer as small as can be."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("transformer")
    parts = sorted({word for title in TITLES for word in title.split()} | {chr(code) for code in range(97, 123)})
    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *parts, *(f"##{chr(code)}" for code in range(97, 123))]
    (folder / "vocab.txt").write_text("\n".join(known))
    transformers.BertTokenizer(vocab={word: place for place, word in enumerate(known)}).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    transformers.BertModel(transformers.BertConfig(vocab_size=len(known), **shape)).save_pretrained(folder)
    return folder


@pytest.fixture(params=[*NAMES, "sentence", "drmm by vector"])
def ranker(request):
    """Each ranker, new, from one seed."""
    torch.manual_seed(0)
    if request.param == "sentence":
        return SentenceBiEncoder(request.getfixturevalue("transformer")).eval()
    if request.param == "drmm by vector":
        return Drmm(Lexicon(TITLES, QUERIES), gate="vector").eval()
    return RANKER_BUILDERS[request.param](TITLES, QUERIES).eval()


def lists(chance, count=8, drawn=10):
    """Queries with candidates, of which the first alone holds both words of the query."""
    queries = chance.sample(QUERIES, count)
    good = [[row for row, title in enumerate(TITLES) if title.startswith(query)] for query in queries]
    others = [[row for row in range(len(TITLES)) if row not in some] for some in good]
    rows = torch.tensor([[one[0], *chance.sample(rest, drawn - 1)] for one, rest in zip(good, others, strict=True)])
    gains = torch.eye(drawn)[:1].expand(count, -1)
    judged = torch.ones_like(gains, dtype=torch.bool)
    return ListBatch(queries, TITLES, rows, gains, judged)


def close(left, right):
    """Whether numbers are equal but for rounding."""
    return torch.allclose(left, right, atol=1e-4)


@torch.no_grad()
def test_company_changes_no_score(ranker):
    """A pair's score is the same alone as beside longer queries and longer titles."""
    queries = ["red lamp", "a very much longer query about one single green kettle of twelve inch or so"]
    titles = ["red lamp 6 inch", "lamp", " ".join(TITLES[:9]), "blue shelf"]
    together = ranker.scores(queries, titles, torch.tensor([[0, 1, 2, 3], [3, 2, 1, 0]]))
    for row, query in enumerate(queries):
        for place, title in enumerate([[0, 1, 2, 3], [3, 2, 1, 0]][row]):
            assert close(together[row, place], ranker.rank(query, [titles[title]])[0])


@torch.no_grad()
def test_order_of_candidates_is_the_order_of_scores(ranker):
    """Candidates permuted give scores permuted, drawn twice they give the same score twice."""
    rows = torch.tensor([random.Random(0).choices(range(len(TITLES)), k=12)])
    turned = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    found = ranker.scores(["red lamp"], TITLES, rows)
    assert found.shape == (1, 12)
    assert close(found[:, turned], ranker.scores(["red lamp"], TITLES, rows[:, turned]))


@torch.no_grad()
@pytest.mark.parametrize("query", ["zyzzyva qwertz", "red", "", "###", "Молоток"])
def test_any_text_has_a_score(ranker, query):
    """Unseen words, empty titles, empty queries and other scripts are scored, with finite numbers."""
    found = ranker.rank(query, ["", "xylograph quux", "red lamp", "!!!", "ハンマー"])
    assert found.shape == (5,)
    assert torch.isfinite(found).all()


def test_every_ranker_learns(ranker):
    """Some steps on one batch take a third of its loss away."""
    batch = lists(random.Random(0))
    optimiser = torch.optim.Adam(ranker.groups(1e-2))
    before = float(ranker.loss(batch).detach())
    for _ in range(40):
        optimiser.zero_grad()
        ranker.loss(batch).backward()
        optimiser.step()
    assert float(ranker.loss(batch).detach()) < 0.67 * before


def test_parameters_are_all_in_a_group(ranker):
    """What can be learned is given to the optimiser, once."""
    given = [id(parameter) for group in ranker.groups(1e-3) for parameter in group["params"]]
    assert len(given) == len(set(given))
    assert {id(one) for one in ranker.parameters() if one.requires_grad} <= set(given)


def test_kept_vectors_are_forgotten_when_training_goes_on(transformer):
    """A sentence transformer that has learned since does not answer with the vectors from before."""
    ranker = SentenceBiEncoder(transformer).eval()
    before = ranker.rank("red lamp", TITLES[:4])
    ranker.train()
    with torch.no_grad():
        ranker.encoder.embeddings.word_embeddings.weight.add_(torch.randn(32))
    assert not close(before, ranker.eval().rank("red lamp", TITLES[:4]))


@given(st.text("abcxyz ", max_size=12), st.text("abcxyz ", max_size=12))
def test_same_words_are_the_same_and_no_others(query, title):
    """Exact match looks at words, not at buckets: unseen words match themselves alone."""
    lexicon = Lexicon(["abc xyz"], [], least=1)
    asked, read = lexicon.read([query], 16), lexicon.read([title], 40)
    found = match_words(asked, read[torch.tensor([[0]])])[0, 0]
    left, right = lexicon.terms(query), lexicon.terms(title)
    wanted = [[one == other for other in right] for one in left]
    assert found[: len(left), : len(right)].tolist() == (wanted if right else [[] for _ in left])
    assert int(found.sum()) == sum(map(sum, wanted))


@given(st.lists(st.sampled_from(COLOURS), min_size=1, max_size=6))
def test_rare_words_weigh_more(chosen):
    """Inverse document frequency falls as more titles hold the word, and is greatest for a word that none holds."""
    lexicon = Lexicon([f"{colour} lamp" for colour in chosen], [], least=1)
    rarity = {word: float(lexicon.idf[lexicon.read([word], 1).ids[0, 0]]) for word in ("lamp", *chosen, "unseen")}
    assert all(rarity["lamp"] <= rarity[colour] < rarity["unseen"] for colour in chosen)


def test_exact_kernel_counts_words():
    """The kernel for equal words is the logarithm of their number, summed over the query's words."""
    grids = torch.zeros(1, 1, 2, 3)
    exact = torch.tensor([[[[True, True, False], [True, False, False]]]])
    found = kernel_features(grids, exact, torch.ones_like(exact))
    assert close(found[0, 0, -1], 0.1 * torch.tensor([2.0, 1.0]).log().sum())


def test_words_of_like_company_have_like_vectors():
    """Words that stand beside the same words are more alike than words that do not."""
    documents = [[1, 3, 4], [2, 3, 4], [1, 4, 3], [2, 4, 3], [5, 6, 7], [5, 7, 6]] * 3
    vectors = torch.nn.functional.normalize(cooccurrence_vectors(documents, 7, 4), dim=-1)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[4] + 0.5


@given(st.text(max_size=20), st.integers(0, 5))
def test_bags_hold_all_grams_of_a_word(text, buckets):
    """With buckets every n-gram of `#word#` has an id; without, those that are known."""
    letters = NgramVocabulary(["red lamp"], sizes=(2, 3), most=50, buckets=buckets)
    for word in split_words(text):
        bag = letters.bag(word)
        assert all(0 < number < len(letters) for number in bag)
        assert len(bag) == 2 * len(word) + 1 or not buckets
