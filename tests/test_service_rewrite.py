"""`POST /rewrite` in each mode: it returns what the rewriter builds, and OpenSearch accepts it."""

from dataclasses import replace

import pytest
from attention_index import encoder_without_attention  # noqa: F401 (a fixture)
from small_index import large_index, match

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.query_operators import encode_phrases, split_phrases
from anthem_plugin.client import AnthemClient
from anthem_plugin.modes import Filter, Retrieve
from anthem_plugin.rewriter.body import build_script_body
from anthem_plugin.rewriter.rescore import NO_HITS_REQUESTED_REASON
from anthem_plugin.scoring.painless import SCRIPT_CONTEXT, build_put_script_body, script_id
from anthem_plugin.scoring.params import ATTENTION, CONTAINMENT, ScoringParams

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


@pytest.fixture(scope="module")
def build(encoder, scoring):
    """Function that builds what the client sends for phrases, by the rewriter alone."""
    encode_table = AttentionScorer(encoder.bundle).encode_query

    def build_body(mode, phrases=("fire tv",), body=BODY, **options):
        region, tables = encode_phrases(encoder.encode_query, phrases), [encode_table(phrase) for phrase in phrases]
        return build_script_body(body, region, scoring, mode, tables=tables, **options).body

    return build_body


@pytest.mark.parametrize("options", [{}, {"slack": 0.1}, {"slack": -0.5, "unknown": False}])
def test_mode_filter_equals_the_rewriters(service, build, options):
    """Mode `filter` returns the body that the client sends, with the given `slack` and `unknown`."""
    expected = {"body": build(Filter(**options)), "reranked": True, "reason": None}
    assert rewrite(service, mode="filter", **options) == expected


@pytest.mark.parametrize("options", [{}, {"k": 7}, {"k": 3, "filter": {"term": {"brand": "acme"}}}])
def test_mode_retrieve_equals_the_rewriters(service, build, options):
    """Mode `retrieve` returns the body that the client sends, with the given `k` and `filter`."""
    expected = build(Retrieve(**options), text="fire tv", window=30)
    assert rewrite(service, mode="retrieve", window=30, **options)["body"] == expected
    as_floats = {name: float(value) if name == "k" else value for name, value in options.items()}
    assert rewrite(service, mode="retrieve", window=30.0, **as_floats)["body"] == expected


MODES = {"cluster": "cluster", "filter": Filter(), "retrieve": Retrieve()}


@pytest.mark.parametrize("mode", MODES)
def test_operators_search_for_either_phrase(service, build, mode):
    """With `operators` the script has the region and the tables of both phrases, without it those of the whole text."""
    body, either = match(TEXT), rewrite(service, match(TEXT), mode=mode, operators=True)["body"]
    assert either == build(MODES[mode], split_phrases(TEXT), body, text=TEXT)
    assert rewrite(service, body, mode=mode)["body"] == build(MODES[mode], [TEXT], body, text=TEXT) != either


def script_params(body):
    """Parameters of the script in a rewritten body."""
    return body["rescore"][0]["query"]["rescore_query"]["script_score"]["script"]["params"]


@pytest.mark.parametrize("signals", [CONTAINMENT, ATTENTION])
def test_the_signals_of_an_index_can_be_named(service, encoder, scoring, signals):
    """With `signals` the script ranks by these alone, with the weights that were learned for them."""
    region, table = encoder.encode_query("fire tv"), AttentionScorer(encoder.bundle).encode_query("fire tv")
    own = replace(scoring, signals=signals)
    expected = build_script_body(BODY, region, own, "cluster", tables=[table]).body
    body = rewrite(service, signals=sorted(signals))["body"]
    assert body == expected
    assert ("centres" in script_params(body), "tables" in script_params(body)) == (
        signals == CONTAINMENT, signals == ATTENTION
    )  # fmt: skip
    assert rewrite(service, signals=["attention", "containment"]) == rewrite(service)


def test_the_limit_of_hyperboloids_is_one_of_containment(service, encoder):
    """A text of many phrases is ranked by attention alone, which sends no hyperboloids, and not by containment."""
    phrases = "abcdefghijkl"
    text = " OR ".join(phrases)
    body = rewrite(service, match(text), operators=True, signals=["attention"])["body"]
    assert len(script_params(body)["tables"]) == len(phrases)
    answer = rewrite(service, match(text), operators=True, signals=["containment"])
    assert f"{len(phrases) * encoder.bundle.hyperboloids} hyperboloids" in answer["reason"]


@pytest.mark.parametrize("mode", ["filter", "retrieve"])
def test_modes_that_need_vectors_reject_an_index_without(service, mode):
    """Modes `filter` and `retrieve` leave the body unchanged if the index has no vectors."""
    answer = rewrite(service, mode=mode, signals=["attention"])
    assert (answer["body"], answer["reranked"]) == (BODY, False)
    assert "needs vectors" in answer["reason"]


def test_a_model_without_attention_ranks_by_containment(run_service, encoder_without_attention):  # noqa: F811
    """Without attention in the bundle the script gets no tables, and attention alone is no way to rank."""
    with run_service(encoder_without_attention) as http:
        assert "tables" not in script_params(rewrite(http)["body"])
        assert rewrite(http, signals=["attention"])["reason"] == "the model has none of the requested signals"
        assert http.post("/encode/query", json={"text": "tv"}).json()["query"]["tables"] == []
        assert http.post("/encode/products", json={"texts": ["tv"]}).json()["trigrams"] is None


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


@pytest.mark.parametrize("mode", ["cluster", "filter", "retrieve"])
def test_a_body_that_requests_no_hits_hides_the_values_beside_them(service, mode):
    """With `size: 0`, only `filter` rewrites the query; `top_hits` hide the model's values, with or without a text."""
    for query in (BODY["query"], {"match_all": {}}):
        body = {"query": query, "size": 0, "aggs": {"best": {"top_hits": {"size": 1}}}}
        answer = rewrite(service, body, mode=mode)
        filters = mode == "filter" and query == BODY["query"]
        assert answer["reranked"] == filters
        assert filters or (answer["reason"] == NO_HITS_REQUESTED_REASON) == (mode != "filter")
        assert "anthem" in answer["body"]["aggs"]["best"]["top_hits"]["_source"]["excludes"]
        assert filters or answer["body"] | {"aggs": None} == body | {"aggs": None}
        counted = {"query": query, "size": 0, "aggs": {"brands": {"terms": {"field": "brand"}}}}
        assert filters or rewrite(service, counted, mode=mode)["body"] == counted


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"mode": "client"}, "`cluster`, `filter` or `retrieve`"),
        ({"mode": "filter", "slack": "1"}, "slack"),
        ({"mode": "retrieve", "k": 0}, "k: "),
        ({"mode": "retrieve", "k": 1001}, "k: "),
        ({"mode": "retrieve", "filter": "brand:acme"}, "filter"),
        ({"mode": "retrieve", "filter": {}}, "filter"),
        ({"operators": "yes"}, "operators"),
        ({"signals": []}, "signals"),
        ({"signals": ["lexical"]}, "signals"),
    ],
)
def test_invalid_options_are_rejected(service, options, word):
    """Unknown modes and values out of range are rejected with the name of the field."""
    response = service.post("/rewrite", json={"body": BODY} | options)
    assert response.status_code == 422
    assert word in response.json()["detail"]


@pytest.mark.node
@pytest.mark.parametrize("options", [{}, {"mode": "filter", "slack": 0.2}, {"mode": "retrieve", "k": 5}])
def test_opensearch_answers_the_body_as_it_answers_the_client(service, client, encoder, options):
    """The rewritten body finds what the client finds in that mode."""
    client.put_script(id=script_id(), body=build_put_script_body(), context=SCRIPT_CONTEXT)
    mode = {"filter": Filter(0.2), "retrieve": Retrieve(5)}.get(options.get("mode"), "cluster")
    with large_index(client, encoder) as index:
        response = client.search(index=index, body=rewrite(service, **options)["body"])
        expected = AnthemClient(client, encoder).search(index, BODY, mode=mode)
        assert response["hits"] == expected["hits"]
        assert len(response["hits"]["hits"]) > 5
