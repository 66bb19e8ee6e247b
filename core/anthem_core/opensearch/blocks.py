"""Blocks of an index or the cluster, which OpenSearch reports with status 403 as if a permission were missing."""

from __future__ import annotations

import re

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
        # A cluster that is read-only accepts only a request that changes one setting.
        requests = " and ".join(f'PUT /_cluster/settings {{"persistent": {_nulls([block])}}}' for block in of_cluster)
        return (
            f"The cluster is blocked by {', '.join(of_cluster)}. Remove the block: {requests}, "
            'or "transient" in place of "persistent" if it was set so'
        )
    of_index = [_INDEX_BLOCKS[number] for number in numbers if number in _INDEX_BLOCKS]
    if not of_index or index is None:
        return None
    return f"The index is blocked by {', '.join(of_index)}. Remove the block: PUT /{index}/_settings {_nulls(of_index)}"


def _nulls(settings: list[str]) -> str:
    return "{" + ", ".join(f'"{setting}": null' for setting in settings) + "}"
