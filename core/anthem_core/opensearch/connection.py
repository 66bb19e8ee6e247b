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
from anthem_core.opensearch.auth import NO_CREDENTIALS_HINT, RequestSigner, connection_advice, connection_options
from anthem_core.opensearch.permissions import permission_advice
from anthem_core.opensearch.versions import serverless_error

if TYPE_CHECKING:
    from collections.abc import Iterator


class _ExplainingConnection(Urllib3HttpConnection):
    """A connection whose failures name the address that does not answer, who was refused, or what is forbidden."""

    def perform_request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 (as opensearch-py has it)
        try:
            return super().perform_request(method, url, *args, **kwargs)
        except NoConnection as error:
            named = type(error)(error.status_code, f"{self.host}: {error.error}", error.info)
            named.add_note(connection_advice(self.host, error.info))
            raise named from error
        except AuthenticationException as error:
            error.add_note(self._signed_in())
            raise
        except AuthorizationException as error:
            error.add_note(self._signed_in() if _refused_by_aws(error) else permission_advice(method, url))
            raise

    def _signed_in(self) -> str:
        by = self.http_auth
        return f"Tried: {by.who}. {by.check}" if isinstance(by, RequestSigner) else NO_CREDENTIALS_HINT


def _refused_by_aws(error: TransportError) -> bool:
    """Whether not the cluster but AWS in front of it refused: a signature, or whom it knows by that."""
    return isinstance(error.info, dict) and "error" not in error.info


def connect(url: str | None = None, *, timeout: float = 30.0, credentials: bool = False) -> OpenSearch:
    """Client of the cluster at `url`, else at `OPENSEARCH_URL`, else of the local node; several addresses by commas.

    `OPENSEARCH_USER` and the other settings of `anthem_core.opensearch.auth` belong to `OPENSEARCH_URL` and are sent nowhere
    else, but to a `url` that the user named instead, which the caller says by `credentials`.

    Raises:
        ClusterError: No cluster is named and no local node runs, what is named is no address, or the settings
            contradict each other.
        NodeError: No cluster is named and there is no place where a local node could be.
        ExtraError: Requests are to be signed for AWS, and the extra `aws` is not installed.
    """
    named = url or os.environ.get("OPENSEARCH_URL")
    signs_in = credentials if url else named is not None
    found = [connection_options(one, environment=signs_in) for one in _split_addresses(named or _local_node())]
    addresses, signing = [address for address, _ in found], found[0][1]
    try:
        return OpenSearch(hosts=addresses, timeout=timeout, connection_class=_ExplainingConnection, **signing)
    except ValueError as error:
        shown, why = ("The address", "") if "@" in str(addresses) else (f"'{', '.join(addresses)}'", f" ({error})")
        raise ClusterError(f"{shown} cannot be used{why}; wanted: an address like http://host:9200") from None


def _split_addresses(named: str) -> list[str]:
    """Addresses that commas join; what signs in is sent to each, so none may name a user of its own."""
    found = [one for part in named.split(",") if (one := part.strip())]
    if not found:
        raise ClusterError("No address is named; wanted: one like http://host:9200, or several joined by commas")
    if len(found) > 1 and ("@" in named or len({one.partition("://")[0].lower() for one in found}) > 1):
        raise ClusterError(
            "Several addresses that name a user, or not all by https; wanted: addresses alone, all http or all https, "
            "and the user in OPENSEARCH_USER. A comma in a password is written %2C."
        )
    return found


def _local_node() -> str:
    from anthem_sandbox.node import get_node_status

    url = get_node_status().url
    if url is None:
        raise ClusterError(
            "No cluster is named and no local node runs. Set OPENSEARCH_URL to your cluster, or run: anthem node start"
        )
    return url


def cluster_info(client: OpenSearch) -> dict[str, Any]:
    """What a cluster says of itself, `GET /`.

    Raises:
        ClusterError: It has no such address, as OpenSearch Serverless.
    """
    try:
        found: dict[str, Any] = client.info()
    except NotFoundError as error:
        raise serverless_error() from error
    return found


@contextmanager
def cluster_errors() -> Iterator[None]:
    """Turn opensearch-py's exceptions into a `ClusterError` that says what was found and what to do."""
    try:
        yield
    except OpenSearchException as error:
        raise ClusterError(_explain(error)) from error


def _explain(error: OpenSearchException) -> str:
    advised = " ".join(getattr(error, "__notes__", ()))
    match error:
        case NoConnection():
            return (
                f"The cluster does not answer ({error.error}). {advised or 'Is it running, and is this its address?'}"
            )
        case AuthenticationException():
            return f"The cluster refused the sign-in (401). {advised or NO_CREDENTIALS_HINT}"
        case AuthorizationException():
            why = error_reason(error) or "no reason given"
            return f"The cluster forbids this (403): {why}. {advised or 'Ask for the permission it names.'}"
        case NotFoundError():
            return f"Not found (404): {error_reason(error)}. Check the name of the index: GET _cat/indices"
        case TransportError():
            return f"The cluster answered {error.status_code}: {error_reason(error)}"
    return f"The OpenSearch client failed: {error}"


def error_reason(error: TransportError) -> str:
    """The innermost reason an OpenSearch error gives, or all of it where it gives none."""
    info = error.info if isinstance(error.info, dict) else {}
    body = info.get("error", info.get("message", info.get("Message", error.error)))  # AWS says no more than a message
    if not isinstance(body, dict):
        return str(body)
    causes = [body, *body.get("root_cause", []), *_iterate_causes(body)]
    reasons = [str(cause["reason"]) for cause in causes if cause.get("reason")]
    return reasons[-1] if reasons else str(body)


def _iterate_causes(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for shard in body.get("failed_shards", []):
        yield from _iterate_causes({"caused_by": shard.get("reason", {})})
    cause = body.get("caused_by")
    while isinstance(cause, dict):
        yield cause
        cause = cause.get("caused_by")
