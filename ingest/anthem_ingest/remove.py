"""Takes out of an index what ingest put in: the Python side of `anthem remove`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from opensearchpy.exceptions import AuthorizationException, NotFoundError

from anthem_core.errors import ClusterError
from anthem_core.opensearch.connection import cluster_errors
from anthem_ingest import index_io
from anthem_ingest.actions import MATCH_ALL, build_replace_action
from anthem_ingest.mapping import (
    check_index_name,
    check_index_writable,
    check_source,
    parse_single_index,
    vector_objects,
)
from anthem_ingest.report import IngestTally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from opensearchpy import OpenSearch

    from anthem_ingest.actions import BulkAction, IndexHit
    from anthem_ingest.ingest import IngestOptions
    from anthem_ingest.mapping import IndexDescription
    from anthem_ingest.report import IngestFailure

SCRIPT_NAME_PREFIX = "anthem-"  # how the names of our stored scripts begin


@dataclass(frozen=True, slots=True)
class Removal:
    """What was taken out of an index, and what stays.

    Attributes:
        index: Name of the index.
        objects: Objects that held the values, which stay in the mapping, empty.
        written: Products written anew without them.
        failed: Products the cluster refused, the first of them in `failures`.
        conflicts: Products that changed meanwhile, twice over; the next run takes them.
        scripts: Stored scripts that were deleted.
        kept: Stored scripts that were not.
        users: Why: other indices that have vectors, or what the cluster said.
    """

    index: str
    objects: tuple[str, ...]
    written: int
    failed: int
    conflicts: int
    failures: tuple[IngestFailure, ...] = ()
    scripts: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    users: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Removal as JSON knows it."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.written} products written anew without {', '.join(self.objects) or 'any values'}"]
        if self.conflicts:
            lines.append(f"{self.conflicts} changed meanwhile and were left alone: run again")
        lines += [f"script {name} deleted" for name in self.scripts]
        lines += [f"scripts stay: {', '.join(self.kept)} ({self.users})"] if self.kept or self.users else []
        if self.objects:
            lines.append(
                f"{', '.join(self.objects)} stay in the mapping, empty, until the index is made anew (POST _reindex): "
                "OpenSearch cannot take a field out of a mapping. The space is free when segments have merged."
            )
        return "\n".join(lines)


@cluster_errors()
def preview_removal(client: OpenSearch, index: str) -> tuple[tuple[str, ...], int]:
    """Objects of an index that hold vectors, and its number of products; writes nothing.

    Raises:
        ClusterError: The index is missing, blocked or does not keep the whole `_source`, or the cluster refuses.
    """
    return vector_objects(_open_existing(client, index).mappings), index_io.count_products(client, index, MATCH_ALL)


@cluster_errors()
def remove_vectors(
    client: OpenSearch, index: str, names: Sequence[str], advance: Callable[[int], object], options: IngestOptions
) -> IngestTally:
    """Write products anew without the objects of these names; one that changes meanwhile is read once more.

    Raises:
        ClusterError: The index is missing, blocked or does not keep the whole `_source`, or the cluster refuses.
    """
    _open_existing(client, index)
    tally = IngestTally(dead=options.dead)
    if not names:
        return tally
    _write_without(client, index, names, MATCH_ALL, tally, (advance, options.rate))
    ids, tally.again = tally.again, []
    if ids:
        index_io.refresh_index(client, index)
        _write_without(client, index, names, {"ids": {"values": ids}}, tally, (lambda _: None, options.rate))
    index_io.refresh_index(client, index)
    return tally


def _write_without(
    client: OpenSearch, index: str, names: Sequence[str], query: dict[str, Any], tally: IngestTally,
    pace: tuple[Callable[[int], object], float | None],
) -> None:  # fmt: skip
    advance, rate = pace
    pages = index_io.read_pages(client, index, {"query": query, "seq_no_primary_term": True})
    actions = index_io.throttle(plan_removals(pages, names, advance), rate)
    index_io.write_actions(client, actions, tally, index_io.CHANGED_STATUSES, chunk=index_io.chunk_size_for_rate(rate))


def plan_removals(
    pages: Iterable[Sequence[IndexHit]], names: Sequence[str], advance: Callable[[int], object]
) -> Iterator[BulkAction]:
    """Bulk actions for the hits that have an object of one of these names, to write them without."""
    for hits in pages:
        for hit in hits:
            source = {key: value for key, value in hit["_source"].items() if key not in names}
            if len(source) < len(hit["_source"]):
                yield build_replace_action(hit, source)
        advance(len(hits))


@cluster_errors()
def remove_from_index(
    client: OpenSearch, index: str, advance: Callable[[int], object], options: IngestOptions
) -> Removal:
    """Take values out of an index, and the scripts out of the cluster where no other index has vectors.

    Raises:
        ClusterError: The index is missing, blocked or does not keep the whole `_source`, or the cluster refuses.
    """
    found = _open_existing(client, index)
    names = vector_objects(found.mappings)
    tally = remove_vectors(client, index, names, advance, options)
    done = (index, names, tally.written, tally.failed, len(tally.again), tuple(tally.failures))
    try:
        scripts, others = _list_stored_scripts(client), _list_other_indices(client, found.name)
        if others or not scripts:
            return Removal(*done, kept=scripts, users=f"{', '.join(others)} may use them" if scripts else "")
        for name in scripts:
            client.delete_script(id=name, ignore=404)
    except AuthorizationException as error:
        return Removal(*done, users=f"the cluster forbids to look at or delete them: {error.error}")
    return Removal(*done, scripts=scripts)


def _list_stored_scripts(client: OpenSearch) -> tuple[str, ...]:
    state = client.cluster.state(metric="metadata", params={"filter_path": "metadata.stored_scripts"})
    return tuple(sorted(name for name in state.get("metadata", {}).get("stored_scripts", {}) if _is_own_script(name)))


def _is_own_script(name: str) -> bool:
    return name.startswith(SCRIPT_NAME_PREFIX)


def _list_other_indices(client: OpenSearch, index: str) -> list[str]:
    """Names of other indices with vectors of ours."""
    found = client.indices.get_field_mapping(fields="anthem*.vector", index="*")
    return sorted(name for name, body in found.items() if body.get("mappings") and name != index)


def _open_existing(client: OpenSearch, index: str) -> IndexDescription:
    check_index_name(index)
    try:
        found = parse_single_index(client.indices.get(index=index), index)
    except NotFoundError as error:
        raise ClusterError(f"No index '{index}'. Name one that exists: GET _cat/indices") from error
    check_index_writable(found)
    check_source(found)
    return found
