"""Laws of what stands before the endpoints: keys, requests at once, time-outs, metrics, and what a fault gives away."""

import logging
import threading
import time

import pytest

from anthem_plugin.service.cli import _is_loopback
from anthem_plugin.service.guard import PUBLIC_PATHS
from anthem_plugin.service.settings import ServiceSettings

SECRET = "xylophone"
KEYED = {"Authorization": f"Bearer {SECRET}"}
ASKED = {"query": "fire tv", "documents": ["fire tv stick", "teapot"]}


class Slow:
    """An encoder whose queries wait for a gate."""

    def __init__(self, encoder, gate):
        self._encoder, self._gate, self.bundle, self.products = encoder, gate, encoder.bundle, encoder.products

    def query(self, text):
        """Wait, then encode."""
        if "slow" in text:
            self._gate.wait(60)
        if SECRET in text:
            raise ValueError(text)
        return self._encoder.query(text)


@pytest.fixture
def gate():
    """What slow queries wait for; open in the end, come what may."""
    event = threading.Event()
    yield event
    event.set()


def slowly(http, found):
    """Ask for a query that waits; the response arrives in a list."""
    thread = threading.Thread(target=lambda: found.append(http.post("/encode/query", json={"text": "slow tv"})))
    thread.start()
    return thread


@pytest.mark.parametrize("shown", [{}, {"Authorization": SECRET}, {"Authorization": "Bearer x"}, {"X-Key": SECRET}])
def test_who_shows_no_key_gets_nothing(encoder, serving, shown):
    """With keys every endpoint but checks and description answers 401, in a sentence, before it reads the request."""
    with serving(encoder, ServiceSettings(keys=("other", SECRET))) as http:
        for path in ("/v1/rerank", "/rerank", "/rewrite", "/encode/query", "/encode/products", "/metrics", "/nowhere"):
            refused = http.post(path, content=b"{", headers=shown)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert "Authorization: Bearer" in refused.json()["detail"]
        assert all(http.get(path).status_code == 200 for path in PUBLIC_PATHS)
        assert http.post("/v1/rerank", json=ASKED, headers=KEYED).status_code == 200
        assert http.get("/metrics", headers=KEYED).status_code == 200


def test_more_requests_than_may_be_are_told_to_wait(encoder, serving, gate, until):
    """At the limit a request gets 503 at once, checks and metrics still answer, and afterwards all is as before."""
    with serving(Slow(encoder, gate), ServiceSettings(concurrency=1)) as http:
        assert http.get("/ready").json() == {"status": "ready"}
        thread = slowly(http, found := [])
        until(lambda: http.get("/ready").status_code == 503)
        refused = http.post("/v1/rerank", json=ASKED)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "1 requests are under way" in refused.json()["detail"]
        assert http.get("/health").status_code == 200
        assert "anthem_busy_requests 1.0" in http.get("/metrics").text
        gate.set()
        thread.join()
        assert found[0].status_code == 200
        assert http.post("/v1/rerank", json=ASKED).status_code == 200


def test_a_request_that_takes_too_long_is_given_up(encoder, serving, gate, until):
    """After the time-out a request gets 503; what still runs for it counts as under way until it ends."""
    with serving(Slow(encoder, gate), ServiceSettings(concurrency=1, timeout=0.3)) as http:
        started = time.monotonic()
        late = http.post("/encode/query", json={"text": "slow tv"})
        assert (late.status_code, late.json()["detail"]) == (
            503, "The request was not read and answered within 0.3 s."
        )  # fmt: skip
        assert time.monotonic() - started < 5
        assert http.get("/ready").status_code == 503
        gate.set()
        until(lambda: http.get("/ready").status_code == 200)
        assert http.post("/v1/rerank", json=ASKED).status_code == 200


def test_a_body_that_does_not_come_is_given_up(encoder, serving):
    """Whoever sends half a body and no more is answered 503 after the time-out, and takes nobody's place."""

    def halting():
        yield b'{"query": '
        time.sleep(1)
        yield b'"tv", "documents": ["tv"]}'

    with serving(encoder, ServiceSettings(concurrency=1, timeout=0.2)) as http:
        assert http.post("/v1/rerank", content=halting()).status_code == 503
        assert http.post("/v1/rerank", json=ASKED).status_code == 200


def test_a_fault_gives_no_text_away(encoder, serving, gate, caplog):
    """A defect is answered with 500 and logged with its kind and place, without the message, which may hold a text."""
    with caplog.at_level(logging.INFO), serving(Slow(encoder, gate)) as http:
        failed = http.post("/encode/query", json={"text": SECRET})
        assert (failed.status_code, failed.json()) == (500, {"detail": "The service failed."})
        assert http.post("/v1/rerank", json=ASKED).status_code == 200
        assert 'anthem_requests_total{path="/encode/query",status="500"} 1.0' in http.get("/metrics").text
    assert any(message.startswith("ValueError in ") for message in caplog.messages)
    assert SECRET not in caplog.text


def test_metrics_count_what_was_answered(encoder, serving):
    """Every request is counted by endpoint and status, documents and rewrites too; a foreign path is no label."""
    with serving(encoder) as http:
        http.post("/v1/rerank", json=ASKED)
        http.post("/v1/rerank", json={"query": SECRET, "documents": []})
        http.post("/encode/products", json={"texts": ["a", "b", "c"]})
        http.post("/rewrite", json={"body": {"query": {"match": {"title": SECRET}}}})
        http.post("/rewrite", json={"body": {}})
        http.get(f"/{SECRET}")
        shown = http.get("/metrics")
    assert shown.headers["content-type"].startswith("text/plain")
    for line in (
        'anthem_requests_total{path="/v1/rerank",status="200"} 1.0',
        'anthem_requests_total{path="/v1/rerank",status="422"} 1.0',
        'anthem_requests_total{path="other",status="404"} 1.0',
        'anthem_request_seconds_count{path="/encode/products"} 1.0',
        "anthem_documents_total 5.0",
        'anthem_rewrites_total{reranked="true"} 1.0',
        'anthem_rewrites_total{reranked="false"} 1.0',
    ):
        assert line in shown.text
    assert SECRET not in shown.text


def test_a_query_asked_for_again_is_encoded_once(encoder, serving):
    """Endpoints share a cache of encoded queries; its hits are counted, and no answer is another for it."""
    with serving(encoder, ServiceSettings(cache=2)) as http:
        first, again = (http.post("/v1/rerank", json=ASKED).json()["results"] for _ in range(2))
        http.post("/encode/query", json={"text": ASKED["query"]})
        for text in ("tv", "teapot"):
            http.post("/encode/query", json={"text": text})
        http.post("/v1/rerank", json=ASKED)
        shown = http.get("/metrics").text
    assert first == again
    assert 'anthem_query_cache_total{result="hit"} 2.0' in shown
    assert 'anthem_query_cache_total{result="miss"} 4.0' in shown


def test_the_limits_of_a_request_are_settings(encoder, serving):
    """What has more documents, characters or bytes than was set is refused with the limit, and all else is answered."""
    with serving(encoder, ServiceSettings(documents=2, characters=5, bytes=80)) as http:
        for path, asked, status, limit in (
            ("/v1/rerank", {"query": "tv", "documents": ["a"] * 3}, 422, "at most 2"),
            ("/rerank", {"query": "tv", "texts": ["a"] * 3}, 422, "at most 2"),
            ("/encode/products", {"texts": ["a"] * 3}, 422, "at most 2"),
            ("/encode/products", {"texts": ["a", "abcdef"]}, 422, "at most 5"),
            ("/encode/query", {"text": "abcdef"}, 422, "at most 5"),
            ("/encode/query", {"text": "a" * 80}, 413, "more than 80 bytes"),
        ):
            refused = http.post(path, json=asked)
            assert (refused.status_code, limit in refused.json()["detail"]) == (status, True), asked
        assert http.post("/v1/rerank", json={"query": "tv", "documents": ["abcdef", "abcde"]}).status_code == 200
        assert http.post("/encode/products", json={"texts": ["abcde", "b"]}).status_code == 200
        described = http.get("/openapi.json").json()["info"]["description"]
    assert "2 documents and 80 bytes; of a text 5 characters" in described


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("10.1.2.3", False), ("shop", False)],
)
def test_what_is_loopback(host, expected):
    """Only addresses that nobody else can reach count as loopback; a name counts as none but localhost."""
    assert _is_loopback(host) == expected
