"""Laws of reading and writing TREC files."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.errors import DataError
from anthem_evaluation.runs import ranked_ids, read_qrels, read_run, write_qrels, write_run

ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(
    lambda text: text.split() == [text] and not text.startswith("\ufeff")
)
finite = st.floats(allow_nan=False, allow_infinity=False)
runs = st.dictionaries(ids, st.dictionaries(ids, finite, min_size=1), min_size=1)
judgments = st.dictionaries(ids, st.dictionaries(ids, st.integers(-2, 10), min_size=1), min_size=1)


@given(runs)
def test_a_run_survives_the_file(run):
    """Reading what was written gives every score to the last bit and every order, ties included."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.trec"
        write_run(path, run)
        back = read_run(path)
    assert back == run
    assert {query: list(scores) for query, scores in back.items()} == {q: ranked_ids(s) for q, s in run.items()}


@given(judgments)
def test_judgments_survive_the_file(qrels):
    """Reading what was written gives every grade."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "qrels.trec"
        write_qrels(path, qrels)
        assert read_qrels(path) == qrels


def test_a_run_is_written_as_trec_eval_reads_it(tmp_path):
    """Six fields a line, best first, ranks from 1."""
    write_run(tmp_path / "run", {"q1": {"b": 0.5, "a": 2.0}}, tag="mine")
    assert (tmp_path / "run").read_text() == "q1 Q0 a 1 2.0 mine\nq1 Q0 b 2 0.5 mine\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q Q0 a 1 2.0", "found 5 fields, wanted 6"),
        ("q Q0 a 1 high tag", "found 'high', wanted a finite number"),
        ("q Q0 a 1 nan tag", "found 'nan', wanted a finite number"),
        ("q Q0 good 1 1.0 tag", "found product 'good' of query 'q' again"),
    ],
)
def test_a_malformed_run_line_is_named(tmp_path, line, message):
    """The error names the file and the line and says what was wrong with it."""
    path = tmp_path / "run"
    path.write_text(f"q Q0 good 1 3.0 tag\n\n{line}\n")
    with pytest.raises(DataError, match=rf"run, line 3: {message}"):
        read_run(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q a 1", "found 3 fields, wanted 4"),
        ("q 0 a 1.5", "found '1.5', wanted a whole number"),
        ("q 0 a " + "9" * 400, "found '9+', wanted a whole number"),
        ("q 0 good 0", "found product 'good' of query 'q' again"),
    ],
)
def test_a_malformed_judgment_is_named(tmp_path, line, message):
    """The error names the file and the line and says what was wrong with it."""
    path = tmp_path / "qrels"
    path.write_text(f"q 0 good 1\n{line}\n")
    with pytest.raises(DataError, match=rf"qrels, line 2: {message}"):
        read_qrels(path)


@pytest.mark.parametrize("content", [None, b"", b"\n \n", b"\xff\xfe\x00"])
def test_a_file_without_use_is_refused(tmp_path, content):
    """A missing, empty or binary file is a DataError that names the file."""
    path = tmp_path / "run"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="run"):
        read_run(path)


@pytest.mark.parametrize("name", ["", "two words", "line\nbreak", " edge"])
def test_an_id_the_format_cannot_hold_is_refused(tmp_path, name):
    """No file is begun when an id is empty or has a space in it."""
    with pytest.raises(DataError, match="no spaces"):
        write_run(tmp_path / "run", {"q": {name: 1.0}})
    with pytest.raises(DataError, match="no spaces"):
        write_qrels(tmp_path / "run", {name: {"a": 1}})
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    """Writing where it cannot be written is a DataError with the path."""
    with pytest.raises(DataError, match="nowhere"):
        write_qrels(tmp_path / "nowhere" / "qrels", {"q": {"a": 1}})
