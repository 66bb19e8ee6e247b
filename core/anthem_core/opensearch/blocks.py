"""Blocks of an index or the cluster, which OpenSearch reports with status 403 as if a permission were missing."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# The block of an index that was scaled down to search replicas. `POST /INDEX/_scale` undoes that, but an index of which
# only this setting was changed would lose its primary shard: so no request is printed.
_SEARCH_ONLY = "index.blocks.search_only"
# By the number in the error: the setting that sets the block.
_INDEX_BLOCKS = {
    "5": "index.blocks.read_only",
    "7": "index.blocks.read",
    "8": "index.blocks.write",
    "9": "index.blocks.metadata",
    "12": "index.blocks.read_only_allow_delete",
    "20": _SEARCH_ONLY,
}
# While one of these is set, OpenSearch accepts no other change of settings than one of this setting alone.
_REMOVED_ALONE = ("index.blocks.read_only", "index.blocks.metadata", "index.blocks.read_only_allow_delete")
# In an order in which they can be removed. 13 is also the number of the block of a searchable snapshot.
_CLUSTER_BLOCKS = {
    "6": "cluster.blocks.read_only",
    "13": "cluster.blocks.read_only_allow_delete",
    "10": "cluster.blocks.create_index",
}
CLUSTER_BLOCKS = tuple(_CLUSTER_BLOCKS.values())
# By the number in the error: states of an index that block it without a setting, and how to leave them.
_INDEX_STATES = {
    "4": "is closed. Open it: POST /{index}/_open",
    "13": (
        "is a searchable snapshot, which is always read-only. Restore the snapshot as a regular index: "
        'POST /_snapshot/REPOSITORY/SNAPSHOT/_restore {{"indices": "...", "storage_type": "local"}}'
    ),
}
# An error names each index with its blocks in turn; those of the cluster may stand behind the name of an index too:
# `index [a] blocked by: [FORBIDDEN/6/cluster read-only (api), FORBIDDEN/8/index write (api)];index [b] blocked by: …`
_BLOCKED = re.compile(r"(?:index \[([^ ]+)\] )?blocked by: ((?:\[[A-Z_]+/\d+/[^\]]*\][;, ]*)+)")
_BLOCK = re.compile(r"[A-Z_]+/(\d+)/(.*?)(?=, [A-Z_]+/\d+/|\])")


def block_advice(error: str) -> str | None:
    """The blocks that an error names, and the requests that remove them; None if the error is about something else."""
    found = [
        (index, number, description)
        for index, blocks in _BLOCKED.findall(error)
        for number, description in _BLOCK.findall(blocks)
    ]
    if not found:
        return None
    of_cluster = [block for block in found if _is_of_cluster(block)]
    numbers = {number for _, number, _ in of_cluster}
    settings = [setting for number, setting in _CLUSTER_BLOCKS.items() if number in numbers]
    advice = [_cluster_block_advice(settings)] if settings else []
    for name in _distinct(index for index, _, _ in found):
        advice += _blocks_advice(name, [block[1:] for block in found if block[0] == name and block not in of_cluster])
    return ". ".join(advice)


def index_block_advice(index: str, settings: Sequence[str]) -> str:
    """The settings that block an index, and the requests that remove them."""
    requests = unblock_index_requests(index, settings)
    remedies = [f"{_remove(requests)}: {' and '.join(requests)}"] if requests else []
    if _SEARCH_ONLY in settings:
        remedies.append("It was scaled down to search replicas. Ask the administrator to scale it up")
    return ". ".join([f"Index '{index}' is blocked by {', '.join(settings)}", *remedies])


def unblock_index_requests(index: str, settings: Sequence[str]) -> list[str]:
    """Requests that remove the blocks of an index, in an order in which OpenSearch accepts them.

    None for `index.blocks.search_only`, which other requests undo.
    """
    alone = [[setting] for setting in settings if setting in _REMOVED_ALONE]
    together = [setting for setting in settings if setting not in (*_REMOVED_ALONE, _SEARCH_ONLY)]
    groups = [*alone, *([together] if together else [])]
    return [f"PUT /{index}/_settings {json.dumps(dict.fromkeys(group))}" for group in groups]


def unblock_cluster_request(setting: str, scope: str = "persistent") -> str:
    """Request that removes a block of the cluster; a cluster that is read-only accepts one setting at a time."""
    return f"PUT /_cluster/settings {json.dumps({scope: {setting: None}})}"


def _is_of_cluster(block: tuple[str, str, str]) -> bool:
    index, number, description = block
    return number in _CLUSTER_BLOCKS and (not index or description.startswith("cluster "))


def _blocks_advice(index: str, blocks: Sequence[tuple[str, str]]) -> list[str]:
    """Advice about an index, or about the cluster if there is no name; unknown blocks are named as the error does."""
    settings = _distinct(_INDEX_BLOCKS[number] for number, _ in blocks if number in _INDEX_BLOCKS and index)
    states = _distinct(_INDEX_STATES[number] for number, _ in blocks if number in _INDEX_STATES and index)
    subject = f"Index '{index}'" if index else "The cluster"
    known = _INDEX_BLOCKS.keys() | _INDEX_STATES.keys() if index else ()
    others = _distinct(description for number, description in blocks if number not in known)
    return [
        *([index_block_advice(index, settings)] if settings else []),
        *(f"Index '{index}' {state.format(index=index)}" for state in states),
        *(f"{subject} is blocked: {description}" for description in others),
    ]


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _cluster_block_advice(settings: Sequence[str]) -> str:
    requests = " and ".join(map(unblock_cluster_request, settings))
    return (
        f"The cluster is blocked by {', '.join(settings)}. {_remove(settings)}: {requests}, "
        'or "transient" instead of "persistent" if it was set as a transient setting'
    )


def _remove(blocks: Sequence[str]) -> str:
    return "Remove the block" if len(blocks) == 1 else "Remove the blocks"
