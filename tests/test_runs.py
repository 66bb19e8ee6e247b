"""Reading and writing TREC runs."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.errors import DataError
from anthem_evaluation.runs import ranked_ids, read_run, write_run

ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(
    lambda text: text.split() == [text] and not text.startswith("\ufeff")
)
finite = st.floats(allow_nan=False, allow_infinity=False)
runs = st.dictionaries(ids, st.dictionaries(ids, finite, min_size=1), min_size=1)


@given(runs)
def test_a_run_is_read_as_it_was_written(run):
    """Reading a written run gives every score exactly, and every order, also of ties."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.trec"
        write_run(path, run)
        read = read_run(path)
    assert read == run
    orders = {query: ranked_ids(scores) for query, scores in run.items()}
    assert {query: list(scores) for query, scores in read.items()} == orders


def test_a_run_is_written_as_trec_eval_reads_it(tmp_path):
    """Six fields per line, best first, ranks from 1."""
    write_run(tmp_path / "run", {"q1": {"b": 0.5, "a": 2.0}}, tag="mine")
    assert (tmp_path / "run").read_text() == "q1 Q0 a 1 2.0 mine\nq1 Q0 b 2 0.5 mine\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q Q0 a 1 2.0", "found 5 fields, expected 6"),
        ("q Q0 a 1 high tag", "found the score 'high', expected a finite number"),
        ("q Q0 a 1 nan tag", "found the score 'nan', expected a finite number"),
        ("q Q0 good 1 1.0 tag", "product 'good' of query 'q' is listed twice"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, line, message):
    """The error names the file and the line, and what is wrong with it."""
    path = tmp_path / "run"
    path.write_text(f"q Q0 good 1 3.0 tag\n\n{line}\n")
    with pytest.raises(DataError, match=rf"run, line 3: {message}"):
        read_run(path)


@pytest.mark.parametrize("content", [None, b"", b"\n \n", b"\xff\xfe\x00"])
def test_an_unusable_file_is_refused(tmp_path, content):
    """A missing, empty or binary file is a DataError that names the file."""
    path = tmp_path / "run"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="run"):
        read_run(path)


@pytest.mark.parametrize("name", ["", "two words", "line\nbreak", " edge"])
def test_an_id_that_the_format_cannot_hold_is_refused(tmp_path, name):
    """No file is created if an id is empty or contains whitespace, whether a query's or a product's."""
    with pytest.raises(DataError, match="contains whitespace"):
        write_run(tmp_path / "run", {"q": {name: 1.0}})
    with pytest.raises(DataError, match="contains whitespace"):
        write_run(tmp_path / "run", {name: {"a": 1.0}})
    assert not (tmp_path / "run").exists()


def test_a_missing_folder_is_named(tmp_path):
    """Writing to a missing folder is a DataError with the path."""
    with pytest.raises(DataError, match="nowhere"):
        write_run(tmp_path / "nowhere" / "run", {"q": {"a": 1.0}})
