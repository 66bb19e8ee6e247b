"""Texts of all of Unicode, as queries and as titles: encoded, attended, rewritten, searched and ingested."""

import json
import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opensearchpy.exceptions import TransportError

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.query_operators import encode_phrases
from anthem_core.encoding.tokenizer import split_words
from anthem_core.opensearch.schema import VectorFields
from anthem_ingest.ingest import ingest_index
from anthem_plugin.client import AnthemClient
from anthem_plugin.rewriter.rescore import build_rescore_body
from anthem_plugin.scoring.painless import build_score_script
from anthem_plugin.scoring.params import ScoringParams
from anthem_plugin.scoring.window import point_distances
from anthem_plugin.search.circuit_breaker import CircuitBreaker

SOME = settings(max_examples=settings().max_examples // 4)  # each example searches three times and more
FEW = settings(max_examples=settings().max_examples // 20)  # each example makes an index
LONGEST = 100_000

# Half characters, marks, joiners, direction marks, NUL, line ends, a ligature of 18 letters, and what changes its case.
ODD = "\ud800\udfff\u0301\u093f\u200b\u200d\u202e\u2066\ufeff\0\x1b\n\u2028\ufdfaßİſ\ufb01ﷺ𝔽𒐫🧑"
letters = st.characters() | st.sampled_from(ODD) | st.sampled_from("fire tvקול電視 OR")
short = st.text(letters, max_size=40)
texts = short | st.builds(lambda text, times: (text * times)[:LONGEST], short, st.sampled_from([100, LONGEST]))


@given(query=texts, titles=st.lists(texts, max_size=4))
def test_any_text_has_geometry_or_none(encoder, attentive, query, titles):
    """A query without words has no hyperboloids, any other has finite ones; every title has a finite point."""
    region = encoder.query(query)
    assert (region is None) == (not split_words(query))
    points = encoder.products(titles)
    assert points.shape == (len(titles), encoder.bundle.dimension + 1)
    assert np.isfinite(points).all()
    if region is not None:
        assert all(np.isfinite(part).all() for part in (region.centres, region.limits, region.weights))
        assert np.isfinite(point_distances(list(points), region, ScoringParams.of(encoder.bundle))).all()
    attended = np.isfinite(AttentionScorer(attentive.bundle).scores(query, titles))
    assert attended.tolist() == [bool(split_words(query)) and bool(split_words(title)) for title in titles]


@given(query=texts, title=texts)
def test_any_phrases_join(encoder, query, title):
    """Either of two texts is a region where one of them has words, and its distances are numbers."""
    region = encode_phrases(encoder, f"{query} OR {title}")
    assert (region is None) <= (not split_words(query) and not split_words(title))
    if region is not None:
        points = list(encoder.products([title]))
        assert np.isfinite(point_distances(points, region, ScoringParams.of(encoder.bundle))).all()


@given(query=texts)
def test_any_query_can_be_sent_on(encoder, query):
    """The rewritten body of any query is JSON of numbers, with the caller's own text in it."""
    region = encoder.query(query)
    if region is not None:
        body = {"query": {"match": {"title": query}}}
        rewritten = build_rescore_body(body, build_score_script(region, ScoringParams.of(encoder.bundle)))
        assert rewritten.reranked
        sent = json.loads(json.dumps(rewritten.body, allow_nan=False))
        assert sent["query"] == body["query"]


def made(client, titles):
    """A new index of products as any caller may have written them, half characters as JSON spells them."""
    name = f"test-fuzz-{uuid.uuid4().hex}"
    settings = {"number_of_shards": 1, "number_of_replicas": 0}
    client.indices.create(
        index=name, body={"settings": settings, "mappings": {"properties": {"title": {"type": "text"}}}}
    )
    lines = [line for n, title in enumerate(titles) for line in ({"index": {"_id": str(n)}}, {"title": title})]
    done = client.bulk(body="".join(json.dumps(line) + "\n" for line in lines), index=name, refresh=True)
    assert not done["errors"]
    return name


@pytest.mark.node
@FEW
@given(titles=st.lists(texts, min_size=1, max_size=20))
def test_any_title_is_ingested(client, encoder, titles):
    """Every product with words in its title gets its point, every other none, and a second run finds nothing to do."""
    index = made(client, titles)
    said = [bool(split_words(title)) for title in titles]
    first, second = (ingest_index(client, index, encoder) for _ in range(2))
    assert (first.written, first.empty, first.failed, first.conflicts) == (sum(said), len(said) - sum(said), 0, 0)
    assert (second.written, second.skipped) == (0, sum(said))
    pointed = client.count(index=index, body={"query": {"exists": {"field": VectorFields().vector}}})
    assert pointed["count"] == sum(said)
    client.indices.delete(index=index)


@pytest.fixture(scope="module")
def shop(client, encoder):
    """A shop with the oddest of titles, each beside words that a search finds."""
    index = made(client, ["fire tv", *(f"fire {odd} tv {odd * 30}" for odd in ODD), ODD, "tv " * 10_000])
    ingest_index(client, index, encoder)
    yield index
    client.indices.delete(index=index)


@pytest.fixture(scope="module", params=["cluster", "client"])
def searching(request, client, encoder, shop):
    """A search in one mode, which nothing keeps from being tried; some were reranked in the end."""
    anthem = AnthemClient(client, encoder, breaker=CircuitBreaker(failures=10**9))
    yield lambda body, **asked: anthem.search(shop, body, mode=request.param, **asked)
    assert anthem.stats()["reranked"]


def found(search):
    """Ids a search finds, in no order, and how many there are; or its failure."""
    try:
        hits = search()["hits"]
    except TransportError as error:
        return error.status_code
    return {hit["_id"] for hit in hits["hits"]}, hits["total"]


@pytest.mark.node
@SOME
@given(asked=texts, searched=st.just("fire tv") | texts, operators=st.booleans())
def test_any_query_finds_what_it_found(client, searching, shop, asked, searched, operators):
    """Whatever is asked of the model, and of the cluster, a search finds the products that the plain search finds."""
    body = {"query": {"match": {"title": searched}}, "size": 50}
    plain = found(lambda: client.search(index=shop, body=body))
    assert found(lambda: searching(body, operators=operators, query_text=asked)) == plain
    assert found(lambda: searching(body, operators=operators)) == plain
