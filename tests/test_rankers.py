"""The baseline rankers of the comparison."""

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
MODELS_WITHOUT_MINILM = sorted(set(RANKER_BUILDERS) - {"minilm_tuned"})


@pytest.fixture(scope="module")
def transformer(tmp_path_factory):
    """Folder of a minimal sentence transformer."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("transformer")
    letters = [chr(code) for code in range(97, 123)]
    words = sorted({word for title in TITLES for word in title.split()} | set(letters))
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(tokens))
    transformers.BertTokenizer(vocab={token: number for number, token in enumerate(tokens)}).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    transformers.BertModel(transformers.BertConfig(vocab_size=len(tokens), **shape)).save_pretrained(folder)
    return folder


@pytest.fixture(params=[*MODELS_WITHOUT_MINILM, "sentence", "drmm with vector gate"])
def ranker(request):
    """Each ranker, newly built with one seed."""
    torch.manual_seed(0)
    if request.param == "sentence":
        return SentenceBiEncoder(request.getfixturevalue("transformer")).eval()
    if request.param == "drmm with vector gate":
        return Drmm(Lexicon(TITLES, QUERIES), gate="vector").eval()
    return RANKER_BUILDERS[request.param](TITLES, QUERIES).eval()


def make_lists(rng, count=8, length=10):
    """Lists of candidates of which only the first contains both words of the query."""
    queries = rng.sample(QUERIES, count)
    matching = [[row for row, title in enumerate(TITLES) if title.startswith(query)] for query in queries]
    others = [[row for row in range(len(TITLES)) if row not in rows] for rows in matching]
    candidates = torch.tensor(
        [[rows[0], *rng.sample(rest, length - 1)] for rows, rest in zip(matching, others, strict=True)]
    )
    gains = torch.eye(length)[:1].expand(count, -1)
    return ListBatch(queries, TITLES, candidates, gains, torch.ones_like(gains, dtype=torch.bool))


def close(left, right):
    """Whether two tensors are equal up to rounding."""
    return torch.allclose(left, right, atol=1e-4)


@torch.no_grad()
def test_other_texts_of_a_batch_change_no_score(ranker):
    """A pair gets the same score alone and next to longer queries and longer titles."""
    queries = ["red lamp", "a very much longer query about one single green kettle of twelve inch or so"]
    titles = ["red lamp 6 inch", "lamp", " ".join(TITLES[:9]), "blue shelf"]
    orders = [[0, 1, 2, 3], [3, 2, 1, 0]]
    together = ranker.score_candidates(queries, titles, torch.tensor(orders))
    for row, query in enumerate(queries):
        for column, title in enumerate(orders[row]):
            assert close(together[row, column], ranker.score_titles(query, [titles[title]])[0])


@torch.no_grad()
def test_permuted_candidates_give_permuted_scores(ranker):
    """Scores follow the order of the candidates, some of which occur more than once."""
    candidates = torch.tensor([random.Random(0).choices(range(len(TITLES)), k=12)])
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    scores = ranker.score_candidates(["red lamp"], TITLES, candidates)
    assert scores.shape == (1, 12)
    assert close(scores[:, order], ranker.score_candidates(["red lamp"], TITLES, candidates[:, order]))


@torch.no_grad()
@pytest.mark.parametrize("query", ["zyzzyva qwertz", "red", "", "###", "Молоток"])
def test_any_text_has_a_finite_score(ranker, query):
    """Unknown words, empty titles, empty queries and other scripts get finite scores."""
    scores = ranker.score_titles(query, ["", "xylograph quux", "red lamp", "!!!", "ハンマー"])
    assert scores.shape == (5,)
    assert torch.isfinite(scores).all()


def test_every_ranker_learns(ranker):
    """Forty steps on one batch reduce its loss by a third."""
    batch = make_lists(random.Random(0))
    optimizer = torch.optim.Adam(ranker.parameter_groups(1e-2))
    before = float(ranker.loss(batch).detach())
    for _ in range(40):
        optimizer.zero_grad()
        ranker.loss(batch).backward()
        optimizer.step()
    assert float(ranker.loss(batch).detach()) < 0.67 * before


def test_every_parameter_is_in_one_group(ranker):
    """The optimiser gets every trainable parameter exactly once."""
    grouped = [id(parameter) for group in ranker.parameter_groups(1e-3) for parameter in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert {id(parameter) for parameter in ranker.parameters() if parameter.requires_grad} <= set(grouped)


def test_training_clears_cached_vectors(transformer):
    """After more training, a sentence transformer does not use vectors from before."""
    ranker = SentenceBiEncoder(transformer).eval()
    before = ranker.score_titles("red lamp", TITLES[:4])
    ranker.train()
    with torch.no_grad():
        ranker.encoder.embeddings.word_embeddings.weight.add_(torch.randn(32))
    assert not close(before, ranker.eval().score_titles("red lamp", TITLES[:4]))


@given(st.text("abcxyz ", max_size=12), st.text("abcxyz ", max_size=12))
def test_only_equal_words_match(query, title):
    """Exact match compares words, not buckets: an unknown word matches only itself."""
    lexicon = Lexicon(["abc xyz"], [], min_count=1)
    query_words, title_words = lexicon.read([query], 16), lexicon.read([title], 40)
    matches = match_words(query_words, title_words[torch.tensor([[0]])])[0, 0]
    left, right = lexicon.stem_words(query), lexicon.stem_words(title)
    expected = [[word == other for other in right] for word in left]
    assert matches[: len(left), : len(right)].tolist() == (expected if right else [[] for _ in left])
    assert int(matches.sum()) == sum(map(sum, expected))


@given(st.lists(st.sampled_from(COLOURS), min_size=1, max_size=6))
def test_rare_words_have_a_higher_idf(colours):
    """Inverse document frequency falls as more titles contain the word, and is highest for a word in no title."""
    lexicon = Lexicon([f"{colour} lamp" for colour in colours], [], min_count=1)
    idf = {word: float(lexicon.idf[lexicon.read([word], 1).ids[0, 0]]) for word in ("lamp", *colours, "unseen")}
    assert all(idf["lamp"] <= idf[colour] < idf["unseen"] for colour in colours)


def test_exact_kernel_counts_words():
    """The kernel for exact matches is the logarithm of their number, summed over the words of the query."""
    grids = torch.zeros(1, 1, 2, 3)
    exact = torch.tensor([[[[True, True, False], [True, False, False]]]])
    features = kernel_features(grids, exact, torch.ones_like(exact))
    assert close(features[0, 0, -1], 0.1 * torch.tensor([2.0, 1.0]).log().sum())


def test_words_with_the_same_neighbours_have_similar_vectors():
    """Words that occur next to the same words are more similar than words that do not."""
    documents = [[1, 3, 4], [2, 3, 4], [1, 4, 3], [2, 4, 3], [5, 6, 7], [5, 7, 6]] * 3
    vectors = torch.nn.functional.normalize(cooccurrence_vectors(documents, 7, 4), dim=-1)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[4] + 0.5


@given(st.text(max_size=20), st.integers(0, 5))
def test_ngram_ids_cover_a_word(text, buckets):
    """With buckets every n-gram of `#word#` has an id; without them, only known n-grams have one."""
    vocabulary = NgramVocabulary(["red lamp"], sizes=(2, 3), max_ngrams=50, buckets=buckets)
    for word in split_words(text):
        ids = vocabulary.ngram_ids(word)
        assert all(0 < number < len(vocabulary) for number in ids)
        assert len(ids) == 2 * len(word) + 1 or not buckets
