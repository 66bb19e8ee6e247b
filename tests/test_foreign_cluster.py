"""What commands say about what they find behind the URL: Elasticsearch, nothing at all, a closed index; as JSON too."""

import json
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner

from anthem_core.cli import main
from anthem_core.console import CommandError
from anthem_core.errors import ClusterError
from anthem_core.opensearch.connection import cluster_address, connect

INFO = {"name": "node-1", "cluster_name": "shop", "version": {"number": "8.13.0", "build_flavor": "default"},
        "tagline": "You Know, for Search"}  # fmt: skip
SENTENCE = "The cluster is not OpenSearch (Elasticsearch), version 8.13.0; expected OpenSearch 2.19 or newer."
COMMANDS = {
    "ingest": ["ingest", "products"],
    "ingest --slices": ["ingest", "products", "--slices", "2"],
    "ingest --corpus": ["ingest", "products", "--corpus", "{corpus}"],
    "remove": ["remove", "products", "--yes"],
    "search": ["search", "products", "red lamp"],
    "search --rerank client": ["search", "products", "red lamp", "--rerank", "client"],
}


class Elasticsearch8(BaseHTTPRequestHandler):
    """Answers as Elasticsearch 8 does: its name in a header, an index `products`, 400 and 404 for what it lacks."""

    allows_info = True
    info: dict = INFO
    header = "X-elastic-product"
    requests: list = []  # noqa: RUF012 (one server per test)

    def do_GET(self):
        """Answer a request of any method."""
        length = int(self.headers.get("content-length") or 0)
        self.rfile.read(length)
        path = self.path.partition("?")[0]
        self.requests.append((self.command, path))
        if path == "/":
            self.answer(*((200, self.info) if self.allows_info else (401, {"error": {"type": "security_exception"}})))
        elif path.startswith("/products") and self.command in ("GET", "HEAD"):
            self.answer(200, {"products": {"aliases": {}, "settings": {"index": {}}, "mappings": {"properties": {}}}})
        elif path.endswith("_search"):
            self.answer(200, {"took": 1, "timed_out": False, "hits": {"total": {"value": 0}, "hits": []}})
        else:
            self.answer(400, {"error": {"type": "illegal_argument_exception", "reason": "no handler"}, "status": 400})

    do_POST = do_PUT = do_DELETE = do_HEAD = do_GET  # noqa: N815 (names of http.server)

    def answer(self, status, body):
        """Send a response."""
        content = json.dumps(body).encode()
        self.send_response(status)
        if self.header:
            self.send_header(self.header, "Elasticsearch")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_):
        """Stay quiet."""


@contextmanager
def serve(**attributes):
    """A server of this kind; yields its address and the requests it gets."""
    handler = type("Handler", (Elasticsearch8,), {"requests": [], **attributes})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", handler.requests
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Function that runs a command on a cluster in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "corpus.jsonl").write_text('{"_id": "1", "title": "red lamp"}\n')

    def call(words, url, *options):
        return CliRunner().invoke(
            main, [*(word.format(corpus="corpus.jsonl") for word in words), "--url", url, *options]
        )

    return call


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("allows_info", [True, False])
def test_every_command_names_elasticsearch(run, name, allows_info):
    """Elasticsearch behind the URL is named by every command, whether or not it lets one ask; nothing is written."""
    with serve(allows_info=allows_info) as (url, requests):
        result = run(COMMANDS[name], url)
        assert result.exit_code == 6, result.output
        assert SENTENCE if allows_info else "The cluster is Elasticsearch; expected OpenSearch" in result.stderr
        assert "--url" in result.stderr
        assert result.stdout == ""
        writes = {method for method, path in requests if not path.endswith(("_search", "_count"))}
        assert writes <= {"GET", "HEAD"}


OLD_INFO = [
    INFO | {"version": {"number": "7.10.2", "build_flavor": "oss"}},
    {"version": {"number": "5.6.16"}, "tagline": "You Know, for Search"},
]


@pytest.mark.parametrize("info", OLD_INFO, ids=["7.10.2", "5.6.16"])
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_names_an_old_elasticsearch(run, info, name):
    """Before 7.14 Elasticsearch has no header of its own: it is asked what it is, and nothing is written either."""
    with serve(info=info, header=None) as (url, requests):
        result = run(COMMANDS[name], url)
    assert result.exit_code == 6, result.output
    assert SENTENCE.replace("8.13.0", info["version"]["number"]) in result.stderr
    assert {method for method, path in requests if not path.endswith(("_search", "_count"))} <= {"GET", "HEAD"}


@pytest.mark.parametrize("tagline", ["The OpenSearch Project: https://opensearch.org/", None])
@pytest.mark.parametrize("header", [None, "X-OpenSearch-Version"])
def test_another_cluster_is_asked_once_at_most(tagline, header):
    """What is not Elasticsearch, or does not say what it is, is searched."""
    info = {"version": {"number": "2.11.0", "distribution": "opensearch" if tagline else None}, "tagline": tagline}
    with serve(info=info, header=header) as (url, requests), connect(url) as client:
        for _ in range(3):
            client.search(index="products")
            assert client.indices.exists(index="products")
    assert [path for _, path in requests].count("/") == (header is None)


def test_doctor_names_elasticsearch(run):
    """`anthem doctor` says the same in its finding about the version."""
    with serve() as (url, _):
        result = run(["doctor", "products"], url, "--json")
    assert result.exit_code == 1, result.stderr
    finding = next(finding for finding in json.loads(result.stdout)["findings"] if finding["check"] == "version")
    assert finding["level"] == "fault"
    assert f"The cluster is {finding['found'].removeprefix('the cluster is ')}" in SENTENCE


@pytest.mark.parametrize("call", [
    lambda client: client.search(index="products"),
    lambda client: client.indices.exists(index="products"),
    lambda client: client.get(index="none", id="1"),
    lambda client: client.put_script(id="x", body={}),
    lambda client: client.bulk(body=[{"index": {"_index": "x"}}, {}]),
])  # fmt: skip
def test_every_request_names_elasticsearch(call):
    """Whatever Elasticsearch answers to a request, a result or an error, the client names it."""
    with serve() as (url, _), connect(url) as client:
        with pytest.raises(ClusterError) as caught:
            call(client)
        assert str(caught.value).startswith(SENTENCE)
        assert client.info() == INFO


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_every_command_says_that_nothing_answers(run, name, options):
    """An address at which nothing listens ends every command with exit code 6, the address, and JSON if asked for."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        result = run(COMMANDS[name], url, *options)
    assert result.exit_code == 6, result.output
    assert result.stdout == ""
    assert url in result.stderr
    assert "does not answer" in result.stderr
    if options:
        error = json.loads(result.stderr.splitlines()[-1])
        assert (error["kind"], error["exit_code"]) == ("ClusterError", 6)


@pytest.mark.node
@pytest.mark.parametrize("name", [name for name in COMMANDS if "client" not in name])
def test_every_command_says_that_an_index_is_closed(client, cluster, index, run, name):
    """A closed index is an error with exit code 6 that says how to open it, as `anthem doctor` does."""
    client.index(index=index, id="1", body={"title": "red lamp"}, refresh=True)
    client.indices.close(index=index)
    result = run([word.replace("products", index) for word in COMMANDS[name]], cluster, "--json")
    assert result.exit_code == 6, result.output
    message = json.loads(result.stderr.splitlines()[-1])["error"]
    assert "closed" in message
    assert "_open" in message
    doctor = run(["doctor", index], cluster, "--json")
    findings = json.loads(doctor.stdout)["findings"]
    assert any(f"POST /{index}/_open" in str(finding) for finding in findings)


@pytest.mark.node
@pytest.mark.parametrize("name", COMMANDS)
def test_commands_that_change_something_name_the_cluster(client, cluster, index, run, monkeypatch, name):
    """`ingest`, `remove` and `search` print the address of the cluster first, without user and password, on stderr."""
    client.index(index=index, id="1", body={"title": "red lamp"}, refresh=True)
    with_user = cluster.replace("//", "//me:secret@")
    result = run([word.replace("products", index) for word in COMMANDS[name]], with_user, "--json")
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines()[0] == f"Cluster: {cluster}"
    assert "secret" not in result.output
    json.loads(result.stdout)
    monkeypatch.setenv("OPENSEARCH_URL", cluster)
    words = [word.replace("products", index).format(corpus="corpus.jsonl") for word in COMMANDS[name]]
    assert CliRunner().invoke(main, words).stderr.startswith(f"Cluster: {cluster}\n")


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://user:pw@h:9200", "http://h:9200"),
        ("https://h", "https://h:443"),
        ("http://b:2, http://a:1", "http://a:1,http://b:2"),
        ("http://h:80/path/", "http://h:80/path"),
        ("localhost:9200", "http://localhost:9200"),
        ("http://[::1]:9200", "http://[::1]:9200"),
    ],
)
def test_an_address_has_no_user(url, address):
    """The address that is printed has scheme, host, port and path, and neither user nor password."""
    with connect(url) as client:
        assert cluster_address(client) == address


def every_command():
    """Words of every command that exists, with arguments that are wrong."""
    return [[name] for name in main.list_commands(None)] + [["node", name] for name in ("start", "stop", "status")]


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_usage_errors_are_json(words):
    """With --json, a usage error of any command is one line of JSON on standard error, with exit code 2."""
    result = CliRunner().invoke(main, [*words, "--json", "--no-such-option"])
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    error = json.loads(line)
    assert error["exit_code"] == 2
    assert "--no-such-option" in error["error"] or "--json" in error["error"]  # a group has no --json


@pytest.mark.parametrize(
    "words",
    [
        ["no-such-command", "--json"],
        ["--no-such-option", "--json"],
        ["--log-level", "loud", "search", "--json"],
        ["search", "--json"],
        ["ingest", "", "--json"],
        ["ingest", "--json", "products", "--rate", "nan"],
        ["ingest", "products", "--slices", "1000000", "--json"],
        ["ingest", "products", "--ann", "--signals", "attention", "--json"],
        ["train", "x", "--output", "y", "--share", "1", "--share", "2", "--json"],
        ["serve", "--private-key", "pyproject.toml", "--json"],
        ["search", "products", "lamp", "--slack", "1", "--json"],
        ["rerank", "--json", "--corpus", "x"],
    ],
    ids=" ".join,
)
def test_every_kind_of_usage_error_is_json(words):
    """Unknown commands and options, missing and wrong values, and options that exclude each other are JSON alike."""
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert json.loads(line).keys() == {"error", "kind", "exit_code"}


@pytest.mark.parametrize(
    ("words", "exit_code"),
    [
        (["rerank", "--corpus", "no", "--queries", "no", "--run", "no", "--output", "no", "--json"], 4),
        (["rerank", "--bundle", "none", "--corpus", "x", "--queries", "x", "--run", "x", "--output", "-", "--json"], 3),
        (["export", "none.pt", "bundle", "--json"], 4),
        (["search", "products", "lamp", "--url", "ftp://x", "--json"], 6),
        (["doctor", "products", "--url", ",", "--json"], 6),
        (["demo", "--data", "/none", "--json"], 4),
        (["serve", "--bundle", "none", "--json"], 3),
        (["node", "start", "--home", "/proc/x", "--json"], 5),
        (["train", "/none", "--output", "/none/x.pt", "--json"], 4),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else None,
)
def test_errors_of_the_work_are_json(tmp_path, monkeypatch, words, exit_code):
    """With --json, an error of every command is a line of JSON at the end of standard error, with its exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENSEARCH_URL", "http://127.0.0.1:9")
    result = CliRunner().invoke(main, words)
    assert result.exit_code == exit_code, result.output
    assert result.stdout == ""
    error = json.loads(result.stderr.splitlines()[-1])
    assert error["exit_code"] == exit_code
    assert error["kind"].endswith("Error")
    assert error["error"]


def test_text_stays_text():
    """Without --json, or with it after `--`, errors are sentences."""
    for words in (["search"], ["export", "--no-such-option"]):
        assert CliRunner().invoke(main, words).stderr.startswith("Usage: ")
    error = CommandError("broken", 1, "AnthemError", as_json=False)
    assert error.format_message() == "broken"
