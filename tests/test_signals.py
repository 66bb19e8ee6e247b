"""Client mode on a real node: the signals that rank the hits, and the sources that are returned."""

import itertools

import attention_index
import numpy as np
import pytest
from attention_index import QUERIES, TITLES, create_index, hits
from hypothesis import given, settings
from hypothesis import strategies as st
from shipped_words import has_words
from small_index import match, model_documents

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.bundle import PRODUCT_GRAPH
from anthem_core.encoding.encoder import Encoder
from anthem_core.opensearch.schema import ModelFields
from anthem_plugin.client import AnthemClient
from anthem_plugin.options import ClientOptions
from anthem_plugin.scoring.window import score_window
from anthem_plugin.search.client_mode import NO_TEXTS_NOTE
from anthem_plugin.search.request import no_values_reason
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
words = st.sampled_from(["fire", "tv", "stick", "tablet", "phone", "kindle", "kindel", "acme", "stark", "mini", "4k"])
INCLUDES = [[], ["price"], ["title"], ["t*"], ["brand"], ["brand.id"], ["brand.*"], ["*.name", "deep"], ["nothing"]]
EXCLUDES = [[], ["title"], ["brand.name", "title"], ["tags"], ["brand.id"], ["brand"], ["*name"], ["t*"], ["deep.l*"]]


def ids(response):
    """Ids of the hits, in order."""
    return [hit["_id"] for hit in hits(response)]


SIGNALS = {"both": ("containment", "attention"), "vectors": ("containment",), "trigrams": ("attention",)}


@pytest.fixture(scope="module", params=SIGNALS)
def index(client, attention_encoder, request):
    """An index in which every title with words is ingested, except every ninth, with both values or one of them."""
    signals = SIGNALS[request.param]
    fields = ModelFields().mapping(attention_encoder.bundle.dimension, signals)["properties"]
    documents = {number: {"title": title} for number, title in TITLES.items()}
    ingested = [number for number, title in TITLES.items() if has_words(title)]
    values = model_documents(attention_encoder, [TITLES[number] for number in ingested])
    for number, stored, spared in zip(ingested, values, itertools.cycle([True] * 8 + [False])):
        kept = {name: value for name, value in stored["anthem"].items() if name in fields["anthem"]["properties"]}
        documents[number] |= {"anthem": kept} if spared else {}
    name = create_index(client, {"properties": MAPPING["properties"] | fields}, documents)
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
def test_client_mode_fuses_the_signals(client, attention_encoder, index, query, window):
    """Scores in the window fuse the lexical score and every signal of the hits; the other hits keep their order.

    Attention is that of the stored trigrams, or of the titles if the index has no trigrams.
    """
    anthem = AnthemClient(client, attention_encoder)
    body = match(query) | {"size": 60}
    lexical = hits(client.search(index=index, body=body))
    response = anthem.search(index, body, mode="client", window=window)
    first_hits, scoring = lexical[:window], anthem.profile(index).scoring
    signals = ["lexical", *(["containment"] if "containment" in scoring.signals else []), "attention"]
    assert response["anthem"] | {"took_ms": 0} == {
        "reranked": True, "mode": "client", "signals": signals, "reason": None, "took_ms": 0,
    }  # fmt: skip
    attention = AttentionScorer(attention_encoder.bundle).score_titles(
        query, [hit["_source"]["title"] for hit in first_hits]
    )
    if "attention" in scoring.signals:
        attention = np.where(["anthem" in hit["_source"] for hit in first_hits], attention, np.nan)
    distance = hit_distances(first_hits, attention_encoder.encode_query(query), scoring)
    expected = score_window(
        np.array([hit["_score"] for hit in first_hits]),
        scoring,
        distance=distance if "containment" in scoring.signals else None,
        attention=attention,
    )
    by_id = {hit["_id"]: hit["_score"] for hit in hits(response)}
    np.testing.assert_allclose([by_id[hit["_id"]] for hit in first_hits], expected, rtol=3e-7)
    assert ids(response)[window:] == [hit["_id"] for hit in lexical[window:]]
    assert ids(response)[:window] != [hit["_id"] for hit in first_hits]


def test_reranking_without_any_ingest(client, attention_encoder, bare_index):
    """Products that were never ingested are ranked by lexical score and the attention of their titles."""
    anthem = AnthemClient(client, attention_encoder)
    response = anthem.search(bare_index, match("fire tv"), mode="client")
    assert (response["anthem"]["reranked"], response["anthem"]["signals"]) == (True, ["lexical", "attention"])
    lexical = {hit["_id"]: hit["_score"] for hit in hits(client.search(index=bare_index, body=match("fire tv")))}
    values = {number: UNUSUAL_SOURCES[int(number)]["title"] for number in lexical}
    titles = {number: value if isinstance(value, str) else " ".join(value) for number, value in values.items()}
    attention = AttentionScorer(attention_encoder.bundle).score_titles("fire tv", list(titles.values()))
    expected = score_window(np.array(list(lexical.values())), anthem.profile(bare_index).scoring, attention=attention)
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


@pytest.fixture(scope="module", params=[None, (), ("name",)])
def reader(client, attention_encoder, request):
    """A client that reads texts from the title, from no field, or from one that no product has."""
    return AnthemClient(client, attention_encoder, ClientOptions(text_fields=request.param)), request.param is None


@settings(max_examples=settings().max_examples // 4)  # each example sends two searches
@given(st.lists(words, min_size=1, max_size=4).map(" ".join), st.integers(2, 60))
def test_both_modes_rank_by_the_same_stored_values(reader, index, query, window):
    """Client mode ranks as cluster mode does, to float32, whatever values are missing; except that it may read texts.

    It reads them if the index has no trigrams, or none of the hits was ingested.
    """
    (anthem, reads_titles), body = reader, match(query) | {"size": 60}
    inside, outside = (anthem.search(index, body, mode=mode, window=window) for mode in ("cluster", "client"))
    if reads_titles and outside["anthem"]["signals"] != inside["anthem"]["signals"]:
        assert "attention" in outside["anthem"]["signals"]
        return
    assert outside["anthem"]["reason"] in (inside["anthem"]["reason"], NO_TEXTS_NOTE.format("name"))
    differing = {"took_ms": 0, "mode": "", "reason": None}
    assert inside["anthem"] | differing == outside["anthem"] | differing
    score = {hit["_id"]: hit["_score"] for hit in hits(outside)}
    inside_scores = [hit["_score"] for hit in hits(inside)]
    np.testing.assert_allclose(inside_scores, [*score.values()], rtol=1e-6)
    np.testing.assert_allclose(inside_scores, [score[product] for product in ids(inside)], rtol=1e-6)


def test_a_bundle_without_attention_ranks_by_two_signals(client, attention_encoder, encoder_without_attention, index):
    """Without attention and values of the model a search is not reranked; the titles are enough for attention."""
    without = AnthemClient(client, encoder_without_attention)
    response = without.search(index, match("fire tv"), mode="client")
    assert (response["anthem"]["reranked"], response["anthem"]["signals"]) == (False, [])
    assert response["anthem"]["reason"] == no_values_reason(index)
    assert without.profile(index).signals <= {"containment"}
    assert AnthemClient(client, attention_encoder).search(index, match("fire tv"), mode="client")["anthem"]["reranked"]


def test_an_unusable_graph_gives_the_response(client, attention_encoder, add_attention, index, tmp_path):
    """If the attention graph cannot be used, the search succeeds without reranking, and the reason names the graph."""
    broken = Encoder(add_attention(attention_encoder.bundle, tmp_path, attention_encoder.bundle.path / PRODUCT_GRAPH))
    for mode in ("cluster", "client"):
        response = AnthemClient(client, broken).search(index, match("fire tv"), mode=mode)
        assert hits(response) == hits(client.search(index=index, body=match("fire tv")))
        assert (response["anthem"]["reranked"], response["anthem"]["signals"]) == (False, [])
        assert "attention_table.onnx has inputs and outputs" in response["anthem"]["reason"]
