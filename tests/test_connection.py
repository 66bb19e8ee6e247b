"""Connecting to a cluster: settings from the environment and error messages, against a server on loopback."""

import json
import os
from base64 import b64encode
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from opensearchpy.exceptions import TransportError

from anthem_core.errors import ClusterError, ExtraError, NodeError
from anthem_core.opensearch import connection
from anthem_core.opensearch.connection import cluster_errors, connect, error_reason
from anthem_core.opensearch.permissions import PERMISSIONS, match_request, permission_advice


@contextmanager
def fixed_response(status, body):
    """A server that gives every request the same response; yields its URL and the headers of the requests."""
    headers = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            """Send the response."""
            headers.append({name.lower(): value for name, value in self.headers.items()})
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_args):
            """Do not log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", headers
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, r"refused the sign-in \(401\)\. No user, key or signature was sent: set OPENSEARCH_USER"),
        (403, r"forbids this \(403\): no permissions for \[x\]"),
        (404, r"Not found \(404\): no permissions for \[x\]"),
        (400, r"answered 400: no permissions for \[x\]"),
    ],
)
def test_an_error_response_is_explained(status, message):
    """Each status becomes a ClusterError with its reason and what to do."""
    with (
        fixed_response(status, {"error": {"reason": "no permissions for [x]"}, "status": status}) as (url, _),
        connect(url) as client,
        pytest.raises(ClusterError, match=message),
        cluster_errors(),
    ):
        client.indices.get(index="products")


def test_a_cluster_that_does_not_answer():
    """A closed port is a ClusterError that names the address and asks whether the cluster runs."""
    with (
        connect("http://127.0.0.1:9") as client,
        pytest.raises(ClusterError, match=r"does not answer \(http://127\.0\.0\.1:9: .*Is it running"),
        cluster_errors(),
    ):
        client.info()


def test_the_environment_names_cluster_and_user(monkeypatch):
    """Without a URL, OPENSEARCH_URL is used, with OPENSEARCH_USER and OPENSEARCH_PASSWORD."""
    with fixed_response(200, {"version": {"number": "3.6.0"}}) as (url, headers):
        monkeypatch.setenv("OPENSEARCH_URL", url)
        monkeypatch.setenv("OPENSEARCH_USER", "shop")
        monkeypatch.setenv("OPENSEARCH_PASSWORD", "secret")
        with connect() as client:
            assert client.info()["version"]["number"] == "3.6.0"
    assert headers[0]["authorization"].startswith("Basic ")


def test_a_given_url_overrides_the_environment(monkeypatch):
    """A URL in the call is used instead of OPENSEARCH_URL, without credentials if no user is named."""
    monkeypatch.delenv("OPENSEARCH_USER", raising=False)
    monkeypatch.setenv("OPENSEARCH_URL", "http://127.0.0.1:9")
    with fixed_response(200, {}) as (url, headers), connect(url) as client:
        client.info()
    assert "authorization" not in headers[0]


def test_of_several_addresses_one_is_enough():
    """Addresses joined by commas belong to one cluster: if one does not answer, the next one is tried."""
    with fixed_response(200, {}) as (url, headers), connect(f"http://127.0.0.1:9, {url}") as client:
        for _ in range(3):
            client.info()
    assert len(headers) == 3


@pytest.mark.parametrize(
    "url",
    [",", " ", "https://u:s3cr3t@a:9200,https://b:9200", "https://a:9200,https://u:s3cr3t@b:9200",
     "http://a:9200,https://b:9200", "http://admin:12,s3cr3t@host:9200"],
)  # fmt: skip
def test_inconsistent_addresses_are_refused(url):
    """No address, users in the addresses, or TLS for only some: refused before sending, and no password is shown."""
    with pytest.raises(ClusterError, match=r"expected (one|addresses)") as refused:
        connect(url, credentials=True)
    assert "s3cr3t" not in str(refused.value)


BASIC_AUTH = {"USER": "shop", "PASSWORD": "s3cr3t"}
AWS = {"AWS_REGION": "eu-central-1"}


@pytest.mark.parametrize(
    ("url", "variables", "message"),
    [
        ("https://x", {"USER": "shop"}, "OPENSEARCH_USER is set but OPENSEARCH_PASSWORD is not"),
        ("https://x", {"PASSWORD": "s3cr3t"}, "OPENSEARCH_PASSWORD is set but OPENSEARCH_USER is not"),
        ("https://x", {"KEY": "key.pem"}, "OPENSEARCH_KEY is set but OPENSEARCH_CERT is not"),
        ("https://x", {"AWS_SERVICE": "es"}, "OPENSEARCH_AWS_SERVICE is set but OPENSEARCH_AWS_REGION is not"),
        (
            "https://x",
            BASIC_AUTH | {"API_KEY": "s3cr3t"},
            "OPENSEARCH_USER and OPENSEARCH_API_KEY are set; expected one way",
        ),
        ("https://x", BASIC_AUTH | AWS, "OPENSEARCH_USER and OPENSEARCH_AWS_REGION are set; expected one way"),
        ("https://a:s3cr3t@x", BASIC_AUTH, "OPENSEARCH_USER and a user in the address are set; expected one way"),
        ("https://s3cr3t@x", {}, r"address https://…@x lacks the user or the password"),
        ("https://a:s3cr3t/@x:y", {}, "The address cannot be used; expected an address like"),
        ("https://x", {"API_KEY": "s3cr3t\n\tx"}, "OPENSEARCH_API_KEY contains control or non-ASCII characters"),
        ("https://x", AWS | {"AWS_SERVICE": "s3"}, "OPENSEARCH_AWS_SERVICE is 's3'; expected es or aoss"),
        ("https://x", AWS, "no AWS credentials were found; expected AWS_ACCESS_KEY_ID"),
        ("http://x", {"CA": "ca.pem"}, "OPENSEARCH_CA set, but http://x is not an https:// address"),
        ("https://x", {"CA": "no.pem"}, "OPENSEARCH_CA=no.pem cannot be used: .*No such file"),
        ("https://x", {"CA": "empty.pem"}, "OPENSEARCH_CA=empty.pem cannot be used: .*Expected a file in PEM format"),
        ("https://x", {"CERT": "locked.pem"}, "OPENSEARCH_CERT=locked.pem cannot be used: .*without a passphrase"),
    ],
)
def test_contradictory_settings_are_refused(monkeypatch, tmp_path, url, variables, message):
    """Before anything is sent, the message says what is wrong with the settings, and shows no secret."""
    monkeypatch.chdir(tmp_path)
    Path("empty.pem").touch()
    write_locked_certificate(Path("locked.pem"))
    for name in [name for name in os.environ if name.startswith(("AWS_", "OPENSEARCH_"))]:
        monkeypatch.delenv(name)
    for name, value in {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path), "OPENSEARCH_URL": url}.items():
        monkeypatch.setenv(name, value)
    for name, value in variables.items():
        monkeypatch.setenv(f"OPENSEARCH_{name}", value)
    with pytest.raises(ClusterError, match=message) as raised:
        connect()
    assert "s3cr3t" not in str(raised.value)


def write_locked_certificate(path):
    """Write a certificate whose key has a passphrase."""
    leaf = trustme.CA().issue_cert("shop.example")
    key = load_pem_private_key(leaf.private_key_pem.bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"s3cr3t"))
    path.write_bytes(locked + leaf.cert_chain_pems[0].bytes())


def test_aws_needs_an_extra(monkeypatch):
    """If boto3 is missing, the message names the extra that provides it."""
    monkeypatch.setenv("OPENSEARCH_URL", "https://x")
    monkeypatch.setenv("OPENSEARCH_AWS_REGION", "eu-central-1")
    monkeypatch.setattr("anthem_core.errors.find_spec", lambda _: None)
    with pytest.raises(ExtraError, match=r"boto3 not found.*pip install '\.\[aws\]'"):
        connect()


@pytest.mark.parametrize(
    ("variables", "header"),
    [
        ({"API_KEY": "os_abc"}, "ApiKey os_abc"),
        ({"API_KEY": "Bearer a.b.c\n"}, "Bearer a.b.c"),
        ({"USER": "shop", "PASSWORD": "ä:łó"}, "Basic " + b64encode("shop:ä:łó".encode()).decode()),
        ({"AWS_REGION": "eu-central-1", "AWS_SERVICE": "aoss"}, "AWS4-HMAC-SHA256 Credential=AKID/"),
    ],
)
def test_the_authorization_header(monkeypatch, variables, header):
    """A key is sent as `ApiKey` unless it has a scheme, a password as UTF-8, a signature with its service."""
    for name, value in {"ACCESS_KEY_ID": "AKID", "SECRET_ACCESS_KEY": "s3cr3t", "SESSION_TOKEN": "token"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with fixed_response(200, {}) as (url, headers):
        monkeypatch.setenv("OPENSEARCH_URL", url)
        for name, value in variables.items():
            monkeypatch.setenv(f"OPENSEARCH_{name}", value)
        with connect() as client:
            client.info()
            assert header.strip() not in repr(client.transport.kwargs)
    assert headers[0]["authorization"].startswith(header)
    assert (headers[0].get("x-amz-security-token") == "token") == ("AWS_SERVICE" in variables)
    assert ("/eu-central-1/aoss/aws4_request" in headers[0]["authorization"]) == ("AWS_SERVICE" in variables)


@pytest.mark.parametrize("name", [name for name in PERMISSIONS if name.count(" ") == 1])
def test_a_forbidden_request_is_explained_with_its_permissions(name):
    """A request for any index or script is found in the table, and its permissions are in the message."""
    method, path = name.split()
    path = path.replace("INDEX", "products*")
    assert match_request(method, path) == name
    assert match_request(method, f"{path}/more" if path != "/" else path) == name
    assert all(permission in permission_advice(method, path) for permission in PERMISSIONS[name])
    assert match_request("PATCH", path) is None


@pytest.mark.parametrize("credentials", [True, False])
def test_credentials_are_sent_only_where_the_user_wants(monkeypatch, credentials):
    """A URL given by code gets no credentials from the environment; one that the user named does."""
    monkeypatch.setenv("OPENSEARCH_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("OPENSEARCH_USER", "shop")
    monkeypatch.setenv("OPENSEARCH_PASSWORD", "secret")
    with fixed_response(200, {}) as (url, headers), connect(url, credentials=credentials) as client:
        client.info()
    assert ("authorization" in headers[0]) == credentials


@pytest.mark.parametrize("credentials", [True, False])
def test_the_local_node_gets_no_credentials(monkeypatch, credentials):
    """Without a named cluster, no credentials are sent to the local node, and no CA is read."""
    monkeypatch.delenv("OPENSEARCH_URL", raising=False)
    monkeypatch.setenv("OPENSEARCH_USER", "shop")
    monkeypatch.setenv("OPENSEARCH_PASSWORD", "secret")
    monkeypatch.setenv("OPENSEARCH_CA", "/no/such/file.pem")
    with fixed_response(200, {}) as (url, headers):
        monkeypatch.setattr(connection, "_local_node_url", lambda: url)
        with connect(credentials=credentials) as client:
            client.info()
    assert "authorization" not in headers[0]


def test_a_missing_home_folder_is_reported(monkeypatch):
    """If the user has no home folder for a local node, the message says which variable to set."""
    for name in ("OPENSEARCH_URL", "ANTHEM_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.geteuid", lambda: 4242)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    with pytest.raises(NodeError, match=r"user 4242 has no home folder\. Set ANTHEM_CACHE"):
        connect()


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        ({"error": {"reason": "outer", "caused_by": {"reason": "inner"}}}, "inner"),
        (
            {
                "error": {
                    "reason": "all",
                    "failed_shards": [{"reason": {"reason": "shard", "caused_by": {"reason": "deep"}}}],
                }
            },
            "deep",
        ),
        ({"error": {"root_cause": [{"reason": "root"}]}}, "root"),
        ({"error": "just words"}, "just words"),
        ("not JSON", "kind"),
        ({"error": {"type": "odd"}}, "odd"),
    ],
)
def test_the_innermost_reason_is_given(info, reason):
    """The innermost reason of an error is reported; an error without a reason is shown unchanged."""
    assert reason in error_reason(TransportError(400, "kind", info))


@pytest.mark.node
def test_a_missing_index_is_explained(client, index):
    """The error of a real node about a missing index names the index."""
    with pytest.raises(ClusterError, match=rf"Not found \(404\): no such index \[{index}\]"), cluster_errors():
        client.search(index=index)
