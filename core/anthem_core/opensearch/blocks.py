"""Blocks of an index, which OpenSearch reports with status 403 as if a permission were missing."""

from __future__ import annotations

import re

# By the number in the error: the setting that sets the block.
_BLOCK_SETTINGS = {
    "5": "index.blocks.read_only",
    "7": "index.blocks.read",
    "8": "index.blocks.write",
    "9": "index.blocks.metadata",
    "12": "index.blocks.read_only_allow_delete",
}
_BLOCK = re.compile(r"index \[([^\]]+)\] blocked by: ((?:\[[A-Z_]+/\d+/[^\]]*\][;, ]*)+)")
_BLOCK_NUMBER = re.compile(r"\[[A-Z_]+/(\d+)/")


def block_advice(error: str) -> str | None:
    """The blocks that an error names, and the request that removes them; None if the error is about something else."""
    found = _BLOCK.search(error)
    if found is None:
        return None
    settings = [_BLOCK_SETTINGS[number] for number in _BLOCK_NUMBER.findall(found[2]) if number in _BLOCK_SETTINGS]
    if not settings:
        return None
    removed = ", ".join(f'"{setting}": null' for setting in settings)
    return f"The index is blocked by {', '.join(settings)}. Remove the block: PUT /{found[1]}/_settings {{{removed}}}"
