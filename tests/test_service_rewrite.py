"""`POST /rewrite` in each mode: it returns what the rewriter builds, and OpenSearch accepts it."""

import pytest
from small_index import large_index, match

from anthem_core.encoding.query_operators import encode_phrases, split_phrases
from anthem_plugin.client import AnthemClient
from anthem_plugin.modes import Filter, Retrieve
from anthem_plugin.rewriter.rescore import build_filter_body, build_rescore_body
from anthem_plugin.rewriter.retrieve import build_retrieve_body
from anthem_plugin.scoring.painless import (
    SCRIPT_CONTEXT,
    build_filter_script,
    build_put_script_body,
    build_score_script,
    script_id,
)
from anthem_plugin.scoring.params import ScoringParams

TEXT = "fire tv OR kindle"
BODY = match("fire tv") | {"size": 150}


@pytest.fixture(scope="module")
def service(encoder, run_service):
    """HTTP client of the running application."""
    with run_service(encoder) as http:
        yield http


@pytest.fixture(scope="module")
def scoring(encoder):
    """The scoring parameters of the service."""
    return ScoringParams.from_bundle(encoder.bundle)


def rewrite(service, body=BODY, **options):
    """Response of `/rewrite`."""
    response = service.post("/rewrite", json={"body": body} | options)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("options", [{}, {"slack": 0.1}, {"slack": -0.5, "unknown": False}])
def test_mode_filter_equals_the_rewriters(service, encoder, scoring, options):
    """Mode `filter` returns the body that the client sends, with the given `slack` and `unknown`."""
    script = build_filter_script(encoder.encode_query("fire tv"), scoring, Filter(**options))
    assert rewrite(service, mode="filter", **options) == {
        "body": build_filter_body(BODY, script).body, "reranked": True, "reason": None,
    }  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"k": 7}, {"k": 3.0, "filter": {"term": {"brand": "acme"}}}])
def test_mode_retrieve_equals_the_rewriters(service, encoder, scoring, options):
    """Mode `retrieve` returns the body that the client sends, with the given `k` and `filter`."""
    script = build_score_script(encoder.encode_query("fire tv"), scoring)
    expected = build_retrieve_body(BODY, script, "fire tv", Retrieve(**options), window=30).body
    assert rewrite(service, mode="retrieve", window=30, **options)["body"] == expected


@pytest.mark.parametrize("mode", ["cluster", "filter", "retrieve"])
def test_operators_search_for_either_phrase(service, encoder, scoring, mode):
    """With `operators` the script has the region of both phrases, without it that of the whole text."""
    region, body = encode_phrases(encoder.encode_query, split_phrases(TEXT)), match(TEXT)
    script = build_score_script(region, scoring)
    expected = {
        "cluster": build_rescore_body(body, script).body,
        "filter": build_filter_body(body, build_filter_script(region, scoring)).body,
        "retrieve": build_retrieve_body(body, script, TEXT).body,
    }
    assert rewrite(service, body, mode=mode, operators=True)["body"] == expected[mode]
    assert rewrite(service, body, mode=mode)["body"] != expected[mode]


@pytest.mark.parametrize("mode", ["cluster", "filter", "retrieve"])
@pytest.mark.parametrize(
    ("text", "word"),
    [("?!", "letters"), ("?! OR !", "letters"), (" OR ".join("abcdefghi"), "the script takes at most 8")],
)
def test_unsupported_queries_leave_the_body_unchanged(service, mode, text, word):
    """A text without words, or with more hyperboloids than the script takes, leaves the body unchanged."""
    response = rewrite(service, match(text), mode=mode, operators=True)
    assert (response["body"], response["reranked"]) == (match(text), False)
    assert word in response["reason"]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"mode": "client"}, "'cluster', 'filter' or 'retrieve'"),
        ({"mode": "filter", "slack": "1"}, "slack"),
        ({"mode": "retrieve", "k": 0}, "k: "),
        ({"mode": "retrieve", "k": 1001}, "k: "),
        ({"mode": "retrieve", "filter": "brand:acme"}, "filter"),
        ({"mode": "retrieve", "filter": {}}, "filter"),
        ({"operators": "yes"}, "operators"),
    ],
)
def test_invalid_options_are_rejected(service, options, word):
    """Unknown modes and values out of range are rejected with the name of the field."""
    response = service.post("/rewrite", json={"body": BODY} | options)
    assert response.status_code == 422
    assert word in response.json()["detail"]


@pytest.mark.node
@pytest.mark.parametrize("options", [{"mode": "filter", "slack": 0.2}, {"mode": "retrieve", "k": 5}])
def test_opensearch_answers_the_body_as_it_answers_the_client(service, client, encoder, options):
    """The rewritten body finds what the client finds in that mode."""
    client.put_script(id=script_id(), body=build_put_script_body(), context=SCRIPT_CONTEXT)
    mode = Filter(0.2) if options["mode"] == "filter" else Retrieve(5)
    with large_index(client, encoder) as index:
        response = client.search(index=index, body=rewrite(service, **options)["body"])
        expected = AnthemClient(client, encoder).search(index, BODY, mode=mode)
        assert response["hits"] == expected["hits"]
        assert len(response["hits"]["hits"]) > 5
