"""What the service says about an invalid request: the field, the rule and what was found, nothing of our code."""

import gzip
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

FIELDS = {
    "/v1/rerank": {"query": "tv", "documents": ["tv"], "top_n": 1, "return_documents": True, "model": "x",
                   "rank_fields": ["text"]},
    "/v2/rerank": {"query": "tv", "documents": [{"text": "tv"}], "top_n": 1, "model": "x"},
    "/rerank": {"query": "tv", "texts": ["tv"], "raw_scores": True, "return_text": False, "top_n": 1},
    "/rewrite": {"body": {}, "query_text": "tv", "window": 10, "mode": "cluster", "signals": ["attention"],
                 "operators": True, "slack": 0.5, "unknown": True, "k": 10, "filter": {"term": {"a": 1}}},
    "/explain": {"query": "tv", "titles": ["red tv"], "lexical": [1.5]},
    "/encode/query": {"text": "tv"},
    "/encode/products": {"texts": ["tv"]},
}  # fmt: skip
# A value of every JSON type, and numbers and lengths beyond every limit.
WRONG = st.sampled_from(
    [None, True, False, 0, -1, 1.5, 10**30, 1e300, "", "x" * 500, [], [None], [[]], {}, {"a": 1}, [{"a": []}], [5] * 50]
)
# Names of our classes and functions, of pydantic's types, and addresses.
OUR_CODE = re.compile(
    r"https?:|pydantic|Request\b|Response\b|Document\b|function-|Annotated|constrained|dict\[|list\[|\bstr\b|\bint\b"
    r"|\bbool\b|\bNone\b|Traceback|Input should|valid dictionary|_[a-z]+\(|Value error"
)


@pytest.fixture(scope="module")
def service(encoder, run_service):
    """HTTP client of a service with the shipped bundle."""
    with run_service(encoder) as http:
        yield http


@st.composite
def bad_requests(draw):
    """A path and a valid request, of which a field has another value, is missing, or is unknown."""
    path = draw(st.sampled_from(list(FIELDS)))
    body = dict(FIELDS[path])
    field = draw(st.sampled_from([*body, "unknown_field"]))
    if draw(st.booleans()) and field in body:
        del body[field]
    else:
        body[field] = draw(WRONG)
    return path, field, body


@given(bad_requests())
def test_a_refusal_names_the_field_and_the_rule(service, request_parts):
    """Any field with any value is answered, or refused in one sentence that names it and no class of ours."""
    path, field, body = request_parts
    response = service.post(path, json=body)
    assert response.status_code in (200, 422)
    if response.status_code == 422:
        detail = response.json()["detail"]
        assert set(response.json()) == {"detail"}
        assert detail.endswith(".")
        assert field in detail
        assert not OUR_CODE.search(detail), detail


@given(st.binary(max_size=40) | st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists).map(json.dumps))
def test_a_body_that_is_no_object_is_refused(service, content):
    """Bytes and JSON that is no object are refused in one sentence about the body."""
    for path in FIELDS:
        refused = service.post(path, content=content, headers={"content-type": "application/json"})
        assert refused.status_code == 422
        assert refused.json()["detail"].startswith("The body")
        assert not OUR_CODE.search(refused.json()["detail"])


@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        ("/v2/rerank", {"query": "tv", "documents": [5, "a"]}, "documents.0: expected a string or an object, found 5."),
        ("/v2/rerank", {"query": "tv", "documents": ["a", None]},
         "documents.1: expected a string or an object, found null."),
        ("/v2/rerank", {"query": "tv", "documents": []}, "documents: expected at least 1 item, found 0."),
        ("/v2/rerank", {"query": "tv", "documents": "a"}, "documents: expected a list, found a string."),
        ("/v2/rerank", {"query": "tv", "documents": [{"title": "a"}]},
         "documents.0: the object has none of the fields `text`. Name those to rank by in `rank_fields`."),
        ("/v2/rerank", {"query": "tv", "documents": ["a", {"b": 1}], "rank_fields": ["title", "brand"]},
         "documents.1: the object has none of the fields `title`, `brand`. Name those to rank by in `rank_fields`."),
        ("/v2/rerank", {"query": "tv", "documents": [{"text": {"en": "a"}}]},
         "documents.0.text: expected a string, a number, or a list of these."),
        ("/v2/rerank", {"query": "tv", "documents": ["a"], "top_n": 0}, "top_n: expected at least 1, found 0."),
        ("/v2/rerank", {"query": "tv", "documents": ["a"], "top_n": 1.5},
         "top_n: expected a whole number, found 1.5."),
        ("/v2/rerank", {"query": None, "documents": ["a"]}, "query: expected a string, found null."),
        ("/v2/rerank", {}, "query: this field is required."),
        ("/rerank", {"query": "tv"}, "The body: give a list of `texts` or a list of `documents`, one of the two."),
        ("/rerank", {"query": "tv", "texts": ["a"], "documents": ["a"]},
         "The body: give a list of `texts` or a list of `documents`, one of the two."),
        ("/rerank", {"query": "tv", "texts": [{"text": "a"}]}, "texts.0: expected a string, found an object."),
        ("/explain", {"query": "tv", "titles": []}, "titles: expected at least 1 item, found 0."),
        ("/explain", {"query": "tv", "titles": ["a", 5]}, "titles.1: expected a string, found 5."),
        ("/explain", {"query": "tv", "titles": ["a"], "lexical": [1, 2]},
         "lexical: expected one score for each title, 1 in all, found 2."),
        ("/explain", {"query": "tv", "titles": ["a"], "lexical": [-1]}, "lexical.0: expected at least 0.0, found -1."),
        ("/explain", {"index": "products", "id": "1"}, "body: this field is required."),
        ("/explain", {"index": "products", "body": {}, "id": ""}, "id: it is empty."),
        ("/rewrite", {"body": {}, "window": 10_001}, "window: expected at most 10000, found 10001."),
        ("/rewrite", {"body": {}, "mode": "x"}, "mode: expected `cluster`, `filter` or `retrieve`, found `x`."),
        ("/rewrite", {"body": {}, "operators": "yes"}, "operators: expected true or false, found a string."),
        ("/rewrite", {"body": {}, "foo": 1}, "foo: this request has no such field."),
        ("/rewrite", {"body": []}, "body: expected an object, found a list."),
        ("/encode/query", {"text": True}, "text: expected a string, found true or false."),
        ("/encode/query", [], "The body: expected a JSON object and the header Content-Type: application/json."),
    ],
)  # fmt: skip
def test_sentences(service, path, body, sentence):
    """The sentences, word for word."""
    refused = service.post(path, json=body)
    assert (refused.status_code, refused.json()) == (422, {"detail": sentence})


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e400", '["a", -1e400]'])
def test_a_text_is_no_infinite_number(service, path, text):
    """What Python reads as NaN or as an infinite number is no text of a document, at any endpoint."""
    content = f'{{"query": "tv", "documents": [{{"text": {text}}}]}}'
    refused = service.post(path, content=content, headers={"content-type": "application/json"})
    sentence = "documents.0.text: expected a finite number, found NaN or an infinite number."
    assert (refused.status_code, refused.json()) == (422, {"detail": sentence})


@pytest.mark.parametrize("content", [rb'{"text": "\ud800"}', rb'{"text": "tv", "\ud800": 1}'])
def test_lone_surrogates_are_named(service, content):
    """A lone surrogate in a value or in the name of a field is refused by that name."""
    refused = service.post("/encode/query", content=content, headers={"content-type": "application/json"})
    assert refused.status_code == 422
    assert "lone surrogate" in refused.json()["detail"]


def test_json_without_its_content_type_is_named(service):
    """JSON that is sent as plain text is refused with the header that is missing."""
    refused = service.post("/encode/query", content=b'{"text": "tv"}', headers={"content-type": "text/plain"})
    assert "Content-Type: application/json" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status", "sentence"),
    [
        ("GET", "/nope", 404, "There is no endpoint /nope; /docs lists all of them."),
        ("POST", "/V1/RERANK", 404, "There is no endpoint /V1/RERANK; /docs lists all of them."),
        ("GET", "/v1/rerank", 405, "GET is not allowed for /v1/rerank; expected POST."),
        ("DELETE", "/rewrite", 405, "DELETE is not allowed for /rewrite; expected POST."),
    ],
)
def test_another_path_or_method_is_named(service, method, path, status, sentence):
    """What the service does not have is refused with a sentence: the path, or the method, and what to use."""
    response = service.request(method, path)
    assert (response.status_code, response.json()) == (status, {"detail": sentence})


def test_a_compressed_body_is_named(service):
    """A body with a Content-Encoding is refused by the name of the encoding."""
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    refused = service.post("/v2/rerank", content=gzip.compress(b"{}"), headers=headers)
    assert refused.status_code == 422
    assert refused.json()["detail"] == "The body is encoded as gzip; send it without Content-Encoding."


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_load_balancers_may_ask_with_head(service, path):
    """HEAD is answered like GET, without a body."""
    response = service.head(path)
    assert (response.status_code, response.content) == (200, b"")
