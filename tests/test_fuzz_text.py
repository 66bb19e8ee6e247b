"""Texts from all of Unicode, as queries and titles: encoded, scored, rewritten, searched and ingested."""

import json
import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opensearchpy.exceptions import TransportError
from shipped_words import split_words

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.query_operators import encode_phrases, split_phrases
from anthem_core.opensearch.schema import ModelFields
from anthem_ingest.ingest import ingest_index
from anthem_plugin.client import AnthemClient
from anthem_plugin.options import ClientOptions
from anthem_plugin.rewriter.rescore import build_rescore_body
from anthem_plugin.scoring.painless import build_score_script
from anthem_plugin.scoring.params import ScoringParams
from anthem_plugin.scoring.window import point_distances
from anthem_plugin.search.circuit_breaker import CircuitBreaker

SEARCH_EXAMPLES = settings(max_examples=settings().max_examples // 4)  # each example searches three times or more
INGEST_EXAMPLES = settings(max_examples=settings().max_examples // 20)  # each example creates an index
MAX_CHARACTERS = 100_000

# Lone surrogates, combining marks, joiners, direction marks, NUL, line ends, an 18-letter ligature, special casing.
ODD_CHARACTERS = "\ud800\udfff\u0301\u093f\u200b\u200d\u202e\u2066\ufeff\0\x1b\n\u2028\ufdfaßİſ\ufb01ﷺ𝔽𒐫🧑"
letters = st.characters() | st.sampled_from(ODD_CHARACTERS) | st.sampled_from("fire tvקול電視 OR")
short_texts = st.text(letters, max_size=40)
texts = short_texts | st.builds(
    lambda text, times: (text * times)[:MAX_CHARACTERS], short_texts, st.sampled_from([100, MAX_CHARACTERS])
)


@given(query=texts, titles=st.lists(texts, max_size=4))
def test_any_text_is_encoded(encoder, attention_encoder, query, titles):
    """A query without words is None, any other has finite hyperboloids; every title has a finite point."""
    region = encoder.encode_query(query)
    assert (region is None) == (not split_words(query))
    points = encoder.encode_products(titles)
    assert points.shape == (len(titles), encoder.bundle.dimension + 1)
    assert np.isfinite(points).all()
    if region is not None:
        assert all(np.isfinite(values).all() for values in (region.centres, region.limits, region.weights))
        assert np.isfinite(point_distances(list(points), region, ScoringParams.from_bundle(encoder.bundle))).all()
    is_scored = np.isfinite(AttentionScorer(attention_encoder.bundle).score_titles(query, titles))
    assert is_scored.tolist() == [bool(split_words(query)) and bool(split_words(title)) for title in titles]


@given(query=texts, title=texts)
def test_any_phrases_can_be_joined(encoder, query, title):
    """Two texts joined by OR are a region if one of them has words, and its distances are finite."""
    region = encode_phrases(encoder.encode_query, split_phrases(f"{query} OR {title}"))
    assert (region is None) <= (not split_words(query) and not split_words(title))
    if region is not None:
        points = list(encoder.encode_products([title]))
        assert np.isfinite(point_distances(points, region, ScoringParams.from_bundle(encoder.bundle))).all()


@given(query=texts)
def test_any_query_can_be_sent(encoder, query):
    """The rewritten body of any query is valid JSON without NaN and contains the original query."""
    region = encoder.encode_query(query)
    if region is not None:
        body = {"query": {"match": {"title": query}}}
        rewritten = build_rescore_body(body, build_score_script(region, ScoringParams.from_bundle(encoder.bundle)))
        assert rewritten.reranked
        sent = json.loads(json.dumps(rewritten.body, allow_nan=False))
        # JSON joins two lone surrogates that belong together.
        assert sent["query"] == json.loads(json.dumps(body["query"]))


def create_index(client, titles):
    """Create an index of products with these titles; lone surrogates are written as JSON escapes."""
    name = f"test-fuzz-{uuid.uuid4().hex}"
    settings = {"number_of_shards": 1, "number_of_replicas": 0}
    client.indices.create(
        index=name, body={"settings": settings, "mappings": {"properties": {"title": {"type": "text"}}}}
    )
    lines = [line for n, title in enumerate(titles) for line in ({"index": {"_id": str(n)}}, {"title": title})]
    response = client.bulk(body="".join(json.dumps(line) + "\n" for line in lines), index=name, refresh=True)
    assert not response["errors"]
    return name


@pytest.mark.node
@INGEST_EXAMPLES
@given(titles=st.lists(texts, min_size=1, max_size=20))
def test_any_title_is_ingested(client, encoder, titles):
    """Exactly the products with words in their titles get points, and a second run has nothing to do."""
    index = create_index(client, titles)
    has_words = [bool(split_words(title)) for title in titles]
    first, second = (ingest_index(client, index, encoder) for _ in range(2))
    assert (first.written, first.empty, first.failed, first.conflicts) == (
        sum(has_words),
        len(has_words) - sum(has_words),
        0,
        0,
    )
    assert (second.written, second.skipped) == (0, sum(has_words))
    with_vector = client.count(index=index, body={"query": {"exists": {"field": ModelFields().vector}}})
    assert with_vector["count"] == sum(has_words)
    client.indices.delete(index=index)


@pytest.fixture(scope="module")
def shop(client, encoder):
    """An index with odd titles, most of which contain words that the searches match."""
    index = create_index(
        client, ["fire tv", *(f"fire {odd} tv {odd * 30}" for odd in ODD_CHARACTERS), ODD_CHARACTERS, "tv " * 10_000]
    )
    ingest_index(client, index, encoder)
    yield index
    client.indices.delete(index=index)


@pytest.fixture(scope="module", params=["cluster", "client"])
def search(request, client, encoder, shop):
    """Function that searches in one mode, with a circuit breaker that never opens; some searches must be reranked."""
    anthem = AnthemClient(client, encoder, ClientOptions(circuit_breaker=CircuitBreaker(failures=10**9)))
    yield lambda body, **arguments: anthem.search(shop, body, mode=request.param, **arguments)
    assert anthem.stats()["reranked"]


def outcome(send):
    """Ids and total number of a search's hits, regardless of order, or the status of its error."""
    try:
        hits = send()["hits"]
    except TransportError as error:
        return error.status_code
    return {hit["_id"] for hit in hits["hits"]}, hits["total"]


@pytest.mark.node
@SEARCH_EXAMPLES
@given(query_text=texts, matched=st.just("fire tv") | texts, operators=st.booleans())
def test_reranking_keeps_the_hits(client, search, shop, query_text, matched, operators):
    """For any text, given to the model or to the cluster, a reranked search has the hits of the plain search."""
    body = {"query": {"match": {"title": matched}}, "size": 50}
    plain = outcome(lambda: client.search(index=shop, body=body))
    assert outcome(lambda: search(body, operators=operators, query_text=query_text)) == plain
    assert outcome(lambda: search(body, operators=operators)) == plain
