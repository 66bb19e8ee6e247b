"""What reranking may cost: time-outs, a budget, a breaker, and what a cache saves."""

import time
from contextlib import closing

import pytest
import small_shop
from hypothesis import given
from hypothesis import strategies as st
from opensearchpy import OpenSearch
from opensearchpy.exceptions import ConnectionError as NoConnection
from opensearchpy.exceptions import ConnectionTimeout, RequestError
from small_shop import match, slow_for

from anthem_plugin.client import AnthemClient
from anthem_plugin.rewriter import body
from anthem_plugin.search.circuit_breaker import CircuitBreaker
from anthem_plugin.search.request import RERANK_TIME_SHARE, RerankSkipped, SearchRequest

pytestmark = pytest.mark.node


index, bare = small_shop.index, small_shop.bare


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


@pytest.mark.parametrize("mode", ["cluster", "client", "filter"])
def test_several_slow_requests_leave_the_plain_search_its_time(cluster, encoder, index, mode):
    """However many requests a mode needs, together they end in time for a plain search that takes as long as each."""
    with (
        slow_for(b"query", cluster, 0.5) as url,
        closing(OpenSearch(hosts=[url], timeout=1.5, max_retries=0)) as hasty,
    ):
        found = AnthemClient(hasty, encoder, text_fields=()).search(index, match("fire tv"), mode=mode)
    assert found["hits"]["hits"]


@given(st.floats(0.1, 60), st.floats(0, 1))
def test_the_share_of_reranking_is_one_for_all_its_requests(timeout, gone):
    """No request that reranks may run beyond the share; when it is over none is sent, and the plain search may be."""
    request = SearchRequest(None, {}, {}, timeout, started=time.perf_counter() - gone * timeout)
    assert request.limit()["request_timeout"] <= max(0.001, (1 - gone) * timeout)
    if gone > RERANK_TIME_SHARE:
        with pytest.raises(RerankSkipped, match="kept for the plain search"):
            request.limit(RERANK_TIME_SHARE)
    elif gone < RERANK_TIME_SHARE - 0.01:
        assert request.limit(RERANK_TIME_SHARE)["request_timeout"] <= (RERANK_TIME_SHARE - gone) * timeout


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
    slow = anthem._reranker._in_client.attention.scores
    anthem._reranker._in_client.attention.scores = lambda *asked: (time.sleep(1.1), slow(*asked))[1]
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
    anthem = AnthemClient(client, encoder, breaker=CircuitBreaker(failures=2, pause=10, clock=lambda: now[0]))
    with monkeypatch.context() as broken:
        broken.setattr(body, "score_script", lambda *_: {"source": "1 / 0"})
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
    breaker = CircuitBreaker(failures=1, pause=10, clock=lambda: now[0])
    breaker.failed()
    now[0] = 10.5
    assert breaker.refusal() is None
    assert breaker.refusal() == "reranking failed 1 times in a row; it is tried again in 10 s"
    now[0] = 21
    assert breaker.refusal() is None


def test_the_callers_own_errors_do_not_open_the_breaker(client, encoder, index):
    """A body that OpenSearch refuses as it stands says nothing about reranking; a cluster that is away does."""
    anthem = AnthemClient(client, encoder, breaker=CircuitBreaker(failures=1))
    with pytest.raises(RequestError):
        anthem.search(index, match("fire tv") | {"aggs": 5})
    assert anthem.stats()["breaker"] == "closed"
    with closing(OpenSearch(hosts=["http://127.0.0.1:9"], max_retries=0)) as nowhere:
        away = AnthemClient(nowhere, encoder, breaker=CircuitBreaker(failures=1))
        with pytest.raises(NoConnection):
            away.search(index, match("fire tv"))
    assert away.stats()["breaker"] == "open"
