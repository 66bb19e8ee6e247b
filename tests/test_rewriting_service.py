"""`POST /rewrite` in each mode: what comes of it is what the pure functions make, and OpenSearch takes it."""

import pytest
from small_shop import large_shop, match

from anthem_core.encoding.query_operators import encode_phrases
from anthem_plugin.client import AnthemClient, Filter, Retrieve
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
def service(encoder, serving):
    """HTTP client of the running application."""
    with serving(encoder) as http:
        yield http


@pytest.fixture(scope="module")
def scoring(encoder):
    """What the service scores by."""
    return ScoringParams.of(encoder.bundle)


def asked(service, body=BODY, **how):
    """The answer of the rewriter."""
    answer = service.post("/rewrite", json={"body": body} | how)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("how", [{}, {"slack": 0.1}, {"slack": -0.5, "unknown": False}])
def test_a_filter_is_the_rewriters(service, encoder, scoring, how):
    """Mode `filter` answers with the body the client sends, slack and the unknown as they were given."""
    script = build_filter_script(encoder.query("fire tv"), scoring, Filter(**how))
    assert asked(service, mode="filter", **how) == {
        "body": build_filter_body(BODY, script).body, "reranked": True, "reason": None,
    }  # fmt: skip


@pytest.mark.parametrize("how", [{}, {"k": 7}, {"k": 3.0, "filter": {"term": {"brand": "acme"}}}])
def test_near_products_are_the_rewriters(service, encoder, scoring, how):
    """Mode `retrieve` answers with the body the client sends, neighbours and their filter as they were given."""
    script = build_score_script(encoder.query("fire tv"), scoring)
    expected = build_retrieve_body(BODY, script, "fire tv", Retrieve(**how), window=30).body
    assert asked(service, mode="retrieve", window=30, **how)["body"] == expected


@pytest.mark.parametrize("mode", ["cluster", "filter", "retrieve"])
def test_operators_ask_for_either_phrase(service, encoder, scoring, mode):
    """With `operators` the script has the region of both phrases, without it that of one text."""
    region, body = encode_phrases(encoder, TEXT), match(TEXT)
    script = build_score_script(region, scoring)
    made = {
        "cluster": build_rescore_body(body, script).body,
        "filter": build_filter_body(body, build_filter_script(region, scoring)).body,
        "retrieve": build_retrieve_body(body, script, TEXT).body,
    }
    assert asked(service, body, mode=mode, operators=True)["body"] == made[mode]
    assert asked(service, body, mode=mode)["body"] != made[mode]


@pytest.mark.parametrize("mode", ["cluster", "filter", "retrieve"])
@pytest.mark.parametrize(
    ("text", "word"),
    [("?!", "letters"), ("?! OR !", "letters"), (" OR ".join("abcdefghi"), "the script takes 8")],
)
def test_what_cannot_be_asked_for_is_left_alone(service, mode, text, word):
    """A text without words, and one with more hyperboloids than the script takes, leave the body as it was."""
    answer = asked(service, match(text), mode=mode, operators=True)
    assert (answer["body"], answer["reranked"]) == (match(text), False)
    assert word in answer["reason"]


@pytest.mark.parametrize(
    ("how", "word"),
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
def test_what_makes_no_sense_is_refused(service, how, word):
    """A mode there is not, and numbers beyond their range, are refused with the place they stand at."""
    answer = service.post("/rewrite", json={"body": BODY} | how)
    assert answer.status_code == 422
    assert word in answer.json()["detail"]


@pytest.mark.node
@pytest.mark.parametrize("how", [{"mode": "filter", "slack": 0.2}, {"mode": "retrieve", "k": 5}])
def test_opensearch_answers_it_as_it_answers_the_client(service, client, encoder, how):
    """Sent by anyone, the body finds what the client finds in that mode."""
    client.put_script(id=script_id(), body=build_put_script_body(), context=SCRIPT_CONTEXT)
    mode = Filter(0.2) if how["mode"] == "filter" else Retrieve(5)
    with large_shop(client, encoder) as index:
        found = client.search(index=index, body=asked(service, **how)["body"])
        expected = AnthemClient(client, encoder).search(index, BODY, mode=mode)
        assert found["hits"] == expected["hits"]
        assert len(found["hits"]["hits"]) > 5
