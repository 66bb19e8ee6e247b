"""What becomes of each kind of search, on a real node; docs/search-bodies.md holds the table this file makes.

`python tests/test_bodies.py` prints the table.
"""

import itertools
import json
import re
import uuid
from pathlib import Path

import pytest

from anthem_core.fields import Fields
from anthem_plugin.client import AnthemClient
from anthem_plugin.painless import score_script
from anthem_plugin.rewrite import rewrite
from anthem_plugin.scoring import Scoring

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
YES = None

# Name in the table: (body, options of the request, what cluster mode says, what client mode says); YES is reranked.
QUERIES = {
    "`match`": ({"query": MATCH}, {}, YES, YES),
    "`multi_match`": ({"query": {"multi_match": {"query": "fire tv", "fields": ["title^3", "text"]}}}, {}, YES, YES),
    "`bool` with `filter`, `should`, `must_not`": (
        {"query": {"bool": {"must": MATCH, "filter": {"term": {"brand": "acme"}}, "should": {"term": {"price": 3}},
                            "must_not": {"term": {"price": 9}}}}}, {}, YES, YES),
    "`bool` of filters alone": ({"query": {"bool": {"filter": {"term": {"brand": "acme"}}}}}, {}, YES, YES),
    "`dis_max`": ({"query": {"dis_max": {"queries": [MATCH, {"match": {"text": "fire tv"}}]}}}, {}, YES, YES),
    "`function_score`": (
        {"query": {"function_score": {"query": MATCH, "field_value_factor": {"field": "price", "missing": 1}}}},
        {}, YES, YES),
    "`script_score` of the caller's own": (
        {"query": {"script_score": {"query": MATCH, "script": {"source": "_score + 1"}}}}, {}, YES, YES),
    "`query_string`": ({"query": {"query_string": {"query": "title:fire OR title:tv"}}}, {}, YES, YES),
    "`simple_query_string`": (
        {"query": {"simple_query_string": {"query": "fire tv", "fields": ["title"]}}}, {}, YES, YES),
    "`constant_score`": ({"query": {"constant_score": {"filter": MATCH}}}, {}, YES, YES),
    "`match_all`": ({"query": {"match_all": {}}}, {}, YES, YES),
    "`knn`": ({"query": {"knn": {"v": {"vector": [1, 0], "k": 3}}}}, {}, ITSELF.format("knn"), ITSELF.format("knn")),
    "no query": ({"size": 3}, {}, "the body has no query", "the body has no query"),
}  # fmt: skip
KEYS = {
    "`from`, `size`": (PLAIN | {"from": 2, "size": 3}, {}, YES, YES),
    "`size: 0`": (PLAIN | {"size": 0}, {}, "there are no hits to rerank", "the body asks for no hits"),
    "`from` beyond the hits": (
        PLAIN | {"from": 500}, {}, "there are no hits to rerank", "there are no hits to rerank"),
    "`aggs`": (PLAIN | {"aggs": {"brands": {"terms": {"field": "brand"}}}}, {}, YES, YES),
    "`highlight`": (PLAIN | {"highlight": {"fields": {"title": {}}}}, {}, YES, YES),
    "`_source` filters": (PLAIN | {"_source": {"includes": ["t*"], "excludes": ["text"]}}, {}, YES, YES),
    "`_source: false`": (PLAIN | {"_source": False}, {}, YES, YES),
    "`_source.excludes` with a wildcard that covers the vector": (
        PLAIN | {"_source": {"excludes": ["*.vector"]}}, {}, YES,
        "a wildcard in `_source.excludes` keeps `anthem.vector` from the client"),
    "`stored_fields: _none_`": (
        PLAIN | {"stored_fields": "_none_"}, {}, YES, "`stored_fields: _none_` keeps the vectors from the client"),
    "`docvalue_fields`, `fields`, `script_fields`": (
        PLAIN | {"docvalue_fields": ["brand"], "fields": ["title"], "script_fields": {"one": {"script": "1"}}},
        {}, YES, YES),
    "`sort` by `_score`": (PLAIN | {"sort": ["_score"]}, {}, YES, YES),
    "`sort` by a field": (PLAIN | {"sort": ["price"]}, {}, SORTS, SORTS),
    "`search_after`": (
        PLAIN | {"sort": [{"price": "asc"}], "search_after": [3]},
        {}, AT_ONCE.format("search_after"), AT_ONCE.format("search_after")),
    "`collapse`": (
        PLAIN | {"collapse": {"field": "brand"}}, {}, AT_ONCE.format("collapse"), AT_ONCE.format("collapse")),
    "`post_filter`": (PLAIN | {"post_filter": {"term": {"brand": "acme"}}}, {}, YES, YES),
    "`min_score`": (PLAIN | {"min_score": 0.01}, {}, YES, YES),
    "`explain`": (PLAIN | {"explain": True}, {}, YES, YES),
    "`profile`": (PLAIN | {"profile": True}, {}, YES, YES),
    "`rescore` of the caller's own": (
        PLAIN | {"rescore": {"window_size": 5, "query": {"rescore_query": {"match": {"title": "red"}}}}},
        {}, YES, "the body has a `rescore` of its own, which changes the scores the client ranks by; use cluster mode"),
    "`suggest`": (PLAIN | {"suggest": {"one": {"text": "fier", "term": {"field": "title"}}}}, {}, YES, YES),
    "`track_total_hits: false`": (PLAIN | {"track_total_hits": False}, {}, YES, YES),
    "`terminate_after`": (PLAIN | {"terminate_after": 100}, {}, YES, YES),
    "`timeout`": (PLAIN | {"timeout": "5s"}, {}, YES, YES),
    "PIT": (PLAIN | {"pit": {"id": "{pit}", "keep_alive": "1m"}}, {"index": None}, YES, YES),
}  # fmt: skip
REQUESTS = {
    "alias": (PLAIN, {"index": "{index}-alias"}, YES, YES),
    "index pattern, one index without vectors": (PLAIN | {"size": 50}, {"index": "{index}*"}, YES, YES),
    "index without vectors": (PLAIN, {"index": "{index}-bare"}, NO_VECTORS, YES),
    "`preference`, `routing`": (PLAIN, {"preference": "_local", "routing": "x"}, YES, YES),
    "`filter_path` with `_shards`": (
        PLAIN, {"filter_path": "_shards,hits"}, YES, "`filter_path` may keep from the client what it ranks by"),
    "`size`, `sort`, `_source` in the URL": (PLAIN, {"size": 3}, OUTSIDE.format("size"), OUTSIDE.format("size")),
    "`scroll`": (PLAIN, {"scroll": "1m"}, OUTSIDE.format("scroll"), OUTSIDE.format("scroll")),
}  # fmt: skip
TABLES = {"Query": QUERIES, "Key of the body": KEYS, "Request": REQUESTS}
CASES = {name: case for cases in TABLES.values() for name, case in cases.items()}


def table():
    """The tables of docs/search-bodies.md."""
    lines = []
    for title, cases in TABLES.items():
        lines += [f"| {title} | `cluster` | `client` |", "|---|---|---|"]
        for name, (_, _, *said) in cases.items():
            cluster, client = (
                f"left alone: {why.replace('{index}-bare', 'INDEX')}" if why else "reranked" for why in said
            )
            lines.append(f"| {name} | {cluster} | {client} |")
        lines.append("")
    return "\n".join(lines)


@pytest.fixture(scope="module")
def shop(client, encoder):
    """A shop with vectors, an alias of it, a second index without vectors, and a point in time."""
    name = f"test-bodies-{uuid.uuid4().hex}"
    near = {"name": "hnsw", "engine": "lucene", "space_type": "l2"}
    properties = {"title": {"type": "text"}, "text": {"type": "text"}, "brand": {"type": "keyword"}}
    plain = properties | {"price": {"type": "integer"}, "v": {"type": "knn_vector", "dimension": 2, "method": near}}
    vectors = plain | Fields().mapping(encoder.bundle.dimension)["properties"]
    settings = {"index.knn": True, "number_of_shards": 1}
    client.indices.create(index=name, body={"settings": settings, "mappings": {"properties": vectors}})
    client.indices.create(index=f"{name}-bare", body={"settings": settings, "mappings": {"properties": plain}})
    for number, (title, point) in enumerate(zip(TITLES, encoder.products(TITLES), strict=True)):
        product = {"title": title, "text": f"a {title}", "brand": title.split()[0], "price": number, "v": [number, 1]}
        client.index(index=f"{name}-bare", body=product)
        product |= Fields().document(point, encoder.bundle.model, title)
        client.index(index=name, id=str(number), body=product, routing="x")
    client.indices.put_alias(index=name, name=f"{name}-alias")
    client.indices.refresh(index=f"{name}*")
    pit = client.create_pit(index=name, params={"keep_alive": "5m"})["pit_id"]
    yield {"index": name, "pit": pit}
    client.delete_pit(body={"pit_id": [pit]})
    client.indices.delete(index=f"{name},{name}-bare")


def filled(value, shop):
    """A case with the names of this run."""
    text = json.dumps(value)
    for key, name in shop.items():
        text = text.replace(f"{{{key}}}", name)
    return json.loads(text)


def kept(response):
    """What reranking may not change: products and all they bring, scores and order aside, totals, everything beside."""
    aside = {"_score", "_explanation"}
    hits = [{key: value for key, value in hit.items() if key not in aside} for hit in response["hits"]["hits"]]
    for hit in hits:
        hit.get("_source", {}).pop("anthem", None)
        if "sort" in hit:
            hit["sort"] = None  # the score again
    beside = {key: response.get(key) for key in ("aggregations", "suggest", "terminated_early")}
    return sorted(json.dumps(hit, sort_keys=True) for hit in hits), response["hits"].get("total"), beside


@pytest.mark.parametrize("mode", ["cluster", "client"])
@pytest.mark.parametrize("name", CASES)
def test_each_kind_of_search(client, encoder, shop, name, mode):
    """Each is reranked or left alone as the table says; products, totals and all beside stay as they were."""
    case = CASES[name]
    said = case[2 if mode == "cluster" else 3]
    body, options, reason = filled([case[0], {"index": "{index}"} | case[1], said], shop)
    found = AnthemClient(client, encoder).search(body=body, query_text="fire tv", mode=mode, **options)
    plain = client.search(body=body, **options)
    assert (found["anthem"]["reason"], found["anthem"]["reranked"]) == (reason, reason is None)
    # A page in the middle of another order has other products on it.
    if not (reason is None and body.get("from")):
        assert kept(found) == kept(plain)
    assert len(found["hits"]["hits"]) == len(plain["hits"]["hits"])


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
    script = score_script(encoder.query("fire tv"), Scoring.of(encoder.bundle))
    script["params"]["model"] = ""
    plain, found = (client.search(index=shop["index"], body=one) for one in (body, rewrite(body, script).body))
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
