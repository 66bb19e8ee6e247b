"""The request guard: API keys, concurrency, time-outs, sizes, metrics, and what an error reveals."""

import logging
import threading
import time

import pytest

from anthem_plugin.service.guard import PUBLIC_PATHS
from anthem_plugin.service.settings import ServiceSettings

SECRET = "xylophone"
VALID_KEY_HEADERS = {"Authorization": f"Bearer {SECRET}"}
RERANK_BODY = {"query": "fire tv", "documents": ["fire tv stick", "teapot"]}
SLOW_BODY = {"texts": ["slow tv"]}


class SlowEncoder:
    """An encoder that waits for a gate before it encodes slow products, and fails for queries with the secret."""

    def __init__(self, encoder, gate):
        self._encoder, self._gate, self.bundle = encoder, gate, encoder.bundle

    def encode_vectors(self, texts):
        """Wait, then encode."""
        if "slow tv" in texts:
            self._gate.wait(60)
        return self._encoder.encode_vectors(texts)

    def encode_query(self, text):
        """Fail or encode."""
        if SECRET in text:
            raise ValueError(text)
        return self._encoder.encode_query(text)


@pytest.fixture
def gate():
    """The gate that slow products wait for; opened at the end in any case."""
    event = threading.Event()
    yield event
    event.set()


def send_slow_products(http, responses):
    """Send a request that waits; the response is appended to a list."""
    thread = threading.Thread(target=lambda: responses.append(http.post("/encode/products", json=SLOW_BODY)))
    thread.start()
    return thread


@pytest.mark.parametrize("headers", [{}, {"Authorization": SECRET}, {"Authorization": "Bearer x"}, {"X-Key": SECRET}])
def test_requests_without_a_valid_key_get_401(encoder, run_service, headers):
    """Without a valid key every path except the public ones answers 401, without reading the request body."""
    with run_service(encoder, ServiceSettings(api_keys=("other", SECRET))) as http:
        for path in ("/v1/rerank", "/rerank", "/rewrite", "/encode/query", "/encode/products", "/metrics", "/nowhere"):
            refused = http.post(path, content=b"{", headers=headers)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert "Authorization: Bearer" in refused.json()["detail"]
        assert all(http.get(path).status_code == 200 for path in PUBLIC_PATHS)
        assert http.post("/v1/rerank", json=RERANK_BODY, headers=VALID_KEY_HEADERS).status_code == 200
        assert http.get("/metrics", headers=VALID_KEY_HEADERS).status_code == 200
        assert http.get("/metrics", headers={"Authorization": f"bearer  {SECRET}"}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "begin"), [({}, "An API key is required"), ({"Authorization": "Bearer x"}, "The API key is wrong")]
)
def test_a_wrong_key_is_told_from_none(encoder, run_service, headers, begin):
    """A caller who sends a key learns that it is wrong, not that one is required."""
    with run_service(encoder, ServiceSettings(api_keys=(SECRET,))) as http:
        assert http.get("/metrics", headers=headers).json()["detail"].startswith(begin)


def test_requests_over_the_concurrency_limit_get_503(encoder, run_service, gate, wait_until):
    """At the limit a request gets 503 at once; health checks and metrics still answer."""
    with run_service(SlowEncoder(encoder, gate), ServiceSettings(max_concurrency=1)) as http:
        assert http.get("/ready").json() == {"status": "ready"}
        thread = send_slow_products(http, responses := [])
        wait_until(lambda: http.get("/ready").status_code == 503)
        assert http.get("/ready").headers["retry-after"] == "1"
        refused = http.post("/v1/rerank", json=RERANK_BODY)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "1 requests are in progress" in refused.json()["detail"]
        assert http.get("/health").status_code == 200
        assert "anthem_busy_requests 1.0" in http.get("/metrics").text
        gate.set()
        thread.join()
        assert responses[0].status_code == 200
        assert http.post("/v1/rerank", json=RERANK_BODY).status_code == 200


def test_a_slow_request_times_out(encoder, run_service, gate, wait_until):
    """After the time-out a request gets 503; its work counts as in progress until it ends."""
    with run_service(SlowEncoder(encoder, gate), ServiceSettings(max_concurrency=1, timeout_seconds=0.3)) as http:
        started = time.monotonic()
        late = http.post("/encode/products", json=SLOW_BODY)
        assert (late.status_code, late.json()["detail"]) == (
            503, "The request was not read and answered within 0.3 s."
        )  # fmt: skip
        assert late.headers["retry-after"] == "1"
        assert time.monotonic() - started < 5
        assert http.get("/ready").status_code == 503
        gate.set()
        wait_until(lambda: http.get("/ready").status_code == 200)
        assert http.post("/v1/rerank", json=RERANK_BODY).status_code == 200


def test_an_incomplete_body_times_out(encoder, run_service):
    """An incomplete request body is answered with 503 after the time-out, and no longer counts as in progress."""

    def halting():
        yield b'{"query": '
        time.sleep(1)
        yield b'"tv", "documents": ["tv"]}'

    with run_service(encoder, ServiceSettings(max_concurrency=1, timeout_seconds=0.2)) as http:
        assert http.post("/v1/rerank", content=halting()).status_code == 503
        assert http.post("/v1/rerank", json=RERANK_BODY).status_code == 200


def test_an_internal_error_reveals_no_text(encoder, run_service, gate, caplog):
    """An internal error is answered with 500; the log names its type and place, not the message with the text."""
    with caplog.at_level(logging.INFO), run_service(SlowEncoder(encoder, gate)) as http:
        failed = http.post("/encode/query", json={"text": SECRET})
        assert (failed.status_code, failed.json()) == (500, {"detail": "The service failed."})
        assert http.post("/v1/rerank", json=RERANK_BODY).status_code == 200
        assert 'anthem_requests_total{path="/encode/query",status="500"} 1.0' in http.get("/metrics").text
    assert any(message.startswith("ValueError in ") for message in caplog.messages)
    assert SECRET not in caplog.text


def test_metrics_count_requests(encoder, run_service):
    """Requests are counted by endpoint and status, documents and rewrites too; unknown paths share one label."""
    with run_service(encoder) as http:
        http.post("/v1/rerank", json=RERANK_BODY)
        http.post("/v1/rerank", json={"query": SECRET, "documents": []})
        http.post("/encode/products", json={"texts": ["a", "b", "c"]})
        http.post("/rewrite", json={"body": {"query": {"match": {"title": SECRET}}}})
        http.post("/rewrite", json={"body": {}})
        http.get(f"/{SECRET}")
        metrics = http.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    for line in (
        'anthem_requests_total{path="/v1/rerank",status="200"} 1.0',
        'anthem_requests_total{path="/v1/rerank",status="422"} 1.0',
        'anthem_requests_total{path="other",status="404"} 1.0',
        'anthem_request_seconds_count{path="/encode/products"} 1.0',
        "anthem_documents_total 5.0",
        'anthem_rewrites_total{reranked="true"} 1.0',
        'anthem_rewrites_total{reranked="false"} 1.0',
    ):
        assert line in metrics.text
    assert SECRET not in metrics.text


def test_repeated_queries_are_encoded_once(encoder, run_service):
    """Endpoints share caches of hyperboloids and tables; their hits are counted, and responses stay the same."""
    with run_service(encoder, ServiceSettings(query_cache_size=2)) as http:
        first, again = (http.post("/v1/rerank", json=RERANK_BODY).json()["results"] for _ in range(2))
        http.post("/encode/query", json={"text": RERANK_BODY["query"]})
        for text in ("tv", "teapot"):
            http.post("/encode/query", json={"text": text})
        http.post("/v1/rerank", json=RERANK_BODY)
        http.post("/encode/query", json={"text": "tv"})
        metrics = http.get("/metrics").text
    assert first == again
    counts = {("hyperboloids", "hit"): 1, ("hyperboloids", "miss"): 3, ("table", "hit"): 2, ("table", "miss"): 5}
    for (encoding, result), count in counts.items():
        assert f'anthem_query_cache_total{{encoding="{encoding}",result="{result}"}} {count}.0' in metrics


def test_request_limits_are_settings(encoder, run_service):
    """A request over a configured limit is rejected with the limit; any other is answered."""
    with run_service(encoder, ServiceSettings(max_documents=2, max_characters=5, max_bytes=80)) as http:
        for path, body, status, limit in (
            ("/v1/rerank", {"query": "tv", "documents": ["a"] * 3}, 422, "at most 2"),
            ("/rerank", {"query": "tv", "texts": ["a"] * 3}, 422, "at most 2"),
            ("/encode/products", {"texts": ["a"] * 3}, 422, "at most 2"),
            ("/encode/products", {"texts": ["a", "abcdef"]}, 422, "at most 5"),
            ("/encode/query", {"text": "abcdef"}, 422, "at most 5"),
            ("/encode/query", {"text": "a" * 80}, 413, "more than 80 bytes"),
        ):
            refused = http.post(path, json=body)
            assert (refused.status_code, limit in refused.json()["detail"]) == (status, True), body
        assert http.post("/v1/rerank", json={"query": "tv", "documents": ["abcdef", "abcde"]}).status_code == 200
        assert http.post("/encode/products", json={"texts": ["abcde", "b"]}).status_code == 200
        described = http.get("/openapi.json").json()["info"]["description"]
    assert "up to 2 documents and 80 bytes" in described
    assert "5 characters of each text" in described
