"""The one way to a cluster: who it is, how to sign in, and its refusals in plain words."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opensearchpy import OpenSearch
from opensearchpy.exceptions import (
    AuthenticationException,
    AuthorizationException,
    NotFoundError,
    OpenSearchException,
    TransportError,
)
from opensearchpy.exceptions import (
    ConnectionError as NoConnection,
)

from anthem_core.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator


def connect(url: str | None = None, *, timeout: float = 30.0) -> OpenSearch:
    """Client of the cluster at `url`, else at `OPENSEARCH_URL`, else of the local node.

    `OPENSEARCH_USER`, `OPENSEARCH_PASSWORD` and `OPENSEARCH_CA` (a PEM file) are read where they are set.

    Raises:
        ClusterError: No cluster is named and no local node runs, or what is named is no address.
    """
    found = url or os.environ.get("OPENSEARCH_URL") or _local_node()
    user, password = os.environ.get("OPENSEARCH_USER"), os.environ.get("OPENSEARCH_PASSWORD")
    settings: dict[str, Any] = {"timeout": timeout, "ca_certs": os.environ.get("OPENSEARCH_CA")}
    if user and password:
        settings["http_auth"] = (user, password)
    try:
        return OpenSearch(hosts=[found], **{name: value for name, value in settings.items() if value is not None})
    except (ValueError, OSError) as error:
        raise ClusterError(f"'{found}' cannot be used ({error}); wanted: an address like http://host:9200") from error


def _local_node() -> str:
    from anthem_core.node import status

    url = status().url
    if url is None:
        raise ClusterError(
            "No cluster is named and no local node runs. Set OPENSEARCH_URL to your cluster, or run: anthem node start"
        )
    return url


@contextmanager
def explained() -> Iterator[None]:
    """Turn opensearch-py's exceptions into a `ClusterError` that says what was found and what to do."""
    try:
        yield
    except OpenSearchException as error:
        raise ClusterError(_explain(error)) from error


def _explain(error: OpenSearchException) -> str:
    match error:
        case NoConnection():
            return f"The cluster does not answer ({error.error}). Is it running, and is OPENSEARCH_URL right?"
        case AuthenticationException():
            return "The cluster refused the sign-in (401). Set OPENSEARCH_USER and OPENSEARCH_PASSWORD."
        case AuthorizationException():
            return f"The cluster forbids this (403): {reason(error)}. Ask for the permission it names."
        case NotFoundError():
            return f"Not found (404): {reason(error)}. Check the name of the index: GET _cat/indices"
        case TransportError():
            return f"The cluster answered {error.status_code}: {reason(error)}"
    return f"The OpenSearch client failed: {error}"


def reason(error: TransportError) -> str:
    """The innermost reason an OpenSearch error gives, or all of it where it gives none."""
    info = error.info if isinstance(error.info, dict) else {}
    body = info.get("error", error.error)
    if not isinstance(body, dict):
        return str(body)
    causes = [body, *body.get("root_cause", []), *_chain(body)]
    reasons = [str(cause["reason"]) for cause in causes if cause.get("reason")]
    return reasons[-1] if reasons else str(body)


def _chain(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for shard in body.get("failed_shards", []):
        yield from _chain({"caused_by": shard.get("reason", {})})
    cause = body.get("caused_by")
    while isinstance(cause, dict):
        yield cause
        cause = cause.get("caused_by")
