"""The way to a cluster: settings from the environment, and refusals in plain words, from a server on loopback."""

import json
import os
from base64 import b64encode
from contextlib import contextmanager
from dataclasses import replace
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
from anthem_plugin.search.discovery import adapt_to_release


@contextmanager
def answering(status, body):
    """A server that gives every request the same answer; yields its URL and the headers it was sent."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            """Answer."""
            seen.append({name.lower(): value for name, value in self.headers.items()})
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_args):
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", seen
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        (401, r"refused the sign-in \(401\)\. No user, key or signature was sent: set OPENSEARCH_USER"),
        (403, r"forbids this \(403\): no permissions for \[x\]"),
        (404, r"Not found \(404\): no permissions for \[x\]"),
        (400, r"answered 400: no permissions for \[x\]"),
    ],
)
def test_a_refusal_is_explained(status, wanted):
    """Each status becomes a ClusterError with its reason and what to do."""
    with (
        answering(status, {"error": {"reason": "no permissions for [x]"}, "status": status}) as (url, _),
        connect(url) as client,
        pytest.raises(ClusterError, match=wanted),
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
    """OPENSEARCH_URL is asked where no URL is given, signed in with OPENSEARCH_USER and OPENSEARCH_PASSWORD."""
    with answering(200, {"version": {"number": "3.6.0"}}) as (url, seen):
        monkeypatch.setenv("OPENSEARCH_URL", url)
        monkeypatch.setenv("OPENSEARCH_USER", "shop")
        monkeypatch.setenv("OPENSEARCH_PASSWORD", "secret")
        with connect() as client:
            assert client.info()["version"]["number"] == "3.6.0"
    assert seen[0]["authorization"].startswith("Basic ")


def test_a_url_given_beats_the_environment(monkeypatch):
    """The URL of the call is the one that is asked, without sign-in where no user is named."""
    monkeypatch.delenv("OPENSEARCH_USER", raising=False)
    monkeypatch.setenv("OPENSEARCH_URL", "http://127.0.0.1:9")
    with answering(200, {}) as (url, seen), connect(url) as client:
        client.info()
    assert "authorization" not in seen[0]


def test_of_several_addresses_one_is_enough():
    """Addresses joined by commas are all of one cluster: where one does not answer the next is asked."""
    with answering(200, {}) as (url, seen), connect(f"http://127.0.0.1:9, {url}") as client:
        for _ in range(3):
            client.info()
    assert len(seen) == 3


@pytest.mark.parametrize(
    "url",
    [",", " ", "https://u:s3cr3t@a:9200,https://b:9200", "https://a:9200,https://u:s3cr3t@b:9200",
     "http://a:9200,https://b:9200", "http://admin:12,s3cr3t@host:9200"],
)  # fmt: skip
def test_addresses_that_cannot_be_meant_together(url):
    """None, users of their own, or TLS at some alone: refused before anything is sent, and no password is shown."""
    with pytest.raises(ClusterError, match="wanted: ") as refused:
        connect(url, credentials=True)
    assert "s3cr3t" not in str(refused.value)


@pytest.mark.parametrize(
    ("status", "number", "factor"),
    [(200, "3.6.0", 1.0), (200, "2.19.1", 2.2), (200, "1.3.0", 1.0), (403, "2.19.1", 1.0)],
)
def test_a_bundle_fits_the_scores_of_the_release(bundle, status, number, factor):
    """Before 3.0 half-saturations are those of scores 2.2 times as large; who does not say changes nothing."""
    info = {"version": {"number": number, "distribution": "opensearch"}}
    with answering(status, info) as (url, _), connect(url) as client:
        found = adapt_to_release(client, bundle)
    for signals, fusion in bundle.fusion.items():
        wanted = replace(fusion, half_saturation=fusion.half_saturation * factor)
        assert found.fusion[signals] == wanted


SET = {"USER": "shop", "PASSWORD": "s3cr3t"}
AWS = {"AWS_REGION": "eu-central-1"}


@pytest.mark.parametrize(
    ("url", "found", "wanted"),
    [
        ("https://x", {"USER": "shop"}, "OPENSEARCH_USER is set and OPENSEARCH_PASSWORD is not"),
        ("https://x", {"PASSWORD": "s3cr3t"}, "OPENSEARCH_PASSWORD is set and OPENSEARCH_USER is not"),
        ("https://x", {"KEY": "key.pem"}, "OPENSEARCH_KEY is set and OPENSEARCH_CERT is not"),
        ("https://x", {"AWS_SERVICE": "es"}, "OPENSEARCH_AWS_SERVICE is set and OPENSEARCH_AWS_REGION is not"),
        ("https://x", SET | {"API_KEY": "s3cr3t"}, "OPENSEARCH_USER and OPENSEARCH_API_KEY are set; one way"),
        ("https://x", SET | AWS, "OPENSEARCH_USER and OPENSEARCH_AWS_REGION are set; one way"),
        ("https://a:s3cr3t@x", SET, "OPENSEARCH_USER and a user in the address are set; one way"),
        ("https://s3cr3t@x", {}, r"address https://…@x names a user and no password"),
        ("https://a:s3cr3t/@x:y", {}, "The address cannot be used; wanted: an address like"),
        ("https://x", {"API_KEY": "s3cr3t\n\tx"}, "OPENSEARCH_API_KEY holds characters that no key has"),
        ("https://x", AWS | {"AWS_SERVICE": "s3"}, "OPENSEARCH_AWS_SERVICE is 's3'; wanted: es or aoss"),
        ("https://x", AWS, "there are no AWS credentials; wanted: AWS_ACCESS_KEY_ID"),
        ("http://x", {"CA": "ca.pem"}, "OPENSEARCH_CA set, and http://x is no https:// address"),
        ("https://x", {"CA": "no.pem"}, "OPENSEARCH_CA=no.pem cannot be used: .*No such file"),
        ("https://x", {"CA": "empty.pem"}, "OPENSEARCH_CA=empty.pem cannot be used: .*Wanted: a file in PEM format"),
        ("https://x", {"CERT": "locked.pem"}, "OPENSEARCH_CERT=locked.pem cannot be used: .*without a passphrase"),
    ],
)
def test_settings_that_contradict_each_other(monkeypatch, tmp_path, url, found, wanted):
    """Before anything is sent the message says what is wrong with the settings, and never shows a secret."""
    monkeypatch.chdir(tmp_path)
    Path("empty.pem").touch()
    lock(Path("locked.pem"))
    for name in [name for name in os.environ if name.startswith(("AWS_", "OPENSEARCH_"))]:
        monkeypatch.delenv(name)
    for name, value in {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path), "OPENSEARCH_URL": url}.items():
        monkeypatch.setenv(name, value)
    for name, value in found.items():
        monkeypatch.setenv(f"OPENSEARCH_{name}", value)
    with pytest.raises(ClusterError, match=wanted) as raised:
        connect()
    assert "s3cr3t" not in str(raised.value)


def lock(path):
    """A certificate whose key has a passphrase."""
    leaf = trustme.CA().issue_cert("shop.example")
    key = load_pem_private_key(leaf.private_key_pem.bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"s3cr3t"))
    path.write_bytes(locked + leaf.cert_chain_pems[0].bytes())


def test_aws_needs_an_extra(monkeypatch):
    """Where boto3 is missing the message names the extra that brings it."""
    monkeypatch.setenv("OPENSEARCH_URL", "https://x")
    monkeypatch.setenv("OPENSEARCH_AWS_REGION", "eu-central-1")
    monkeypatch.setattr("anthem_core.errors.find_spec", lambda _: None)
    with pytest.raises(ExtraError, match=r"boto3 not found.*pip install 'anthem-search\[aws\]'"):
        connect()


@pytest.mark.parametrize(
    ("found", "sent"),
    [
        ({"API_KEY": "os_abc"}, "ApiKey os_abc"),
        ({"API_KEY": "Bearer a.b.c\n"}, "Bearer a.b.c"),
        ({"USER": "shop", "PASSWORD": "ä:łó"}, "Basic " + b64encode("shop:ä:łó".encode()).decode()),
        ({"AWS_REGION": "eu-central-1", "AWS_SERVICE": "aoss"}, "AWS4-HMAC-SHA256 Credential=AKID/"),
    ],
)
def test_the_header_that_signs_in(monkeypatch, found, sent):
    """A key goes as `ApiKey` unless it names its scheme, a password in UTF-8, a signature with its service."""
    for name, value in {"ACCESS_KEY_ID": "AKID", "SECRET_ACCESS_KEY": "s3cr3t", "SESSION_TOKEN": "token"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with answering(200, {}) as (url, seen):
        monkeypatch.setenv("OPENSEARCH_URL", url)
        for name, value in found.items():
            monkeypatch.setenv(f"OPENSEARCH_{name}", value)
        with connect() as client:
            client.info()
            assert sent.strip() not in repr(client.transport.kwargs)
    assert seen[0]["authorization"].startswith(sent)
    assert (seen[0].get("x-amz-security-token") == "token") == ("AWS_SERVICE" in found)
    assert ("/eu-central-1/aoss/aws4_request" in seen[0]["authorization"]) == ("AWS_SERVICE" in found)


@pytest.mark.parametrize("name", [name for name in PERMISSIONS if name.count(" ") == 1])
def test_every_forbidden_request_is_named_with_what_it_takes(name):
    """Whatever index or script a request is about, it is found in the table, and its permissions are in the message."""
    method, path = name.split()
    path = path.replace("INDEX", "products*")
    assert match_request(method, path) == name
    assert match_request(method, f"{path}/more" if path != "/" else path) == name
    assert all(permission in permission_advice(method, path) for permission in PERMISSIONS[name])
    assert match_request("PATCH", path) is None


@pytest.mark.parametrize("credentials", [True, False])
def test_credentials_go_where_the_user_sends_them(monkeypatch, credentials):
    """A URL given by code gets no sign-in, though the environment holds one; a URL the user named does."""
    monkeypatch.setenv("OPENSEARCH_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("OPENSEARCH_USER", "shop")
    monkeypatch.setenv("OPENSEARCH_PASSWORD", "secret")
    with answering(200, {}) as (url, seen), connect(url, credentials=credentials) as client:
        client.info()
    assert ("authorization" in seen[0]) == credentials


@pytest.mark.parametrize("credentials", [True, False])
def test_the_local_node_gets_no_credentials(monkeypatch, credentials):
    """Without a cluster named, no sign-in is sent to whoever listens on this machine, and no CA is read."""
    monkeypatch.delenv("OPENSEARCH_URL", raising=False)
    monkeypatch.setenv("OPENSEARCH_USER", "shop")
    monkeypatch.setenv("OPENSEARCH_PASSWORD", "secret")
    monkeypatch.setenv("OPENSEARCH_CA", "/no/such/file.pem")
    with answering(200, {}) as (url, seen):
        monkeypatch.setattr(connection, "_local_node", lambda: url)
        with connect(credentials=credentials) as client:
            client.info()
    assert "authorization" not in seen[0]


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch):
    """Where no local node can be, for want of a home, the message says which variable to set."""
    for name in ("OPENSEARCH_URL", "ANTHEM_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.geteuid", lambda: 4242)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    with pytest.raises(NodeError, match=r"user 4242 has no home folder; set ANTHEM_CACHE"):
        connect()


@pytest.mark.parametrize(
    ("info", "wanted"),
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
        ("no JSON", "kind"),
        ({"error": {"type": "odd"}}, "odd"),
    ],
)
def test_the_innermost_reason_is_given(info, wanted):
    """The reason deepest in the answer is the one that helps; an answer without one is shown as it is."""
    assert wanted in error_reason(TransportError(400, "kind", info))


@pytest.mark.node
def test_a_real_cluster_refuses_in_plain_words(client, index):
    """A real node that lacks an index says so, and which."""
    with pytest.raises(ClusterError, match=rf"Not found \(404\): no such index \[{index}\]"), cluster_errors():
        client.search(index=index)
