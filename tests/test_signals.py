"""Client mode on a real node: the three signals that rank the hits, and the sources that are returned."""

import itertools

import attention_index
import numpy as np
import pytest
from attention_index import QUERIES, TITLES, create_index, hits
from small_index import match

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.bundle import ALL_SIGNALS, PRODUCT_GRAPH
from anthem_core.encoding.encoder import Encoder
from anthem_core.fusion import fuse
from anthem_core.opensearch.schema import VectorFields
from anthem_evaluation.offline import encode_product_texts
from anthem_plugin.client import AnthemClient
from anthem_plugin.options import ClientOptions
from anthem_plugin.search.response import hit_distances

pytestmark = pytest.mark.node

encoder_without_attention = attention_index.encoder_without_attention
MAPPING = {
    "properties": {
        "title": {"type": "text"},
        "brand": {"properties": {"name": {"type": "keyword"}}},
        "deep": {"type": "object", "enabled": False},
    }
}
# Sources in forms that are difficult to filter.
UNUSUAL_SOURCES = [
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
def index(client, attention_encoder):
    """An index in which every product with letters in its title has a vector, except every ninth."""
    points = encode_product_texts(TITLES, attention_encoder)
    documents = {
        number: {"title": title}
        | (
            VectorFields().document(points[number], attention_encoder.bundle.model_id, title)
            if number in points and spared
            else {}
        )
        for (number, title), spared in zip(TITLES.items(), itertools.cycle([True] * 8 + [False]))
    }
    mapping = {
        "properties": MAPPING["properties"] | VectorFields().mapping(attention_encoder.bundle.dimension)["properties"]
    }
    name = create_index(client, mapping, documents)
    yield name
    client.indices.delete(index=name)


@pytest.fixture(scope="module")
def bare_index(client):
    """An index without vector fields, with sources in many forms."""
    name = create_index(client, MAPPING, {str(number): source for number, source in enumerate(UNUSUAL_SOURCES)})
    yield name
    client.indices.delete(index=name)


@pytest.mark.parametrize("query", QUERIES.values())
@pytest.mark.parametrize("window", [10, 100])
def test_client_mode_fuses_three_signals(client, attention_encoder, index, query, window):
    """Scores in the window fuse lexical score, containment and attention; the other hits keep their order."""
    anthem = AnthemClient(client, attention_encoder)
    body = match(query) | {"size": 60}
    lexical = hits(client.search(index=index, body=body))
    response = anthem.search(index, body, mode="client", window=window)
    assert response["anthem"] | {"took_ms": 0} == {
        "reranked": True, "mode": "client", "signals": ["lexical", "containment", "attention"], "reason": None,
        "took_ms": 0,
    }  # fmt: skip
    first_hits, scoring = lexical[:window], anthem.profile(index).scoring
    scores = np.array([hit["_score"] for hit in first_hits])
    distance = hit_distances(first_hits, attention_encoder.encode_query(query), scoring)
    attention = AttentionScorer(attention_encoder.bundle).score_titles(
        query, [hit["_source"]["title"] for hit in first_hits]
    )
    expected = 1 + fuse(scores, distance, scoring.attention_fusion, attention) + 1e-6 * scores
    by_id = {hit["_id"]: hit["_score"] for hit in hits(response)}
    np.testing.assert_allclose([by_id[hit["_id"]] for hit in first_hits], expected, rtol=3e-7)
    assert ids(response)[window:] == [hit["_id"] for hit in lexical[window:]]
    assert ids(response)[:window] != [hit["_id"] for hit in first_hits]


def test_reranking_without_any_ingest(client, attention_encoder, bare_index):
    """Without vectors, products are ranked by lexical score and attention, each at the median distance."""
    response = AnthemClient(client, attention_encoder).search(bare_index, match("fire tv"), mode="client")
    assert (response["anthem"]["reranked"], response["anthem"]["signals"]) == (True, ["lexical", "attention"])
    lexical = {hit["_id"]: hit["_score"] for hit in hits(client.search(index=bare_index, body=match("fire tv")))}
    values = {number: UNUSUAL_SOURCES[int(number)]["title"] for number in lexical}
    titles = {number: value if isinstance(value, str) else " ".join(value) for number, value in values.items()}
    attention = AttentionScorer(attention_encoder.bundle).score_titles("fire tv", list(titles.values()))
    scores = np.array(list(lexical.values()))
    expected = (
        1
        + fuse(scores, np.full(len(scores), np.nan), attention_encoder.bundle.fusion[ALL_SIGNALS], attention)
        + 1e-6 * scores
    )
    by_id = {hit["_id"]: hit["_score"] for hit in hits(response)}
    np.testing.assert_allclose([by_id[number] for number in lexical], expected, rtol=3e-7)


@pytest.mark.parametrize("texts", [("title",), ("title", "brand.name"), ("price", "deep.list"), ("brand", "title")])
def test_hits_contain_the_requested_source(client, attention_encoder, bare_index, texts):
    """For every form of `_source`, hits contain exactly what the caller requested."""
    anthem = AnthemClient(client, attention_encoder, ClientOptions(text_fields=texts))
    forms = [{"includes": i, "excludes": e} for i, e in itertools.product(INCLUDES, EXCLUDES)]
    for requested in [*forms, True, False, "title", "brand.id", ["price", "t*"], {"excludes": "title"}]:
        body = match("fire tv") | {"_source": requested}
        expected = {hit["_id"]: hit.get("_source") for hit in hits(client.search(index=bare_index, body=body))}
        response = anthem.search(bare_index, body, mode="client")
        assert {hit["_id"]: hit.get("_source") for hit in hits(response)} == expected, requested


@pytest.mark.parametrize(
    ("requested", "uses_attention"),
    [
        ({}, True),
        ({"_source": False}, True),
        ({"_source": ["price"]}, True),
        ({"_source": {"excludes": ["title"]}}, True),
        ({"_source": {"excludes": ["t*"]}}, False),
        ({"script_fields": {}}, True),
    ],
)
def test_attention_reads_texts_that_are_not_returned(client, attention_encoder, bare_index, requested, uses_attention):
    """Titles are read even if the caller does not request them, unless a wildcard excludes them."""
    response = AnthemClient(client, attention_encoder).search(bare_index, match("fire tv") | requested, mode="client")
    assert response["anthem"]["reranked"] == uses_attention
    assert response["anthem"]["signals"] == (["lexical", "attention"] if uses_attention else [])


@pytest.mark.parametrize("texts", [(), ("name",)])
def test_without_texts_client_mode_ranks_by_two_signals(client, attention_encoder, index, texts):
    """Without a text field, or without texts in it, client mode ranks as cluster mode does."""
    anthem = AnthemClient(client, attention_encoder, ClientOptions(text_fields=texts))
    inside, outside = (anthem.search(index, match("fire tv"), mode=mode) for mode in ("cluster", "client"))
    assert inside["anthem"]["signals"] == outside["anthem"]["signals"] == ["lexical", "containment"]
    for cluster_hit, client_hit in zip(hits(inside), hits(outside), strict=True):
        assert cluster_hit["_score"] == pytest.approx(client_hit["_score"], rel=3e-7)


def test_a_bundle_without_attention_ranks_by_two_signals(client, attention_encoder, encoder_without_attention, index):
    """Without an attention graph and vectors of the model, a search is not reranked; the graph alone is enough."""
    response = AnthemClient(client, encoder_without_attention).search(index, match("fire tv"), mode="client")
    assert (response["anthem"]["reranked"], response["anthem"]["signals"]) == (False, [])
    assert "no product among the hits has a vector" in response["anthem"]["reason"]
    assert AnthemClient(client, attention_encoder).search(index, match("fire tv"), mode="client")["anthem"]["reranked"]


def test_an_unusable_graph_gives_the_response(client, attention_encoder, add_attention, index, tmp_path):
    """An unusable attention graph prevents reranking in client mode only; the search itself succeeds."""
    broken = Encoder(add_attention(attention_encoder.bundle, tmp_path, attention_encoder.bundle.path / PRODUCT_GRAPH))
    anthem = AnthemClient(client, broken)
    response = anthem.search(index, match("fire tv"), mode="client")
    assert hits(response) == hits(client.search(index=index, body=match("fire tv")))
    assert (response["anthem"]["reranked"], response["anthem"]["signals"]) == (False, [])
    assert "attention.onnx has inputs and outputs" in response["anthem"]["reason"]
    assert "no product among the hits" in anthem.search(index, match("fire tv"))["anthem"]["reason"]
