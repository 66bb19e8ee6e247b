"""Routing of the products of a file: what a row gives is kept; a load that would have to guess it is refused.

OpenSearch selects the shard of a product by its routing or, without one, by its id. If a product is indexed again
without its routing, it can land on another shard, and the index then has it twice. A shard holds an id once: of two
products with one id, the later replaces the earlier if their routings lead to the same shard.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from anthem_core.errors import ClusterError
from anthem_core.opensearch.connection import cluster_errors
from anthem_ingest import index_io
from anthem_ingest.actions import PRODUCTS_PER_PAGE
from anthem_ingest.index_templates import explain_template, read_planned_index
from anthem_ingest.mapping import parse_single_index
from anthem_ingest.new_index import PlannedIndex

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from opensearchpy import OpenSearch

    from anthem_ingest.actions import IndexHit, ProductDocument
    from anthem_ingest.mapping import IndexDescription

MAX_EXAMPLES = 2
DEFAULT_RESULT_WINDOW = 10_000  # OpenSearch's `index.max_result_window`
HAS_ROUTING: dict[str, Any] = {"exists": {"field": "_routing"}}


def routing_reason(index: IndexDescription) -> str | None:
    """Why each product of an index needs a routing, according to its mapping; None if it needs none."""
    if str(index.mappings.get("_routing", {}).get("required")).lower() == "true":
        return "its mapping requires a routing (_routing.required)"
    joins = _join_fields(index.mappings, "")
    name = next(joins, None)
    return f"its products are parents and children (join field {name}), which share a shard" if name else None


def _join_fields(node: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, field in node.get("properties", {}).items():
        if field.get("type") == "join":
            yield f"{prefix}{name}"
        yield from _join_fields(field, f"{prefix}{name}.")


def check_routing(
    client: OpenSearch, name: str, index: IndexDescription | None, documents: Iterable[ProductDocument]
) -> Iterator[ProductDocument]:
    """The same documents, read a page at a time; each page is checked before its first document is returned.

    The index is searched by its own name: an alias with a filter or a search routing hides products.

    Raises:
        ClusterError: A row has no routing, or another one than the product with its id, so that it would replace it or
            be written beside it.
    """
    if index is None:
        yield from documents
        return
    if isinstance(index, PlannedIndex):
        yield from check_given_routing(name, documents, routing_reason(index))
        return
    with cluster_errors():
        index_io.refresh_index(client, index.name)  # a search does not see what was just written
    reason, remaining = routing_reason(index), iter(documents)
    if routing := index.aliases.get(name, {}).get("index_routing"):  # such an alias routes every product itself
        while page := list(islice(remaining, PRODUCTS_PER_PAGE)):
            others = {"must_not": {"term": {"_routing": routing}}}
            _check_same_routing(client, index.name, page, others, _ADVICE_FOR_ALIAS.format(name, routing, index.name))
            yield from page
        return
    has_routed = reason is None and _count_and_find(client, index.name, HAS_ROUTING, counted=1)[0] > 0
    while page := list(islice(remaining, PRODUCTS_PER_PAGE)):
        bare = [document for document in page if document.routing is None]
        if bare and reason:
            raise _missing_routing(name, bare, reason)
        if bare and has_routed:
            _check_same_routing(client, index.name, bare, {"filter": HAS_ROUTING}, _ADVICE)
        _check_routed(client, name, index, [document for document in page if document.routing is not None])
        yield from page


def check_given_routing(
    name: str, documents: Iterable[ProductDocument], reason: str | None
) -> Iterator[ProductDocument]:
    """The documents for an index without products, which needs their routing for this reason, if there is one.

    Raises:
        ClusterError: A document has no routing, and the index needs one.
    """
    for document in documents:
        if reason and document.routing is None:
            raise _missing_routing(name, [document], reason)
        yield document


def check_file_routing(
    client: OpenSearch, name: str, documents: Iterable[ProductDocument]
) -> Iterator[ProductDocument]:
    """The documents of a file, checked as `check_routing` does; none is written.

    Raises:
        ClusterError: The routing of a product is not known, or the cluster refuses.
    """
    with cluster_errors():
        response = index_io.describe_index(client, name)
    index = parse_single_index(response, name) if response else read_planned_index(client, name)
    with explain_template(index):
        yield from check_routing(client, name, index, documents)


def _check_same_routing(
    client: OpenSearch, name: str, documents: Sequence[ProductDocument], condition: Mapping[str, Any], advice: str
) -> None:
    """Check that no product with the id of one of these documents fulfils a condition that the documents do not."""
    ids = {"ids": {"values": [document.id for document in documents]}}
    found, hits = _count_and_find(client, name, {"bool": {"must": ids, **condition}})
    if found:
        raise _other_routing(name, found, hits, advice)


def _check_routed(client: OpenSearch, name: str, index: IndexDescription, documents: Sequence[ProductDocument]) -> None:
    """Check that no document with a routing has the id of a product with another one, unless it has its own too."""
    size = _ids_per_search(index)
    for start in range(0, len(documents), size):
        page = documents[start : start + size]
        hits = _find_by_id(client, index.name, [document.id for document in page], _result_window(index))
        found = find_other_routings(page, hits)
        if found:
            raise _other_routing(name, len(found), found[:MAX_EXAMPLES], _ADVICE_FOR_TENANTS)


def find_other_routings(documents: Iterable[ProductDocument], hits: Sequence[IndexHit]) -> list[IndexHit]:
    """One hit for each document whose id the hits have, though only with another routing; no routing means the id.

    If an index has the id and routing of a document, writing the document replaces that product and no other.
    """
    stored: dict[str, dict[str, IndexHit]] = {}
    for hit in hits:
        stored.setdefault(hit["_id"], {})[str(hit.get("_routing", hit["_id"]))] = hit
    others = ((stored.get(document.id, {}), document.routing or document.id) for document in documents)
    return [next(iter(found.values())) for found, routing in others if found and routing not in found]


def _result_window(index: IndexDescription) -> int:
    return int(index.settings.get("max_result_window", DEFAULT_RESULT_WINDOW))


def _ids_per_search(index: IndexDescription) -> int:
    """How many ids one search can look up: each shard may have a product with each of them."""
    shards = int(index.settings.get("number_of_shards", 1))
    return max(1, min(PRODUCTS_PER_PAGE, _result_window(index) // shards))


@cluster_errors()
def _find_by_id(client: OpenSearch, name: str, ids: Sequence[str], size: int) -> list[IndexHit]:
    body = {"query": {"ids": {"values": list(ids)}}, "size": size, "_source": False}
    hits: list[IndexHit] = client.search(index=name, body=body)["hits"]["hits"]
    return hits


def _other_routing(name: str, found: int, hits: Iterable[IndexHit], advice: str) -> ClusterError:
    examples = ", ".join(f"'{hit['_id']}' {_describe_routing(hit)}" for hit in hits)
    return ClusterError(
        f"Index '{name}' already has {found} of these products, but with another routing than they would get: "
        f"{examples}. OpenSearch would replace those on the same shard, and store the others twice, on two shards. "
        f"{advice}"
    )


_ADVICE = "Give the routing of each product in a column or field `_routing`, or load the file into a new index."
_ADVICE_FOR_ALIAS = (
    "The alias '{}' gives every product the routing '{}', whatever the file says. If they are the same products, load "
    "the file into '{}' itself, with the routing of each product in a column or field `_routing`; otherwise make the "
    "ids unique."
)
_ADVICE_FOR_TENANTS = (
    "If they are the same products, put the routing that they have in the index into the column or field `_routing`. "
    "If they are products of different tenants, make the ids unique, for example with the tenant as a prefix "
    "(tenant-id), or load the file into an index of its own."
)


def _describe_routing(hit: IndexHit) -> str:
    return f"with routing '{hit['_routing']}'" if "_routing" in hit else "without routing"


def _missing_routing(name: str, documents: Sequence[ProductDocument], reason: str) -> ClusterError:
    examples = ", ".join(f"'{document.id}'" for document in documents[:MAX_EXAMPLES])
    return ClusterError(
        f"The file gives no routing for products such as {examples}, but index '{name}' needs one, because {reason}. "
        f"{_ADVICE}"
    )


@cluster_errors()
def _count_and_find(
    client: OpenSearch, name: str, query: Mapping[str, Any], counted: int = PRODUCTS_PER_PAGE
) -> tuple[int, list[IndexHit]]:
    """Number of products that a query finds, counted up to a limit, and the first of them."""
    body = {"query": query, "size": MAX_EXAMPLES, "_source": False, "track_total_hits": counted}
    hits = client.search(index=name, body=body)["hits"]
    return int(hits["total"]["value"]), hits["hits"]
