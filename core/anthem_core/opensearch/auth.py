"""How to sign in to a cluster: the settings of the environment, checked against each other before anything is sent."""

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
AWS_SERVICES = ("es", "aoss")  # Amazon OpenSearch Service, and its Serverless

NO_CREDENTIALS_HINT = (
    "No user, key or signature was sent: set OPENSEARCH_USER and OPENSEARCH_PASSWORD, OPENSEARCH_API_KEY or "
    "OPENSEARCH_AWS_REGION; where a client certificate should do, check OPENSEARCH_CERT."
)
_AUTH_METHODS = ("USER", "API_KEY", "AWS_REGION")
_REQUIRED_PARTNERS = {"USER": "PASSWORD", "PASSWORD": "USER", "KEY": "CERT", "AWS_SERVICE": "AWS_REGION"}
_TLS_OPTIONS = {"CA": "ca_certs", "CERT": "client_cert", "KEY": "client_key"}  # as opensearch-py names them

_UNKNOWN_CA_HINT = "Its certificate is of no CA known here: set OPENSEARCH_CA to a PEM file with that of your CA."
_OTHER_NAME_HINT = "Its certificate is for another name: use the name in it as address, or have it made for this one."
# By OpenSSL's number of what is wrong with the certificate.
_CERTIFICATE_HINTS = {
    9: "Its certificate is not valid yet: is the clock of this machine right?",
    10: "Its certificate has expired: renew it. Is the clock of this machine right?",
    **dict.fromkeys((18, 19, 20, 21), _UNKNOWN_CA_HINT),
    **dict.fromkeys((62, 64), _OTHER_NAME_HINT),
}
_PLAIN_HTTP_REASONS = (
    "WRONG_VERSION_NUMBER",
    "RECORD_LAYER_FAILURE",
    "HTTP_REQUEST",
)  # what OpenSSL makes of plain HTTP
_NO_TLS_HINT = "It speaks no TLS there: if that is right, its address begins with http://"
_TLS_HINT = "Is it running? If it speaks TLS, its address begins with https://"
_CLIENT_CERT_HINT = (
    "Is it running? It may want a client certificate, or another one: set OPENSEARCH_CERT and OPENSEARCH_KEY."
)


@dataclass(frozen=True)
class RequestSigner:
    """Makes the headers by which a request is known to be ours; its repr holds no secret.

    Attributes:
        who: Who signs in, as a message says it.
        check: What to look at when the cluster refuses.
        sign: Headers for a method, a URL and a body.
    """

    who: str
    check: str
    sign: Callable[[str, str, Any], dict[str, str]] = field(repr=False)

    def __call__(self, method: str, url: str, body: Any, headers: Any = None) -> dict[str, str]:  # noqa: ANN401, ARG002
        """Headers for one request, as opensearch-py asks for them."""
        return self.sign(method, url, body)


def connection_options(url: str, *, environment: bool) -> tuple[str, dict[str, Any]]:
    """Address without a password, and what opensearch-py has to know to sign in there.

    A user and a password in the address are used; with `environment`, so is what `OPENSEARCH_…` says.

    Raises:
        ClusterError: Two settings contradict each other, one lacks its other half, or a file cannot be used.
        ExtraError: Requests are to be signed for AWS, and `boto3` is not installed.
    """
    address, own = _split_credentials(url)
    found = (
        {name: value for name in AUTH_SETTINGS if (value := os.environ.get(f"OPENSEARCH_{name}"))}
        if environment
        else {}
    )
    for name, other in _REQUIRED_PARTNERS.items():
        if name in found and other not in found:
            raise ClusterError(
                f"OPENSEARCH_{name} is set and OPENSEARCH_{other} is not; both were wanted. "
                f"Set OPENSEARCH_{other}, or unset OPENSEARCH_{name}."
            )
    signed = _choose_signer(found, own)
    return address, ({"http_auth": signed} if signed else {}) | _tls_options(found, address)


def _split_credentials(url: str) -> tuple[str, tuple[str, str] | None]:
    """Address, and the user and password that stood in it."""
    parts = re.fullmatch(r"(\w+://)([^/]*)@(.*)", url)
    if parts is None:
        return url, None
    scheme, own, rest = parts.groups()
    user, _, password = own.partition(":")
    if not user or not password:
        raise ClusterError(f"The address {scheme}…@{rest} names a user and no password, or no user; wanted: both.")
    return scheme + rest, (unquote(user), unquote(password))


def _choose_signer(found: Mapping[str, str], own: tuple[str, str] | None) -> RequestSigner | None:
    ways = [f"OPENSEARCH_{name}" for name in _AUTH_METHODS if name in found] + (
        ["a user in the address"] if own else []
    )
    if len(ways) > 1:
        raise ClusterError(f"{' and '.join(ways)} are set; one way to sign in was wanted. Leave all but one out.")
    if own:
        return _basic_signer(*own, "Check the user and the password in the address.")
    if "USER" in found:
        return _basic_signer(found["USER"], found["PASSWORD"], "Check OPENSEARCH_USER and OPENSEARCH_PASSWORD.")
    if "API_KEY" in found:
        return _api_key_signer(found["API_KEY"].strip())
    if "AWS_REGION" in found:
        return _aws_signer(found["AWS_REGION"], found.get("AWS_SERVICE", AWS_SERVICES[0]))
    return None


def _basic_signer(user: str, password: str, check: str) -> RequestSigner:
    value = "Basic " + b64encode(f"{user}:{password}".encode()).decode()
    return RequestSigner(f"user '{user}'", check, lambda *_: {"Authorization": value})


def _api_key_signer(key: str) -> RequestSigner:
    """`ApiKey <key>` as OpenSearch 3.7 has it; a key that names another scheme, as `Bearer <token>`, goes as it is."""
    if not (key.isascii() and key.isprintable()):
        raise ClusterError("OPENSEARCH_API_KEY holds characters that no key has; wanted: letters, digits and signs.")
    value = key if " " in key else f"ApiKey {key}"
    check = "Check OPENSEARCH_API_KEY; has it expired, or was it revoked?"
    return RequestSigner("an API key", check, lambda *_: {"Authorization": value})


def _aws_signer(region: str, service: str) -> RequestSigner:
    if service not in AWS_SERVICES:
        raise ClusterError(f"OPENSEARCH_AWS_SERVICE is '{service}'; wanted: {' or '.join(AWS_SERVICES)}.")
    require_extra("aws", "boto3")
    from boto3 import Session
    from botocore.exceptions import BotoCoreError
    from opensearchpy import Urllib3AWSV4SignerAuth

    where = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or a role of this machine"
    try:
        credentials = Session().get_credentials()
    except BotoCoreError as error:
        raise ClusterError(f"The AWS credentials cannot be read ({error}); wanted: {where}.") from error
    if credentials is None:
        raise ClusterError(f"OPENSEARCH_AWS_REGION is set and there are no AWS credentials; wanted: {where}.")
    check = "Check the AWS credentials, OPENSEARCH_AWS_REGION and OPENSEARCH_AWS_SERVICE."
    return RequestSigner(
        f"AWS SigV4 ({service} in {region})", check, Urllib3AWSV4SignerAuth(credentials, region, service)
    )


def _tls_options(found: Mapping[str, str], address: str) -> dict[str, str]:
    files = {name: found[name] for name in _TLS_OPTIONS if name in found}
    if not files:
        return {}
    if not address.startswith("https://"):
        names = " and ".join(f"OPENSEARCH_{name}" for name in files)
        raise ClusterError(
            f"{names} set, and {address} is no https:// address, so nothing would be encrypted. "
            f"Write https://, or unset {names}."
        )
    _check_tls_files(files)
    return {_TLS_OPTIONS[name]: path for name, path in files.items()}


def _check_tls_files(files: Mapping[str, str]) -> None:
    """Read the files before anything is sent, when their names are still known; nobody is asked for a passphrase."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    loads: dict[str, Callable[[], None]] = {
        "CA": lambda: context.load_verify_locations(files["CA"]),
        "CERT": lambda: context.load_cert_chain(files["CERT"], files.get("KEY"), password=lambda: ""),
    }
    for name, load in loads.items():
        try:
            if name in files:
                load()
        except OSError as error:
            raise ClusterError(
                f"OPENSEARCH_{name}={files[name]} cannot be used: {error}. Wanted: a file in PEM format; "
                "for CERT with its key in it or in OPENSEARCH_KEY, without a passphrase."
            ) from error


def connection_advice(address: str, cause: object) -> str:
    """What to do about a connection that failed, for its encryption or otherwise."""
    inner = cause.args[0] if isinstance(cause, Exception) and cause.args else None
    if isinstance(inner, ssl.SSLCertVerificationError):
        return _CERTIFICATE_HINTS.get(inner.verify_code, "Its certificate cannot be trusted, for the reason it gives.")
    if isinstance(inner, ssl.SSLError):
        return _NO_TLS_HINT if inner.reason in _PLAIN_HTTP_REASONS else _CLIENT_CERT_HINT
    if isinstance(cause, ProtocolError):
        return _CLIENT_CERT_HINT if address.startswith("https") else _TLS_HINT
    return "Is it running, and is this its address?"
