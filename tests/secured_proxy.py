"""A secured cluster as its clients meet it, before a real node: TLS of a private CA, a sign-in, requests it forbids.

Who tests with it takes the fixtures at its end by name.
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
OURS = ("content-type",)  # what of a request is for the node


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    target: str
    headers: dict
    body: bytes

    @property
    def path(self):
        """Its path."""
        return self.target.partition("?")[0]


def kinds(named, body):
    """What a bulk request does to products."""
    lines = map(json.loads, body.splitlines()) if named == "POST /_bulk" else iter(())
    for line in lines:
        kind = next(iter(line))
        if kind != "delete":
            next(lines)
        yield f"{named} {kind}"


@dataclass
class Proxy:
    """Where it is, whom it refuses, what it forbids, and the requests it has seen by their names in `PERMISSIONS`."""

    url: str = ""
    refusal: object = lambda _: None
    forbids: tuple = ()
    seen: list = field(default_factory=list)

    def answer(self, asked, node):
        """Status and body for a request."""
        named = match_request(asked.method, asked.path)
        self.seen += [named or f"{asked.method} {asked.path}", *kinds(named, asked.body)]
        if refused := self.refusal(asked):
            return refused[0], json.dumps(refused[1]).encode()
        if named is None or named in self.forbids:
            reason = f"no permissions for [{PERMISSIONS.get(named, '?')[0]}] and User [name=shop]"
            return 403, json.dumps({"error": {"type": "security_exception", "reason": reason}, "status": 403}).encode()
        headers = {name: asked.headers[name] for name in OURS if name in asked.headers}
        found = node.request(asked.method, asked.target, content=asked.body, headers=headers)
        return found.status_code, found.content


def header(value):
    """Demands this header `Authorization`."""
    return lambda asked: None if asked.headers.get("authorization") == value else UNAUTHORIZED


def password(user, secret):
    """Demands this user and password."""
    return header("Basic " + b64encode(f"{user}:{secret}".encode()).decode())


def signature(key, secret, region, service):
    """Demands a signature of AWS, made once more over the request as it came."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    def refused(asked):
        shown = asked.headers.get("authorization", "")
        names = re.search(r"SignedHeaders=([^,]+)", shown)
        if not names or asked.headers["x-amz-content-sha256"] != hashlib.sha256(asked.body).hexdigest():
            return NO_SIGNATURE
        pairs = parse_qsl(asked.target.partition("?")[2], keep_blank_values=True)
        query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(pairs))
        signed = {name: asked.headers[name] for name in names[1].split(";")}
        again = AWSRequest(asked.method, f"https://{signed['host']}{asked.path}?{query}", signed, asked.body)
        again.context["timestamp"] = asked.headers["x-amz-date"]
        signer = SigV4Auth(Credentials(key, secret), service, region)
        expected = signer.signature(signer.string_to_sign(again, signer.canonical_request(again)), again)
        whole = f"Credential={signer.scope(again)}, SignedHeaders={names[1]}, Signature={expected}"
        return None if shown == f"AWS4-HMAC-SHA256 {whole}" else NO_SIGNATURE

    return refused


class Server(ThreadingHTTPServer):
    """A server that says nothing of clients that do not trust it."""

    def handle_error(self, *_):
        """Say nothing."""


def handler(proxy, node):
    """Class that answers requests."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            """Answer."""
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, content = proxy.answer(Asked(self.command, self.path, headers, body), node)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_POST = do_PUT = do_DELETE = do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_):
            """Say nothing."""

    return Handler


@contextmanager
def secured(cluster, authority, *, name="127.0.0.1", certificates=False, **demands):
    """A proxy before a cluster, with a certificate for `name`; with `certificates` it demands one of its clients."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    if certificates:
        context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(context)
    proxy = Proxy(**demands)
    with (
        httpx.Client(base_url=cluster, timeout=60) as node,
        Server(("127.0.0.1", 0), handler(proxy, node)) as server,
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
    """A CA that nobody knows."""
    return trustme.CA()


@pytest.fixture
def settings(monkeypatch, authority, tmp_path):
    """Sets the settings of a sign-in, and no others; our CA's certificate is one unless it is left out."""
    monkeypatch.chdir(tmp_path)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")

    def put(url, **named):
        for name in [name for name in os.environ if name.startswith(("OPENSEARCH_", "AWS_"))]:
            monkeypatch.delenv(name)
        named = {"OPENSEARCH_URL": url, "OPENSEARCH_CA": "ca.pem"} | named
        for name, value in named.items():
            if value is not None:
                monkeypatch.setenv(name, str(value))

    return put


@pytest.fixture
def products(client, index):
    """An index of some products."""
    properties = {"title": {"type": "text"}}
    body = {"settings": {"number_of_replicas": 0}, "mappings": {"dynamic": "false", "properties": properties}}
    client.indices.create(index=index, body=body)
    lines = [line for number, title in enumerate(TITLES) for line in ({"index": {"_id": number}}, {"title": title})]
    client.bulk(index=index, body=lines, refresh=True)
    return index


@pytest.fixture
def shop(client, encoder, bundle, with_attention, products, monkeypatch, tmp_path):
    """What a scenario needs: an index, a way around the proxy, a second bundle."""
    (other := tmp_path / "other").mkdir()
    with_attention(bundle, other)
    return SimpleNamespace(index=products, client=client, other=other, patch=monkeypatch,
                           point=lambda: ingest_index(client, products, encoder))  # fmt: skip


def run(*words):
    """A whole command; what it printed, both ways, holds no secret."""
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert SECRET not in result.output
    return result


def done(*words):
    """What a command that ends well prints."""
    result = run(*words, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)
