"""Stored vectors under a fuzz, on a real node: what an index may hold costs no search and no shard, in either mode."""

import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from anthem_core.opensearch.schema import VectorFields
from anthem_plugin.client import AnthemClient
from anthem_plugin.scoring.params import ScoringParams
from anthem_plugin.scoring.window import score_window
from anthem_plugin.search.circuit_breaker import CircuitBreaker
from anthem_plugin.search.response import hit_distances

FEW = settings(max_examples=settings().max_examples // 5)  # each example writes an index anew
MODEL = "the model"  # stands for the id of the bundle's
LARGEST = float(np.finfo(np.float32).max)

coordinates = st.floats(width=32, allow_nan=False, allow_infinity=False)
near = st.floats(-4, 4, width=32)
rare = st.sampled_from([0.0, -0.0, 1e-45, -1e-45, 1e-20, 1e20, -1e20, LARGEST, -LARGEST])
models = st.sampled_from([MODEL, MODEL, MODEL, "another", "", None, 5, [MODEL], [MODEL, "another"], []])


def vectors(dimension):
    """Coordinates of a point, hardly ever on the hyperboloid: near, far, at the ends of float32, or none at all."""
    kinds = st.sampled_from([near, near, coordinates, rare])
    drawn = kinds.flatmap(lambda kind: arrays(np.float32, dimension + 1, elements=kind, fill=kind))
    return drawn.map(lambda point: point.tolist())


@st.composite
def shops(draw, dimension):
    """What products hold of ANTHEM: whole, in part, or nothing."""
    part = st.fixed_dictionaries(
        {}, optional={"vector": vectors(dimension), "model": models, "text_hash": st.just("a")}
    )
    return draw(st.lists(st.none() | part, min_size=1, max_size=12))


def named(held, model):
    """What a product holds, with the id of the bundle's model in place of its stand-in."""
    if not held or "model" not in held:
        return held
    value = held["model"]
    here = [model if one == MODEL else one for one in value] if isinstance(value, list) else value
    return held | {"model": model if here == MODEL else here}


@pytest.fixture(scope="module")
def shop(client, encoder):
    """An index with the fields, and with nothing in it."""
    name = f"test-fuzz-{uuid.uuid4().hex}"
    properties = {"title": {"type": "text"}} | VectorFields().mapping(encoder.bundle.dimension)["properties"]
    body = {"settings": {"number_of_shards": 1, "number_of_replicas": 0}, "mappings": {"properties": properties}}
    client.indices.create(index=name, body=body)
    yield name
    client.indices.delete(index=name)


def filled(client, shop, model, held):
    """Number of products of an index that had others before."""
    client.delete_by_query(index=shop, body={"query": {"match_all": {}}}, refresh=True)
    lines = []
    for number, one in enumerate(held):
        product = {"title": "fire tv"} | ({} if one is None else {"anthem": named(one, model)})
        lines += [{"index": {"_id": str(number)}}, product]
    done = client.bulk(body=lines, index=shop, refresh=True)
    return sum(item["index"]["status"] < 300 for item in done["items"])


@pytest.mark.node
@FEW
@given(data=st.data())
def test_no_stored_vector_costs_a_search(client, encoder, shop, data):
    """Every product is found, no shard fails, each score is from 1 to 2, and both modes give the same ones."""
    count = filled(client, shop, encoder.bundle.model, data.draw(shops(encoder.bundle.dimension)))
    anthem = AnthemClient(client, encoder, text_fields=(), breaker=CircuitBreaker(failures=10**9))
    body, found = {"query": {"match": {"title": "fire tv"}}, "size": 20}, {}
    for mode in ("cluster", "client"):
        response = anthem.search(shop, body, mode=mode)
        hits = {hit["_id"]: hit["_score"] for hit in response["hits"]["hits"]}
        assert (len(hits), response["_shards"]["failed"]) == (count, 0)
        if response["anthem"]["reranked"]:
            assert all(1 <= score <= 2.01 for score in hits.values())
            found[mode] = [score for _, score in sorted(hits.items())]
        else:
            assert "no product" in response["anthem"]["reason"] or not hits
    if len(found) == 2:
        np.testing.assert_allclose(found["client"], found["cluster"], rtol=1e-6)


@given(data=st.data())
def test_the_twin_takes_any_vector(encoder, data):
    """In numpy each vector, wherever it lies, has a distance that is a number and a score from 1 to 2."""
    scoring, query = (
        ScoringParams.of(encoder.bundle),
        encoder.query(data.draw(st.sampled_from(["fire tv", "red", "a"]))),
    )
    some = data.draw(st.lists(vectors(scoring.dimension), min_size=1, max_size=8))
    hits = [{"_source": {"anthem": {"vector": one, "model": scoring.model}}} for one in some]
    distance = hit_distances(hits, query, scoring)
    assert np.isfinite(distance).all()
    lexical = np.array(data.draw(st.lists(st.floats(0, LARGEST, width=32), min_size=len(some), max_size=len(some))))
    score = score_window(lexical, distance, scoring)
    assert ((score >= 1) & (score <= (2 + 1e-6 * lexical) * (1 + 1e-6))).all()
