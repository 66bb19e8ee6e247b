"""Three signals in the client, on a real node: what the hits are ranked by, and what of their sources comes back."""

import itertools

import attention_shop
import numpy as np
import pytest
from attention_shop import QUERIES, TITLES, fill, hits
from small_shop import match

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.bundle import ALL_SIGNALS, PRODUCT_GRAPH
from anthem_core.encoding.encoder import Encoder
from anthem_core.fusion import fuse
from anthem_core.opensearch.schema import VectorFields
from anthem_evaluation.offline import encode_products
from anthem_plugin.client import AnthemClient
from anthem_plugin.search.response import hit_distances

pytestmark = pytest.mark.node

plain = attention_shop.plain
SHOP = {
    "properties": {
        "title": {"type": "text"},
        "brand": {"properties": {"name": {"type": "keyword"}}},
        "deep": {"type": "object", "enabled": False},
    }
}
# Sources in all the forms that filtering may stumble over.
ODD = [
    {"title": "fire tv", "brand": {"name": "acme", "id": 7}, "tags": ["a", "b"], "none": [], "price": 1},
    {"title": ["fire", "tv"], "brand": [{"name": "x"}, {"id": 3}, {"name": "y", "id": 4}], "empty": {}},
    {"title": "tv fire", "brand.name": "dotted", "deep": {"title": "no", "list": [[1, {"a": 2}], [], {}]}},
    {"title": "fire", "brand": {"name": "only"}, "titles": {"title": 5}},
]
INCLUDES = [[], ["price"], ["title"], ["t*"], ["brand"], ["brand.id"], ["brand.*"], ["*.name", "deep"], ["nothing"]]
EXCLUDES = [[], ["title"], ["brand.name", "title"], ["tags"], ["brand.id"], ["brand"], ["*name"], ["t*"], ["deep.l*"]]


def ids(response):
    """Ids of the hits, in order."""
    return [hit["_id"] for hit in hits(response)]


@pytest.fixture(scope="module")
def index(client, attentive):
    """A shop whose products with letters in their title have vectors, every ninth excepted."""
    points = encode_products(TITLES, attentive)
    documents = {
        number: {"title": title}
        | (
            VectorFields().document(points[number], attentive.bundle.model, title)
            if number in points and spared
            else {}
        )
        for (number, title), spared in zip(TITLES.items(), itertools.cycle([True] * 8 + [False]))
    }
    mapping = {"properties": SHOP["properties"] | VectorFields().mapping(attentive.bundle.dimension)["properties"]}
    name = fill(client, mapping, documents)
    yield name
    client.indices.delete(index=name)


@pytest.fixture(scope="module")
def odd(client):
    """A shop that never heard of ANTHEM, with sources of many forms."""
    name = fill(client, SHOP, {str(number): source for number, source in enumerate(ODD)})
    yield name
    client.indices.delete(index=name)


@pytest.mark.parametrize("query", QUERIES.values())
@pytest.mark.parametrize("window", [10, 100])
def test_the_client_fuses_three_signals(client, attentive, index, query, window):
    """Scores in the window are one plus lexical score, containment and attention fused; the rest keeps its order."""
    anthem = AnthemClient(client, attentive)
    body = match(query) | {"size": 60}
    lexical = hits(client.search(index=index, body=body))
    found = anthem.search(index, body, mode="client", window=window)
    assert found["anthem"] | {"took_ms": 0} == {
        "reranked": True, "mode": "client", "signals": ["lexical", "containment", "attention"], "reason": None,
        "took_ms": 0,
    }  # fmt: skip
    first = lexical[:window]
    scores = np.array([hit["_score"] for hit in first])
    distance = hit_distances(first, attentive.query(query), anthem.scoring)
    attention = AttentionScorer(attentive.bundle).scores(query, [hit["_source"]["title"] for hit in first])
    expected = 1 + fuse(scores, distance, anthem.scoring.attentive, attention) + 1e-6 * scores
    by_id = {hit["_id"]: hit["_score"] for hit in hits(found)}
    np.testing.assert_allclose([by_id[hit["_id"]] for hit in first], expected, rtol=3e-7)
    assert ids(found)[window:] == [hit["_id"] for hit in lexical[window:]]
    assert ids(found)[:window] != [hit["_id"] for hit in first]


def test_reranking_without_any_ingest(client, attentive, odd):
    """Products without a vector are ranked by lexical score and attention, each at the median distance."""
    found = AnthemClient(client, attentive).search(odd, match("fire tv"), mode="client")
    assert (found["anthem"]["reranked"], found["anthem"]["signals"]) == (True, ["lexical", "attention"])
    lexical = {hit["_id"]: hit["_score"] for hit in hits(client.search(index=odd, body=match("fire tv")))}
    titles = {number: " ".join([text] if isinstance(text := ODD[int(number)]["title"], str) else text) for number in
              lexical}  # fmt: skip
    attention = AttentionScorer(attentive.bundle).scores("fire tv", list(titles.values()))
    scores = np.array(list(lexical.values()))
    expected = (
        1 + fuse(scores, np.full(len(scores), np.nan), attentive.bundle.fusion[ALL_SIGNALS], attention) + 1e-6 * scores
    )
    by_id = {hit["_id"]: hit["_score"] for hit in hits(found)}
    np.testing.assert_allclose([by_id[number] for number in lexical], expected, rtol=3e-7)


@pytest.mark.parametrize("texts", [("title",), ("title", "brand.name"), ("price", "deep.list"), ("brand", "title")])
def test_the_page_has_the_sources_the_caller_asked_for(client, attentive, odd, texts):
    """Whatever the form of `_source`, no text fetched for ranking is added, and nothing that was asked for is lost."""
    anthem = AnthemClient(client, attentive, text_fields=texts)
    forms = [{"includes": i, "excludes": e} for i, e in itertools.product(INCLUDES, EXCLUDES)]
    for asked in [*forms, True, False, "title", "brand.id", ["price", "t*"], {"excludes": "title"}]:
        body = match("fire tv") | {"_source": asked}
        expected = {hit["_id"]: hit.get("_source") for hit in hits(client.search(index=odd, body=body))}
        found = anthem.search(odd, body, mode="client")
        assert {hit["_id"]: hit.get("_source") for hit in hits(found)} == expected, asked


@pytest.mark.parametrize(
    ("asked", "attended"),
    [
        ({}, True),
        ({"_source": False}, True),
        ({"_source": ["price"]}, True),
        ({"_source": {"excludes": ["title"]}}, True),
        ({"_source": {"excludes": ["t*"]}}, False),
        ({"script_fields": {}}, True),
    ],
)
def test_attention_sees_what_the_page_does_not(client, attentive, odd, asked, attended):
    """Titles are read even where the caller does not want them back, unless a wildcard keeps them from the client."""
    found = AnthemClient(client, attentive).search(odd, match("fire tv") | asked, mode="client")
    assert found["anthem"]["reranked"] == attended
    assert found["anthem"]["signals"] == (["lexical", "attention"] if attended else [])


@pytest.mark.parametrize("texts", [(), ("name",)])
def test_without_titles_the_client_ranks_by_two_signals(client, attentive, index, texts):
    """Where no text is named, or no hit has it, client mode ranks as cluster mode does, by the weights of two."""
    anthem = AnthemClient(client, attentive, text_fields=texts)
    inside, outside = (anthem.search(index, match("fire tv"), mode=mode) for mode in ("cluster", "client"))
    assert inside["anthem"]["signals"] == outside["anthem"]["signals"] == ["lexical", "containment"]
    for one, other in zip(hits(inside), hits(outside), strict=True):
        assert one["_score"] == pytest.approx(other["_score"], rel=3e-7)


def test_a_bundle_without_attention_ranks_by_two_signals(client, attentive, plain, index):
    """Without graph and without vectors of the model there is nothing to rank by; the graph alone is enough."""
    left = AnthemClient(client, plain).search(index, match("fire tv"), mode="client")
    assert (left["anthem"]["reranked"], left["anthem"]["signals"]) == (False, [])
    assert "no product among the hits has a vector" in left["anthem"]["reason"]
    assert AnthemClient(client, attentive).search(index, match("fire tv"), mode="client")["anthem"]["reranked"]


def test_a_broken_graph_gives_the_plain_result(client, attentive, with_attention, index, tmp_path):
    """A graph that cannot be used costs the reranking alone, in client mode alone."""
    broken = Encoder(with_attention(attentive.bundle, tmp_path, attentive.bundle.path / PRODUCT_GRAPH))
    anthem = AnthemClient(client, broken)
    left = anthem.search(index, match("fire tv"), mode="client")
    assert hits(left) == hits(client.search(index=index, body=match("fire tv")))
    assert (left["anthem"]["reranked"], left["anthem"]["signals"]) == (False, [])
    assert "attention.onnx has inputs and outputs" in left["anthem"]["reason"]
    assert "no product among the hits" in anthem.search(index, match("fire tv"))["anthem"]["reason"]
