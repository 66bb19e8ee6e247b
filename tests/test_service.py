"""The endpoints of the running HTTP service: results, invalid input and limits."""

import json
import re
import threading
from base64 import b64encode
from hashlib import sha256
from importlib.metadata import version

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shipped_words import split_words

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.opensearch.schema import ModelFields
from anthem_plugin.rewriter.rescore import MAX_RESCORE_WINDOW, build_rescore_body
from anthem_plugin.scoring.painless import build_score_script, table_params
from anthem_plugin.scoring.params import ScoringParams
from anthem_plugin.service.description_page import build_description_page
from anthem_plugin.service.models import MAX_BODY_DEPTH
from anthem_plugin.service.settings import ServiceSettings

DEFAULTS = ServiceSettings()
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
def service(encoder, run_service):
    """HTTP client of the running application."""
    with run_service(encoder) as http:
        yield http


@pytest.fixture(scope="module")
def attention(encoder):
    """Attention scorer of the same bundle."""
    return AttentionScorer(encoder.bundle)


def test_health_names_model_and_version(service, encoder):
    """`/health` returns the model and the version."""
    state = {"status": "ok", "model": encoder.bundle.model_id, "version": version("anthem-search")}
    assert service.get("/health").json() == state


def test_the_description_lists_every_endpoint(service):
    """The OpenAPI description lists every endpoint and the schema of errors."""
    described = service.get("/openapi.json").json()
    assert set(described["paths"]) == {
        "/v1/rerank", "/v2/rerank", "/rerank", "/rewrite", "/explain", "/encode/query", "/encode/products", "/health",
        "/ready", "/metrics",
    }  # fmt: skip
    refused = described["paths"]["/rewrite"]["post"]["responses"]["422"]
    assert refused["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ErrorResponse"}


def test_the_page_of_the_description_stands_alone(service):
    """`/docs` shows every endpoint, schema and field, and neither runs a script nor loads anything."""
    response, described = service.get("/docs"), service.get("/openapi.json").json()
    page = response.text
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    style = page.partition("<style>")[2].partition("</style>")[0]
    assert b64encode(sha256(style.encode()).digest()).decode() in response.headers["content-security-policy"]
    assert not re.search(r"<script|<link|<img|<iframe|src=|style=|\son\w+=|https?://|@import|url\(", page)
    for path in described["paths"]:
        assert f" {path}</code></h2>" in page
    for name, schema in described["components"]["schemas"].items():
        assert f">{name}</h2>" in page
        assert all(f"<code>{field}</code>" in page for field in schema.get("properties", ()))
    links, ids = set(re.findall(r'href="#([^"]*)"', page)), re.findall(r'id="([^"]*)"', page)
    assert links <= set(ids)
    assert len(ids) == len(set(ids))


def test_nothing_of_a_description_is_markup():
    """Names, texts and values of a description are escaped wherever the page has them."""
    odd = "<script>&\"'</script>"
    field = {"anyOf": [{"$ref": f"#/components/schemas/{odd}"}, {"enum": [odd]}, {"type": odd}], "description": odd}
    content = {"content": {odd: {}}, "description": odd}
    page = build_description_page({
        "info": {"title": odd, "version": odd, "description": odd},
        "paths": {f"/{odd}": {"get": {"summary": odd, "requestBody": content, "responses": {odd: content}}}},
        "components": {"schemas": {odd: {"description": odd, "properties": {odd: field}, "required": [odd]}}},
    })  # fmt: skip
    assert "<script" not in page.lower()
    assert page.count("&lt;script&gt;") > 15


@given(texts)
def test_an_encoded_query_equals_the_encoders(service, encoder, attention, text):
    """A query encoded over HTTP equals the encoder's exactly, and is null with a reason if the encoder returns None."""
    answer = service.post("/encode/query", json={"text": text}).json()
    query = encoder.encode_query(text)
    assert (answer["query"] is None) == (query is None) == (answer["reason"] is not None)
    if query is not None:
        for name in ("centres", "limits", "weights", "size"):
            assert np.array_equal(answer["query"][name], getattr(query, name))
        assert answer["query"]["tables"] == [table_params(attention.encode_query(text))]


@given(st.lists(texts, max_size=5))
def test_encoded_products_equal_the_encoders(service, encoder, attention, titles):
    """Products encoded over HTTP are what `anthem ingest` stores, in the order of the request."""
    answer = service.post("/encode/products", json={"texts": titles}).json()
    vectors = encoder.encode_vectors(titles)
    expected = [
        ModelFields().document(vector, encoder.bundle.model_id, split_words(title), packed)
        for vector, title, packed in zip(vectors, titles, attention.encode_titles(titles).pack(), strict=True)
    ]
    fields = zip(answer["vectors"], answer["trigrams"], answer["text_hashes"], strict=True)
    assert expected == [
        {"anthem": {"vector": vector, "trigrams": trigrams, "model": answer["model"], "text_hash": text_hash}}
        for vector, trigrams, text_hash in fields
    ]
    assert (answer["vectors"], answer["vector_step"]) == (vectors.tolist(), encoder.bundle.vector_step)


@pytest.mark.parametrize("options", [{}, {"query_text": "fire tv"}, {"query_path": "query.match.title"}, {"window": 7}])
def test_a_rewritten_body_equals_the_rewriters(service, encoder, attention, options):
    """`/rewrite` returns what the rewriter builds, however the request gives the query text."""
    scoring, tables = ScoringParams.from_bundle(encoder.bundle), [attention.encode_query("fire tv")]
    script = build_score_script(encoder.encode_query("fire tv"), scoring, tables)
    expected = build_rescore_body(MATCH, script, window=options.get("window", 100))
    answer = service.post("/rewrite", json={"body": MATCH, **options}).json()
    assert answer == {"body": expected.body, "reranked": True, "reason": None}


@given(bodies, st.none() | texts)
def test_any_body_is_answered(service, body, text):
    """Any JSON body is answered; a body that is not rewritten is returned unchanged with a reason."""
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
        ({**MATCH, "sort": ["price"]}, "does not sort by"),
        ({**MATCH, "_source": 5}, "`_source` is none of"),
        ({"query": {"match": {"title": "a" * (DEFAULTS.max_characters + 1)}}}, "characters"),
    ],
)
def test_a_body_that_is_not_rewritten_has_a_reason(service, body, reason):
    """A body that is not rewritten is returned unchanged, and the reason names the cause."""
    answer = service.post("/rewrite", json={"body": body}).json()
    assert answer["body"] == body
    assert not answer["reranked"]
    assert reason in answer["reason"]


NESTED_JSON = b'{"a":' * MAX_BODY_DEPTH + b"1" + b"}" * MAX_BODY_DEPTH
INVALID_INPUT = {
    "an empty body": ("/rewrite", b"", "The body"),
    "invalid JSON": ("/encode/query", b'{"text": ', "at character"),
    "not an object": ("/encode/query", b"[]", "The body"),
    "invalid UTF-8": ("/encode/query", b'{"text": "\xff"}', "encoding"),
    "endless nesting": ("/rewrite", b"[" * 100_000, "nesting"),
    "deep nesting": ("/rewrite", b'{"body": ' + NESTED_JSON + b"}", "deeper"),
    "NaN in a body": ("/rewrite", b'{"body": {"min_score": NaN}}', "NaN"),
    "a number out of range": ("/rewrite", b'{"body": {"min_score": 1e999}}', "infinite"),
    "a number with too many digits": ("/rewrite", b'{"body": {"size": ' + b"9" * 5000 + b"}}", "numbers"),
    "NaN as a window": ("/rewrite", b'{"body": {}, "window": NaN}', "window"),
    "a lone surrogate in a body": ("/rewrite", rb'{"body": {"query": {"match": {"title": "\ud800"}}}}', "surrogate"),
    "a lone surrogate in a key": ("/rewrite", rb'{"body": {"\ud800": 1}}', "surrogate"),
    "a lone surrogate in a text": ("/encode/query", rb'{"text": "\ud800"}', "text"),
    "a lone surrogate in a title": ("/encode/products", rb'{"texts": ["a", "\udc00"]}', "texts.1"),
    "a number as text": ("/encode/query", b'{"text": 5}', "text"),
    "a text instead of a list": ("/encode/products", b'{"texts": "red shoe"}', "texts"),
    "a misspelled name": ("/rewrite", b'{"body": {}, "windows": 5}', "windows"),
    "a lone surrogate as a name": ("/rewrite", rb'{"body": {}, "\ud800": 5}', "lone surrogate"),
    "a window of 0": ("/rewrite", b'{"body": {}, "window": 0}', "window"),
    "a window that is too large": ("/rewrite", b'{"body": {}, "window": %d}' % (MAX_RESCORE_WINDOW + 1), "window"),
    "a body as a string": ("/rewrite", b'{"body": "{}"}', "body"),
    "a number as a path": ("/rewrite", b'{"body": {}, "query_path": 5}', "expected text or a list of texts, found 5"),
    "an object as a path": ("/rewrite", b'{"body": {}, "query_path": {}}', "text or a list of texts, found an object"),
    "a number in a list of paths": ("/rewrite", b'{"body": {}, "query_path": ["a", 5]}', "query_path.1"),
    "text and path": ("/rewrite", b'{"body": {}, "query_text": "a", "query_path": "b"}', "not both"),
    "a text that is too long": (
        "/encode/query",
        json.dumps({"text": "a" * (DEFAULTS.max_characters + 1)}).encode(),
        "text",
    ),
    "too many texts": (
        "/encode/products",
        json.dumps({"texts": ["a"] * (DEFAULTS.max_documents + 1)}).encode(),
        "texts",
    ),
}


@pytest.mark.parametrize("case", INVALID_INPUT)
def test_invalid_input_is_answered_with_a_sentence(service, case):
    """Invalid input is answered with 422 and one sentence that names the place or the problem."""
    path, content, named = INVALID_INPUT[case]
    response = service.post(path, content=content, headers={"content-type": "application/json"})
    assert response.status_code == 422
    assert set(response.json()) == {"detail"}
    assert named in response.json()["detail"]
    assert response.json()["detail"].endswith(".")


def test_a_request_of_maximum_size_is_answered_and_a_larger_one_is_rejected(service):
    """The maximum number of texts of the maximum length is encoded; a body of more bytes is rejected."""
    answer = service.post("/encode/products", json={"texts": ["é" * DEFAULTS.max_characters] * DEFAULTS.max_documents})
    assert len(answer.json()["vectors"]) == DEFAULTS.max_documents
    refused = service.post("/encode/products", content=b" " * (DEFAULTS.max_bytes + 1))
    assert refused.status_code == 413
    assert f"more than {DEFAULTS.max_bytes} bytes" in refused.json()["detail"]


def test_simultaneous_requests_do_not_mix(service, encoder):
    """Simultaneous queries each get their own response."""
    queries = [f"fire tv {number}" for number in range(24)]
    responses = [None] * len(queries)

    def send(number):
        responses[number] = service.post("/encode/query", json={"text": queries[number]}).json()["query"]["centres"]

    threads = [threading.Thread(target=send, args=(number,)) for number in range(len(queries))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(
        np.array_equal(encoder.encode_query(text).centres, centres)
        for text, centres in zip(queries, responses, strict=True)
    )
