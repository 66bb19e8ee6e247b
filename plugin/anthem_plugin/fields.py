"""Where an index keeps a model's vectors, asked of the cluster once, before its searches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opensearchpy.exceptions import AuthorizationException, NotFoundError

from anthem_core.fields import VECTORS, Fields, holding

if TYPE_CHECKING:
    from opensearchpy import OpenSearch


def fields_of(client: OpenSearch, index: str, model: str) -> Fields:
    """Names under which an index, an alias or a pattern holds a model's vectors, to make a client with; one request.

    `anthem` where the cluster forbids to read mappings or knows no such index, as one of a remote cluster.
    With an `AsyncOpenSearch`, in the same words:
    `holding(await client.indices.get_field_mapping(fields=VECTORS, index=index), model)`.

    Raises:
        opensearchpy.exceptions.TransportError: The cluster does not answer, or fails.
    """
    try:
        return holding(client.indices.get_field_mapping(fields=VECTORS, index=index), model)
    except (AuthorizationException, NotFoundError):
        return Fields()
