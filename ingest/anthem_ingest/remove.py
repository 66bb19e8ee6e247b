"""Takes out of an index what ingest put in: the Python side of `anthem remove`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from opensearchpy.exceptions import AuthorizationException, NotFoundError

from anthem_core.cluster import explained
from anthem_core.errors import ClusterError
from anthem_ingest import send
from anthem_ingest.actions import ALL, replace_action
from anthem_ingest.mapping import check_name, check_source, check_writable, objects, only_index
from anthem_ingest.report import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from opensearchpy import OpenSearch

    from anthem_ingest.actions import Action, Hit
    from anthem_ingest.ingest import Options
    from anthem_ingest.mapping import Index
    from anthem_ingest.report import Failure

SCRIPTS = "anthem-"  # how the names of our stored scripts begin


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
    failures: tuple[Failure, ...] = ()
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


@explained()
def removable(client: OpenSearch, index: str) -> tuple[tuple[str, ...], int]:
    """Objects of an index that hold vectors, and its number of products; writes nothing.

    Raises:
        ClusterError: The index is missing, blocked or does not keep the whole `_source`, or the cluster refuses.
    """
    return objects(_found(client, index).mappings), send.count(client, index, ALL)


@explained()
def remove_vectors(
    client: OpenSearch, index: str, names: Sequence[str], advance: Callable[[int], object], options: Options
) -> Tally:
    """Write products anew without the objects of these names; one that changes meanwhile is read once more.

    Raises:
        ClusterError: The index is missing, blocked or does not keep the whole `_source`, or the cluster refuses.
    """
    _found(client, index)
    tally = Tally(dead=options.dead)
    if not names:
        return tally
    _strip(client, index, names, ALL, tally, (advance, options.rate))
    ids, tally.again = tally.again, []
    if ids:
        send.refresh(client, index)
        _strip(client, index, names, {"ids": {"values": ids}}, tally, (lambda _: None, options.rate))
    send.refresh(client, index)
    return tally


def _strip(
    client: OpenSearch, index: str, names: Sequence[str], query: dict[str, Any], tally: Tally,
    pace: tuple[Callable[[int], object], float | None],
) -> None:  # fmt: skip
    advance, rate = pace
    pages = send.read(client, index, {"query": query, "seq_no_primary_term": True})
    actions = send.paced(stripped(pages, names, advance), rate)
    send.write(client, actions, tally, send.CHANGED, chunk=send.chunk_at(rate))


def stripped(
    pages: Iterable[Sequence[Hit]], names: Sequence[str], advance: Callable[[int], object]
) -> Iterator[Action]:
    """Bulk actions for the hits that have an object of one of these names, to write them without."""
    for hits in pages:
        for hit in hits:
            source = {key: value for key, value in hit["_source"].items() if key not in names}
            if len(source) < len(hit["_source"]):
                yield replace_action(hit, source)
        advance(len(hits))


@explained()
def remove_all(client: OpenSearch, index: str, advance: Callable[[int], object], options: Options) -> Removal:
    """Take values out of an index, and the scripts out of the cluster where no other index has vectors.

    Raises:
        ClusterError: The index is missing, blocked or does not keep the whole `_source`, or the cluster refuses.
    """
    found = _found(client, index)
    names = objects(found.mappings)
    tally = remove_vectors(client, index, names, advance, options)
    done = (index, names, tally.written, tally.failed, len(tally.again), tuple(tally.failures))
    try:
        scripts, others = _scripts(client), _others(client, found.name)
        if others or not scripts:
            return Removal(*done, kept=scripts, users=f"{', '.join(others)} may use them" if scripts else "")
        for name in scripts:
            client.delete_script(id=name, ignore=404)
    except AuthorizationException as error:
        return Removal(*done, users=f"the cluster forbids to look at or delete them: {error.error}")
    return Removal(*done, scripts=scripts)


def _scripts(client: OpenSearch) -> tuple[str, ...]:
    state = client.cluster.state(metric="metadata", params={"filter_path": "metadata.stored_scripts"})
    return tuple(sorted(name for name in state.get("metadata", {}).get("stored_scripts", {}) if _ours(name)))


def _ours(name: str) -> bool:
    return name.startswith(SCRIPTS)


def _others(client: OpenSearch, index: str) -> list[str]:
    """Names of other indices with vectors of ours."""
    found = client.indices.get_field_mapping(fields="anthem*.vector", index="*")
    return sorted(name for name, body in found.items() if body.get("mappings") and name != index)


def _found(client: OpenSearch, index: str) -> Index:
    check_name(index)
    try:
        found = only_index(client.indices.get(index=index), index)
    except NotFoundError as error:
        raise ClusterError(f"No index '{index}'. Name one that exists: GET _cat/indices") from error
    check_writable(found)
    check_source(found)
    return found
