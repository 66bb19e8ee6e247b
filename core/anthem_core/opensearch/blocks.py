"""Blocks of an index or the cluster, which OpenSearch reports with status 403 as if a permission were missing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# By the number in the error: the setting that sets the block.
_INDEX_BLOCKS = {
    "5": "index.blocks.read_only",
    "7": "index.blocks.read",
    "8": "index.blocks.write",
    "9": "index.blocks.metadata",
    "12": "index.blocks.read_only_allow_delete",
}
_CLUSTER_BLOCKS = {
    "6": "cluster.blocks.read_only",
    "10": "cluster.blocks.create_index",
    "13": "cluster.blocks.read_only_allow_delete",
}
_BLOCKS = re.compile(r"(?:index \[([^\]]+)\] )?blocked by: ((?:\[[A-Z_]+/\d+/[^\]]*\][;, ]*)+)")
_BLOCK_NUMBER = re.compile(r"\[[A-Z_]+/(\d+)/")


def block_advice(error: str) -> str | None:
    """The blocks that an error names, and the request that removes them; None if the error is about something else."""
    found = _BLOCKS.search(error)
    if found is None:
        return None
    index, numbers = found[1], _BLOCK_NUMBER.findall(found[2])
    if of_cluster := [_CLUSTER_BLOCKS[number] for number in numbers if number in _CLUSTER_BLOCKS]:
        return _cluster_block_advice(of_cluster)
    of_index = [_INDEX_BLOCKS[number] for number in numbers if number in _INDEX_BLOCKS]
    return index_block_advice(index, of_index) if of_index and index else None


def index_block_advice(index: str, settings: Sequence[str]) -> str:
    """The settings that block an index, and the request that removes them."""
    removed = ", ".join(f'"{setting}": null' for setting in settings)
    request = f"PUT /{index}/_settings {{{removed}}}"
    return f"Index '{index}' is blocked by {', '.join(settings)}. {_remove(settings)}: {request}"


def _cluster_block_advice(settings: Sequence[str]) -> str:
    # A cluster that is read-only accepts only a request that changes one setting.
    requests = " and ".join(f'PUT /_cluster/settings {{"persistent": {{"{setting}": null}}}}' for setting in settings)
    return (
        f"The cluster is blocked by {', '.join(settings)}. {_remove(settings)}: {requests}, "
        'or "transient" instead of "persistent" if it was set as a transient setting'
    )


def _remove(settings: Sequence[str]) -> str:
    return "Remove the block" if len(settings) == 1 else "Remove the blocks"
