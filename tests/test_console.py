"""Messages on standard error."""

import io
import sys

import pytest

from anthem_core.console import MAX_PRINTED_SKIPS, CommandError, confirm, count_of, format_bytes, print_skipped


@pytest.mark.parametrize("count", [0, 1, MAX_PRINTED_SKIPS, MAX_PRINTED_SKIPS + 1, 1000])
def test_skipped_lines_are_named_or_counted(capsys, count):
    """The first lines are named, each once; if there are more, a last line gives their number."""
    print_skipped([f"corpus.jsonl:{number}: no title" for number in range(1, count + 1)])
    lines = capsys.readouterr().err.splitlines()
    assert lines[:MAX_PRINTED_SKIPS] == [
        f"skipped corpus.jsonl:{number}: no title" for number in range(1, min(count, MAX_PRINTED_SKIPS) + 1)
    ]
    assert lines[MAX_PRINTED_SKIPS:] == ([f"skipped {count} lines in all"] if count > MAX_PRINTED_SKIPS else [])


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (49_999, "50.0 kB"),
        (10**6, "1.0 MB"),
        (10**10, "10000.0 MB"),
    ],
)
def test_a_size_never_rounds_to_nothing(size, text):
    """Only nothing is printed as 0; small sizes are bytes, larger ones kB or MB."""
    assert format_bytes(size) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0 products"), (1, "1 product"), (2, "2 products")])
def test_one_is_singular(number, text):
    """Only one of something is singular."""
    assert count_of(number) == text


@pytest.mark.parametrize(
    ("answer", "is_yes"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("", False)]
)
def test_a_question_leaves_standard_output_alone(monkeypatch, capsys, answer, is_yes):
    """It is printed on standard error alone; any answer but yes ends the command with exit code 1 and names --yes."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
    if is_yes:
        confirm("Go?", yes=False, as_json=False)
    else:
        with pytest.raises(CommandError, match="--yes") as refused:
            confirm("Go?", yes=False, as_json=False)
        assert refused.value.exit_code == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err.startswith("Go? [y/N]: ")) == ("", True)


def test_a_machine_is_not_asked(monkeypatch, capsys):
    """With --json the question is an error that names --yes; with --yes nobody is asked."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(CommandError, match="--yes"):
        confirm("Go?", yes=False, as_json=True)
    confirm("Go?", yes=True, as_json=True)
    assert capsys.readouterr() == ("", "")
