"""General texts: files of texts, and the whole words of a tokenizer."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.errors import DataError
from anthem_model.data.general_texts import read_texts, whole_words

lines = st.lists(st.text(st.characters(exclude_characters="\n", codec="utf-8"), max_size=12), min_size=1, max_size=30)


@pytest.mark.parametrize("name", ["texts.txt", "texts.txt.gz"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@given(lines=lines)
def test_texts_are_the_different_lines(tmp_path_factory, name, end, lines):
    """Texts are the lines without surrounding space, each once and in order; blank lines are skipped, gzip is read."""
    path = tmp_path_factory.mktemp("texts") / name
    content = end.join(["red mug", *lines]).encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert read_texts([path]) == list(dict.fromkeys(filter(None, map(str.strip, ["red mug", *lines]))))


def test_several_files_are_read_in_turn(tmp_path):
    """A text that several files have is read once; a byte order mark is no text; without files there are no texts."""
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfmug\nlamp\n")
    (tmp_path / "b").write_text("kettle\nmug\n")
    assert read_texts([tmp_path / "a", tmp_path / "b"]) == ["mug", "lamp", "kettle"]
    assert read_texts([]) == []


def test_the_number_of_texts_is_bounded(tmp_path, capsys):
    """The first texts are taken, with a message if there are more; a repeated text does not count."""
    (tmp_path / "a").write_text("mug\nlamp\n\nmug\n")
    (tmp_path / "b").write_text("lamp\nkettle\nmug\nteapot\nred\n")
    files = [tmp_path / "a", tmp_path / "b"]
    assert read_texts(files, 5) == ["mug", "lamp", "kettle", "teapot", "red"]
    assert capsys.readouterr().err == ""
    assert read_texts(files, 3) == ["mug", "lamp", "kettle"]
    assert f"{tmp_path / 'b'} has more texts; only the first 3 of all files are read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"mug\n\nl\xe4mp\n", r":3: byte 2 is not UTF-8\. Expected .*Convert the file"),
        (b"\n \n\t\n", r"has no text\. Expected a text on each line"),
        (b"", r"has no text\. Expected a text on each line"),
        (None, r"cannot be read \(.*No such file"),
    ],
)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_bad_file_is_refused_with_its_line(tmp_path, content, message, ending):
    """Bytes that are not UTF-8, a file without texts and a missing file are a DataError with file and line."""
    path = tmp_path / f"texts{ending}"
    if content is not None:
        path.write_bytes(gzip.compress(content) if ending else content)
    with pytest.raises(DataError, match=message) as caught:
        read_texts([path])
    assert str(path) in str(caught.value)


def test_a_damaged_gzip_file_is_refused(tmp_path):
    """A gzip file that is cut short is a DataError, not a shorter list."""
    path = tmp_path / "texts.gz"
    path.write_bytes(gzip.compress(b"mug\nlamp\n" * 50)[:-9])
    with pytest.raises(DataError, match=r"texts\.gz cannot be read"):
        read_texts([path])


def test_whole_words_of_a_tokenizer(tmp_path):
    """Of the vocabulary of WordPiece, words of two letters or more are whole words; other tokenizers have none."""
    tokenizers = pytest.importorskip("tokenizers", reason="the extra `train` is not installed")
    vocabulary = ["[UNK]", "[unused7]", "mug", "a", "##ug", "tea", "2x", "12", "ü", "über", "co-op", "!", "手机"]
    numbers = {word: number for number, word in enumerate(vocabulary)}
    models = {
        "pieces": tokenizers.models.WordPiece(numbers, unk_token="[UNK]"),
        "words": tokenizers.models.WordLevel(numbers, unk_token="[UNK]"),
    }
    for name, model in models.items():
        tokenizers.Tokenizer(model).save(str(tmp_path / name))
    assert sorted(whole_words(tmp_path / "pieces")) == sorted(["mug", "tea", "über", "手机"])
    assert whole_words(tmp_path / "words") == []


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"model": 3}', '{"model": {"type": "WordPiece"}}'])
def test_a_file_that_is_no_tokenizer_has_no_words(tmp_path, content):
    """A file that is not a tokenizer's is a DataError that names it."""
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(DataError, match=r"tokenizer\.json cannot be read as a tokenizer"):
        whole_words(tmp_path / "tokenizer.json")
