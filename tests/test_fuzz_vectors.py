"""Random stored values on a real node: nothing an index can hold makes a search or a shard fail, in either mode."""

import uuid
from base64 import b64encode

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anthem_core.opensearch.schema import ModelFields
from anthem_plugin.client import AnthemClient
from anthem_plugin.options import ClientOptions
from anthem_plugin.scoring.params import ScoringParams
from anthem_plugin.scoring.window import score_window
from anthem_plugin.search.circuit_breaker import CircuitBreaker
from anthem_plugin.search.request import NO_HITS_REASON, NOT_TOLD_APART_REASON, ONE_HIT_REASON, no_values_reason
from anthem_plugin.search.response import hit_distances

FEWER_EXAMPLES = settings(max_examples=settings().max_examples // 5)  # each example rewrites an index
MODEL_PLACEHOLDER = "the model"  # replaced by the id of the bundle's model
MAX_FLOAT32 = float(np.finfo(np.float32).max)

steps = st.integers(-128, 127)
whole = steps.map(float)
extreme = st.sampled_from([0, -0.0, 127, -128, 127.0, -127])
refused = st.sampled_from([128, -129, 0.5, 1e20, MAX_FLOAT32, True])  # by OpenSearch, in a vector of bytes
models = st.sampled_from(
    [
        MODEL_PLACEHOLDER,
        MODEL_PLACEHOLDER,
        MODEL_PLACEHOLDER,
        "another",
        "",
        None,
        5,
        [MODEL_PLACEHOLDER],
        [MODEL_PLACEHOLDER, "another"],
        [],
    ]
)


def vectors(dimension):
    """Vectors of whole numbers, some of them written as floats, and some at the limits of a byte."""
    kinds = st.sampled_from([steps, steps, whole, extreme])
    return kinds.flatmap(lambda kind: st.lists(kind, min_size=dimension, max_size=dimension))


packed_trigrams = st.binary(max_size=40).map(lambda packed: b64encode(packed).decode())


@st.composite
def model_objects(draw, dimension):
    """The model's objects of products: complete, partial, or None."""
    refused_vectors = st.lists(steps | refused, min_size=dimension, max_size=dimension)
    vector = vectors(dimension) | vectors(dimension) | refused_vectors
    values = {"vector": vector, "trigrams": packed_trigrams, "model": models, "text_hash": st.just("a")}
    partial = st.fixed_dictionaries({}, optional=values)
    return draw(st.lists(st.none() | partial, min_size=1, max_size=12))


def insert_model(stored, model):
    """The object with the id of the bundle's model in place of the placeholder."""
    if not stored or "model" not in stored:
        return stored
    value = stored["model"]
    if isinstance(value, list):
        return stored | {"model": [model if item == MODEL_PLACEHOLDER else item for item in value]}
    return stored | {"model": model if value == MODEL_PLACEHOLDER else value}


@pytest.fixture(scope="module")
def shop(client, encoder):
    """An empty index with the model's fields."""
    name = f"test-fuzz-{uuid.uuid4().hex}"
    properties = {"title": {"type": "text"}} | ModelFields().mapping(encoder.bundle.dimension)["properties"]
    body = {"settings": {"number_of_shards": 1, "number_of_replicas": 0}, "mappings": {"properties": properties}}
    client.indices.create(index=name, body=body)
    yield name
    client.indices.delete(index=name)


def refill(client, shop, model, objects):
    """Replace the products of an index, and return how many of the new ones the cluster accepted."""
    client.delete_by_query(index=shop, body={"query": {"match_all": {}}}, refresh=True)
    lines = []
    for number, stored in enumerate(objects):
        product = {"title": "fire tv"} | ({} if stored is None else {"anthem": insert_model(stored, model)})
        lines += [{"index": {"_id": str(number)}}, product]
    response = client.bulk(body=lines, index=shop, refresh=True)
    return sum(item["index"]["status"] < 300 for item in response["items"])


@pytest.mark.node
@FEWER_EXAMPLES
@given(data=st.data())
def test_no_stored_value_breaks_a_search(client, encoder, shop, data):
    """Every product is found, no shard fails, scores are finite, and both modes give the same ones."""
    count = refill(client, shop, encoder.bundle.model_id, data.draw(model_objects(encoder.bundle.dimension)))
    anthem = AnthemClient(
        client, encoder, ClientOptions(text_fields=(), circuit_breaker=CircuitBreaker(failures=10**9))
    )
    body, scores_by_mode = {"query": {"match": {"title": "fire tv"}}, "size": 20}, {}
    for mode in ("cluster", "client"):
        response = anthem.search(shop, body, mode=mode)
        hits = {hit["_id"]: hit["_score"] for hit in response["hits"]["hits"]}
        assert (len(hits), response["_shards"]["failed"]) == (count, 0)
        if response["anthem"]["reranked"]:
            assert all(0 < score < MAX_FLOAT32 for score in hits.values())
            scores_by_mode[mode] = [score for _, score in sorted(hits.items())]
        else:
            reasons = (no_values_reason(shop), NO_HITS_REASON, ONE_HIT_REASON, NOT_TOLD_APART_REASON)
            assert response["anthem"]["reason"] in reasons
    if len(scores_by_mode) == 2:
        np.testing.assert_allclose(scores_by_mode["client"], scores_by_mode["cluster"], rtol=1e-6)


@given(data=st.data())
def test_numpy_accepts_any_vector(encoder, data):
    """In numpy every vector has a finite distance, and a product with it has a finite score that is not negative."""
    scoring, query = (
        ScoringParams.from_bundle(encoder.bundle),
        encoder.encode_query(data.draw(st.sampled_from(["fire tv", "red", "a"]))),
    )
    stored = data.draw(st.lists(vectors(scoring.dimension), min_size=1, max_size=8))
    hits = [{"_source": {"anthem": {"vector": vector, "model": scoring.model_id}}} for vector in stored]
    distance = hit_distances(hits, query, scoring)
    assert np.isfinite(distance).all()
    lexical = np.array(
        data.draw(st.lists(st.floats(0, 2.0**100, width=32), min_size=len(stored), max_size=len(stored)))
    )
    score = score_window(lexical, scoring, distance=distance)
    assert ((score >= 0) & np.isfinite(score)).all()
