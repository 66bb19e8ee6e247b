"""Laws of the HTTP service, asked over HTTP of the running service."""

import json
import threading
from importlib.metadata import version

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.opensearch.schema import VectorFields
from anthem_plugin.rewriter.rescore import build_rescore_body
from anthem_plugin.scoring.painless import build_score_script
from anthem_plugin.scoring.params import ScoringParams
from anthem_plugin.service.rewrite import MAX_BODY_DEPTH, MAX_WINDOW
from anthem_plugin.service.settings import ServiceSettings

LIMITS = ServiceSettings()
MATCH = {"query": {"match": {"title": "fire tv"}}, "size": 24, "aggs": {"brands": {"terms": {"field": "brand"}}}}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda node: st.lists(node, max_size=3) | st.dictionaries(texts, node, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(["query", "sort", "_source", "rescore", "from", "size", "collapse", "match", "title"])
bodies = st.dictionaries(keys, values | st.dictionaries(keys, values, max_size=2), max_size=4)


@pytest.fixture(scope="module")
def service(encoder, serving):
    """HTTP client of the running application."""
    with serving(encoder) as http:
        yield http


def test_health_names_model_and_version(service, encoder):
    """A service that answers is healthy, and says with which model and in which version."""
    state = {"status": "ok", "model": encoder.bundle.model, "version": version("anthem-search")}
    assert service.get("/health").json() == state


def test_the_endpoints_are_described(service):
    """The OpenAPI description at /docs names every endpoint, and a sentence as what a refusal holds."""
    assert service.get("/docs").status_code == 200
    described = service.get("/openapi.json").json()
    assert set(described["paths"]) == {
        "/v1/rerank", "/rerank", "/rewrite", "/encode/query", "/encode/products", "/health", "/ready", "/metrics",
    }  # fmt: skip
    refused = described["paths"]["/rewrite"]["post"]["responses"]["422"]
    assert refused["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Refusal"}


@given(texts)
def test_a_query_has_the_numbers_of_the_encoder(service, encoder, text):
    """A query encoded over HTTP is the encoder's to the last bit, and null with a reason where the encoder has none."""
    answer = service.post("/encode/query", json={"text": text}).json()
    query = encoder.query(text)
    assert (answer["query"] is None) == (query is None) == (answer["reason"] is not None)
    if query is not None:
        for name in ("centres", "limits", "weights", "size"):
            assert np.array_equal(answer["query"][name], getattr(query, name))


@given(st.lists(texts, max_size=5))
def test_products_have_the_numbers_of_the_encoder_in_order(service, encoder, titles):
    """Products encoded over HTTP are what `anthem ingest` writes, in the order they were given."""
    answer = service.post("/encode/products", json={"texts": titles}).json()
    points = encoder.products(titles)
    made = [
        VectorFields().document(point, encoder.bundle.model, title) for point, title in zip(points, titles, strict=True)
    ]
    fields = zip(answer["points"], answer["text_hashes"], strict=True)
    assert made == [
        {"anthem": {"vector": point, "model": answer["model"], "text_hash": mark}} for point, mark in fields
    ]
    assert np.array_equal(np.array(answer["points"], np.float32).reshape(points.shape), points)


@pytest.mark.parametrize("how", [{}, {"query_text": "fire tv"}, {"query_path": "query.match.title"}, {"window": 7}])
def test_a_rewritten_body_is_the_rewriters(service, encoder, how):
    """The rewriter answers over HTTP what the pure function answers, however the query text is named."""
    script = build_score_script(encoder.query("fire tv"), ScoringParams.of(encoder.bundle))
    expected = build_rescore_body(MATCH, script, window=how.get("window", 100))
    answer = service.post("/rewrite", json={"body": MATCH, **how}).json()
    assert answer == {"body": expected.body, "reranked": True, "reason": None}


@given(bodies, st.none() | texts)
def test_no_body_is_too_odd_to_come_back(service, body, text):
    """Any JSON body comes back, and one that is not reranked comes back as it was, with a reason."""
    response = service.post("/rewrite", json={"body": body, "query_text": text})
    assert response.status_code == 200
    answer = response.json()
    assert answer["reranked"] == (answer["reason"] is None)
    assert answer["reranked"] or answer["body"] == body


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"query": {"match_all": {}}}, "no query text"),
        ({"query": {"match": {"title": "!?"}}}, "no letters or digits"),
        ({**MATCH, "sort": ["price"]}, "sorts by"),
        ({**MATCH, "_source": 5}, "TypeError"),
        ({"query": {"match": {"title": "a" * (LIMITS.characters + 1)}}}, "characters"),
    ],
)
def test_a_body_that_cannot_be_reranked_says_why(service, body, reason):
    """A body the rewriter leaves alone comes back as it was, and the reason names the cause."""
    answer = service.post("/rewrite", json={"body": body}).json()
    assert answer["body"] == body
    assert not answer["reranked"]
    assert reason in answer["reason"]


NESTED = b'{"a":' * MAX_BODY_DEPTH + b"1" + b"}" * MAX_BODY_DEPTH
REFUSED = {
    "nothing": ("/rewrite", b"", "The body"),
    "no JSON": ("/encode/query", b'{"text": ', "at character"),
    "no object": ("/encode/query", b"[]", "The body"),
    "no UTF-8": ("/encode/query", b'{"text": "\xff"}', "encoding"),
    "endless nesting": ("/rewrite", b"[" * 100_000, "nesting"),
    "deep nesting": ("/rewrite", b'{"body": ' + NESTED + b"}", "deeper"),
    "no number": ("/rewrite", b'{"body": {"min_score": NaN}}', "NaN"),
    "too large a number": ("/rewrite", b'{"body": {"min_score": 1e999}}', "infinite"),
    "too long a number": ("/rewrite", b'{"body": {"size": ' + b"9" * 5000 + b"}}", "numbers"),
    "NaN as a window": ("/rewrite", b'{"body": {}, "window": NaN}', "window"),
    "half a pair in a body": ("/rewrite", rb'{"body": {"query": {"match": {"title": "\ud800"}}}}', "surrogate"),
    "half a pair in a key": ("/rewrite", rb'{"body": {"\ud800": 1}}', "surrogate"),
    "half a pair in a text": ("/encode/query", rb'{"text": "\ud800"}', "text"),
    "half a pair in a title": ("/encode/products", rb'{"texts": ["a", "\udc00"]}', "texts.1"),
    "a number as text": ("/encode/query", b'{"text": 5}', "text"),
    "one text, no list": ("/encode/products", b'{"texts": "red shoe"}', "texts"),
    "a misspelled name": ("/rewrite", b'{"body": {}, "windows": 5}', "windows"),
    "half a misspelled name": ("/rewrite", rb'{"body": {}, "\ud800": 5}', "unicode"),
    "no window": ("/rewrite", b'{"body": {}, "window": 0}', "window"),
    "too wide a window": ("/rewrite", b'{"body": {}, "window": %d}' % (MAX_WINDOW + 1), "window"),
    "a body in quotes": ("/rewrite", b'{"body": "{}"}', "body"),
    "text and path": ("/rewrite", b'{"body": {}, "query_text": "a", "query_path": "b"}', "not both"),
    "too long a text": ("/encode/query", json.dumps({"text": "a" * (LIMITS.characters + 1)}).encode(), "text"),
    "too many texts": ("/encode/products", json.dumps({"texts": ["a"] * (LIMITS.documents + 1)}).encode(), "texts"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_with_a_sentence(service, case):
    """Bad input is answered by a 422 whose one sentence names the place or the fault."""
    path, content, named = REFUSED[case]
    response = service.post(path, content=content, headers={"content-type": "application/json"})
    assert response.status_code == 422
    assert set(response.json()) == {"detail"}
    assert named in response.json()["detail"]
    assert response.json()["detail"].endswith(".")


def test_a_request_of_the_greatest_size_is_answered_and_one_beyond_is_not(service):
    """As many texts, as long, as are allowed are encoded; a request of more bytes than that is refused unread."""
    answer = service.post("/encode/products", json={"texts": ["é" * LIMITS.characters] * LIMITS.documents})
    assert len(answer.json()["points"]) == LIMITS.documents
    refused = service.post("/encode/products", content=b" " * (LIMITS.bytes + 1))
    assert refused.status_code == 413
    assert f"more than {LIMITS.bytes} bytes" in refused.json()["detail"]


def test_requests_at_once_do_not_mix(service, encoder):
    """Queries asked at the same time get each their own answer."""
    asked = [f"fire tv {number}" for number in range(24)]
    answers = [None] * len(asked)

    def ask(number):
        answers[number] = service.post("/encode/query", json={"text": asked[number]}).json()["query"]["centres"]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(asked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(
        np.array_equal(encoder.query(text).centres, centres) for text, centres in zip(asked, answers, strict=True)
    )
