"""Fuzz tests of the HTTP service: valid and invalid requests of its OpenAPI description, and random bytes."""

import json

import pytest
import schemathesis
from hypothesis import example, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

FEWER_EXAMPLES = settings(max_examples=settings().max_examples // 10)  # these tests repeat for every endpoint or path
POST_PATHS = ["/v1/rerank", "/v2/rerank", "/rerank", "/rewrite", "/explain", "/encode/query", "/encode/products"]
GET_PATHS = ["/health", "/ready", "/metrics"]
CONTENT_TYPES = ["application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "x"]
FIELD_NAMES = [
    "query",
    "documents",
    "texts",
    "text",
    "body",
    "query_text",
    "query_path",
    "window",
    "top_n",
    "raw_scores",
    "rank_fields",
    "titles",
    "lexical",
]

# Python writes lone surrogates as escapes, NaN and infinities as words, and numbers that other parsers reject.
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda node: st.lists(node, max_size=4) | st.dictionaries(st.sampled_from(FIELD_NAMES) | st.text(max_size=5), node),
    max_leaves=10,
)
objects = st.dictionaries(st.sampled_from(FIELD_NAMES), values, max_size=6).map(
    lambda value: json.dumps(value).encode()
)


@st.composite
def damaged_json(draw):
    """A JSON object with some bytes removed or replaced."""
    content = bytearray(draw(objects))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(content)))
        content[place : place + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    return bytes(content)


words = st.text(st.characters(), max_size=20)  # with lone surrogates, which an OpenAPI description cannot express
COHERE_FIELDS = {"query": words, "documents": st.lists(words | st.fixed_dictionaries({"text": words}), min_size=1)}
REQUIRED_FIELDS = {
    "/v1/rerank": COHERE_FIELDS,
    "/v2/rerank": COHERE_FIELDS,
    "/rerank": {"query": words, "texts": st.lists(words, min_size=1)},
    "/rewrite": {
        "body": st.fixed_dictionaries({"query": st.fixed_dictionaries({"match": st.dictionaries(words, words)})})
    },
    "/explain": {"query": words, "titles": st.lists(words, min_size=1)},
    "/encode/query": {"text": words},
    "/encode/products": {"texts": st.lists(words)},
}
COHERE_OPTIONS = {"top_n": st.integers(), "return_documents": st.booleans()}
TEI_OPTIONS = {"raw_scores": st.booleans(), "return_text": st.booleans()}
REWRITE_OPTIONS = {"query_text": words, "window": st.integers() | st.floats()}
OPTIONAL_FIELDS = {
    "/v1/rerank": COHERE_OPTIONS,
    "/v2/rerank": COHERE_OPTIONS,
    "/rerank": TEI_OPTIONS,
    "/rewrite": REWRITE_OPTIONS,
}
requests = st.sampled_from(POST_PATHS).flatmap(
    lambda path: st.tuples(
        st.just(path), st.fixed_dictionaries(REQUIRED_FIELDS[path], optional=OPTIONAL_FIELDS.get(path))
    )
)


@pytest.fixture(scope="module")
def service(attention_encoder, run_service):
    """HTTP client of a service with an attention graph."""
    with run_service(attention_encoder) as http:
        yield http


@pytest.fixture(scope="module")
def schema(service):
    """The OpenAPI schema of the running service."""
    return schemathesis.openapi.from_url(f"{service.base_url}/openapi.json")


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        *((path, mode) for path in POST_PATHS for mode in GenerationMode),
        *((path, GenerationMode.POSITIVE) for path in GET_PATHS),
    ],
)
@FEWER_EXAMPLES
@given(st.data())
def test_requests_are_answered_as_described(schema, path, mode, data):
    """Valid requests are answered and invalid ones rejected, in the form that the description promises."""
    endpoint = schema[path]["POST" if path in POST_PATHS else "GET"]
    case = data.draw(endpoint.as_strategy(generation_mode=mode))
    # What depends on another field of the request cannot be described: that a document has one of the `rank_fields`,
    # and that there is a lexical score for each title.
    is_bound = isinstance(case.body, dict) and any(
        case.body.get(name) is not None for name in ("rank_fields", "lexical")
    )
    case.call_and_validate(excluded_checks=[positive_data_acceptance] if is_bound else [])


@given(st.sampled_from(POST_PATHS), objects | damaged_json() | st.binary(max_size=60), st.sampled_from(CONTENT_TYPES))
@example("/v1/rerank", rb'{"query": "tv", "documents": ["\ud800"], "return_documents": true}', CONTENT_TYPES[0])
@example("/rerank", rb'{"query": "\udc00", "texts": ["\ud800 tv"], "return_text": true}', CONTENT_TYPES[0])
def test_random_bytes_are_answered_or_rejected(service, path, content, content_type):
    """Any bytes are answered with 200, or with 422 and one sentence."""
    response = service.post(path, content=content, headers={"content-type": content_type})
    assert response.status_code in (200, 422)
    result = response.json()
    if response.status_code == 422:
        assert set(result) == {"detail"}
        assert result["detail"].endswith(".")


@given(requests)
def test_any_text_is_answered_or_rejected(service, request_parts):
    """Well-formed requests with any text are answered by the rerankers; others may reject the text with 422."""
    path, body = request_parts
    response = service.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    assert response.status_code in (200, 422)
    assert response.status_code == 200 or response.json()["detail"].endswith(".")
    if "rerank" in path and body.get("top_n", 1) > 0:
        assert response.status_code == 200


@pytest.mark.parametrize("path", [*POST_PATHS, *GET_PATHS, "/nowhere", "/docs/%ff", "/../rerank", "//"])
@FEWER_EXAMPLES
@given(st.sampled_from(["GET", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "POST", "BREW"]), st.binary(max_size=20))
def test_unknown_methods_and_paths_cause_no_error(service, path, method, content):
    """Unknown methods and paths are rejected; no request causes a 500."""
    response = service.request(method, path, content=content)
    assert response.status_code in (200, 307, 404, 405, 422)
