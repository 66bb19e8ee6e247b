"""Where an index keeps a model's vectors, asked of the cluster once, before its searches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opensearchpy.exceptions import TransportError

from anthem_core.errors import ClusterError
from anthem_core.opensearch.connection import cluster_info
from anthem_core.opensearch.versions import adapt_bundle, parse_release

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from anthem_core.encoding.bundle import Bundle


from typing import TYPE_CHECKING

from opensearchpy.exceptions import AuthorizationException, NotFoundError

from anthem_core.opensearch.schema import VECTOR_FIELD_PATTERN, VectorFields, find_vector_fields

if TYPE_CHECKING:
    from opensearchpy import OpenSearch


def fields_of(client: OpenSearch, index: str, model: str) -> VectorFields:
    """Names under which an index, an alias or a pattern holds a model's vectors, to make a client with; one request.

    `anthem` where the cluster forbids to read mappings or knows no such index, as one of a remote cluster.
    With an `AsyncOpenSearch`, in the same words:
    `holding(await client.indices.get_field_mapping(fields=VECTORS, index=index), model)`.

    Raises:
        opensearchpy.exceptions.TransportError: The cluster does not answer, or fails.
    """
    try:
        return find_vector_fields(client.indices.get_field_mapping(fields=VECTOR_FIELD_PATTERN, index=index), model)
    except (AuthorizationException, NotFoundError):
        return VectorFields()


def adapt_to_release(client: OpenSearch, bundle: Bundle) -> Bundle:
    """The bundle with weights for the lexical scores of the cluster's release; one request.

    As it is where the cluster does not say which release it is: a search that is plain otherwise must not fail by this.
    """
    try:
        return adapt_bundle(bundle, parse_release(cluster_info(client)))
    except (TransportError, ClusterError):
        return bundle
