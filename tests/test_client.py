"""The clients under stress: time-outs, options that hide, indices without vectors, titles that garble a terminal."""

import asyncio
import json
import time
import urllib.request
import uuid
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest
from click.testing import CliRunner
from opensearchpy import AsyncOpenSearch, OpenSearch
from opensearchpy.exceptions import ConnectionError as NoConnection
from opensearchpy.exceptions import ConnectionTimeout, NotFoundError, RequestError

from anthem_core.fields import Fields
from anthem_plugin import course
from anthem_plugin.breaker import Breaker
from anthem_plugin.cli import search
from anthem_plugin.client import AnthemClient, AsyncAnthemClient
from anthem_plugin.course import NO_HITS

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


def test_the_cluster_does_not_claim_to_rerank_without_vectors(client, encoder, bare):
    """Where no product found has a vector of this model, cluster mode gives the plain search and names the cure."""
    left = AnthemClient(client, encoder).search(bare, match("fire tv"))
    assert left["hits"] == client.search(index=bare, body=match("fire tv"))["hits"]
    assert not left["anthem"]["reranked"]
    assert f"anthem ingest {bare}" in left["anthem"]["reason"]


def test_a_page_without_vectors_is_reranked_where_others_have_them(client, encoder, index):
    """That the hits of one page have no vector does not make a search that was reranked a plain one."""
    body = {"query": {"match": {"title": "tv lonely"}}, "size": 1}
    client.index(index=index, id="lonely", body={"title": "lonely tv tv lonely"}, refresh=True)
    pages = [AnthemClient(client, encoder).search(index, body | {"from": start}, window=9) for start in range(5)]
    client.delete(index=index, id="lonely", refresh=True)
    assert "lonely" in [hit["_id"] for page in pages for hit in page["hits"]["hits"]]
    assert all(page["anthem"]["reranked"] for page in pages)


@pytest.mark.parametrize("mode", ["cluster", "client"])
@pytest.mark.parametrize("extra", [{"query": {"match": {"title": "zzzz"}}}, {"from": 500}, {"min_score": 99}])
def test_no_hits_are_not_reranked(client, encoder, index, mode, extra):
    """A page without hits is not called reranked, and totals and aggregations are those of the plain search."""
    body = match("fire tv") | {"aggs": {"all": {"value_count": {"field": "anthem.model"}}}} | extra
    left, plain = AnthemClient(client, encoder).search(index, body, mode=mode), client.search(index=index, body=body)
    assert (left["anthem"]["reranked"], left["anthem"]["reason"]) == (False, NO_HITS)
    assert (left["hits"], left["aggregations"]) == (plain["hits"], plain["aggregations"])


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"docvalue_fields": ["anthem.model"]},
        {"docvalue_fields": [{"field": "anthem.mo*"}]},
        {"fields": ["title"]},
        {"fields": ["anthem.model", "title"]},
        {"stored_fields": "_none_", "docvalue_fields": ["title.raw"]},
        {"stored_fields": ["_id"]},
    ],
)
def test_a_hit_has_the_fields_the_caller_asked_for(client, encoder, index, asked):
    """What tells that a hit has a vector is not left in it, unless the caller asked for it."""
    body = match("fire tv") | asked
    plain, found = client.search(index=index, body=body), AnthemClient(client, encoder).search(index, body)
    assert found["anthem"]["reranked"]
    fields, wanted = ([hit.get("fields") for hit in one["hits"]["hits"]] for one in (found, plain))
    assert sorted(map(str, fields)) == sorted(map(str, wanted))


@pytest.mark.parametrize("mode", ["cluster", "client", "none"])
@pytest.mark.parametrize("query", ["fire tv", "!?"])
def test_the_async_twin_answers_alike(cluster, client, attentive, index, bare, mode, query):
    """Around an `AsyncOpenSearch` a search gives what it gives around an `OpenSearch`, its time aside."""

    async def ask(name):
        async with AsyncOpenSearch(hosts=[cluster]) as opensearch:
            return await AsyncAnthemClient(opensearch, attentive).search(name, match(query), mode=mode)

    def timeless(response):
        return response | {"took": 0, "anthem": response["anthem"] | {"took_ms": 0}}

    for name in (index, bare):
        expected = AnthemClient(client, attentive).search(name, match(query), mode=mode)
        assert timeless(asyncio.run(ask(name))) == timeless(expected)


def test_the_async_twin_survives_and_raises_alike(cluster, encoder, index):
    """A slow rerank costs the reranking alone; an index that is none is the caller's error."""

    async def ask(url, name):
        async with AsyncOpenSearch(hosts=[url], timeout=2) as opensearch:
            return await AsyncAnthemClient(opensearch, encoder).search(name, match("fire tv"))

    with slow_for(b'"rescore"', cluster) as url:
        left = asyncio.run(ask(url, index))
    assert len(left["hits"]["hits"]) == 5
    assert not left["anthem"]["reranked"]
    with pytest.raises(NotFoundError):
        asyncio.run(ask(cluster, "no-such"))


def test_searches_at_once_do_not_mix(cluster, attentive, index):
    """Many awaited searches at a time get each their own answer, and share one cache."""

    async def ask():
        async with AsyncOpenSearch(hosts=[cluster]) as opensearch:
            anthem = AsyncAnthemClient(opensearch, attentive)
            words = ["fire", "tv", "red", "garden"] * 4
            found = await asyncio.gather(*(anthem.search(index, match(word), mode="client") for word in words))
            return words, found, anthem.stats()

    words, found, stats = asyncio.run(ask())
    for word, response in zip(words, found, strict=True):
        assert all(word in hit["_source"]["title"] for hit in response["hits"]["hits"])
    assert stats["reranked"] == 16
    assert stats["cache"]["size"] == 4


def test_a_query_is_encoded_once(client, encoder, index):
    """The cache keeps the last queries, no more than it may, and what it did can be read."""
    anthem = AnthemClient(client, encoder, cache=2)
    for query in ("fire", "fire", "tv", "red", "fire"):
        anthem.search(index, match(query))
    assert anthem.stats()["cache"] == {"hits": 1, "misses": 4, "size": 2}
    assert anthem.stats()["reranked"] == 5


def test_without_time_of_its_own_a_search_is_plain(client, encoder, index):
    """A budget that encoding alone uses up costs the reranking, and the reason names both times."""
    left = AnthemClient(client, encoder, budget_ms=1e-6).search(index, match("fire tv"))
    assert left["hits"] == client.search(index=index, body=match("fire tv"))["hits"]
    assert "the budget is 1e-06 ms" in left["anthem"]["reason"]


def test_attention_is_left_out_where_it_would_take_too_long(client, attentive, bare):
    """Over budget the client ranks without attention; where there are no vectors either, the search is plain."""
    anthem = AnthemClient(client, attentive, budget_ms=1000)
    slow = anthem._reranker._attention.scores
    anthem._reranker._attention.scores = lambda *asked: (time.sleep(1.1), slow(*asked))[1]
    left = anthem.search(bare, match("fire tv"), mode="client")
    assert left["hits"]["hits"] == client.search(index=bare, body=match("fire tv") | {"_source": {
        "excludes": "anthem"}})["hits"]["hits"]  # fmt: skip
    assert "the budget is 1000 ms" in left["anthem"]["reason"]


def test_a_budget_that_suffices_changes_nothing(client, attentive, index):
    """With time enough a search with a budget ranks as one without."""
    found = [AnthemClient(client, attentive, budget_ms=budget).search(index, match("tv"), mode="client")
             for budget in (None, 60_000)]  # fmt: skip
    assert found[0]["hits"] == found[1]["hits"]


def test_the_breaker_opens_and_closes(client, encoder, index, monkeypatch):
    """After failures in a row searches are plain and cost nothing more; after the pause one tries, and all may."""
    now = [0.0]
    anthem = AnthemClient(client, encoder, breaker=Breaker(failures=2, pause=10, clock=lambda: now[0]))
    with monkeypatch.context() as broken:
        broken.setattr(course, "score_script", lambda *_: {"source": "1 / 0"})
        reasons = [anthem.search(index, match("fire tv"))["anthem"]["reason"] for _ in range(3)]
    assert "failed 2 times in a row; it is tried again in 10 s" in reasons[2]
    assert anthem.stats() | {"cache": 0} == {"reranked": 0, "left_alone": 3, "failed": 2, "cache": 0, "breaker": "open"}
    now[0] = 9.9
    assert not anthem.search(index, match("fire tv"))["anthem"]["reranked"]
    now[0] = 10.1
    assert anthem.search(index, match("fire tv"))["anthem"]["reranked"]
    assert anthem.stats()["breaker"] == "closed"


def test_one_search_tries_and_the_others_wait():
    """After the pause one search is let through; where that fails, or never ends, a new pause has begun."""
    now = [0.0]
    breaker = Breaker(failures=1, pause=10, clock=lambda: now[0])
    breaker.failed()
    now[0] = 10.5
    assert breaker.refusal() is None
    assert breaker.refusal() == "reranking failed 1 times in a row; it is tried again in 10 s"
    now[0] = 21
    assert breaker.refusal() is None


def test_the_callers_own_errors_do_not_open_the_breaker(client, encoder, index):
    """A body that OpenSearch refuses as it stands says nothing about reranking; a cluster that is away does."""
    anthem = AnthemClient(client, encoder, breaker=Breaker(failures=1))
    with pytest.raises(RequestError):
        anthem.search(index, match("fire tv") | {"aggs": 5})
    assert anthem.stats()["breaker"] == "closed"
    with closing(OpenSearch(hosts=["http://127.0.0.1:9"], max_retries=0)) as nowhere:
        away = AnthemClient(nowhere, encoder, breaker=Breaker(failures=1))
        with pytest.raises(NoConnection):
            away.search(index, match("fire tv"))
    assert away.stats()["breaker"] == "open"


@pytest.fixture
def run(cluster, encoder):
    """Runs `anthem search`."""
    return lambda *asked: CliRunner().invoke(
        search, ["--bundle", str(encoder.bundle.path), *asked, "--url", cluster], catch_exceptions=False
    )


@pytest.mark.parametrize("explaining", [[], ["--explain"]])
def test_the_command_says_that_there_are_no_vectors(run, index, bare, explaining):
    """Where no hit has a vector `anthem search` shows the plain search and names the cure."""
    text, reranked = (run(name, "fire tv", *explaining).stdout for name in (bare, index))
    assert f"not reranked: no product among the hits has a vector of this model: anthem ingest {bare}" in text
    assert "reranked (cluster)" in reranked
    assert "Note" not in text + reranked


def test_the_command_notes_that_attention_alone_reranked(run, attentive, bare):
    """Reranked without vectors, by attention, is reranked, and the note says what is missing."""
    text = run(bare, "fire tv", "--rerank", "client", "--bundle", str(attentive.bundle.path)).stdout
    assert "reranked (client)" in text
    assert "Note: reranked by attention alone: no product among the hits has a vector" in text


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
