"""Stored vectors of the comparison's sentence-embedding models."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")
pytestmark = pytest.mark.train

from rankers.vector_store import VectorStore


class CountingEncoder:
    """Encodes a text as its length and its first letter; remembers what it was asked for."""

    def __init__(self):
        self.texts = []

    def __call__(self, texts):
        """Vectors `(N, 2)`."""
        self.texts += texts
        return np.array([[len(text), ord(text[0]) if text else 0] for text in texts], np.float32)


@given(texts=st.lists(st.text("ab", max_size=4), max_size=20), more=st.lists(st.text("ab", max_size=4), max_size=20))
def test_no_text_is_encoded_twice(tmp_path_factory, texts, more):
    """Every different text is encoded once, also after the store is opened again, and keeps its own vector."""
    folder, encoder = tmp_path_factory.mktemp("store"), CountingEncoder()
    for asked in (texts, more):
        vectors = VectorStore(folder, "model", 2).vectors(asked, encoder)
        assert vectors.shape == (len(asked), 2)
        assert vectors[:, 0].tolist() == [len(text) for text in asked]
    assert sorted(encoder.texts) == sorted({*texts, *more})


def test_an_interrupted_write_is_repaired(tmp_path):
    """An incomplete record is encoded again; the rest is kept."""
    VectorStore(tmp_path, "model", 2).vectors(["a", "bb", "ccc"], CountingEncoder())
    path = tmp_path / "model.vectors"
    path.write_bytes(path.read_bytes()[:-1])
    encoder = CountingEncoder()
    vectors = VectorStore(tmp_path, "model", 2).vectors(["a", "bb", "ccc"], encoder)
    assert encoder.texts == ["ccc"]
    assert vectors[:, 0].tolist() == [1, 2, 3]


def test_two_stores_share_a_file(tmp_path):
    """Vectors that another process appended are found after the next write, and every text keeps its own vector."""
    first, second = (VectorStore(tmp_path, "model", 2) for _ in range(2))
    first.vectors(["a", "bb"], CountingEncoder())
    second.vectors(["ccc"], CountingEncoder())
    encoder = CountingEncoder()
    vectors = VectorStore(tmp_path, "model", 2).vectors(["bb", "ccc", "a"], encoder)
    assert vectors[:, 0].tolist() == [2, 3, 1]
    assert not encoder.texts
