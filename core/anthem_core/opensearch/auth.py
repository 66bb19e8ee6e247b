"""Signing in to a cluster: reads the `OPENSEARCH_…` settings and checks them before anything is sent."""

from __future__ import annotations

import os
import re
import ssl
from base64 import b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from urllib3.exceptions import ProtocolError

from anthem_core.errors import ClusterError, require_extra

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

AUTH_SETTINGS = ("USER", "PASSWORD", "API_KEY", "CA", "CERT", "KEY", "AWS_REGION", "AWS_SERVICE")
AWS_SERVICES = ("es", "aoss")  # Amazon OpenSearch Service and OpenSearch Serverless

NO_CREDENTIALS_HINT = (
    "No user, key or signature was sent: set OPENSEARCH_USER and OPENSEARCH_PASSWORD, OPENSEARCH_API_KEY or "
    "OPENSEARCH_AWS_REGION. If you sign in with a client certificate, check OPENSEARCH_CERT."
)
_AUTH_METHODS = ("USER", "API_KEY", "AWS_REGION")
_REQUIRED_PARTNERS = {"USER": "PASSWORD", "PASSWORD": "USER", "KEY": "CERT", "AWS_SERVICE": "AWS_REGION"}
_TLS_OPTIONS = {"CA": "ca_certs", "CERT": "client_cert", "KEY": "client_key"}  # by setting: opensearch-py's option

_UNKNOWN_CA_HINT = "Its certificate is from an unknown CA: set OPENSEARCH_CA to a PEM file with your CA's certificate."
_OTHER_NAME_HINT = "Its certificate is for another name: use that name as the address, or issue one for this name."
# By OpenSSL's verification error code.
_CERTIFICATE_HINTS = {
    9: "Its certificate is not valid yet: is the clock of this machine right?",
    10: "Its certificate has expired: renew it. Is the clock of this machine right?",
    **dict.fromkeys((18, 19, 20, 21), _UNKNOWN_CA_HINT),
    **dict.fromkeys((62, 64), _OTHER_NAME_HINT),
}
# The reasons OpenSSL gives when the server speaks plain HTTP.
_PLAIN_HTTP_REASONS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")
_NO_TLS_HINT = "It does not speak TLS on this port: if that is intended, write the address with http://"
_TLS_HINT = "Is it running? If it speaks TLS, write the address with https://"
_CLIENT_CERT_HINT = (
    "Is it running? It may require a client certificate, or a different one: set OPENSEARCH_CERT and OPENSEARCH_KEY."
)


@dataclass(frozen=True)
class RequestSigner:
    """Computes the authentication headers of a request; its repr contains no secret.

    Attributes:
        identity: Who signs in, for messages.
        hint: What to check if the cluster refuses.
        sign: Function from method, URL and body to headers.
    """

    identity: str
    hint: str
    sign: Callable[[str, str, Any], dict[str, str]] = field(repr=False)

    def __call__(self, method: str, url: str, body: Any, headers: Any = None) -> dict[str, str]:  # noqa: ANN401, ARG002
        """Headers for one request, as opensearch-py's `http_auth`."""
        return self.sign(method, url, body)


def connection_options(url: str, *, environment: bool) -> tuple[str, dict[str, Any]]:
    """Address without user and password, and the options with which opensearch-py signs in there.

    A user and password in the address are used; with `environment`, so are the `OPENSEARCH_…` settings.

    Raises:
        ClusterError: Settings contradict each other, one of a pair is missing, or a file cannot be used.
        ExtraError: Requests must be signed for AWS, and `boto3` is not installed.
    """
    address, url_credentials = _split_credentials(url)
    settings = _read_settings() if environment else {}
    for name, partner in _REQUIRED_PARTNERS.items():
        if name in settings and partner not in settings:
            raise ClusterError(
                f"OPENSEARCH_{name} is set but OPENSEARCH_{partner} is not; expected both. "
                f"Set OPENSEARCH_{partner}, or unset OPENSEARCH_{name}."
            )
    signer = _choose_signer(settings, url_credentials)
    return address, ({"http_auth": signer} if signer else {}) | _tls_options(settings, address)


def _read_settings() -> dict[str, str]:
    values = {name: os.environ.get(f"OPENSEARCH_{name}") for name in AUTH_SETTINGS}
    return {name: value for name, value in values.items() if value}


def _split_credentials(url: str) -> tuple[str, tuple[str, str] | None]:
    """Address, and the user and password it contained."""
    parts = re.fullmatch(r"(\w+://)([^/]*)@(.*)", url)
    if parts is None:
        return url, None
    scheme, credentials, rest = parts.groups()
    user, _, password = credentials.partition(":")
    if not user or not password:
        raise ClusterError(
            f"The address {scheme}…@{rest} lacks the user or the password. Expected both, as in {scheme}USER:PASSWORD@…"
        )
    return scheme + rest, (unquote(user), unquote(password))


def _choose_signer(settings: Mapping[str, str], url_credentials: tuple[str, str] | None) -> RequestSigner | None:
    methods = [f"OPENSEARCH_{name}" for name in _AUTH_METHODS if name in settings]
    methods += ["a user in the address"] if url_credentials else []
    if len(methods) > 1:
        raise ClusterError(f"{' and '.join(methods)} are set; expected one way to sign in. Remove all but one.")
    if url_credentials:
        return _basic_signer(*url_credentials, "Check the user and the password in the address.")
    if "USER" in settings:
        hint = "Check OPENSEARCH_USER and OPENSEARCH_PASSWORD."
        return _basic_signer(settings["USER"], settings["PASSWORD"], hint)
    if "API_KEY" in settings:
        return _api_key_signer(settings["API_KEY"].strip())
    if "AWS_REGION" in settings:
        return _aws_signer(settings["AWS_REGION"], settings.get("AWS_SERVICE", AWS_SERVICES[0]))
    return None


def _basic_signer(user: str, password: str, hint: str) -> RequestSigner:
    value = "Basic " + b64encode(f"{user}:{password}".encode()).decode()
    return RequestSigner(f"user '{user}'", hint, lambda *_: {"Authorization": value})


def _api_key_signer(key: str) -> RequestSigner:
    """`ApiKey <key>` as in OpenSearch 3.7; a key with a scheme, such as `Bearer <token>`, is sent unchanged."""
    if not (key.isascii() and key.isprintable()):
        raise ClusterError("OPENSEARCH_API_KEY contains control or non-ASCII characters. Check the key.")
    value = key if " " in key else f"ApiKey {key}"
    hint = "Check OPENSEARCH_API_KEY: has it expired, or was it revoked?"
    return RequestSigner("an API key", hint, lambda *_: {"Authorization": value})


def _aws_signer(region: str, service: str) -> RequestSigner:
    if service not in AWS_SERVICES:
        raise ClusterError(f"OPENSEARCH_AWS_SERVICE is '{service}'; expected {' or '.join(AWS_SERVICES)}.")
    require_extra("aws", "boto3")
    from boto3 import Session
    from botocore.exceptions import BotoCoreError
    from opensearchpy import Urllib3AWSV4SignerAuth

    sources = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or a role of this machine"
    try:
        credentials = Session().get_credentials()
    except BotoCoreError as error:
        raise ClusterError(f"The AWS credentials cannot be read ({error}); expected {sources}.") from error
    if credentials is None:
        raise ClusterError(f"OPENSEARCH_AWS_REGION is set but no AWS credentials were found; expected {sources}.")
    hint = "Check the AWS credentials, OPENSEARCH_AWS_REGION and OPENSEARCH_AWS_SERVICE."
    identity = f"AWS SigV4 ({service} in {region})"
    return RequestSigner(identity, hint, Urllib3AWSV4SignerAuth(credentials, region, service))


def _tls_options(settings: Mapping[str, str], address: str) -> dict[str, str]:
    files = {name: settings[name] for name in _TLS_OPTIONS if name in settings}
    if not files:
        return {}
    if not address.startswith("https://"):
        names = " and ".join(f"OPENSEARCH_{name}" for name in files)
        raise ClusterError(
            f"{names} set, but {address} is not an https:// address, so nothing would be encrypted. "
            f"Write https://, or unset {names}."
        )
    _check_tls_files(files)
    return {_TLS_OPTIONS[name]: path for name, path in files.items()}


def _check_tls_files(files: Mapping[str, str]) -> None:
    """Read the files before anything is sent, while their names are known; OpenSSL must not prompt for a passphrase."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    loaders: dict[str, Callable[[], None]] = {
        "CA": lambda: context.load_verify_locations(files["CA"]),
        "CERT": lambda: context.load_cert_chain(files["CERT"], files.get("KEY"), password=lambda: ""),
    }
    for name, load in loaders.items():
        try:
            if name in files:
                load()
        except OSError as error:
            raise ClusterError(
                f"OPENSEARCH_{name}={files[name]} cannot be used: {error}. Expected a file in PEM format; for CERT "
                "with its key in the same file or in OPENSEARCH_KEY, without a passphrase."
            ) from error


def connection_advice(address: str, cause: object) -> str:
    """What to do about a failed connection, derived from its cause."""
    inner = cause.args[0] if isinstance(cause, Exception) and cause.args else None
    if isinstance(inner, ssl.SSLCertVerificationError):
        return _CERTIFICATE_HINTS.get(inner.verify_code, "Its certificate cannot be trusted, for the reason given.")
    if isinstance(inner, ssl.SSLError):
        return _NO_TLS_HINT if inner.reason in _PLAIN_HTTP_REASONS else _CLIENT_CERT_HINT
    if isinstance(cause, ProtocolError):
        return _CLIENT_CERT_HINT if address.startswith("https") else _TLS_HINT
    return "Is it running, and is the address right?"
