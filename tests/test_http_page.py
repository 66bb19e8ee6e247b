"""docs/http.md: every endpoint is on it, and its examples answer as it says."""

import json
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "http.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(
    r"```sh\ncurl localhost:8000(\S+) --json '(.+?)'\n```(?:\n\n```json\n(.+?)\n```)?", PAGE, re.DOTALL
)


@pytest.fixture(scope="module")
def service(encoder, run_service):
    """HTTP client of a service with the shipped bundle."""
    with run_service(encoder) as http:
        yield http


def test_every_endpoint_is_on_the_page(service):
    """The page names every path that the service describes."""
    paths = service.get("/openapi.json").json()["paths"]
    assert [path for path in paths if f"`{path}`" not in PAGE and f" {path}`" not in PAGE] == []


def test_every_field_is_on_the_page(service):
    """The page names every field of every request."""
    schemas = service.get("/openapi.json").json()["components"]["schemas"]
    fields = {field for name, schema in schemas.items() if name.endswith("Request") for field in schema["properties"]}
    assert [field for field in sorted(fields) if field not in PAGE] == []


def test_the_page_has_an_example_of_every_request(service):
    """Each endpoint that takes a body has an example, but `/v1/rerank`, whose request is that of `/v2/rerank`."""
    paths = service.get("/openapi.json").json()["paths"]
    assert {path for path, _, _ in EXAMPLES} == {path for path in paths if "post" in paths[path]} - {"/v1/rerank"}


@pytest.mark.parametrize(("path", "request_text", "response_text"), EXAMPLES)
def test_the_examples_answer_as_shown(service, path, request_text, response_text):
    """Each example is answered, with the names of the page, by the rerankers in its order; scores are one bundle's."""
    response = service.post(path, json=json.loads(request_text))
    assert response.status_code == 200
    if not response_text:
        return
    shown, answer = json.loads(response_text), response.json()
    if isinstance(shown, dict):
        assert list(shown) == list(answer)
        shown, answer = shown.get("results"), answer.get("results")
    if "rerank" in path:
        assert [list(result) for result in answer] == [list(result) for result in shown]
        assert [result["index"] for result in answer] == [result["index"] for result in shown]
