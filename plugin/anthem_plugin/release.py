"""A bundle for the release of a cluster, asked once, before its searches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opensearchpy.exceptions import TransportError

from anthem_core.cluster import info
from anthem_core.errors import ClusterError
from anthem_core.versions import adapted, release_of

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from anthem_core.bundle import Bundle


def fitting(client: OpenSearch, bundle: Bundle) -> Bundle:
    """The bundle with weights for the lexical scores of the cluster's release; one request.

    As it is where the cluster does not say which release it is: a search that is plain otherwise must not fail by this.
    """
    try:
        return adapted(bundle, release_of(info(client)))
    except (TransportError, ClusterError):
        return bundle
