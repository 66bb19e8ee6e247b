"""The client under stress: time-outs, options that hide, indices without vectors, titles that garble a terminal."""

import json
import urllib.request
import uuid
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest
from click.testing import CliRunner
from opensearchpy import OpenSearch
from opensearchpy.exceptions import ConnectionTimeout

from anthem_core.fields import Fields
from anthem_plugin.cli import search
from anthem_plugin.client import AnthemClient

pytestmark = pytest.mark.node

TITLES = ["fire tv stick", "fire pit", "tv table", "red tv", "fire tv cube", "garden hose"]
ODD = "fire tv \\u001b[2J x\\ud800y"  # as it stands in the JSON of a product


def match(query):
    """Body of a plain search."""
    return {"query": {"match": {"title": {"query": query}}}}


@pytest.fixture(scope="module")
def index(client, encoder):
    """A small shop on one shard, with vectors."""
    yield from _shop(client, [Fields().document(p, encoder.bundle.model, "") for p in encoder.products(TITLES)])


@pytest.fixture(scope="module")
def bare(client, encoder):
    """The same shop, whose vectors are of another model."""
    yield from _shop(client, [Fields().document(p, "other", "") for p in encoder.products(TITLES)])


def _shop(client, documents):
    name = f"test-client-{uuid.uuid4().hex}"
    mappings = Fields().mapping(len(documents[0]["anthem"]["vector"]) - 1)
    client.indices.create(index=name, body={"settings": {"number_of_shards": 1}, "mappings": mappings})
    for number, (title, document) in enumerate(zip(TITLES, documents, strict=True)):
        client.index(index=name, id=str(number), body={"title": title, **document})
    client.indices.refresh(index=name)
    yield name
    client.indices.delete(index=name)


@contextmanager
def slow_for(word, cluster):
    """A proxy that lets requests whose body holds a word wait until it is closed; yields its URL."""
    closing_time = Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            """Pass a request on, or let it wait."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if word in body:
                closing_time.wait(60)
                return
            headers = {"Content-Type": "application/json"}
            asked = urllib.request.Request(cluster + self.path, body, headers, method=self.command)
            with urllib.request.urlopen(asked) as answer:
                content = answer.read()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            closing_time.set()
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("mode", "word"), [("cluster", b'"rescore"'), ("client", b"anthem.vector")])
def test_a_slow_rerank_costs_the_reranking_alone(cluster, client, encoder, index, mode, word):
    """Where only the request that reranks hangs, the plain search still answers within the caller's time-out."""
    plain = client.search(index=index, body=match("fire tv"))
    asked = match("fire tv") | ({"_source": ["title"]} if mode == "client" else {})
    with slow_for(word, cluster) as url, closing(OpenSearch(hosts=[url], timeout=2)) as hasty:
        left = AnthemClient(hasty, encoder).search(index, asked, mode=mode)
    assert [hit["_id"] for hit in left["hits"]["hits"]] == [hit["_id"] for hit in plain["hits"]["hits"]]
    assert not left["anthem"]["reranked"]
    assert "timed out" in left["anthem"]["reason"]


@pytest.mark.parametrize("own", [True, False])
def test_the_second_request_keeps_within_the_callers_time_out(cluster, encoder, index, own):
    """A search that takes too long is timed out once: the second request gets only what the first left of the time."""
    options = {} if own else {"request_timeout": 0.2}
    limits = []

    class Noted(OpenSearch):
        def search(self, **asked):
            limits.append(asked["request_timeout"])
            return super().search(**asked)

    with (
        slow_for(b"query", cluster) as url,
        closing(Noted(hosts=[url], timeout=0.2 if own else 60)) as hasty,
        pytest.raises(ConnectionTimeout),
    ):
        AnthemClient(hasty, encoder).search(index, match("fire tv"), **options)
    first, second = limits
    assert first <= 0.6 * 0.2
    assert second <= 0.2 - first + 1e-3, "a timer may ring a little early"


@pytest.mark.parametrize("mode", ["cluster", "client"])
@pytest.mark.parametrize("paths", ["hits", "hits.hits._id,hits.hits._score"])
def test_a_filter_that_hides_what_is_needed_is_said_so(client, encoder, index, mode, paths):
    """An option that takes parts of the response away costs the reranking, and the reason is a sentence naming it."""
    left = AnthemClient(client, encoder).search(index, match("fire tv"), mode=mode, filter_path=paths)
    assert left["hits"] == client.search(index=index, body=match("fire tv"), filter_path=paths)["hits"]
    assert not left["anthem"]["reranked"]
    assert left["anthem"]["reason"].startswith("`filter_path` ")


def test_a_filter_that_keeps_the_shards_is_reranked(client, encoder, index):
    """With `_shards` in it a filter of the response does no harm."""
    found = AnthemClient(client, encoder).search(index, match("fire tv"), filter_path="_shards,hits.hits._id")
    assert found["anthem"]["reranked"]


@pytest.mark.parametrize("mode", ["cluster", "client"])
def test_a_rescore_of_the_callers_own(client, encoder, index, mode):
    """Cluster mode goes along with an existing rescore; client mode leaves the search as it is, and says why."""
    own = {"window_size": 5, "query": {"rescore_query": {"match": {"title": "table"}}, "rescore_query_weight": 9}}
    body = match("tv") | {"rescore": own}
    found = AnthemClient(client, encoder).search(index, body, mode=mode)
    assert found["anthem"]["reranked"] == (mode == "cluster")
    if mode == "client":
        assert "`rescore`" in found["anthem"]["reason"]
        assert found["hits"] == client.search(index=index, body=body)["hits"]


def test_without_vectors_the_client_does_not_claim_to_rerank(client, encoder, bare):
    """Where no hit has a vector of this model or a text, client mode gives the plain page and names the cure."""
    body = match("fire tv") | {"from": 1, "size": 3, "_source": ["title"]}
    left = AnthemClient(client, encoder, text_fields=()).search(bare, body, mode="client")
    assert left["hits"] == client.search(index=bare, body=body)["hits"]
    assert not left["anthem"]["reranked"]
    assert f"no product among the hits has a vector of this model: anthem ingest {bare}" in left["anthem"]["reason"]


@pytest.fixture
def run(cluster, encoder):
    """Runs `anthem search`."""
    return lambda *asked: CliRunner().invoke(
        search, [*asked, "--bundle", str(encoder.bundle.path), "--url", cluster], catch_exceptions=False
    )


@pytest.mark.parametrize("explaining", [[], ["--explain"]])
def test_the_command_notes_that_there_are_no_vectors(run, index, bare, explaining):
    """In cluster mode `anthem search` says that no hit has a vector, and says nothing where one has."""
    text, silent = (run(name, "fire tv", *explaining).stdout for name in (bare, index))
    assert f"Note: no product among the hits has a vector of this model: anthem ingest {bare}" in text
    assert "Note" not in silent
    notes = [json.loads(run(name, "fire tv", "--json", *explaining).stdout)["note"] for name in (bare, index)]
    assert [note is None for note in notes] == [False, True]


def test_titles_that_garble_are_shown_harmlessly(run, cluster, client, index):
    """A stored title with an escape sequence and half a character is one plain line, and sound JSON."""
    body = f'{{"title": "{ODD}"}}'.encode()
    path, headers = f"{cluster}/{index}/_doc/odd?refresh=true", {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(path, body, headers, method="PUT")):
        text, found = run(index, "fire tv").stdout, json.loads(run(index, "fire tv", "--json").stdout)
    client.delete(index=index, id="odd", refresh=True)
    assert "fire tv [2J xy" in text
    assert "\x1b" not in text
    assert [hit["title"] for hit in found["hits"] if hit["id"] == "odd"] == ["fire tv \x1b[2J x?y"]
