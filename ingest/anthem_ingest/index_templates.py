"""Asks a cluster what its index templates make of a new index, and explains why an index like that cannot be used."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opensearchpy.exceptions import TransportError

from anthem_core.errors import ClusterError
from anthem_core.opensearch.connection import cluster_errors
from anthem_ingest import index_io
from anthem_ingest.new_index import PlannedIndex, merge_legacy_templates, plan_index

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from opensearchpy import OpenSearch

    from anthem_core.opensearch.schema import ModelSignal
    from anthem_ingest.mapping import IndexDescription

# Not permitted, or not known to a hosted cluster; 400 if a template is invalid: creating the index then says why.
_UNKNOWN_STATUSES = {400, 403, 404, 405}


@cluster_errors()
def read_planned_index(client: OpenSearch, name: str, signals: Collection[ModelSignal] = ()) -> PlannedIndex:
    """The index of this name as it would be created now for the values of these signals.

    Raises:
        ClusterError: The cluster is too old or does not answer.
    """
    return plan_index(name, _read_template(client, name), index_io.read_release(client), signals)


def _read_template(client: OpenSearch, name: str) -> dict[str, Any] | None:
    """What the templates for a new index say together; None if the cluster does not tell."""
    try:
        simulated: dict[str, Any] = client.indices.simulate_index_template(name=name)
        if "template" in simulated:
            return dict(simulated["template"])
        return merge_legacy_templates(name, client.indices.get_template())  # they count where no other one matches
    except TransportError as error:
        if error.status_code in _UNKNOWN_STATUSES:
            return None
        raise


@contextmanager
def explain_template(index: IndexDescription | None) -> Iterator[None]:
    """Add to an error about an index that does not exist yet that an index template may be the cause."""
    try:
        yield
    except ClusterError as error:
        if not isinstance(index, PlannedIndex):
            raise
        raise ClusterError(
            f"Nothing was written: index '{index.name}' does not exist yet, and could not be used if it were created "
            f"now. If an index template causes this (POST /_index_template/_simulate_index/{index.name} and GET "
            f"/_template show them), change it, or choose a name that it does not match. {error}"
        ) from error
