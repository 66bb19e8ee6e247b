"""Laws of the teacher: a real sentence transformer as small as can be, and vectors of letters where any will do."""

import random
import shutil

import numpy as np
import pytest

from anthem_core.encoding.tokenizer import split_words
from anthem_core.errors import DataError

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_model.data.training_shop import JudgedQuery, ShopSplit, TrainingShop
from anthem_model.geometry import lorentz
from anthem_model.initialisation.teacher import Teacher, embed_shop
from anthem_model.trainer.loop import TrainingSchedule
from anthem_model.trainer.training import TrainingPlan, train_anthem

torch.set_num_threads(1)  # tiny tensors: threads only wait for each other

TITLES = [f"{colour} {thing}" for colour in ("red", "blue", "green") for thing in ("teapot", "kettle", "mug", "lamp")]
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Folder of a sentence transformer with random weights and a vocabulary of single letters."""
    pytest.importorskip("sentence_transformers", reason="no teacher without it")
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("teacher")
    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(known), max_position_embeddings=64, **shape)).save_pretrained(folder)
    BertTokenizer(vocab={token: place for place, token in enumerate(known)}).save_pretrained(folder)
    return folder


class Letters:
    """A teacher that counts letters."""

    def vectors(self, texts, what):
        """Unit vectors of texts by their letters."""
        assert what
        counts = np.array([[text.count(letter) for letter in LETTERS] for text in texts], np.float32)
        return (counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)).astype(np.float16)


def shop(judged=()):
    """Twelve products, and queries judged on them."""
    return TrainingShop("tiny", TITLES, [JudgedQuery(text, (0,), (1.0,)) for text in judged])


def test_vectors_are_of_length_1_in_their_order(model, tmp_path):
    """Each text has its own unit vector, whatever stands beside it and however long that is."""
    teacher = Teacher(model, tmp_path)
    texts = ["red mug", "a very much longer title of one blue kettle", "", "red mug"]
    found = teacher.vectors(texts, "titles").astype(np.float32)
    assert found.shape == (4, 16)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=2e-3)
    assert not np.allclose(found[0], found[1], atol=1e-2)
    for text, vector in zip(texts, found, strict=True):
        np.testing.assert_allclose(teacher.vectors([text], "one")[0], vector, atol=2e-3)


def test_vectors_are_computed_once(model, tmp_path):
    """The second time vectors come from the folder, also to another process's teacher; other texts do not."""
    first = Teacher(model, tmp_path).vectors(TITLES, "titles")
    (kept,) = tmp_path.iterdir()
    np.save(kept, first + 1)
    again = Teacher(model, tmp_path)
    np.testing.assert_array_equal(again.vectors(TITLES, "titles"), first + 1)
    assert not (again.vectors(TITLES[::-1], "titles") > 1).any()
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("left", [0, 99, 200])
def test_torn_vectors_are_computed_anew(model, tmp_path, left):
    """A file of vectors that a kill or a full disk cut is replaced."""
    wanted = Teacher(model, tmp_path).vectors(TITLES, "titles")
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:left])
    np.testing.assert_array_equal(Teacher(model, tmp_path).vectors(TITLES, "titles"), wanted)


@pytest.mark.parametrize("content", [None, "{}", "no json", '{"model_type": "nothing"}'])
def test_a_folder_without_a_model_is_refused(tmp_path, content):
    """A folder that holds no sentence-embedding model is a DataError that names it and says what to name."""
    pytest.importorskip("sentence_transformers", reason="no teacher without it")
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(DataError, match=r"(holds no|cannot be read as a) sentence-embedding model") as caught:
        Teacher(tmp_path, tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert caught.value.exit_code == 4


def test_a_teacher_reads_titles_and_queries(model, tmp_path):
    """Read are the titles first, then words of titles, then the judged queries; every text has its own vector."""
    teacher = Teacher(model, tmp_path)
    texts, vectors = embed_shop(shop(["red tea", "lamp"]), teacher, random.Random(0), 9)
    assert texts[:12] == TITLES
    assert texts[21:] == ["red tea", "lamp"]
    known = {word for title in TITLES for word in split_words(title)}
    assert all(set(text.split()) <= known for text in texts[12:21])
    np.testing.assert_allclose(vectors, teacher.vectors(texts, "all"), atol=2e-3)


def test_a_shop_without_words_asks_nothing():
    """Titles of signs alone give no pseudo-query."""
    texts, vectors = embed_shop(TrainingShop("signs", ["!!", "?"], []), Letters(), random.Random(0))
    assert texts == ["!!", "?"]
    assert len(vectors) == 2


def test_a_catalogue_alone_learns_from_a_teacher():
    """Without a single judgment products are as near to each other as the teacher's vectors are."""
    plan = TrainingPlan(pace=TrainingSchedule(steps=1, rate=1e-9), dimension=26, grid=8, known=200, buckets=40)
    nobody = ShopSplit(shop(), TrainingShop("tiny", [], []))
    points = train_anthem([nobody], plan, Letters()).ranker.points(TITLES)
    found = torch.nn.functional.normalize(lorentz.logmap0(points), dim=1)
    wanted = torch.from_numpy(Letters().vectors(TITLES, "titles")).float()
    agreement = np.corrcoef((found @ found.T).flatten(), (wanted @ wanted.T).flatten())[0, 1]
    assert agreement > 0.9


def test_a_teacher_leaves_chance_alone(model, tmp_path):
    """What is drawn after a teacher is loaded is what would have been drawn without it."""
    torch.manual_seed(7)
    wanted = torch.rand(4)
    torch.manual_seed(7)
    Teacher(model, tmp_path)
    assert torch.equal(torch.rand(4), wanted)


def test_a_model_without_its_tokenizer_is_refused(model, tmp_path):
    """A folder that lacks the tokenizer would read every text wrong: DataError that names what is missing."""
    torn = tmp_path / "torn"
    shutil.copytree(model, torn, ignore=shutil.ignore_patterns("tokenizer*", "vocab*"))
    with pytest.raises(DataError, match="holds no tokenizer"):
        Teacher(torn, tmp_path)


@pytest.mark.parametrize("value", [np.nan, 0.5])
def test_vectors_that_tell_nothing_apart_are_refused(model, tmp_path, monkeypatch, value):
    """A teacher that gives no numbers, or the same for all texts, is an error, and nothing of it is kept."""
    teacher = Teacher(model, tmp_path / "kept")
    monkeypatch.setattr(teacher, "_computed", lambda texts, _: np.full((len(texts), 3), value, np.float16))
    with pytest.raises(DataError, match="tell texts apart"):
        teacher.vectors(TITLES, "titles")
    assert not (tmp_path / "kept").exists()
