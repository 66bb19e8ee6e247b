"""Messages on standard error."""

import pytest

from anthem_core.console import MAX_PRINTED_SKIPS, print_skipped


@pytest.mark.parametrize("count", [0, 1, MAX_PRINTED_SKIPS, MAX_PRINTED_SKIPS + 1, 1000])
def test_skipped_lines_are_named_or_counted(capsys, count):
    """The first lines are named, each once; if there are more, a last line gives their number."""
    print_skipped([f"corpus.jsonl:{number}: no title" for number in range(1, count + 1)])
    lines = capsys.readouterr().err.splitlines()
    assert lines[:MAX_PRINTED_SKIPS] == [
        f"skipped corpus.jsonl:{number}: no title" for number in range(1, min(count, MAX_PRINTED_SKIPS) + 1)
    ]
    assert lines[MAX_PRINTED_SKIPS:] == ([f"skipped {count} lines in all"] if count > MAX_PRINTED_SKIPS else [])
