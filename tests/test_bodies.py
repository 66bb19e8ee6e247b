"""Every kind of search in every mode, on a real node.

docs/search-bodies.md contains the tables that `python tests/test_bodies.py` prints.
"""

import json
import re
from pathlib import Path

import bodies_index
import numpy as np
import pytest
from bodies_index import TITLES
from opensearchpy.exceptions import RequestError
from small_index import stored_points

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.opensearch.versions import COMBINED_FIELDS
from anthem_ingest.index_io import read_release
from anthem_plugin.client import AnthemClient
from anthem_plugin.modes import Filter
from anthem_plugin.rewriter.own_scores import INDICES_BOOST_REASON, OWN_RESCORE_REASON
from anthem_plugin.rewriter.query_text import DIFFERENT_TEXTS_REASON, NO_QUERY_TEXT_REASON, NO_WORDS_REASON
from anthem_plugin.rewriter.rescore import NO_HITS_REQUESTED_REASON, TOP_HITS_REASON, build_rescore_body
from anthem_plugin.rewriter.retrieve import INSEPARABLE_FILTERS_REASON
from anthem_plugin.scoring.painless import build_score_script
from anthem_plugin.scoring.params import ScoringParams, to_float64
from anthem_plugin.search.request_options import SCROLL_REASON

pytestmark = pytest.mark.node

PIPELINE = Path(__file__).parents[1] / "docs" / "opensearch-pipeline.md"
DOCUMENT = Path(__file__).parents[1] / "docs" / "search-bodies.md"
names = bodies_index.names
MATCH = {"match": {"title": "fire tv"}}
PLAIN = {"query": MATCH}
NO_RESCORE_WITH = "OpenSearch does not allow `{}` together with a rescore"
NOT_BY_SCORE = "the body does not sort by `_score` alone"
OWN_RANKING = "a `{}` query defines its own ranking"
PASSED_AS_OPTION = "`{}` was passed as an option; put it into the body"
NO_VALUES = "no product among the hits has values of this model; run: anthem ingest {index}-bare"
NO_VECTORS = "{} mode needs vectors, and {{index}}-trigrams has none; run: anthem ingest {{index}}-trigrams"
NO_GRAPH = (
    "{index}-flat has no HNSW graph of its vectors, which retrieve mode needs: "
    "search {index}-flat-ann, the copy that `anthem ingest {index}-flat --ann` creates"
)
NO_HITS = "there are no hits to rerank"
MODES = ("cluster", "client", "filter", "retrieve")
APPLIED = {"cluster": "reranked", "client": "reranked", "filter": "filtered", "retrieve": "retrieved"}
YES = None


class Note(str):
    """Reason of a search to which the mode was applied all the same."""

    __slots__ = ()


LEFT_OUT = Note("{index}-bare is not ranked: no values of this model; run: anthem ingest INDEX")


def case(body, cluster=YES, client=YES, filter_=YES, retrieve=YES, **options):
    """A search, the options of its request, and the reason that each mode gives; YES where the mode is applied."""
    return body, options, dict(zip(MODES, (cluster, client, filter_, retrieve), strict=True))


def in_all_modes(reason, **options):
    """The same reason for every mode."""
    return {**dict.fromkeys(("cluster", "client", "filter_", "retrieve"), reason), **options}


def in_rescoring_modes(reason):
    """The same reason for every mode that rescores."""
    return dict.fromkeys(("cluster", "client", "retrieve"), reason)


QUERIES = {
    "`match`": case({"query": MATCH}),
    "`multi_match`": case({"query": {"multi_match": {"query": "fire tv", "fields": ["title^3", "text"]}}}),
    "`bool` with `filter`, `should`, `must_not`": case(
        {"query": {"bool": {"must": MATCH, "filter": {"term": {"brand": "acme"}}, "should": {"term": {"price": 3}},
                            "must_not": {"term": {"price": 9}}}}}),
    "`bool` with filters only": case({"query": {"bool": {"filter": {"term": {"brand": "acme"}}}}}),
    "`dis_max`": case({"query": {"dis_max": {"queries": [MATCH, {"match": {"text": "fire tv"}}]}}}),
    "several `should` clauses of one text": case(
        {"query": {"bool": {"should": [{"match": {"title": {"query": "Fire TV", "boost": 3}}},
                                       {"match_phrase": {"text": "fire tv"}}, {"match": {"text": "fire tv"}}]}}}),
    "`match_phrase`": case({"query": {"match_phrase": {"title": "fire tv"}}}),
    "`match_phrase_prefix`": case({"query": {"match_phrase_prefix": {"title": {"query": "fire tv"}}}}),
    "`match_bool_prefix`": case({"query": {"match_bool_prefix": {"title": "fire tv"}}}),
    "`combined_fields`": case({"query": {"combined_fields": {"query": "fire tv", "fields": ["title^2", "text"]}}}),
    "`nested`": case(
        {"query": {"nested": {"path": "variants", "query": {"match": {"variants.name": "fire tv"}}}}}),
    "`boosting`": case(
        {"query": {"boosting": {"positive": MATCH, "negative": {"term": {"brand": "acme"}}, "negative_boost": 0.2}}}),
    "`function_score` around a `bool` with `multi_match` and filters": case(
        {"query": {"function_score": {
            "query": {"bool": {"must": [{"multi_match": {"query": "fire tv", "fields": ["title^3", "text"]}}],
                               "filter": [{"range": {"price": {"lte": 7}}}],
                               "must_not": [{"term": {"brand": "globex"}}]}},
            "functions": [{"filter": {"term": {"brand": "acme"}}, "weight": 4}], "boost_mode": "sum"}}}),
    "`function_score`": case(
        {"query": {"function_score": {"query": MATCH, "field_value_factor": {"field": "price", "missing": 1}}}}),
    "`script_score`": case(
        {"query": {"script_score": {"query": MATCH, "script": {"source": "_score + 1"}}}}),
    "`query_string`": case({"query": {"query_string": {"query": "fire tv", "default_field": "title"}}}),
    "`query_string` with field names": case(
        {"query": {"query_string": {"query": "title:fire OR title:tv"}}}, retrieve=INSEPARABLE_FILTERS_REASON),
    "`query_string` with operators": case(
        {"query": {"query_string": {"query": "(fire OR tv) -brand:globex", "default_field": "title"}}},
        retrieve=INSEPARABLE_FILTERS_REASON),
    "`simple_query_string`": case({"query": {"simple_query_string": {"query": "fire tv", "fields": ["title"]}}}),
    "`match` of another text": case({"query": {"match": {"title": "red"}}}, retrieve=INSEPARABLE_FILTERS_REASON),
    "`constant_score`": case({"query": {"constant_score": {"filter": MATCH}}}),
    "`match_all`": case({"query": {"match_all": {}}}),
    "`knn`": case({"query": {"knn": {"v": {"vector": [1, 0], "k": 3}}}}, **in_all_modes(OWN_RANKING.format("knn"))),
    "no query": case({"size": 3}, **in_all_modes("the body has no query")),
}  # fmt: skip
ADDED_LATER = {"`combined_fields`": COMBINED_FIELDS}
WITHOUT_TEXT = ("`bool` with filters only", "`query_string` with field names", "`match_all`")
RULED_OUT = ("`knn`", "no query")
WITH_OTHER_TEXT = ("`match` of another text",)
KEYS = {
    "`from`, `size`": case(PLAIN | {"from": 2, "size": 3}),
    "`size: 0`": case(PLAIN | {"size": 0}, **in_rescoring_modes(NO_HITS_REQUESTED_REASON)),
    "`from` after the last hit": case(
        PLAIN | {"from": 500}, **in_rescoring_modes(NO_HITS),
        filter_=Note("{kept} products pass the filter, and the page starts after the last of them")),
    "`aggs`": case(PLAIN | {"aggs": {"brands": {"terms": {"field": "brand"}}}}),
    "`top_hits` without a `sort`, or by `_score` alone": case(
        PLAIN | {"aggs": {"brands": {"terms": {"field": "brand"}, "aggs": {"best": {"top_hits": {"_source": False}}}}}},
        TOP_HITS_REASON),
    "`top_hits` by another `sort`": case(
        PLAIN | {"aggs": {"one": {"top_hits": {"sort": ["_score", "_doc"], "_source": False}}}}),
    "`highlight`": case(PLAIN | {"highlight": {"fields": {"title": {}}}}),
    "`_source` filters": case(PLAIN | {"_source": {"includes": ["t*"], "excludes": ["text"]}}),
    "`_source: false`": case(PLAIN | {"_source": False}),
    "`_source.excludes` with a wildcard that covers the vector": case(
        PLAIN | {"_source": {"excludes": ["*.vector"]}},
        client="a wildcard in `_source.excludes` hides `anthem.vector` from the client"),
    "`stored_fields: _none_`": case(
        PLAIN | {"stored_fields": "_none_"},
        client="`stored_fields: _none_` hides the model's values from the client"),
    "`docvalue_fields`, `fields`, `script_fields`": case(
        PLAIN | {"docvalue_fields": ["brand"], "fields": ["title"], "script_fields": {"one": {"script": "1"}}}),
    "`sort` by `_score`": case(PLAIN | {"sort": ["_score"]}),
    "`sort` by a field": case(PLAIN | {"sort": ["price"]}, **in_rescoring_modes(NOT_BY_SCORE)),
    "`search_after`": case(
        PLAIN | {"sort": [{"price": "asc"}], "search_after": [3]},
        **in_rescoring_modes(NO_RESCORE_WITH.format("search_after"))),
    "`collapse`": case(
        PLAIN | {"collapse": {"field": "brand"}},
        **in_rescoring_modes(f"{NO_RESCORE_WITH.format('collapse')}; use client mode") | {"client": YES}),
    "`post_filter`": case(PLAIN | {"post_filter": {"term": {"brand": "acme"}}}),
    "`min_score`": case(PLAIN | {"min_score": 0.01}),
    "`explain`": case(PLAIN | {"explain": True}),
    "`profile`": case(PLAIN | {"profile": True}),
    "`rescore`": case(
        PLAIN | {"rescore": {"window_size": 5, "query": {"rescore_query": {"match": {"title": "red"}}}}},
        **in_rescoring_modes(OWN_RESCORE_REASON)),
    "`indices_boost`": case(
        PLAIN | {"indices_boost": [{"*": 2.0}]}, **in_rescoring_modes(INDICES_BOOST_REASON) | {"client": YES}),
    "`suggest`": case(PLAIN | {"suggest": {"one": {"text": "fier", "term": {"field": "title"}}}}),
    "`track_total_hits: false`": case(PLAIN | {"track_total_hits": False}),
    "`terminate_after`": case(PLAIN | {"terminate_after": 100}),
    "`timeout`": case(PLAIN | {"timeout": "5s"}),
    "`pit` (point in time)": case(PLAIN | {"pit": {"id": "{pit}", "keep_alive": "1m"}}, index=None),
}  # fmt: skip
REQUESTS = {
    "alias": case(PLAIN, index="{index}-alias"),
    "index pattern that includes an index that was not ingested": case(
        PLAIN | {"size": 50}, **in_all_modes(LEFT_OUT), index="{index},{index}-b*"),
    "index that was not ingested": case(PLAIN, NO_VALUES, YES, NO_VALUES, NO_VALUES, index="{index}-bare"),
    "index with vectors, but without trigrams": case(PLAIN, index="{index}-vectors"),
    "index with trigrams, but without vectors": case(
        PLAIN, filter_=NO_VECTORS.format("filter"), retrieve=NO_VECTORS.format("retrieve"), index="{index}-trigrams"),
    "index without an HNSW graph": case(PLAIN, retrieve=NO_GRAPH, index="{index}-flat"),
    "`preference`, `routing`": case(PLAIN, preference="_local", routing="x"),
    "`filter_path` with `_shards`": case(
        PLAIN, client="`filter_path` may remove what the client ranks by", filter_path="_shards,hits"),
    "`size`, `sort`, `_source` as URL parameters": case(PLAIN, **in_all_modes(PASSED_AS_OPTION.format("size"), size=3)),
    "`scroll`": case(PLAIN, **in_all_modes(SCROLL_REASON, scroll="1m")),
}  # fmt: skip
TABLES = {"Query": QUERIES, "Key of the body": KEYS, "Request": REQUESTS}
CASES = {name: case for cases in TABLES.values() for name, case in cases.items()}


def tables():
    """The tables of docs/search-bodies.md."""
    lines = []
    for title, cases in TABLES.items():
        lines += [f"| {title} | {' | '.join(f'`{mode}`' for mode in MODES)} |", f"|{'---|' * 5}"]
        for name, (_, _, reasons) in cases.items():
            lines.append(f"| {name} | {' | '.join(cell(mode, reasons[mode]) for mode in MODES)} |")
        lines.append("")
    return "\n".join(lines)


def cell(mode, reason):
    """Cell of the table for one mode."""
    if reason is YES:
        return APPLIED[mode]
    text = re.sub(r"\{index\}(-\w+)?", "INDEX", reason).replace("{kept}", "12")
    return f"{APPLIED[mode]}; {text}" if isinstance(reason, Note) else f"unchanged: {text}"


@pytest.fixture(scope="module")
def slack(encoder):
    """A slack that all products but one are within."""
    points = stored_points(encoder, TITLES)
    return float(np.sort(to_float64(encoder.encode_query("fire tv")).excess(points))[7:].mean())


def fill_in(value, names):
    """A case with the index names of this run filled in."""
    text = json.dumps(value)
    for key, name in names.items():
        text = text.replace(f"{{{key}}}", name)
    return json.loads(text)


def invariants(response):
    """Parts of a response that reranking must not change: the set of products, totals, aggregations and suggestions."""
    others = {key: response.get(key) for key in ("aggregations", "suggest", "terminated_early")}
    return sorted(hits_without_scores(response)), response["hits"].get("total"), others


def ids(response):
    """Ids of the hits, in order."""
    return [hit["_id"] for hit in response["hits"]["hits"]]


def hits_without_scores(response):
    """Hits in order, as JSON without their scores."""
    ignored = {"_score", "_explanation"}
    hits = [{key: value for key, value in hit.items() if key not in ignored} for hit in response["hits"]["hits"]]
    for hit in hits:
        hit.get("_source", {}).pop("anthem", None)
        if "sort" in hit:
            hit["sort"] = None  # the score again
    return [json.dumps(hit, sort_keys=True) for hit in hits]


def skip_what_the_release_lacks(client, name):
    """Skip a query that the release of the cluster does not know."""
    if name in ADDED_LATER and not read_release(client).has(ADDED_LATER[name]):
        pytest.skip(f"this release does not know {name}")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CASES)
def test_each_kind_of_search(client, encoder, names, slack, name, mode):
    """Each mode is applied or gives the reason in the table, and everything else in the response is unchanged."""
    body, options, reasons = CASES[name]
    body, options, reason = fill_in([body, {"index": "{index}"} | options, reasons[mode]], names | {"kept": "8"})
    skip_what_the_release_lacks(client, name)
    mode_option = Filter(slack) if mode == "filter" else mode
    response = AnthemClient(client, encoder).search(body=body, query_text="fire tv", mode=mode_option, **options)
    plain = client.search(body=body, **options)
    is_applied = reasons[mode] is YES or isinstance(reasons[mode], Note)
    assert (response["anthem"]["reason"], response["anthem"]["reranked"]) == (reason, is_applied)
    if not is_applied:
        assert invariants(response) == invariants(plain)
    elif mode == "filter":
        check_filtered(response, plain, body)
    elif mode == "retrieve":
        check_retrieved(response, plain, body)
    else:
        # A later page of a different order has different products.
        assert body.get("from") or invariants(response) == invariants(plain)
        assert len(response["hits"]["hits"]) == len(plain["hits"]["hits"])


@pytest.mark.parametrize("mode", ["cluster", "client"])
@pytest.mark.parametrize(
    "name", [name for name in QUERIES if name not in (*WITHOUT_TEXT, *RULED_OUT, *WITH_OTHER_TEXT)]
)
def test_the_text_of_each_kind_of_query_is_found(client, encoder, names, name, mode):
    """Without a query text, a body that searches for one is reranked as with it, by the scores of its own boosts."""
    skip_what_the_release_lacks(client, name)
    body, anthem = QUERIES[name][0], AnthemClient(client, encoder)
    found = anthem.search(names["index"], body, mode=mode)
    given, plain = (
        anthem.search(names["index"], body, query_text="fire tv"),
        client.search(index=names["index"], body=body),
    )
    assert found["anthem"]["reranked"], found["anthem"]["reason"]
    assert found["anthem"]["mode"] == mode
    assert ids(found) == ids(given)
    # Client mode computes the scores from those of the plain search.
    scores = [[hit["_score"] for hit in response["hits"]["hits"]] for response in (found, given)]
    np.testing.assert_allclose(*scores, rtol=1e-5)
    assert invariants(found) == invariants(plain)


@pytest.mark.parametrize("name", ADDED_LATER)
def test_a_query_that_the_release_lacks_is_refused_as_without_anthem(client, encoder, names, name):
    """A release that does not know a query refuses it with the same error, and that is no failure of reranking."""
    anthem, search = AnthemClient(client, encoder), {"index": names["index"], "body": QUERIES[name][0]}
    if read_release(client).has(ADDED_LATER[name]):
        assert anthem.search(**search)["anthem"]["reranked"]
        return
    with pytest.raises(RequestError) as plain:
        client.search(**search)
    with pytest.raises(RequestError, match="unknown query") as refused:
        anthem.search(**search)
    assert refused.value.info == plain.value.info
    assert anthem.stats()["failed"] == 0


@pytest.mark.parametrize("name", WITHOUT_TEXT)
def test_without_a_text_the_reason_says_what_to_pass(client, encoder, names, name):
    """A body that searches for no words is not reranked, and the reason names `query_text` and `query_path`."""
    response = AnthemClient(client, encoder).search(names["index"], QUERIES[name][0])
    assert response["anthem"]["reason"] == NO_QUERY_TEXT_REASON
    assert invariants(response) == invariants(client.search(index=names["index"], body=QUERIES[name][0]))


@pytest.fixture(scope="module")
def service(encoder, run_service):
    """HTTP client of the running service."""
    with run_service(encoder) as http:
        yield http


def rewrite(service, body, **options):
    """Whether `/rewrite` rewrites a body, and the reason that it gives."""
    response = service.post("/rewrite", json={"body": body} | options)
    assert response.status_code == 200, response.text
    return response.json()["reranked"], response.json()["reason"]


REWRITTEN_MODES = ("cluster", "filter", "retrieve")


@pytest.mark.parametrize("mode", REWRITTEN_MODES)
@pytest.mark.parametrize("name", QUERIES | KEYS)
def test_the_service_gives_the_reason_of_the_client(service, name, mode):
    """`/rewrite` decides on every body as the client does, except where the response decides."""
    body, _, reasons = CASES[name]
    reason = None if isinstance(reasons[mode], Note) or reasons[mode] == NO_HITS else reasons[mode]
    assert rewrite(service, body, query_text="fire tv", mode=mode) == (reason is None, reason)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("text", [None, "?!"])
def test_what_rules_a_body_out_is_said_before_its_text_is_missed(client, encoder, names, service, mode, text):
    """A body that cannot be reranked has the same reason with and without a text; the client and `/rewrite` agree."""
    anthem = AnthemClient(client, encoder)
    for name in (*KEYS, *RULED_OUT):
        body, options, reasons = fill_in([*CASES[name][:2], CASES[name][2]], names)
        body |= {"query": {"match_all": {}}} if name in KEYS else {}
        report = anthem.search(**{"index": names["index"], "body": body} | options, query_text=text, mode=mode)[
            "anthem"
        ]
        late = reasons[mode] in (YES, NO_HITS) or isinstance(CASES[name][2][mode], Note) or "excludes" in reasons[mode]
        expected = reasons[mode] if not late else NO_WORDS_REASON if text else NO_QUERY_TEXT_REASON
        assert (report["reranked"], report["reason"]) == (False, expected), name
        if mode in REWRITTEN_MODES:
            assert rewrite(service, body, query_text=text, mode=mode) == (False, expected), name


def test_texts_that_disagree_are_shown(client, encoder, names):
    """Clauses of two texts are not reranked until the caller says which counts: by the text, or by several paths."""
    must = [{"multi_match": {"query": "fire tv", "fields": ["title"]}}, {"match": {"text": "acme"}}]
    body, anthem = {"query": {"bool": {"must": must}}}, AnthemClient(client, encoder)
    report = anthem.search(names["index"], body)["anthem"]
    assert (report["reranked"], report["reason"]) == (False, DIFFERENT_TEXTS_REASON.format("'fire tv', 'acme'"))
    paths = ["query.match.title", "query.bool.must.0.multi_match.query"]
    by_path, by_text = (
        anthem.search(names["index"], body, **options) for options in ({"query_path": paths}, {"query_text": "fire tv"})
    )
    assert by_path["anthem"]["reranked"]
    assert by_path["hits"] == by_text["hits"]
    assert "query.match.title" in anthem.search(names["index"], body, query_path=paths[0])["anthem"]["reason"]


def check_filtered(response, plain, body):
    """On a page that has room for all products, the filter drops one and keeps the caller's order."""
    shown, before = hits_without_scores(response), hits_without_scores(plain)
    if not body.keys() & {"size", "stored_fields"} and len(before) == len(TITLES):
        assert shown == [hit for hit in before if hit in shown]
        assert len(shown) == 8
    assert len(shown) <= len(before)
    assert response.get("suggest") == plain.get("suggest")


def check_retrieved(response, plain, body):
    """On a page that has room for all products, no lexical hit is lost, and every product matches the filters."""
    shown, before = hits_without_scores(response), hits_without_scores(plain)
    assert len(shown) >= len(before)
    if not body.keys() & {"from", "highlight"}:
        assert set(before) <= set(shown)
    if "filter" in body["query"].get("bool", {}) or "post_filter" in body:
        assert all(hit["_source"]["brand"] == "acme" for hit in response["hits"]["hits"])
    assert response.get("suggest") == plain.get("suggest")


@pytest.mark.parametrize("name", ["`match`", "`bool` with `filter`, `should`, `must_not`", "`function_score`", "alias"])
def test_reranked_searches_have_new_scores(client, encoder, names, name):
    """A reranked search has other scores than the plain one, in descending order."""
    body, options = fill_in([CASES[name][0], {"index": "{index}"} | CASES[name][1]], names)
    response = AnthemClient(client, encoder).search(body=body, query_text="fire tv", **options)
    scores = [hit["_score"] for hit in response["hits"]["hits"]]
    assert scores == sorted(scores, reverse=True)
    plain = client.search(body=body, **options)["hits"]["hits"]
    assert not {hit["_score"] for hit in plain} & set(scores)


def test_a_rendered_template_is_reranked(client, encoder, names):
    """A rendered search template is reranked like any other body."""
    source = {"query": {"match": {"title": "{{words}}"}}, "size": 3}
    rendered = client.render_search_template(body={"source": source, "params": {"words": "fire tv"}})
    response = AnthemClient(client, encoder).search(names["index"], rendered["template_output"])
    assert response["anthem"]["reranked"]
    assert len(response["hits"]["hits"]) == 3


def test_the_rewriter_serves_msearch(client, encoder, names):
    """Rewritten bodies in a multi-search get the same results as in single searches."""
    bodies = []

    class RecordingClient(type(client)):
        """A client that records the bodies it sends."""

        def search(self, **arguments):
            """Record the body, then search."""
            bodies.append(arguments["body"])
            return super().search(**arguments)

    with RecordingClient(hosts=client.transport.hosts) as recording:
        single = [AnthemClient(recording, encoder).search(names["index"], {"query": {"match": {"title": word}}})
                 for word in ("fire", "tv")]  # fmt: skip
    lines = [line for body in bodies for line in ({"index": names["index"]}, body)]
    together = client.msearch(body=lines)["responses"]
    for response, expected in zip(together, single, strict=True):
        assert ids(response) == ids(expected)


def test_a_script_without_a_model_keeps_the_lexical_order(client, encoder, names):
    """A rewritten body with an empty `model`, as a pipeline sends it if the service fails, keeps the lexical order."""
    body = {"query": {"match": {"title": "acme red pit"}}}
    scoring = ScoringParams.from_bundle(encoder.bundle)
    tables = [AttentionScorer(encoder.bundle).encode_query("fire tv")]
    script = build_score_script(encoder.encode_query("fire tv"), scoring, tables)
    script["params"]["model"] = ""
    plain, response = (
        client.search(index=names["index"], body=sent) for sent in (body, build_rescore_body(body, script).body)
    )
    assert ids(response) == ids(plain)
    offset = scoring.fusion_for(scoring.signals).lexical_offset
    assert response["hits"]["max_score"] == pytest.approx(plain["hits"]["max_score"] + offset)


def test_the_documented_pipeline_calls_are_valid():
    """Every call in docs/opensearch-pipeline.md is valid JSON, and its URLs are endpoints of the service."""
    text = PIPELINE.read_text(encoding="utf-8")
    calls = re.findall(r"```json\n(?:PUT|POST) [^\n]*\n(.*?)```", text, re.DOTALL)
    assert len(calls) == 8
    urls = [action["url"] for call in calls for action in json.loads(call).get("actions", [])]
    assert [url.partition(":8080")[2] for url in urls] == ["/v1/rerank", "/encode/query"]


def test_the_document_contains_the_tables():
    """docs/search-bodies.md contains the tables of these tests."""
    assert tables() in DOCUMENT.read_text(encoding="utf-8")


if __name__ == "__main__":
    print(tables())  # noqa: T201
