"""Calls that set up OpenSearch's own search pipelines: they equal the documentation, and their searches work."""

import copy
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_index import model_documents

from anthem_core.opensearch.schema import ModelFields
from anthem_plugin.rewriter.query_text import find_query_text, value_at_path
from anthem_plugin.scoring.painless import SCRIPT_CONTEXT, build_put_script_body, script_id
from anthem_plugin.scoring.params import ScoringParams
from anthem_plugin.service.pipeline_calls import (
    TRUSTED_ENDPOINTS_SETTING,
    PipelineTarget,
    build_inference_calls,
    build_inference_search,
    build_rerank_calls,
    build_settings_call,
)

DOCUMENT = Path(__file__).parents[1] / "docs" / "opensearch-pipeline.md"
TITLES = ["acme red fire tv", "globex fire tv", "stark fire pit", "fire tv stand", "tv"]


def test_the_documentation_shows_these_calls():
    """docs/opensearch-pipeline.md contains exactly the calls that are built here, in this order."""
    documented = re.findall(r"```json\n(PUT|POST) (\S+)\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    calls = [*build_rerank_calls(PipelineTarget()), *build_inference_calls(PipelineTarget())[1:]]
    assert [(*request_line, json.loads(body)) for *request_line, body in documented] == [
        (call.method, call.path, call.body) for call in calls
    ]


@given(st.lists(st.text(max_size=9), max_size=3), st.sampled_from(["https://a.b:8080", "http://10.0.0.1/x/"]))
def test_no_trusted_address_is_lost(trusted, service):
    """The new list keeps every trusted address and adds a pattern that matches only the address of the service."""
    call = build_settings_call(PipelineTarget(service), trusted)
    addresses = call.body["persistent"][TRUSTED_ENDPOINTS_SETTING]
    assert set(trusted) < set(addresses) or addresses[-1] in trusted
    urls = [
        action["url"]
        for build_calls in (build_rerank_calls, build_inference_calls)
        for action in build_calls(PipelineTarget(service))[1].body["actions"]
    ]
    assert all(re.fullmatch(addresses[-1], url) for url in urls)
    assert not re.fullmatch(addresses[-1], urls[0].replace(".", "x"))
    assert build_settings_call(PipelineTarget(service), addresses) == call, "a second call changes nothing"


@pytest.mark.parametrize("field", ["title", "brand.name"])
def test_the_paths_point_to_the_query_text(field):
    """Both processors get the path of the query text, whatever the name of the field."""
    *_, pipeline, search = build_rerank_calls(PipelineTarget(field=field))
    path = search.body["ext"]["rerank"]["query_context"]["query_text_path"]
    assert value_at_path(search.body, path) == find_query_text(search.body) == "fire tv"
    assert pipeline.body["response_processors"][0]["rerank"]["context"]["document_fields"] == [field]
    processor = build_inference_calls(PipelineTarget(field=field))[3].body["request_processors"][0]["ml_inference"]
    assert processor["input_map"] == [{"text": path}]


def put_value(body, path, value):
    """Replace the value at an existing path, as the processor does."""
    *parents, last = re.sub(r"\[(\d+)\]", r".\1", path).split(".")
    node = body
    for key in parents:
        node = node[int(key)] if isinstance(node, list) else node[key]
    assert last in node
    node[last] = value


@pytest.mark.node
def test_the_search_ranks_with_the_values_that_the_processor_fills_in(client, index, encoder, run_service):
    """The unfilled search has the lexical order; filled with the service's response it ranks as /rewrite does."""
    client.indices.create(index=index, body={"settings": {"number_of_shards": 1}})
    client.indices.put_mapping(index=index, body=ModelFields().mapping(encoder.bundle.dimension))
    for number, (title, values) in enumerate(zip(TITLES, model_documents(encoder, TITLES), strict=True)):
        client.index(index=index, id=str(number), body={"title": title, **values})
    client.indices.refresh(index=index)
    client.put_script(id=script_id(), body=build_put_script_body(), context=SCRIPT_CONTEXT)
    target = PipelineTarget(index=index)
    body = build_inference_search(target, ScoringParams.from_bundle(encoder.bundle)).body
    (outputs,) = build_inference_calls(target)[3].body["request_processors"][0]["ml_inference"]["output_map"]
    filled = copy.deepcopy(body)
    plain = {"query": target.query, "size": 10}
    with run_service(encoder) as http:
        encoded = http.post("/encode/query", json={"text": "fire tv"}).json()
        rewritten = http.post("/rewrite", json={"body": plain}).json()["body"]
    for path, output in outputs.items():
        put_value(filled, path, value_at_path(encoded, output))

    def scores(searched):
        return [(hit["_id"], hit["_score"]) for hit in client.search(index=index, body=searched)["hits"]["hits"]]

    assert [product for product, _ in scores(body)] == [product for product, _ in scores(plain)]
    for (filled_id, filled_score), (expected_id, expected_score) in zip(scores(filled), scores(rewritten), strict=True):
        assert (filled_id, filled_score) == (expected_id, pytest.approx(expected_score, rel=1e-6))
    assert scores(filled) != scores(body)
