"""BEIR folders: what is written is read back, and bad lines are skipped, counted and reported."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.beir import Dataset, Product, SkippedLine, read_dataset, read_products, write_dataset
from anthem_core.errors import DataError

LINES = 200  # good lines around one bad line: well under 1 %

ids = st.text(min_size=1, max_size=8).filter(lambda text: not set(text) & set("\t\r\n"))
texts = st.text(max_size=30) | st.sampled_from(["a\u2028b", "\x85\x0b\x1c", "\ufeffsofa", "नमस्ते", "👩‍🔧", '"\\\n'])
words = texts.filter(str.strip)
metadata = st.dictionaries(
    texts, st.none() | st.booleans() | st.integers(-(2**70), 2**70) | texts | st.lists(texts, max_size=3), max_size=3
)


@st.composite
def datasets(draw):
    """Small datasets with any characters that a line of JSON or qrels can contain."""
    products = {
        name: Product(name, draw(words), draw(texts), draw(metadata)) for name in draw(st.sets(ids, max_size=5))
    }
    queries = draw(st.dictionaries(ids, words, max_size=5))
    judged = (
        st.dictionaries(st.sampled_from(sorted(products)), st.integers(-1, 6), min_size=1) if products else st.nothing()
    )
    qrels = st.dictionaries(st.sampled_from(sorted(queries)), judged) if queries else st.just({})
    splits = draw(st.dictionaries(st.sampled_from(["train", "dev", "test.cold"]), qrels))
    query_metadata = {name: values for name in queries if (values := draw(metadata))}
    return Dataset(products, queries, splits, query_metadata=query_metadata)


@given(datasets())
def test_what_is_written_is_read_back(dataset):
    """Writing and reading gives the same dataset, whatever characters it contains."""
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(dataset, Path(folder))
        assert read_dataset(Path(folder)) == dataset


@given(datasets())
def test_the_same_dataset_gives_the_same_bytes(dataset):
    """Writing twice gives the same bytes, without a timestamp."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
        for folder in (one, two):
            write_dataset(dataset, Path(folder))
        files = sorted(path.relative_to(one) for path in Path(one).rglob("*") if path.is_file())
        assert all((one / path).read_bytes() == (two / path).read_bytes() for path in files)
        assert (Path(one) / "corpus.jsonl.gz").read_bytes()[4:8] == b"\0\0\0\0"


def good_lines():
    """The lines of a folder without errors."""
    corpus = [json.dumps({"_id": f"p{n}", "title": f"sofa {n}"}).encode() for n in range(LINES)]
    queries = [json.dumps({"_id": f"q{n}", "text": f"sofa {n}"}).encode() for n in range(LINES)]
    rows = [b"query-id\tcorpus-id\tscore", *(f"q{n}\tp{n}\t2".encode() for n in range(LINES))]
    return {"corpus.jsonl": corpus, "queries.jsonl": queries, "qrels/dev.tsv": rows}


def folder_of(tmp_path, lines):
    """Write lines, by file name, as a BEIR folder."""
    (tmp_path / "qrels").mkdir(parents=True)
    for name, rows in lines.items():
        (tmp_path / name).write_bytes(b"\n".join(rows) + b"\n")
    return tmp_path


BAD = [
    ("corpus.jsonl", b'{"_id": "x", "title": ""}', "no title"),
    ("corpus.jsonl", b'{"_id": "x", "title": " \\u2028 "}', "no title"),
    ("corpus.jsonl", b'{"_id": "x"}', "no title"),
    ("corpus.jsonl", b'{"_id": "x", "title": 7}', "title is not a string"),
    ("corpus.jsonl", b'{"_id": "x", "title": "sofa", "metadata": []}', "metadata is not an object"),
    ("corpus.jsonl", b'{"_id": "x", "title": "half a \\ud83d"}', "contains a lone surrogate"),
    ("corpus.jsonl", b'{"_id": "x", "title": "sofa"', "not JSON"),
    ("corpus.jsonl", b"[" * 100_000, "not JSON"),
    ("corpus.jsonl", b'["x", "sofa"]', "not a JSON object"),
    ("corpus.jsonl", b'{"title": "sofa"}', "no _id"),
    ("corpus.jsonl", b'{"_id": true, "title": "sofa"}', "no _id"),
    ("corpus.jsonl", b'{"_id": "a\\tb", "title": "sofa"}', "a tab or line break in _id"),
    ("corpus.jsonl", b'{"_id": "p3", "title": "sofa"}', "duplicate id 'p3'"),
    ("corpus.jsonl", '{"_id": "x", "title": "Sessel für zwei"}'.encode("latin-1"), "not UTF-8"),
    ("queries.jsonl", b'{"_id": "x", "text": "  "}', "no text"),
    ("queries.jsonl", b'{"_id": "x"}', "no text"),
    ("queries.jsonl", b'{"_id": "q3", "text": "sofa"}', "duplicate id 'q3'"),
    ("qrels/dev.tsv", b"q1\tnowhere\t1", "unknown product 'nowhere'"),
    ("qrels/dev.tsv", b"nobody\tp1\t1", "unknown query 'nobody'"),
    ("qrels/dev.tsv", b"q1\tp2\t1.5", "grade '1.5' is not an integer"),
    ("qrels/dev.tsv", b"q1\tp2\t", "grade '' is not an integer"),
    ("qrels/dev.tsv", "q1\tp2\t٣".encode(), "is not an integer"),
    ("qrels/dev.tsv", b"q1\tp2", "2 of 3 columns"),
    ("qrels/dev.tsv", b"q1 p2 1", "1 of 3 columns"),
    ("qrels/dev.tsv", b"q3\tp3\t1", "'p3' is judged twice for 'q3'"),
    ("qrels/dev.tsv", b"q1\tp\xff\t1", "not UTF-8"),
]


@pytest.mark.parametrize(("name", "bad", "reason"), BAD)
def test_a_bad_line_is_skipped_and_reported(tmp_path, name, bad, reason):
    """One bad line among many is reported with its file, line and reason, and everything else is read."""
    lines = good_lines()
    clean = read_dataset(folder_of(tmp_path / "clean", lines))
    lines[name].insert(100, bad)
    dataset = read_dataset(folder_of(tmp_path / "bad", lines))
    assert [(skipped.file, skipped.line) for skipped in dataset.skipped_lines] == [(name, 101)]
    assert reason in str(dataset.skipped_lines[0])
    assert (dataset.products, dataset.queries, dataset.qrels) == (clean.products, clean.queries, clean.qrels)


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl", "qrels/dev.tsv"])
def test_up_to_one_percent_may_be_bad(tmp_path, name):
    """Of 200 lines two may be bad; a third is an error that names the lines, the reason and what to do."""
    lines = good_lines()
    start = 1 if name.endswith(".tsv") else 0
    lines[name][start : start + 2] = [b"{", b"{"]
    if name.endswith(".jsonl"):  # judgments of the lost lines would be bad too
        lines["qrels/dev.tsv"][1:3] = []
    assert len(read_dataset(folder_of(tmp_path, lines)).skipped_lines) == 2
    lines[name][start + 2] = b"{"
    (tmp_path / name).write_bytes(b"\n".join(lines[name]))
    with pytest.raises(
        DataError, match=rf"3 of 200 lines of {name} cannot be used.*{name}:{start + 1}: .*Fix"
    ) as error:
        read_dataset(tmp_path)
    assert error.value.exit_code == 4


def test_a_skipped_line_is_printed_as_file_line_and_reason():
    """The format is that of compiler messages."""
    assert str(SkippedLine("queries.jsonl", 17, "no text")) == "queries.jsonl:17: no text"


def test_a_corpus_alone_is_a_dataset(tmp_path):
    """Queries and qrels may be missing."""
    (tmp_path / "corpus.jsonl").write_text('{"_id": 7, "title": "sofa"}')
    assert read_dataset(tmp_path) == Dataset({"7": Product("7", "sofa")})


def test_byte_order_mark_carriage_returns_and_blank_lines_are_ignored(tmp_path):
    """A file saved by a spreadsheet or an editor reads the same."""
    plain = folder_of(tmp_path, good_lines())
    expected = read_dataset(plain)
    for name, lines in good_lines().items():
        (plain / name).write_bytes(b"\xef\xbb\xbf" + b"\r\n".join([*lines, b"", b""]))
    assert read_dataset(plain) == expected


def test_qrels_columns_are_found_by_name(tmp_path):
    """The header gives the order of the columns; additional columns are ignored."""
    lines = good_lines()
    lines["qrels/dev.tsv"] = [b"score\tnote\tcorpus-id\tquery-id", b"3\tgood\tp1\tq2"]
    assert read_dataset(folder_of(tmp_path, lines)).qrels == {"dev": {"q2": {"p1": 3}}}


@pytest.mark.parametrize("header", [b"q0\tp0\t2", b"query-id,corpus-id,score", b"query-id\tscore", b""])
def test_qrels_without_their_header_are_refused(tmp_path, header):
    """A missing column in the header is an error, so that no judgment is mistaken for a header."""
    lines = good_lines() | {"qrels/dev.tsv": [header]}
    with pytest.raises(DataError, match=r"qrels/dev.tsv:1: .*query-id, corpus-id, score"):
        read_dataset(folder_of(tmp_path, lines))


def test_missing_and_ambiguous_files_are_reported(tmp_path):
    """A missing folder, a missing corpus and two corpora each say what was found and what to do."""
    with pytest.raises(DataError, match=r"nowhere is not a folder\. Expected .* Check the path"):
        read_dataset(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"has no corpus.jsonl or corpus.jsonl.gz\. Add one"):
        read_dataset(tmp_path)
    for name in ("corpus.jsonl", "corpus.jsonl.gz"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match="Keep only one"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    "damage", [lambda packed: packed[:-20], lambda packed: b"sofa" + packed, lambda _: b"\x1f\x8b"]
)
def test_a_damaged_gzip_file_is_refused(tmp_path, damage):
    """A truncated, foreign or empty gzip file is a DataError that names it."""
    path = tmp_path / "corpus.jsonl.gz"
    path.write_bytes(damage(gzip.compress(b"\n".join(good_lines()["corpus.jsonl"]))))
    with pytest.raises(DataError, match=r"corpus.jsonl.gz cannot be read"):
        list(read_products(path))


def test_products_are_streamed(tmp_path):
    """Products come one by one, before the file has been read to its end; skipped lines are collected on the way."""
    path = tmp_path / "products.jsonl"
    path.write_bytes(b"\n".join([b"{", *good_lines()["corpus.jsonl"]]))
    skipped_lines: list[SkippedLine] = []
    stream = read_products(path, skipped_lines)
    assert next(stream).id == "p0"
    assert [str(skipped)[:16] for skipped in skipped_lines] == ["products.jsonl:1"]
    assert len(list(stream)) == LINES - 1


def test_judgments_may_be_gzipped(tmp_path):
    """Gzipped judgments are read as plain ones, and both at once are refused."""
    folder = folder_of(tmp_path, good_lines())
    expected, plain = read_dataset(folder), folder / "qrels" / "dev.tsv"
    plain.with_name("dev.tsv.gz").write_bytes(gzip.compress(plain.read_bytes()))
    with pytest.raises(DataError, match=r"has both dev.tsv and dev.tsv.gz. Keep only one"):
        read_dataset(folder)
    plain.unlink()
    assert read_dataset(folder) == read_dataset(folder, "dev") == expected
    assert read_dataset(folder, "train").qrels == {}


def test_a_title_is_required_unless_another_field_is(tmp_path):
    """Without a title, a line is read if another required field is there, else it is bad and says what there is."""
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"_id": "1", "title": "", "text": "red sofa"}')
    assert [product.text for product in read_products(path, required=("text",))] == ["red sofa"]
    with pytest.raises(DataError, match="no title, only text"):
        list(read_products(path))
