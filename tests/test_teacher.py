"""The teacher: a tiny sentence transformer with random weights, and a fake one that counts letters."""

import os
import shutil
import socket

import numpy as np
import pytest

from anthem_core.encoding.tokenizer import split_words
from anthem_core.errors import DataError

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_model.data.training_shop import JudgedQuery, ShopSplit, TrainingShop
from anthem_model.geometry import lorentz
from anthem_model.initialisation.teacher import Teacher, embed_texts
from anthem_model.trainer.schedule import TrainingSchedule
from anthem_model.trainer.training import TrainingPlan, TrainingSources, train_anthem

torch.set_num_threads(1)  # for tiny tensors, more threads are slower

TITLES = [f"{colour} {thing}" for colour in ("red", "blue", "green") for thing in ("teapot", "kettle", "mug", "lamp")]
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """Folder of a sentence transformer with random weights and a vocabulary of single letters."""
    pytest.importorskip("sentence_transformers", reason="a teacher needs sentence-transformers")
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("teacher")
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(tokens), max_position_embeddings=64, **shape)).save_pretrained(folder)
    BertTokenizer(vocab={token: number for number, token in enumerate(tokens)}).save_pretrained(folder)
    return folder


class LetterTeacher:
    """A teacher whose vectors are counts of letters."""

    identity = "letters"

    def vectors(self, texts, description):
        """Unit vectors of texts."""
        assert description
        counts = np.array([[text.count(letter) for letter in LETTERS] for text in texts], np.float32)
        return (counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1e-9)).astype(np.float16)


def build_shop(queries=()):
    """Twelve products, and queries for which the first one is relevant."""
    return TrainingShop("tiny", TITLES, [JudgedQuery(text, (0,), (1.0,)) for text in queries])


def test_vectors_have_norm_1_and_the_order_of_the_texts(model_folder, tmp_path):
    """Each text has its own unit vector, whatever other texts are encoded with it."""
    teacher = Teacher(model_folder, tmp_path)
    texts = ["red mug", "a very much longer title of one blue kettle", "", "red mug"]
    vectors = teacher.vectors(texts, "titles").astype(np.float32)
    assert vectors.shape == (4, 16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=2e-3)
    assert not np.allclose(vectors[0], vectors[1], atol=1e-2)
    for text, vector in zip(texts, vectors, strict=True):
        np.testing.assert_allclose(teacher.vectors([text], "one")[0], vector, atol=2e-3)


def test_a_repeated_text_is_read_once(model_folder, tmp_path, monkeypatch):
    """Each different text is encoded once; every copy of it gets the same vector."""
    teacher = Teacher(model_folder, tmp_path)
    encode, read = teacher._encoder.encode, []
    monkeypatch.setattr(teacher._encoder, "encode", lambda texts: read.extend(texts) or encode(texts))
    vectors = teacher.vectors([*TITLES, *TITLES[::-1]], "titles")
    assert sorted(read) == sorted(TITLES)
    np.testing.assert_array_equal(vectors[:12], vectors[12:][::-1])


def test_vectors_are_cached(model_folder, tmp_path):
    """Vectors of the same texts come from the cache, even for another teacher object; those of other texts do not."""
    vectors = Teacher(model_folder, tmp_path).vectors(TITLES, "titles")
    (path,) = tmp_path.iterdir()
    np.save(path, vectors + 1)
    other = Teacher(model_folder, tmp_path)
    np.testing.assert_array_equal(other.vectors(TITLES, "titles"), vectors + 1)
    assert not (other.vectors(TITLES[::-1], "titles") > 1).any()
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("size", [0, 99, 200])
def test_a_truncated_cache_file_is_replaced(model_folder, tmp_path, size):
    """If the file of cached vectors is truncated, they are computed again."""
    vectors = Teacher(model_folder, tmp_path).vectors(TITLES, "titles")
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:size])
    np.testing.assert_array_equal(Teacher(model_folder, tmp_path).vectors(TITLES, "titles"), vectors)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, r"contains neither \*\.onnx nor config\.json\. Expected the folder of a sentence-embedding model"),
        ("{}", "cannot be read as a sentence-embedding model"),
        ("no json", "cannot be read as a sentence-embedding model"),
        ('{"model_type": "nothing"}', "cannot be read as a sentence-embedding model"),
    ],
)
def test_a_folder_without_a_model_is_refused(tmp_path, config, message):
    """A folder without a sentence-embedding model is a DataError with the path and what is expected."""
    pytest.importorskip("sentence_transformers", reason="a teacher needs sentence-transformers")
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(DataError, match=message) as caught:
        Teacher(tmp_path, tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert caught.value.exit_code == 4


def test_embedding_shops(model_folder, tmp_path):
    """The texts are titles, pseudo-queries and judged queries of each shop, then general ones, each with its vector.

    Texts of two to six words follow once more, with typing errors and the vector of the correct text.
    """
    teacher = Teacher(model_folder, tmp_path)
    shops = [build_shop(["red tea", "lamp"]), TrainingShop("other", ["copper wire"], [])]
    everything, all_vectors = embed_texts(shops, teacher, 0, ["a kettle", "wire"])
    end = everything.index("a kettle") + 2
    texts, vectors = everything[:end], all_vectors[:end]
    short = [row for row, text in enumerate(texts) if 2 <= len(split_words(text)) <= 6]
    assert [len(text.split()) for text in everything[end:]] == [len(split_words(texts[row])) for row in short]
    assert everything[end:] != [texts[row] for row in short]
    np.testing.assert_array_equal(all_vectors[end:], vectors[short])
    assert texts[:12] == TITLES
    assert texts[-2:] == ["a kettle", "wire"]
    first, rest = texts[12 : texts.index("red tea")], texts[texts.index("red tea") : -2]
    title_words = {word for title in TITLES for word in split_words(title)}
    assert first
    assert all(set(split_words(text)) <= title_words for text in first)
    assert rest[:3] == ["red tea", "lamp", "copper wire"]
    assert all(set(text.split()) <= {"copper", "wire"} for text in rest[3:])
    np.testing.assert_allclose(vectors, teacher.vectors(texts, "all"), atol=2e-3)
    assert embed_texts(shops, teacher, 0, ["a kettle", "wire"])[0] == everything


def test_a_shop_without_words_has_no_pseudo_queries():
    """Titles without letters and digits give no pseudo-queries."""
    texts, vectors = embed_texts([TrainingShop("signs", ["!!", "?"], [])], LetterTeacher(), 0)
    assert texts == ["!!", "?"]
    assert len(vectors) == 2


def test_without_judgments_products_are_near_if_their_teacher_vectors_are():
    """Without judgments and without training, similarities of products correlate with the teacher's, once centred."""
    schedule = TrainingSchedule(steps=1, learning_rate=1e-9)
    plan = TrainingPlan(schedule=schedule, dimension=26, grid_dimension=8, known_trigrams=200, hash_buckets=40)
    split = ShopSplit(build_shop(), TrainingShop("tiny", [], []))
    points = train_anthem([split], plan, TrainingSources(teacher=LetterTeacher())).ranker.encode_titles(TITLES)
    directions = torch.nn.functional.normalize(lorentz.logmap0(points), dim=1)
    vectors = torch.from_numpy(LetterTeacher().vectors(TITLES, "titles")).float()
    centred = torch.nn.functional.normalize(vectors - vectors.mean(dim=0), dim=1)
    similarities = ((directions @ directions.T).flatten(), (centred @ centred.T).flatten())
    assert np.corrcoef(*similarities)[0, 1] > 0.9


def test_a_teacher_leaves_global_state_unchanged(model_folder, tmp_path):
    """Loading and encoding change neither random numbers, nor the number of threads, nor the environment."""
    torch.manual_seed(7)
    state, environment, threads = torch.get_rng_state(), dict(os.environ), torch.get_num_threads()
    Teacher(model_folder, tmp_path, threads=threads + 1).vectors(TITLES, "titles")
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert dict(os.environ) == environment


def test_a_teacher_makes_no_network_connection(model_folder, tmp_path, monkeypatch):
    """Loading and encoding work without a network and do not try to use one."""
    attempts = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: attempts.append(address))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **_: attempts.append(address))
    Teacher(model_folder, tmp_path).vectors(TITLES, "titles")
    assert attempts == []


def test_a_model_without_its_tokenizer_is_refused(model_folder, tmp_path):
    """A folder without a tokenizer is a DataError that names what is missing."""
    incomplete = tmp_path / "incomplete"
    shutil.copytree(model_folder, incomplete, ignore=shutil.ignore_patterns("tokenizer*", "vocab*"))
    with pytest.raises(DataError, match="contains no tokenizer"):
        Teacher(incomplete, tmp_path)


@pytest.mark.parametrize("value", [np.nan, 0.5])
def test_useless_vectors_are_refused(model_folder, tmp_path, monkeypatch, value):
    """Vectors that are not finite, or the same for all texts, are an error and are not cached."""
    teacher = Teacher(model_folder, tmp_path / "cache")
    monkeypatch.setattr(teacher._encoder, "encode", lambda texts: np.full((len(texts), 3), value, np.float32))
    with pytest.raises(DataError, match="not finite or the same for all texts"):
        teacher.vectors(TITLES, "titles")
    assert not (tmp_path / "cache").exists()
