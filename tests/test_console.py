"""Messages on standard error."""

import pytest

from anthem_core.console import MAX_PRINTED_SKIPS, format_bytes, print_skipped


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
