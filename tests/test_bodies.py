"""What becomes of each kind of search, on a real node; docs/search-bodies.md holds the table this file makes.

`python tests/test_bodies.py` prints the table.
"""

import itertools
import json
import re
import uuid
from pathlib import Path

import numpy as np
import pytest

from anthem_core.geometry.lorentz import lift
from anthem_core.opensearch.schema import VectorFields
from anthem_plugin.client import AnthemClient, Filter
from anthem_plugin.rewriter.rescore import build_rescore_body
from anthem_plugin.rewriter.retrieve import INSEPARABLE_FILTERS_REASON, OWN_RESCORE_REASON
from anthem_plugin.scoring.painless import build_score_script
from anthem_plugin.scoring.params import ScoringParams, to_float64

pytestmark = pytest.mark.node

PIPELINE = Path(__file__).parents[1] / "docs" / "opensearch-pipeline.md"
DOCUMENT = Path(__file__).parents[1] / "docs" / "search-bodies.md"
BRANDS, TRAITS, NOUNS = ["acme", "globex", "stark"], ["red"], ["fire tv", "tv", "mini fire pit"]
TITLES = [" ".join(words) for words in itertools.product(BRANDS, TRAITS, NOUNS)]
MATCH = {"match": {"title": "fire tv"}}
PLAIN = {"query": MATCH}
AT_ONCE = "OpenSearch refuses `{}` beside a rescore"
SORTS = "the body sorts by something else than `_score`"
ITSELF = "a `{}` query ranks by itself; it is left as it is"
OUTSIDE = "`{}` stands outside the body; it belongs into it"
NO_VECTORS = "no product among the hits has a vector of this model: anthem ingest {index}-bare"
NO_GRAPH = (
    "{index}-flat has no HNSW graph of its vectors, which retrieving needs: "
    "search {index}-flat-ann, the copy that `anthem ingest {index}-flat --ann` makes"
)
NO_HITS = "there are no hits to rerank"
MODES = ("cluster", "client", "filter", "retrieve")
DONE = {"cluster": "reranked", "client": "reranked", "filter": "filtered", "retrieve": "retrieved"}
YES = None


class Note(str):
    """What a search says that was reranked all the same."""

    __slots__ = ()


def case(body, cluster=YES, client=YES, filter_=YES, retrieve=YES, **options):
    """A search, options of the request, and what each mode says to it; YES where it does what it is for."""
    return body, options, dict(zip(MODES, (cluster, client, filter_, retrieve), strict=True))


def left(why, **options):
    """What every mode says alike."""
    return {**dict.fromkeys(("cluster", "client", "filter_", "retrieve"), why), **options}


def rescored(why):
    """What all modes say that rescore."""
    return dict.fromkeys(("cluster", "client", "retrieve"), why)


QUERIES = {
    "`match`": case({"query": MATCH}),
    "`multi_match`": case({"query": {"multi_match": {"query": "fire tv", "fields": ["title^3", "text"]}}}),
    "`bool` with `filter`, `should`, `must_not`": case(
        {"query": {"bool": {"must": MATCH, "filter": {"term": {"brand": "acme"}}, "should": {"term": {"price": 3}},
                            "must_not": {"term": {"price": 9}}}}}),
    "`bool` of filters alone": case({"query": {"bool": {"filter": {"term": {"brand": "acme"}}}}}),
    "`dis_max`": case({"query": {"dis_max": {"queries": [MATCH, {"match": {"text": "fire tv"}}]}}}),
    "`function_score`": case(
        {"query": {"function_score": {"query": MATCH, "field_value_factor": {"field": "price", "missing": 1}}}}),
    "`script_score` of the caller's own": case(
        {"query": {"script_score": {"query": MATCH, "script": {"source": "_score + 1"}}}}),
    "`query_string`": case({"query": {"query_string": {"query": "fire tv", "default_field": "title"}}}),
    "`query_string` that names fields": case(
        {"query": {"query_string": {"query": "title:fire OR title:tv"}}}, retrieve=INSEPARABLE_FILTERS_REASON),
    "`simple_query_string`": case({"query": {"simple_query_string": {"query": "fire tv", "fields": ["title"]}}}),
    "`match` of other words than the text": case({"query": {"match": {"title": "red"}}}, retrieve=INSEPARABLE_FILTERS_REASON),
    "`constant_score`": case({"query": {"constant_score": {"filter": MATCH}}}),
    "`match_all`": case({"query": {"match_all": {}}}),
    "`knn`": case({"query": {"knn": {"v": {"vector": [1, 0], "k": 3}}}}, **left(ITSELF.format("knn"))),
    "no query": case({"size": 3}, **left("the body has no query")),
}  # fmt: skip
KEYS = {
    "`from`, `size`": case(PLAIN | {"from": 2, "size": 3}),
    "`size: 0`": case(PLAIN | {"size": 0}, **rescored(NO_HITS) | {"client": "the body asks for no hits"}),
    "`from` beyond the hits": case(
        PLAIN | {"from": 500}, **rescored(NO_HITS),
        filter_=Note("the filter leaves {kept} products, and the page begins beyond the last of them")),
    "`aggs`": case(PLAIN | {"aggs": {"brands": {"terms": {"field": "brand"}}}}),
    "`highlight`": case(PLAIN | {"highlight": {"fields": {"title": {}}}}),
    "`_source` filters": case(PLAIN | {"_source": {"includes": ["t*"], "excludes": ["text"]}}),
    "`_source: false`": case(PLAIN | {"_source": False}),
    "`_source.excludes` with a wildcard that covers the vector": case(
        PLAIN | {"_source": {"excludes": ["*.vector"]}},
        client="a wildcard in `_source.excludes` keeps `anthem.vector` from the client"),
    "`stored_fields: _none_`": case(
        PLAIN | {"stored_fields": "_none_"}, client="`stored_fields: _none_` keeps the vectors from the client"),
    "`docvalue_fields`, `fields`, `script_fields`": case(
        PLAIN | {"docvalue_fields": ["brand"], "fields": ["title"], "script_fields": {"one": {"script": "1"}}}),
    "`sort` by `_score`": case(PLAIN | {"sort": ["_score"]}),
    "`sort` by a field": case(PLAIN | {"sort": ["price"]}, **rescored(SORTS)),
    "`search_after`": case(
        PLAIN | {"sort": [{"price": "asc"}], "search_after": [3]}, **rescored(AT_ONCE.format("search_after"))),
    "`collapse`": case(
        PLAIN | {"collapse": {"field": "brand"}}, **rescored(AT_ONCE.format("collapse")) | {"client": YES}),
    "`post_filter`": case(PLAIN | {"post_filter": {"term": {"brand": "acme"}}}),
    "`min_score`": case(PLAIN | {"min_score": 0.01}),
    "`explain`": case(PLAIN | {"explain": True}),
    "`profile`": case(PLAIN | {"profile": True}),
    "`rescore` of the caller's own": case(
        PLAIN | {"rescore": {"window_size": 5, "query": {"rescore_query": {"match": {"title": "red"}}}}},
        client="the body has a `rescore` of its own, which changes the scores the client ranks by; use cluster mode",
        retrieve=OWN_RESCORE_REASON),
    "`suggest`": case(PLAIN | {"suggest": {"one": {"text": "fier", "term": {"field": "title"}}}}),
    "`track_total_hits: false`": case(PLAIN | {"track_total_hits": False}),
    "`terminate_after`": case(PLAIN | {"terminate_after": 100}),
    "`timeout`": case(PLAIN | {"timeout": "5s"}),
    "PIT": case(PLAIN | {"pit": {"id": "{pit}", "keep_alive": "1m"}}, index=None),
}  # fmt: skip
REQUESTS = {
    "alias": case(PLAIN, index="{index}-alias"),
    "index pattern, one index without vectors": case(PLAIN | {"size": 50}, index="{index},{index}-b*"),
    "index without vectors": case(PLAIN, NO_VECTORS, YES, NO_VECTORS, NO_VECTORS, index="{index}-bare"),
    "index whose vectors have no graph": case(PLAIN, retrieve=NO_GRAPH, index="{index}-flat"),
    "`preference`, `routing`": case(PLAIN, preference="_local", routing="x"),
    "`filter_path` with `_shards`": case(
        PLAIN, client="`filter_path` may keep from the client what it ranks by", filter_path="_shards,hits"),
    "`size`, `sort`, `_source` in the URL": case(PLAIN, **left(OUTSIDE.format("size"), size=3)),
    "`scroll`": case(PLAIN, **left(OUTSIDE.format("scroll"), scroll="1m")),
}  # fmt: skip
TABLES = {"Query": QUERIES, "Key of the body": KEYS, "Request": REQUESTS}
CASES = {name: case for cases in TABLES.values() for name, case in cases.items()}


def table():
    """The tables of docs/search-bodies.md."""
    lines = []
    for title, cases in TABLES.items():
        lines += [f"| {title} | {' | '.join(f'`{mode}`' for mode in MODES)} |", f"|{'---|' * 5}"]
        for name, (_, _, said) in cases.items():
            lines.append(f"| {name} | {' | '.join(told(mode, said[mode]) for mode in MODES)} |")
        lines.append("")
    return "\n".join(lines)


def told(mode, why):
    """What the table says of one mode."""
    if why is YES:
        return DONE[mode]
    plain = re.sub(r"\{index\}(-\w+)?", "INDEX", why).replace("{kept}", "12")
    return f"{DONE[mode]}; {plain}" if isinstance(why, Note) else f"left alone: {plain}"


@pytest.fixture(scope="module")
def shop(client, encoder):
    """A shop whose vectors have a graph, an alias of it, one without a graph, one without vectors, a point in time."""
    name = f"test-bodies-{uuid.uuid4().hex}"
    graph = {"name": "hnsw", "engine": "lucene", "space_type": "l2"}
    properties = {"title": {"type": "text"}, "text": {"type": "text"}, "brand": {"type": "keyword"}}
    plain = properties | {"price": {"type": "integer"}, "v": {"type": "knn_vector", "dimension": 2, "method": graph}}
    flat = {field: kind for field, kind in plain.items() if field != "v"}
    vectors = VectorFields().mapping(encoder.bundle.dimension)["properties"]
    flat |= json.loads(json.dumps(vectors))
    vectors["anthem"]["properties"]["vector"]["method"] = graph
    for index, fields, built in (
        (name, plain | vectors, True),
        (f"{name}-bare", plain, True),
        (f"{name}-flat", flat, False),
    ):
        settings = {"number_of_shards": 1} | ({"index.knn": True} if built else {})
        client.indices.create(index=index, body={"settings": settings, "mappings": {"properties": fields}})
    for number, (title, point) in enumerate(zip(TITLES, encoder.products(TITLES), strict=True)):
        product = {"title": title, "text": f"a {title}", "brand": title.split()[0], "price": number}
        client.index(index=f"{name}-bare", body=product)
        product |= VectorFields().document(point, encoder.bundle.model, title)
        client.index(index=f"{name}-flat", body=product)
        client.index(index=name, id=str(number), body=product | {"v": [number, 1]}, routing="x")
    client.indices.put_alias(index=name, name=f"{name}-alias")
    client.indices.refresh(index=f"{name}*")
    pit = client.create_pit(index=name, params={"keep_alive": "5m"})["pit_id"]
    yield {"index": name, "pit": pit}
    client.delete_pit(body={"pit_id": [pit]})
    client.indices.delete(index=f"{name},{name}-bare,{name}-flat")


@pytest.fixture(scope="module")
def slack(encoder):
    """A slack within which all but one of the nine products lie."""
    points = lift(encoder.products(TITLES)[:, 1:].astype(np.float64))
    return float(np.sort(to_float64(encoder.query("fire tv")).excess(points))[7:].mean())


def filled(value, shop):
    """A case with the names of this run."""
    text = json.dumps(value)
    for key, name in shop.items():
        text = text.replace(f"{{{key}}}", name)
    return json.loads(text)


def kept(response):
    """What reranking may not change: products and all they bring, scores and order aside, totals, everything beside."""
    beside = {key: response.get(key) for key in ("aggregations", "suggest", "terminated_early")}
    return sorted(hits_of(response)), response["hits"].get("total"), beside


def hits_of(response):
    """Products and all they bring, in order, without their scores."""
    aside = {"_score", "_explanation"}
    hits = [{key: value for key, value in hit.items() if key not in aside} for hit in response["hits"]["hits"]]
    for hit in hits:
        hit.get("_source", {}).pop("anthem", None)
        if "sort" in hit:
            hit["sort"] = None  # the score again
    return [json.dumps(hit, sort_keys=True) for hit in hits]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CASES)
def test_each_kind_of_search(client, encoder, shop, slack, name, mode):
    """Each is reranked, filtered, retrieved or left alone as the table says; all that is no part of it stays."""
    body, options, said = CASES[name]
    body, options, reason = filled([body, {"index": "{index}"} | options, said[mode]], shop | {"kept": "8"})
    how = Filter(slack) if mode == "filter" else mode
    found = AnthemClient(client, encoder).search(body=body, query_text="fire tv", mode=how, **options)
    plain = client.search(body=body, **options)
    done = said[mode] is YES or isinstance(said[mode], Note)
    assert (found["anthem"]["reason"], found["anthem"]["reranked"]) == (reason, done)
    if not done:
        assert kept(found) == kept(plain)
    elif mode == "filter":
        check_filtered(found, plain, body)
    elif mode == "retrieve":
        check_retrieved(found, plain, body)
    else:
        # A page in the middle of another order has other products on it.
        assert body.get("from") or kept(found) == kept(plain)
        assert len(found["hits"]["hits"]) == len(plain["hits"]["hits"])


def check_filtered(found, plain, body):
    """Where a page holds all, the filter leaves some of the products in the caller's own order, and drops some."""
    shown, before = hits_of(found), hits_of(plain)
    if not body.keys() & {"size", "stored_fields"} and len(before) == len(TITLES):
        assert shown == [hit for hit in before if hit in shown]
        assert len(shown) == 8
    assert len(shown) <= len(before)
    assert found.get("suggest") == plain.get("suggest")


def check_retrieved(found, plain, body):
    """Where a page holds all, no product the words find is lost, and none comes in that a filter forbids."""
    shown, before = hits_of(found), hits_of(plain)
    assert len(shown) >= len(before)
    if not body.keys() & {"from", "highlight"}:
        assert set(before) <= set(shown)
    if "filter" in body["query"].get("bool", {}) or "post_filter" in body:
        assert all(hit["_source"]["brand"] == "acme" for hit in found["hits"]["hits"])
    assert found.get("suggest") == plain.get("suggest")


@pytest.mark.parametrize("name", ["`match`", "`bool` with `filter`, `should`, `must_not`", "`function_score`", "alias"])
def test_what_is_reranked_is_in_another_order(client, encoder, shop, name):
    """A search the table calls reranked has scores of the reranker, between 1 and 2, in falling order."""
    body, options = filled([CASES[name][0], {"index": "{index}"} | CASES[name][1]], shop)
    found = AnthemClient(client, encoder).search(body=body, query_text="fire tv", **options)
    scores = [hit["_score"] for hit in found["hits"]["hits"]]
    assert all(1 <= score <= 2.01 for score in scores)
    assert scores == sorted(scores, reverse=True)


def test_a_template_is_rendered_first(client, encoder, shop):
    """A search template is reranked once the cluster has rendered it: the body that comes of it is any other body."""
    source = {"query": {"match": {"title": "{{words}}"}}, "size": 3}
    rendered = client.render_search_template(body={"source": source, "params": {"words": "fire tv"}})
    found = AnthemClient(client, encoder).search(shop["index"], rendered["template_output"])
    assert found["anthem"]["reranked"]
    assert len(found["hits"]["hits"]) == 3


def test_the_rewriter_serves_msearch(client, encoder, shop):
    """Bodies of a multi-search are rewritten one by one, and answered as if each were sent alone."""
    bodies = []

    class Noting(type(client)):
        """A client that keeps the bodies it sends."""

        def search(self, **asked):
            """Keep the body, then search."""
            bodies.append(asked["body"])
            return super().search(**asked)

    with Noting(hosts=client.transport.hosts) as noting:
        alone = [AnthemClient(noting, encoder).search(shop["index"], {"query": {"match": {"title": word}}})
                 for word in ("fire", "tv")]  # fmt: skip
    lines = [line for body in bodies for line in ({"index": shop["index"]}, body)]
    together = client.msearch(body=lines)["responses"]
    for one, other in zip(together, alone, strict=True):
        assert [hit["_id"] for hit in one["hits"]["hits"]] == [hit["_id"] for hit in other["hits"]["hits"]]


def test_a_script_without_a_model_keeps_the_lexical_order(client, encoder, shop):
    """A rewritten body whose `model` nobody filled in, as when a pipeline's service is away, ranks as the plain one."""
    body = {"query": {"match": {"title": "acme red pit"}}}
    script = build_score_script(encoder.query("fire tv"), ScoringParams.of(encoder.bundle))
    script["params"]["model"] = ""
    plain, found = (
        client.search(index=shop["index"], body=one) for one in (body, build_rescore_body(body, script).body)
    )
    assert [hit["_id"] for hit in found["hits"]["hits"]] == [hit["_id"] for hit in plain["hits"]["hits"]]
    assert found["hits"]["hits"][0]["_score"] > 1


def test_the_calls_of_the_pipeline_are_json_and_name_what_the_service_has():
    """Every call in docs/opensearch-pipeline.md is sound JSON, and every endpoint in it is one of the service."""
    text = PIPELINE.read_text(encoding="utf-8")
    calls = re.findall(r"```json\n(?:PUT|POST) [^\n]*\n(.*?)```", text, re.DOTALL)
    assert len(calls) == 8
    urls = [action["url"] for call in calls for action in json.loads(call).get("actions", [])]
    assert [url.partition(":8080")[2] for url in urls] == ["/v1/rerank", "/encode/query"]


def test_the_document_holds_the_table():
    """docs/search-bodies.md says what these tests hold true."""
    assert table() in DOCUMENT.read_text(encoding="utf-8")


if __name__ == "__main__":
    print(table())  # noqa: T201
