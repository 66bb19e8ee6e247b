"""Limits on the cost of reranking: time-outs, the time budget, the circuit breaker, and the query cache."""

import time
from contextlib import closing

import pytest
import small_index
from hypothesis import given
from hypothesis import strategies as st
from opensearchpy import OpenSearch
from opensearchpy.exceptions import ConnectionError as NoConnection
from opensearchpy.exceptions import ConnectionTimeout, RequestError
from small_index import match, slow_proxy

from anthem_plugin.client import AnthemClient
from anthem_plugin.options import ClientOptions
from anthem_plugin.rewriter import body
from anthem_plugin.search.circuit_breaker import CircuitBreaker
from anthem_plugin.search.request import RERANK_TIME_SHARE, RerankSkipped, SearchRequest

pytestmark = pytest.mark.node


index, foreign_index = small_index.index, small_index.foreign_index


@pytest.mark.parametrize(("mode", "word"), [("cluster", b'"rescore"'), ("client", b"anthem.vector")])
def test_a_slow_rerank_gives_the_plain_search(cluster, client, encoder, index, mode, word):
    """If only the request that reranks hangs, the plain search still answers within the caller's time-out."""
    plain = client.search(index=index, body=match("fire tv"))
    body = match("fire tv") | ({"_source": ["title"]} if mode == "client" else {})
    with slow_proxy(word, cluster) as url, closing(OpenSearch(hosts=[url], timeout=2)) as impatient:
        response = AnthemClient(impatient, encoder).search(index, body, mode=mode)
    assert [hit["_id"] for hit in response["hits"]["hits"]] == [hit["_id"] for hit in plain["hits"]["hits"]]
    assert not response["anthem"]["reranked"]
    assert "timed out" in response["anthem"]["reason"]


@pytest.mark.parametrize("in_client", [True, False])
def test_the_second_request_stays_within_the_time_out(cluster, encoder, index, in_client):
    """After a request that reranks has timed out, the plain search gets only the rest of the caller's time-out."""
    timeout = 2.0
    options = {} if in_client else {"request_timeout": timeout}
    limits = []

    class RecordingClient(OpenSearch):
        def search(self, **arguments):
            limits.append(arguments["request_timeout"])
            return super().search(**arguments)

    with (
        slow_proxy(b"query", cluster) as url,
        closing(RecordingClient(hosts=[url], timeout=timeout if in_client else 60)) as impatient,
        pytest.raises(ConnectionTimeout),
    ):
        AnthemClient(impatient, encoder).search(index, match("fire tv"), **options)
    first, second = limits
    assert first <= 0.6 * timeout
    assert second <= timeout - first + 1e-3, "timers may be slightly early"


@pytest.mark.parametrize("mode", ["cluster", "client", "filter"])
def test_several_slow_requests_leave_time_for_the_plain_search(cluster, encoder, index, mode):
    """All requests of a mode together leave enough time for a plain search that takes as long as each of them."""
    with (
        slow_proxy(b"query", cluster, 0.95) as url,
        closing(OpenSearch(hosts=[url], timeout=3, max_retries=0)) as impatient,
    ):
        anthem = AnthemClient(impatient, encoder, ClientOptions(text_fields=()))
        response = anthem.search(index, match("fire tv"), mode=mode)
    assert response["hits"]["hits"]


@given(st.floats(0.1, 60), st.floats(0, 1))
def test_all_requests_that_rerank_share_one_part_of_the_time_out(timeout, used):
    """No request that reranks outlasts the shared part; once it is used up, only the plain search may be sent."""
    request = SearchRequest(None, {}, {}, timeout, started=time.perf_counter() - used * timeout)
    assert request.timeout_option()["request_timeout"] <= max(0.001, (1 - used) * timeout)
    if used > RERANK_TIME_SHARE:
        with pytest.raises(RerankSkipped, match="kept for the plain search"):
            request.timeout_option(RERANK_TIME_SHARE)
    elif used < RERANK_TIME_SHARE - 0.01:
        assert request.timeout_option(RERANK_TIME_SHARE)["request_timeout"] <= (RERANK_TIME_SHARE - used) * timeout


def test_a_query_is_encoded_once(client, encoder, index):
    """The cache keeps the last queries up to its size, and `stats` shows its hits and misses."""
    anthem = AnthemClient(client, encoder, ClientOptions(cache_size=2))
    for query in ("fire", "fire", "tv", "red tv", "fire"):
        anthem.search(index, match(query))
    assert anthem.stats()["cache"] == {"hits": 1, "misses": 4, "size": 2}
    assert anthem.stats()["reranked"] == 5


def test_a_budget_that_encoding_exceeds_gives_the_plain_search(client, encoder, index):
    """If encoding alone exceeds the time budget, the search is not reranked, and the reason names the budget."""
    response = AnthemClient(client, encoder, ClientOptions(budget_ms=1e-6)).search(index, match("fire tv"))
    assert response["hits"] == client.search(index=index, body=match("fire tv"))["hits"]
    assert "the budget is 1e-06 ms" in response["anthem"]["reason"]


def test_attention_is_left_out_if_it_takes_too_long(client, attention_encoder, foreign_index):
    """Over budget the client ranks without attention; if no hit has a vector either, the search is plain."""
    anthem = AnthemClient(client, attention_encoder, ClientOptions(budget_ms=1000))
    encode_titles = anthem._flow._attention.encode_titles
    anthem._flow._attention.encode_titles = lambda titles: (time.sleep(1.1), encode_titles(titles))[1]
    response = anthem.search(foreign_index, match("fire tv"), mode="client")
    assert response["hits"] == client.search(index=foreign_index, body=match("fire tv"))["hits"]
    assert "the budget is 1000 ms" in response["anthem"]["reason"]


@pytest.mark.parametrize("mode", ["cluster", "client"])
def test_a_table_that_takes_too_long_is_left_out(client, encoder, index, mode):
    """If encoding the query for attention exceeds the budget, the search is ranked by the other signals."""
    anthem = AnthemClient(client, encoder, ClientOptions(budget_ms=1000))
    assert anthem.search(index, match("fire tv"), mode=mode)["anthem"]["signals"][2:] == ["attention"]
    encode_table = anthem._flow._encode_table
    anthem._flow._encode_table = lambda text: (time.sleep(1.1), encode_table(text))[1]
    response = anthem.search(index, match("tv"), mode=mode)
    assert (response["anthem"]["reranked"], response["anthem"]["signals"]) == (True, ["lexical", "containment"])


def test_a_sufficient_budget_changes_nothing(client, attention_encoder, index):
    """A search with a sufficient time budget ranks like one without a budget."""
    clients = [AnthemClient(client, attention_encoder, ClientOptions(budget_ms=budget)) for budget in (None, 60_000)]
    unlimited, limited = (anthem.search(index, match("tv"), mode="client") for anthem in clients)
    assert unlimited["hits"] == limited["hits"]


def test_the_breaker_opens_and_closes(client, encoder, index, monkeypatch):
    """After failures in a row, searches are plain; after the pause, one success closes the breaker."""
    now = [0.0]
    breaker = CircuitBreaker(failures=2, pause=10, clock=lambda: now[0])
    anthem = AnthemClient(client, encoder, ClientOptions(circuit_breaker=breaker))
    with monkeypatch.context() as broken:
        broken.setattr(body, "build_score_script", lambda *_: {"source": "1 / 0"})
        reasons = [anthem.search(index, match("fire tv"))["anthem"]["reason"] for _ in range(3)]
    assert "failed 2 times in a row; the next try is in 10 s" in reasons[2]
    counted = {name: anthem.stats()[name] for name in ("reranked", "skipped", "failed", "breaker")}
    assert counted == {"reranked": 0, "skipped": 3, "failed": 2, "breaker": "open"}
    now[0] = 9.9
    assert not anthem.search(index, match("fire tv"))["anthem"]["reranked"]
    now[0] = 10.1
    assert anthem.search(index, match("fire tv"))["anthem"]["reranked"]
    assert anthem.stats()["breaker"] == "closed"


def test_one_search_tries_and_the_others_wait():
    """After the pause one search may try; until it succeeds, the others wait for another pause."""
    now = [0.0]
    breaker = CircuitBreaker(failures=1, pause=10, clock=lambda: now[0])
    breaker.record_failure()
    now[0] = 10.5
    assert breaker.refusal() is None
    assert breaker.refusal() == "reranking failed 1 times in a row; the next try is in 10 s"
    now[0] = 21
    assert breaker.refusal() is None


def test_the_callers_own_errors_do_not_open_the_breaker(client, encoder, index):
    """A body that OpenSearch itself rejects does not count as a failure of reranking; an unreachable cluster does."""
    anthem = AnthemClient(client, encoder, ClientOptions(circuit_breaker=CircuitBreaker(failures=1)))
    with pytest.raises(RequestError):
        anthem.search(index, match("fire tv") | {"aggs": 5})
    assert anthem.stats()["breaker"] == "closed"
    with closing(OpenSearch(hosts=["http://127.0.0.1:9"], max_retries=0)) as unreachable:
        anthem = AnthemClient(unreachable, encoder, ClientOptions(circuit_breaker=CircuitBreaker(failures=1)))
        with pytest.raises(NoConnection):
            anthem.search(index, match("fire tv"))
    assert anthem.stats()["breaker"] == "open"
