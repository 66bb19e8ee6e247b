"""Looks at what the products of an index hold in the object of the model's values before ingest writes there."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from anthem_core.opensearch.connection import cluster_errors
from anthem_core.opensearch.schema import MATCH_ALL, mapped_signals, recorded_objects
from anthem_ingest import index_io
from anthem_ingest.conflicts import UsersFieldError, find_users_data

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from anthem_core.opensearch.schema import ModelFields
    from anthem_ingest.mapping import IndexDescription


@cluster_errors()
def check_stored_objects(client: OpenSearch, index: IndexDescription, model_fields: ModelFields) -> None:
    """Check that no product of an index has a user's data in the object of the model's values.

    With `dynamic: false`, products can have an object that the mapping does not show. Then all products of the index
    are read, even those that an alias hides, unless an ingest has recorded the object.

    Raises:
        UsersFieldError: A product has such data.
        ClusterError: The cluster refuses.
    """
    is_recorded = model_fields.name in recorded_objects(index.mappings)
    if index.is_closed or is_recorded or _maps_all_fields(index):
        return
    body = {
        "query": MATCH_ALL,
        "_source": {"includes": [model_fields.name], "excludes": _large_values(index, model_fields)},
    }
    with closing(index_io.read_pages(client, index.name, body)) as pages:
        for hits in pages:
            for hit in hits:
                users = find_users_data(hit.get("_source", {}), model_fields.name)
                if users is not None:
                    raise UsersFieldError(index.name, model_fields.name, users, index.mappings.get("properties", {}))


def _maps_all_fields(index: IndexDescription) -> bool:
    """Whether the mapping shows every field of the products, so that it shows whether the object is a model's."""
    return str(index.mappings.get("dynamic", "true")).lower() in {"true", "strict", "strict_allow_templates"}


def _large_values(index: IndexDescription, model_fields: ModelFields) -> list[str]:
    """Fields that need not be read, because the mapping allows only vectors and trigrams there, beside a model id."""
    mapped = index.mappings.get("properties", {}).get(model_fields.name, {}).get("properties", {})
    signals = mapped_signals(index.mappings, model_fields) if "model" in mapped else ()
    return [model_fields.value(signal) for signal in signals]
