"""Routing of the products of a file: what a row gives is kept; a load that would have to guess it is refused.

OpenSearch selects the shard of a product by its routing or, without one, by its id. If a product is indexed again
without its routing, it can land on another shard, and the index then has it twice.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from anthem_core.errors import ClusterError
from anthem_core.opensearch.connection import cluster_errors
from anthem_ingest import index_io
from anthem_ingest.actions import PRODUCTS_PER_PAGE
from anthem_ingest.mapping import parse_single_index

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from opensearchpy import OpenSearch

    from anthem_ingest.actions import IndexHit, ProductDocument
    from anthem_ingest.mapping import IndexDescription

MAX_EXAMPLES = 3
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

    Raises:
        ClusterError: A row has no routing, or another one than the product with its id, so that it would be written a
            second time.
    """
    if index is None:
        yield from documents
        return
    reason, remaining = routing_reason(index), iter(documents)
    if routing := index.aliases.get(name, {}).get("index_routing"):  # such an alias routes every product itself
        while page := list(islice(remaining, PRODUCTS_PER_PAGE)):
            _check_same_routing(client, index.name, page, {"must_not": {"term": {"_routing": routing}}})
            yield from page
        return
    has_routed = reason is None and _count_and_find(client, name, HAS_ROUTING, counted=1)[0] > 0
    while page := list(islice(remaining, PRODUCTS_PER_PAGE)):
        bare = [document for document in page if document.routing is None]
        if bare and reason:
            raise _missing_routing(name, bare, reason)
        if bare and has_routed:
            _check_same_routing(client, name, bare, {"filter": HAS_ROUTING})
        routed = [document for document in page if document.routing not in (None, document.id)]
        if routed:
            _check_same_routing(client, name, routed, {"must_not": HAS_ROUTING})
        yield from page


def check_file_routing(
    client: OpenSearch, name: str, documents: Iterable[ProductDocument]
) -> Iterator[ProductDocument]:
    """The documents of a file, checked as `check_routing` does; none is written.

    Raises:
        ClusterError: The routing of a product is not known, or the cluster refuses.
    """
    with cluster_errors():
        response = index_io.describe_index(client, name)
    index = parse_single_index(response, name) if response else None
    yield from check_routing(client, name, index, documents)


def _check_same_routing(
    client: OpenSearch, name: str, documents: Sequence[ProductDocument], condition: Mapping[str, Any]
) -> None:
    """Check that no product with the id of one of these documents fulfils a condition that the documents do not."""
    ids = {"ids": {"values": [document.id for document in documents]}}
    found, hits = _count_and_find(client, name, {"bool": {"must": ids, **condition}})
    if found:
        examples = ", ".join(f"'{hit['_id']}' {_describe_routing(hit)}" for hit in hits)
        raise ClusterError(
            f"Index '{name}' already has {found} of these products with another routing than they would get: "
            f"{examples}. OpenSearch would write them a second time, on another shard. {_ADVICE}"
        )


_ADVICE = "Give the routing of each product in a column or field `_routing`, or load the file into a new index."


def _describe_routing(hit: IndexHit) -> str:
    return f"with routing '{hit['_routing']}'" if "_routing" in hit else "without routing"


def _missing_routing(name: str, documents: Sequence[ProductDocument], reason: str) -> ClusterError:
    examples = ", ".join(f"'{document.id}'" for document in documents[:MAX_EXAMPLES])
    return ClusterError(
        f"The file gives no routing for products such as {examples}, and index '{name}' needs one: {reason}. {_ADVICE}"
    )


@cluster_errors()
def _count_and_find(
    client: OpenSearch, name: str, query: Mapping[str, Any], counted: int = PRODUCTS_PER_PAGE
) -> tuple[int, list[IndexHit]]:
    """Number of products that a query finds, counted up to a limit, and the first of them."""
    body = {"query": query, "size": MAX_EXAMPLES, "_source": False, "track_total_hits": counted}
    hits = client.search(index=name, body=body)["hits"]
    return int(hits["total"]["value"]), hits["hits"]
