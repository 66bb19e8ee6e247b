"""Load on the search client and the service: correct answers, no errors, proper refusals, and no memory growth."""

import json
import threading
import time

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import load
from anthem_plugin.client import AnthemClient
from anthem_sandbox.catalogue import generate_catalogue
from load_requests import LOAD_INDEX, WrongAnswerError, new_query_requests, search_requests


@pytest.fixture(scope="module")
def results(cluster, encoder, proof, record_figures):
    """Results of every load by name: 64 clients for three minutes each with `--proof`, else 8 clients for 2 s."""
    settings = load.LoadSettings() if proof else load.LoadSettings(clients=8, seconds=2, requests=20)
    dataset = generate_catalogue(products=load.CATALOGUE_SIZE if proof else 600)
    results = [
        *load.load_search_client(cluster, dataset, encoder, settings),
        *load.load_service(cluster, dataset, settings),
    ]
    record_figures("load", **{result.name: vars(result) for result in results})
    return {result.name: result for result in results}


@pytest.mark.node
@pytest.mark.parametrize("name", load.LOAD_NAMES)
def test_answers_under_load_are_correct(results, name):
    """Under load every request gets the same answer as without load, and none is refused."""
    assert results[name].errors == {}
    assert results[name].refused == 0
    assert results[name].answers >= results[name].clients


@pytest.mark.node
def test_requests_over_capacity_are_refused_properly(results):
    """With capacity for an eighth of the clients, some are refused with a time to wait, all others are correct."""
    over_capacity = results[load.FULL_LOAD_NAME]
    assert over_capacity.errors == {}
    assert over_capacity.refused > 0
    assert over_capacity.answers > 0


@pytest.mark.node
def test_memory_does_not_grow(results, proof):
    """In the last of three minutes of load, the memory of the serving process does not grow."""
    if not proof:
        pytest.skip("two seconds are too short to measure memory growth: --proof")
    assert all(results[name].mb_per_minute < load.MAX_MB_PER_MINUTE for name in load.LOAD_NAMES)


def test_counts_of_a_load():
    """Correct answers, wrong answers, refusals and errors are counted separately."""
    lock, calls = threading.Lock(), [0]

    def send(number):
        with lock:
            calls[0] += 1
            late = calls[0] > 4
        time.sleep(0.01)
        if late and number == 1:
            raise load.RefusedError
        if late and number == 2:
            raise OSError("gone")
        return (number, late and number == 3)

    result = load.run_load("load", send, load.LoadSettings(clients=4, seconds=0.2, requests=4), 1)
    assert 0 < result.refused <= 4, "a refused client waits for a second"
    assert set(result.errors) == {"WrongAnswerError", "OSError: gone"}
    assert result.answers > 1
    assert result.p50_ms >= 10


@pytest.mark.node
def test_a_search_that_is_not_reranked_is_a_wrong_answer(client, encoder):
    """A search that OpenSearch alone ranked does not count as correct: the index has no values of the model."""
    for title in ("fire tv", "fire tv stick"):
        client.index(index=LOAD_INDEX, body={"title": title}, refresh=True)
    try:
        with pytest.raises(WrongAnswerError):
            search_requests(AnthemClient(client, encoder), ["fire tv"], "cluster")(0)
    finally:
        client.indices.delete(index=LOAD_INDEX)


@pytest.mark.parametrize(
    "damage", [lambda found: found[::-1], lambda found: found[1:], lambda found: found + found[-1:]]
)
def test_a_ranking_that_is_unsorted_or_incomplete_is_a_wrong_answer(damage):
    """The answer to a new query has no earlier one to compare with; it must rank each document once, best first."""
    damages = iter([lambda found: found, damage])

    def answer(request):
        documents = json.loads(request.content)["documents"]
        results = [{"index": index, "relevance_score": 1 - index / 1000} for index in range(len(documents))]
        return httpx.Response(200, json={"results": results if caches_fill(request) else next(damages)(results)})

    def caches_fill(request):
        return b"fill the caches" in request.content

    with httpx.Client(base_url="http://service", transport=httpx.MockTransport(answer)) as http:
        send = new_query_requests(http, ["fire tv", "red tablet"])
        send(0)
        with pytest.raises(WrongAnswerError):
            send(0)


@given(st.floats(-50, 50), st.floats(0, 1000), st.integers(12, 60))
def test_growth_is_fitted_to_the_last_third(per_minute, start, samples):
    """Memory that grows linearly in the last third has that growth, whatever its earlier values."""
    earlier = [(float(second), 999.0) for second in range(samples * 2 // 3)]
    growing = [(float(second), start + per_minute * second / 60) for second in range(samples * 2 // 3, samples)]
    assert load.fit_growth(earlier + growing) == pytest.approx(per_minute, abs=1e-6)
