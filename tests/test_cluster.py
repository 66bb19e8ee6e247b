"""The way to a cluster: settings from the environment, and refusals in plain words, from a server on loopback."""

import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from opensearchpy.exceptions import TransportError

from anthem_core import cluster
from anthem_core.cluster import connect, explained, reason
from anthem_core.errors import ClusterError, NodeError


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
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", seen
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        (401, r"refused the sign-in \(401\)\. Set OPENSEARCH_USER"),
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
        explained(),
    ):
        client.indices.get(index="products")


def test_a_cluster_that_does_not_answer():
    """A closed port is a ClusterError that names the address and asks whether the cluster runs."""
    with (
        connect("http://127.0.0.1:9") as client,
        pytest.raises(ClusterError, match=r"does not answer \(http://127\.0\.0\.1:9: .*Is it running"),
        explained(),
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
        monkeypatch.setattr(cluster, "_local_node", lambda: url)
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
    assert wanted in reason(TransportError(400, "kind", info))


@pytest.mark.node
def test_a_real_cluster_refuses_in_plain_words(client, index):
    """A real node that lacks an index says so, and which."""
    with pytest.raises(ClusterError, match=rf"Not found \(404\): no such index \[{index}\]"), explained():
        client.search(index=index)
