"""A secured cluster in front of a real node: TLS with a private CA, authentication, and forbidden requests.

Tests that use it import the fixtures at its end by name.
"""

import hashlib
import json
import os
import re
import ssl
from base64 import b64encode
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace
from urllib.parse import parse_qsl, quote

import httpx
import pytest
import trustme
from click.testing import CliRunner

from anthem_core.cli import main
from anthem_core.opensearch.permissions import PERMISSIONS, match_request
from anthem_ingest.ingest import ingest_index

UNAUTHORIZED = (401, {"error": "Unauthorized"})
NO_SIGNATURE = (403, {"message": "The request signature we calculated does not match the signature you provided."})
SECRET = "xylophone:ä@/"
TITLES = ["fire tv stick", "fire pit", "kindle paperwhite", "tv stand"]
FORWARDED_HEADERS = ("content-type",)


@dataclass(frozen=True)
class ProxyRequest:
    """A request as the proxy received it."""

    method: str
    target: str
    headers: dict
    body: bytes

    @property
    def path(self):
        """The path, without the query string."""
        return self.target.partition("?")[0]


def bulk_actions(key, body):
    """Keys in `PERMISSIONS` of the actions in a bulk request."""
    lines = map(json.loads, body.splitlines()) if key == "POST /INDEX/_bulk" else iter(())
    for line in lines:
        action = next(iter(line))
        if action != "delete":
            next(lines)
        yield f"{key} {action}"


@dataclass
class Proxy:
    """URL of the proxy, whom it refuses, what it forbids, and the requests it has received, by key in `PERMISSIONS`."""

    url: str = ""
    authenticate: object = lambda _: None
    forbidden: tuple = ()
    received: list = field(default_factory=list)

    def respond(self, request, node):
        """Status and body of the response to a request."""
        key = match_request(request.method, request.path)
        self.received += [key or f"{request.method} {request.path}", *bulk_actions(key, request.body)]
        if refusal := self.authenticate(request):
            return refusal[0], json.dumps(refusal[1]).encode()
        if key is None or key in self.forbidden:
            reason = f"no permissions for [{PERMISSIONS.get(key, '?')[0]}] and User [name=shop]"
            return 403, json.dumps({"error": {"type": "security_exception", "reason": reason}, "status": 403}).encode()
        headers = {name: request.headers[name] for name in FORWARDED_HEADERS if name in request.headers}
        response = node.request(request.method, request.target, content=request.body, headers=headers)
        return response.status_code, response.content


def require_header(value):
    """Require this `Authorization` header."""
    return lambda request: None if request.headers.get("authorization") == value else UNAUTHORIZED


def require_password(user, secret):
    """Require this user and password."""
    return require_header("Basic " + b64encode(f"{user}:{secret}".encode()).decode())


def require_signature(key, secret, region, service):
    """Require an AWS signature, which is computed again from the request as received."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    def authenticate(request):
        authorization = request.headers.get("authorization", "")
        names = re.search(r"SignedHeaders=([^,]+)", authorization)
        if not names or request.headers["x-amz-content-sha256"] != hashlib.sha256(request.body).hexdigest():
            return NO_SIGNATURE
        pairs = parse_qsl(request.target.partition("?")[2], keep_blank_values=True)
        query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(pairs))
        headers = {name: request.headers[name] for name in names[1].split(";")}
        copy = AWSRequest(request.method, f"https://{headers['host']}{request.path}?{query}", headers, request.body)
        copy.context["timestamp"] = request.headers["x-amz-date"]
        signer = SigV4Auth(Credentials(key, secret), service, region)
        signature = signer.signature(signer.string_to_sign(copy, signer.canonical_request(copy)), copy)
        expected = f"Credential={signer.scope(copy)}, SignedHeaders={names[1]}, Signature={signature}"
        return None if authorization == f"AWS4-HMAC-SHA256 {expected}" else NO_SIGNATURE

    return authenticate


class QuietServer(ThreadingHTTPServer):
    """A server that does not log errors of clients that do not trust it."""

    def handle_error(self, *_):
        """Do not log."""


def request_handler(proxy, node):
    """Class that handles the requests to a proxy."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            """Send the proxy's response."""
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, content = proxy.respond(ProxyRequest(self.command, self.path, headers, body), node)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_POST = do_PUT = do_DELETE = do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_):
            """Do not log."""

    return Handler


@contextmanager
def secured(cluster, authority, *, name="127.0.0.1", client_certificates=False, **rules):
    """A proxy in front of a cluster, with a certificate for `name`; it may require client certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    if client_certificates:
        context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(context)
    proxy = Proxy(**rules)
    with (
        httpx.Client(base_url=cluster, timeout=60) as node,
        QuietServer(("127.0.0.1", 0), request_handler(proxy, node)) as server,
    ):
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        proxy.url = f"https://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def authority():
    """A private CA."""
    return trustme.CA()


@pytest.fixture
def settings(monkeypatch, authority, tmp_path):
    """Function that sets the connection settings and removes all others; the private CA is trusted by default."""
    monkeypatch.chdir(tmp_path)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")

    def apply(url, **variables):
        for name in [name for name in os.environ if name.startswith(("OPENSEARCH_", "AWS_"))]:
            monkeypatch.delenv(name)
        variables = {"OPENSEARCH_URL": url, "OPENSEARCH_CA": "ca.pem"} | variables
        for name, value in variables.items():
            if value is not None:
                monkeypatch.setenv(name, str(value))

    return apply


@pytest.fixture
def products(client, index):
    """An index with a few products."""
    properties = {"title": {"type": "text"}}
    body = {"settings": {"number_of_replicas": 0}, "mappings": {"dynamic": "false", "properties": properties}}
    client.indices.create(index=index, body=body)
    lines = [line for number, title in enumerate(TITLES) for line in ({"index": {"_id": number}}, {"title": title})]
    client.bulk(index=index, body=lines, refresh=True)
    return index


@pytest.fixture
def shop(client, encoder, bundle, add_attention, products, monkeypatch, tmp_path):
    """What a scenario needs: an index, a client that bypasses the proxy, a second bundle."""
    (other := tmp_path / "other").mkdir()
    add_attention(bundle, other)
    return SimpleNamespace(index=products, client=client, other=other, patch=monkeypatch,
                           ingest=lambda: ingest_index(client, products, encoder))  # fmt: skip


def run_command(*words):
    """Run an `anthem` command; nothing it prints may contain the secret."""
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert SECRET not in result.output
    return result


def command_result(*words):
    """JSON that a successful command prints."""
    result = run_command(*words, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)
