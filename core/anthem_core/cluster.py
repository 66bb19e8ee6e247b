"""The one way to a cluster: who it is, how to sign in, and its refusals in plain words."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from opensearchpy import OpenSearch, Urllib3HttpConnection
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


class _Named(Urllib3HttpConnection):
    """A connection whose failures name the address that does not answer."""

    def perform_request(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 (as opensearch-py has it)
        try:
            return super().perform_request(*args, **kwargs)
        except NoConnection as error:
            raise type(error)(error.status_code, f"{self.host}: {error.error}", error.info) from error


def connect(url: str | None = None, *, timeout: float = 30.0, credentials: bool = False) -> OpenSearch:
    """Client of the cluster at `url`, else at `OPENSEARCH_URL`, else of the local node.

    `OPENSEARCH_USER`, `OPENSEARCH_PASSWORD` and `OPENSEARCH_CA` (a PEM file) belong to `OPENSEARCH_URL` and are sent
    nowhere else, but to a `url` that the user named instead, which the caller says by `credentials`.

    Raises:
        ClusterError: No cluster is named and no local node runs, or what is named is no address.
        NodeError: No cluster is named and there is no place where a local node could be.
    """
    named = url or os.environ.get("OPENSEARCH_URL")
    signs_in = credentials if url else named is not None
    found, settings = named or _local_node(), _credentials() if signs_in else {}
    try:
        return OpenSearch(hosts=[found], timeout=timeout, connection_class=_Named, **settings)
    except (ValueError, OSError) as error:
        raise ClusterError(f"'{found}' cannot be used ({error}); wanted: an address like http://host:9200") from error


def _credentials() -> dict[str, Any]:
    user, password, ca = (os.environ.get(f"OPENSEARCH_{name}") for name in ("USER", "PASSWORD", "CA"))
    return ({"http_auth": (user, password)} if user and password else {}) | ({"ca_certs": ca} if ca else {})


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
            return f"The cluster does not answer ({error.error}). Is it running, and is this its address?"
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
