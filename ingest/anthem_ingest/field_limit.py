"""The limit of an index's fields (`index.mapping.total_fields.limit`): whether it leaves room, and how to raise it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opensearchpy.exceptions import RequestError

from anthem_core.console import count_of
from anthem_core.errors import ClusterError
from anthem_ingest.new_index import PlannedIndex

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from anthem_ingest.actions import ProductDocument
    from anthem_ingest.mapping import IndexDescription

DEFAULT_FIELD_LIMIT = 1000  # OpenSearch's `index.mapping.total_fields.limit`
FIELDS_OF_MODEL = 10  # that are added to the limit: an object of five fields, and as many of a later model
FIELDS_PER_TEXT = 2  # OpenSearch maps a new text as `text`, with a `keyword` below it


@contextmanager
def explain_field_limit(index: IndexDescription) -> Iterator[None]:
    """Say how to raise the limit of fields if the model's exceed it."""
    try:
        yield
    except RequestError as error:
        if "Limit of total fields" not in str(error.info):
            raise
        raise _field_limit_error(index, FIELDS_OF_MODEL) from error


def check_room_for_products(
    planned: PlannedIndex, properties: Mapping[str, Any], documents: Sequence[ProductDocument]
) -> None:
    """Check that the limit of a new index with these properties leaves room for at least one of the first products.

    Raises:
        ClusterError: Each has too many fields, so that none would be written.
    """
    room = _field_limit(planned) - _count_fields(properties)
    per_text = 1 if planned.mappings.get("dynamic_templates") else FIELDS_PER_TEXT
    new = [_count_new_fields(properties, document.source, per_text) for document in documents]
    if new and min(new) > room:
        raise _field_limit_error(planned, FIELDS_OF_MODEL + FIELDS_PER_TEXT * max(new))


def _field_limit(index: IndexDescription) -> int:
    return int(index.settings.get("mapping", {}).get("total_fields", {}).get("limit", DEFAULT_FIELD_LIMIT))


def _field_limit_error(index: IndexDescription, more: int) -> ClusterError:
    limit = _field_limit(index)
    setting = f'{{"index.mapping.total_fields.limit": {limit + more}}}'
    if isinstance(index, PlannedIndex):
        owner = "the model and of the file"
        request = f'Create the index with a higher limit: PUT /{index.name} {{"settings": {setting}}}'
    else:
        owner, request = "the model", f"Raise the limit: PUT /{index.name}/_settings {setting}"
    return ClusterError(
        f"Index '{index.name}' may have {count_of(limit, 'field')}, too few to add those of {owner}. {request}"
    )


def _count_fields(properties: Mapping[str, Any]) -> int:
    """Number of fields, objects and subfields."""
    return sum(
        1 + _count_fields(field.get("properties", {})) + len(field.get("fields", {})) for field in properties.values()
    )


def _count_new_fields(properties: Mapping[str, Any], source: Mapping[str, Any], per_text: int) -> int:
    """Number of fields that the top level of a product would add at least."""
    added = (value for name, value in source.items() if value is not None and name.split(".")[0] not in properties)
    return sum(per_text if isinstance(value, str) else 1 for value in added)
