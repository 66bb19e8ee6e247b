"""Laws of what is said on standard error."""

import pytest

from anthem_core.console import SHOWN, skipped


@pytest.mark.parametrize("count", [0, 1, SHOWN, SHOWN + 1, 1000])
def test_skipped_lines_are_named_or_counted(capsys, count):
    """The first lines are named, each once; where there are more, one last line counts them all."""
    skipped([f"corpus.jsonl:{number}: no title" for number in range(1, count + 1)])
    said = capsys.readouterr().err.splitlines()
    assert said[:SHOWN] == [f"skipped corpus.jsonl:{number}: no title" for number in range(1, min(count, SHOWN) + 1)]
    assert said[SHOWN:] == ([f"skipped {count} lines in all"] if count > SHOWN else [])
