"""The HTTP service under a fuzz of requests: those its description allows, those it forbids, and bytes at random."""

import json

import pytest
import schemathesis
from hypothesis import example, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

FEW = settings(max_examples=settings().max_examples // 10)  # of each endpoint, or of each path
POSTS = ["/v1/rerank", "/rerank", "/rewrite", "/encode/query", "/encode/products"]
GETS = ["/health", "/ready", "/metrics"]
TYPES = ["application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "x"]
NAMES = ["query", "documents", "texts", "text", "body", "query_text", "query_path", "window", "top_n", "raw_scores"]

# Python writes lone surrogates as escapes, NaN and infinities as words, and numbers no other parser takes.
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda node: st.lists(node, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), node),
    max_leaves=10,
)
objects = st.dictionaries(st.sampled_from(NAMES), values, max_size=6).map(lambda value: json.dumps(value).encode())


@st.composite
def damaged(draw):
    """A JSON object of which some bytes were lost or changed."""
    content = bytearray(draw(objects))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(content)))
        content[place : place + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    return bytes(content)


words = st.text(st.characters(), max_size=20)  # half characters too, which no description knows
FORMS = {
    "/v1/rerank": {"query": words, "documents": st.lists(words | st.fixed_dictionaries({"text": words}), min_size=1)},
    "/rerank": {"query": words, "texts": st.lists(words, min_size=1)},
    "/rewrite": {
        "body": st.fixed_dictionaries({"query": st.fixed_dictionaries({"match": st.dictionaries(words, words)})})
    },
    "/encode/query": {"text": words},
    "/encode/products": {"texts": st.lists(words)},
}
COHERE = {"top_n": st.integers(), "return_documents": st.booleans()}
TEI = {"raw_scores": st.booleans(), "return_text": st.booleans()}
REWRITE = {"query_text": words, "window": st.integers() | st.floats()}
MORE = {"/v1/rerank": COHERE, "/rerank": TEI, "/rewrite": REWRITE}
requests = st.sampled_from(POSTS).flatmap(
    lambda path: st.tuples(st.just(path), st.fixed_dictionaries(FORMS[path], optional=MORE.get(path)))
)


@pytest.fixture(scope="module")
def service(attentive, serving):
    """HTTP client of a service whose bundle has attention."""
    with serving(attentive) as http:
        yield http


@pytest.fixture(scope="module")
def described(service):
    """Endpoints as the running service describes them."""
    return schemathesis.openapi.from_url(f"{service.base_url}/openapi.json")


@pytest.mark.parametrize(
    ("path", "mode"),
    [*((path, mode) for path in POSTS for mode in GenerationMode), *((path, GenerationMode.POSITIVE) for path in GETS)],
)
@FEW
@given(st.data())
def test_every_request_is_answered_as_described(described, path, mode, data):
    """What the description allows is answered and what it forbids is refused, each in the form that is described."""
    endpoint = described[path]["POST" if path in POSTS else "GET"]
    data.draw(endpoint.as_strategy(generation_mode=mode)).call_and_validate()


@given(st.sampled_from(POSTS), objects | damaged() | st.binary(max_size=60), st.sampled_from(TYPES))
@example("/v1/rerank", rb'{"query": "tv", "documents": ["\ud800"], "return_documents": true}', TYPES[0])
@example("/rerank", rb'{"query": "\udc00", "texts": ["\ud800 tv"], "return_text": true}', TYPES[0])
def test_bytes_are_answered_or_refused_with_a_sentence(service, path, content, kind):
    """Whatever bytes are sent, the service answers, or says in one sentence of JSON why it does not."""
    response = service.post(path, content=content, headers={"content-type": kind})
    assert response.status_code in (200, 422)
    answer = response.json()
    if response.status_code == 422:
        assert set(answer) == {"detail"}
        assert answer["detail"].endswith(".")


@given(requests)
def test_any_text_is_answered_or_refused_with_a_sentence(service, asked):
    """Requests of the right form with any text of Unicode are answered to rerank, and refused at worst elsewhere."""
    path, body = asked
    response = service.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    assert response.status_code in (200, 422)
    assert response.status_code == 200 or response.json()["detail"].endswith(".")
    if "rerank" in path and body.get("top_n", 1) > 0:
        assert response.status_code == 200


@pytest.mark.parametrize("path", [*POSTS, *GETS, "/nowhere", "/docs/%ff", "/../rerank", "//"])
@FEW
@given(st.sampled_from(["GET", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "POST", "BREW"]), st.binary(max_size=20))
def test_no_method_and_no_path_makes_a_fault(service, path, method, content):
    """A method or a path that is none is refused as such: no request is answered by a fault."""
    response = service.request(method, path, content=content)
    assert response.status_code in (200, 307, 404, 405, 422)
