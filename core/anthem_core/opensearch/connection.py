"""The one way to connect to a cluster: its address, signing in, and its errors in plain words."""

from __future__ import annotations

import json
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
    ConnectionError as ConnectionFailedError,
)

from anthem_core.errors import ClusterError
from anthem_core.opensearch.auth import NO_CREDENTIALS_HINT, RequestSigner, connection_advice, connection_options
from anthem_core.opensearch.blocks import block_advice
from anthem_core.opensearch.local_node import local_node_url
from anthem_core.opensearch.permissions import permission_advice
from anthem_core.opensearch.versions import UnsupportedClusterError, is_elasticsearch, parse_release, serverless_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


ELASTICSEARCH_HEADER = "x-elastic-product"
OPENSEARCH_HEADER = "x-opensearch-version"  # of 3.6.0; 2.19.1 does not send it
CLOSED_INDEX = "index_closed_exception"
NO_SUCH_PATH = "no handler found for uri"  # an address with a path that no proxy removes


class _ExplainingConnection(Urllib3HttpConnection):
    """A connection whose errors name the address that failed, the identity refused, or the permission missing."""

    _is_asked = False  # what the cluster is, if its responses do not say it

    def perform_request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 (as opensearch-py has it)
        try:
            response = super().perform_request(method, url, *args, **kwargs)
        except ConnectionFailedError as error:
            named = type(error)(error.status_code, f"{self.host}: {error.error}", error.info)
            named.add_note(connection_advice(self.host, error.info))
            raise named from error
        except AuthenticationException as error:
            error.add_note(self._identity_note())
            raise
        except AuthorizationException as error:
            error.add_note(block_advice(str(error.info)) or self._refusal_note(error, method, url))
            raise
        if (method, url) != ("GET", "/"):  # whose answer says what the cluster is
            self._refuse_elasticsearch(response[1])
        return response

    def get_response_headers(self, response: Any) -> Any:  # noqa: ANN401 (as opensearch-py has it)
        """Headers of a response that is an error; those of Elasticsearch have another cause than they name."""
        headers = super().get_response_headers(response)
        self._refuse_elasticsearch(headers)
        return headers

    def _refuse_elasticsearch(self, headers: Mapping[str, str]) -> None:
        """Say that this is Elasticsearch, which names itself in every response since version 7.14.

        A cluster that names neither product is asked once.

        Raises:
            UnsupportedClusterError: It is.
        """
        names = {name.lower(): value for name, value in headers.items()}
        product = names.get(ELASTICSEARCH_HEADER)
        if product is None and (self._is_asked or OPENSEARCH_HEADER in names):
            return
        self._is_asked = True
        info = self._read_info()
        if product is None and not is_elasticsearch(info):
            return
        if not isinstance(info, dict) or "version" not in info:  # it does not answer, or asks for credentials
            raise UnsupportedClusterError(product or "Elasticsearch")
        self._is_asked = False  # the next request is refused too
        parse_release(info)

    def _read_info(self) -> object:
        """What the cluster answers to `GET /`; None if that is not JSON."""
        try:
            _, _, body = super().perform_request("GET", "/", ignore=range(300, 600))
            return json.loads(body)
        except (OpenSearchException, ValueError):
            return None

    def _refusal_note(self, error: TransportError, method: str, url: str) -> str:
        return self._identity_note() if _refused_by_aws(error) else permission_advice(method, url)

    def _identity_note(self) -> str:
        signer = self.http_auth
        return f"Tried: {signer.identity}. {signer.hint}" if isinstance(signer, RequestSigner) else NO_CREDENTIALS_HINT


def _refused_by_aws(error: TransportError) -> bool:
    """Whether AWS in front of the cluster refused the signature, rather than the cluster the request."""
    return isinstance(error.info, dict) and "error" not in error.info


def connect(url: str | None = None, *, timeout: float = 30.0, credentials: bool = False) -> OpenSearch:
    """Client of the cluster at `url`, at `OPENSEARCH_URL` if that is None, or of the local node if neither is set.

    Several addresses of one cluster are joined by commas. `OPENSEARCH_USER` and the other settings of
    `anthem_core.opensearch.auth` are only sent to `OPENSEARCH_URL`; with `credentials`, also to a `url` that the user
    named instead of it.

    Raises:
        ClusterError: No cluster is named and no local node runs, the address is invalid, or the settings contradict
            each other.
        NodeError: No cluster is named and the folder of the local node cannot be determined.
        ExtraError: Requests must be signed for AWS, and the extra `aws` is not installed.
    """
    named = url or os.environ.get("OPENSEARCH_URL")
    signs_in = credentials if url else named is not None
    options = [
        connection_options(address, environment=signs_in) for address in _split_addresses(named or _local_node_url())
    ]
    addresses, auth_options = [address for address, _ in options], options[0][1]
    try:
        return OpenSearch(hosts=addresses, timeout=timeout, connection_class=_ExplainingConnection, **auth_options)
    except ValueError as error:
        shown, why = ("The address", "") if "@" in str(addresses) else (f"'{', '.join(addresses)}'", f" ({error})")
        raise ClusterError(f"{shown} cannot be used{why}; expected an address like http://host:9200.") from None


def _split_addresses(named: str) -> list[str]:
    """Addresses joined by commas. All get the same credentials, so none may contain a user if there are several."""
    addresses = [address for part in named.split(",") if (address := part.strip())]
    if not addresses:
        raise ClusterError("The address is empty; expected one like http://host:9200, or several joined by commas.")
    schemes = {address.partition("://")[0].lower() for address in addresses}
    if len(addresses) > 1 and ("@" in named or len(schemes) > 1):
        raise ClusterError(
            "Of several addresses, at least one contains a user, or they mix http and https; expected addresses "
            "without a user, all http or all https, and the user in OPENSEARCH_USER. Write a comma in a password as "
            "%2C."
        )
    unknown_schemes = {address.partition("://")[0] for address in addresses if "://" in address} - {"http", "https"}
    if unknown_schemes:
        raise ClusterError(
            f"The address starts with {', '.join(sorted(unknown_schemes))}://; expected one like http://host:9200."
        )
    return addresses


def _local_node_url() -> str:
    url = local_node_url()
    if url is None:
        raise ClusterError(
            "No cluster is named and no local node runs. Set OPENSEARCH_URL to your cluster, or run: anthem node start"
        )
    return url


def cluster_address(client: OpenSearch) -> str:
    """Addresses of a client's cluster, without user and password, joined by commas."""
    connections = client.transport.connection_pool.connections
    return ",".join(sorted(connection.host + connection.url_prefix for connection in connections))


def cluster_info(client: OpenSearch) -> dict[str, Any]:
    """Response of a cluster to `GET /`.

    Raises:
        ClusterError: The cluster answers `GET /` with 404, as OpenSearch Serverless does.
    """
    try:
        info: dict[str, Any] = client.info()
    except NotFoundError as error:
        raise serverless_error() from error
    return info


@contextmanager
def cluster_errors() -> Iterator[None]:
    """Turn opensearch-py's exceptions into a `ClusterError` that says what happened and what to do."""
    try:
        yield
    except OpenSearchException as error:
        raise ClusterError(_explain(error)) from error


def _explain(error: OpenSearchException) -> str:
    advice = " ".join(getattr(error, "__notes__", ()))
    match error:
        case ConnectionFailedError():
            return (
                f"The cluster does not answer ({error.error}). {advice or 'Is it running, and is the address right?'}"
            )
        case AuthenticationException():
            return f"The cluster refused the sign-in (401). {advice or NO_CREDENTIALS_HINT}"
        case AuthorizationException():
            reason = (error_reason(error) or "no reason given").rstrip(";")
            return (
                f"The cluster forbids this (403): {reason}. {advice or 'Ask for the permission that the reason names.'}"
            )
        case NotFoundError():
            return f"Not found (404): {error_reason(error)}. Check the name of the index; GET /_cat/indices lists them."
        case TransportError():
            return f"The cluster answered {error.status_code}: {error_reason(error)}{_refusal_advice(error)}"
    return f"The OpenSearch client failed: {error}"


def _refusal_advice(error: TransportError) -> str:
    """The request that opens or unblocks an index, or what is wrong with an address, if the error is about that."""
    if advice := block_advice(str(error.info)):  # a full disk blocks an index with 429, not with 403
        return f". {advice}"
    if NO_SUCH_PATH in str(error.info):
        return ". Remove or fix the path in the address of the cluster."
    if CLOSED_INDEX not in str(error.info):
        return ""
    cause = error.info.get("error") if isinstance(error.info, dict) else None
    name = cause.get("index", "INDEX") if isinstance(cause, dict) else "INDEX"
    return f". Open the index: POST /{name}/_open"


def error_reason(error: TransportError) -> str:
    """The innermost reason in an OpenSearch error, or the whole error if it gives no reason."""
    info = error.info if isinstance(error.info, dict) else {}
    body = info.get("error", info.get("message", info.get("Message", error.error)))  # AWS sends only a message
    if not isinstance(body, dict):
        return str(body)
    return innermost_reason(body) or str(body)


def innermost_reason(cause: Mapping[str, Any]) -> str | None:
    """The innermost reason in the cause of an OpenSearch error or shard failure, or None if it gives no reason."""
    causes = [cause, *cause.get("root_cause", []), *_iterate_causes(cause)]
    reasons = [str(inner["reason"]) for inner in causes if inner.get("reason")]
    return reasons[-1] if reasons else None


def is_refusal(error: TransportError) -> bool:
    """Whether the cluster answered and refused, rather than failed: asking again would not help."""
    return isinstance(error.status_code, int) and 400 <= error.status_code < 500


def _iterate_causes(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for shard in body.get("failed_shards", []):
        yield from _iterate_causes({"caused_by": shard.get("reason", {})})
    cause = body.get("caused_by")
    while isinstance(cause, dict):
        yield cause
        cause = cause.get("caused_by")
