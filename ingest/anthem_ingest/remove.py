"""Removes from an index what ingest added: the Python API of `anthem remove`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Any

from opensearchpy.exceptions import AuthorizationException, NotFoundError

from anthem_core.console import count_of, name_some
from anthem_core.errors import ClusterError
from anthem_core.opensearch.connection import cluster_errors
from anthem_core.opensearch.schema import (
    MATCH_ALL,
    SCRIPT_ID_PREFIX,
    VALUE_OF_SIGNAL,
    ModelFields,
    is_model_object,
    without_ingest_meta,
)
from anthem_ingest import index_io
from anthem_ingest.actions import build_replace_action, has_any_value
from anthem_ingest.alias_scope import find_hidden_products
from anthem_ingest.ingest import no_progress
from anthem_ingest.mapping import (
    check_index_name,
    check_index_writable,
    check_source,
    model_objects,
    parse_single_index,
)
from anthem_ingest.report import IngestTally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from opensearchpy import OpenSearch

    from anthem_ingest.actions import BulkAction, IndexHit
    from anthem_ingest.alias_scope import HiddenProducts
    from anthem_ingest.ingest import IngestOptions
    from anthem_ingest.mapping import IndexDescription
    from anthem_ingest.report import IngestFailure


@dataclass(frozen=True, slots=True)
class Removal:
    """What was removed from an index, and what stays.

    Attributes:
        index: Name of the index.
        objects: Objects that held the values; they stay in the mapping, empty.
        written: Products rewritten without them.
        failed: Products that the cluster refused; the first of them are in `failures`.
        conflicts: Products that changed during both attempts to write them; the next run writes them.
        failures: The first failures.
        scripts: Stored scripts that were deleted.
        kept: Stored scripts that were kept.
        reason_kept: Why they were kept: other products have values of a model, or the cluster refused.
        hidden: Products of the index that were left as they are, because its name is an alias that hides them.
    """

    index: str
    objects: tuple[str, ...]
    written: int
    failed: int
    conflicts: int
    failures: tuple[IngestFailure, ...] = ()
    scripts: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    reason_kept: str = ""
    hidden: HiddenProducts | None = None

    def to_dict(self) -> dict[str, Any]:
        """Removal as a JSON object; the key of `reason_kept` is `users`, and `hidden` is a number."""
        values = asdict(self)
        hidden = self.hidden.number if self.hidden else 0
        values["users"] = values.pop("reason_kept")
        return {**values, "hidden": hidden}

    def __str__(self) -> str:
        lines = [f"{count_of(self.written)} rewritten without {', '.join(self.objects) or 'any values'}"]
        if self.conflicts:
            lines.append(f"{self.conflicts} changed during the removal and were skipped; run this again")
        if self.hidden:
            lines.append(self.hidden.describe("which were left as they are", "anthem remove"))
        lines += [f"script {name} deleted" for name in self.scripts]
        if self.kept or self.reason_kept:
            lines.append(f"scripts kept{': ' if self.kept else ''}{', '.join(self.kept)} ({self.reason_kept})")
        if self.objects:
            lines.append(
                f"Without values, {', '.join(self.objects)} will stay in the mapping until you reindex, because "
                "OpenSearch cannot remove a field from a mapping. The disk space is freed when segments merge."
            )
        return "\n".join(lines)


@cluster_errors()
def preview_removal(client: OpenSearch, index: str) -> tuple[tuple[str, ...], int]:
    """Objects of an index that hold a model's values, and its number of products; writes nothing.

    Raises:
        ClusterError: The index is missing, blocked or does not keep the whole `_source`, or the cluster refuses.
    """
    return model_objects(_open_existing(client, index).mappings), index_io.count_products(client, index, MATCH_ALL)


@cluster_errors()
def remove_objects(
    client: OpenSearch, index: str, objects: Sequence[str], advance: Callable[[int], object], options: IngestOptions
) -> IngestTally:
    """Rewrite products without these objects of models; a product that changes meanwhile is read once more.

    Raises:
        ClusterError: The index is missing, blocked or does not keep the whole `_source`, or the cluster refuses.
    """
    _open_existing(client, index)
    tally = IngestTally(dead_letters=options.dead_letters)
    if not objects:
        return tally
    _rewrite_without(client, index, objects, tally, advance=advance, rate=options.rate)
    ids, tally.retry_ids = tally.retry_ids, []
    if ids:
        index_io.refresh_index(client, index)
        _rewrite_without(client, index, objects, tally, query={"ids": {"values": ids}}, rate=options.rate)
    index_io.refresh_index(client, index)
    _remove_ingest_records(client, index, objects, options)
    return tally


def _rewrite_without(
    client: OpenSearch,
    index: str,
    objects: Sequence[str],
    tally: IngestTally,
    *,
    query: Mapping[str, Any] = MATCH_ALL,
    advance: Callable[[int], object] = no_progress,
    rate: float | None,
) -> None:
    pages = index_io.read_pages(client, index, {"query": query, "seq_no_primary_term": True})
    actions = plan_removals(pages, objects, advance)
    index_io.write_at_rate(client, actions, tally, index_io.CHANGED_STATUSES, rate=rate)


def plan_removals(
    pages: Iterable[Sequence[IndexHit]], objects: Sequence[str], advance: Callable[[int], object]
) -> Iterator[BulkAction]:
    """Bulk actions that rewrite the hits with one of these objects without them."""
    for hits in pages:
        for hit in hits:
            source = {
                key: value
                for key, value in hit["_source"].items()
                if key not in objects or not is_model_object(value)  # such as what a feed wrote there since
            }
            if len(source) < len(hit["_source"]):
                yield build_replace_action(hit, source)
        advance(len(hits))


def _remove_ingest_records(client: OpenSearch, index: str, objects: Sequence[str], options: IngestOptions) -> None:
    """Remove from the mapping's `_meta` the records of objects in which no product has a value any more."""
    description = _open_existing(client, index)
    is_in_use = {name: has_any_value(ModelFields(name)) for name in objects}
    unused = [name for name, query in is_in_use.items() if not index_io.count_products(client, description.name, query)]
    meta = reduce(without_ingest_meta, unused, description.meta)
    index_io.replace_meta(client, description, meta, accept_outages=options.accept_outages)


@cluster_errors()
def remove_from_index(
    client: OpenSearch, index: str, advance: Callable[[int], object], options: IngestOptions
) -> Removal:
    """Remove all models' values from an index, and the stored scripts if no other index of the cluster has any.

    Raises:
        ClusterError: The index is missing, blocked or does not keep the whole `_source`, or the cluster refuses.
    """
    description = _open_existing(client, index)
    objects = model_objects(description.mappings)
    tally = remove_objects(client, index, objects, advance, options)
    counts = (tally.written, tally.failed, len(tally.retry_ids), tuple(tally.failures))
    removal = Removal(index, objects, *counts, hidden=find_hidden_products(client, index))
    try:
        return _remove_scripts(client, removal, description.name)
    except AuthorizationException as error:
        return replace(removal, reason_kept=f"the cluster forbids listing or deleting them: {error.error}")
    except NotFoundError:  # on 2.19.1, the shards of all indices may fail for a moment after a change of a mapping
        return replace(removal, reason_kept="no index said which fields it has; run anthem remove again to delete them")


def _remove_scripts(client: OpenSearch, removal: Removal, index: str) -> Removal:
    """Delete the stored scripts, unless products have values of a model: in another index, or left in this one."""
    scripts = _list_stored_scripts(client)
    users = _list_other_indices(client, index, removal.objects)
    if scripts and removal.objects and _holds_values(client, index, removal.objects):
        users.insert(0, index)  # the first ones are named
    if users or not scripts:
        names = [f"'{name}'" for name in users]
        reason = f"indices with values of a model may use them: {name_some(names)}" if scripts else ""
        return replace(removal, kept=scripts, reason_kept=reason)
    for name in scripts:
        client.delete_script(id=name, ignore=404)
    return replace(removal, scripts=scripts)


def _holds_values(client: OpenSearch, index: str, objects: Iterable[str]) -> bool:
    return any(index_io.count_products(client, index, has_any_value(ModelFields(name))) for name in objects)


def _list_stored_scripts(client: OpenSearch) -> tuple[str, ...]:
    state = client.cluster.state(metric="metadata", params={"filter_path": "metadata.stored_scripts"})
    names = state.get("metadata", {}).get("stored_scripts", {})
    return tuple(sorted(name for name in names if name.startswith(SCRIPT_ID_PREFIX)))


def _list_other_indices(client: OpenSearch, index: str, objects: Sequence[str] = ()) -> list[str]:
    """Names of other indices with products that have values of a model, in objects of the usual names or of these.

    A mapping alone does not count: its fields stay after the values were removed.
    """
    names = dict.fromkeys(("anthem*", *objects))
    fields = ",".join(f"{name}.{value}" for name in names for value in VALUE_OF_SIGNAL.values())
    response = client.indices.get_field_mapping(fields=fields, index="*")
    mapped = {name: body["mappings"] for name, body in response.items() if body.get("mappings") and name != index}
    return [name for name in sorted(mapped) if _has_values(client, name, mapped[name])]


def _has_values(client: OpenSearch, index: str, fields: Iterable[str]) -> bool:
    objects = sorted({field.rpartition(".")[0] for field in fields})
    holders = [{"exists": {"field": ModelFields(name).model}} for name in objects]
    return bool(client.count(index=index, body={"query": {"bool": {"should": holders}}})["count"])


def _open_existing(client: OpenSearch, index: str) -> IndexDescription:
    """The index, checked for rewriting its products."""
    check_index_name(index)
    response = index_io.describe_index(client, index)
    if response is None:
        raise ClusterError(f"Index '{index}' not found. Name one that exists: GET /_cat/indices")
    description = parse_single_index(response, index)
    check_index_writable(description)
    check_source(description)
    return description
