"""Reranking in numpy: the window is reordered by the fused score and stays above all other hits."""

from base64 import b64encode
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.encoding.bundle import Bundle
from anthem_core.encoding.stored_vectors import pack_points, unpack_points
from anthem_core.encoding.tokenizer import Vocabulary
from anthem_core.errors import BundleError
from anthem_core.fusion import MAX_FACTOR_RATIO, FusionWeights, fuse, model_shift
from anthem_core.geometry import lorentz
from anthem_core.geometry.regions import EncodedQuery
from anthem_core.opensearch.schema import ModelFields
from anthem_plugin.cli import hit_rows
from anthem_plugin.scoring.params import ATTENTION, BOTH, CONTAINMENT, ScoringParams, to_float64
from anthem_plugin.search.explain import explain_region
from anthem_plugin.search.request import RerankSkipped, SearchRequest
from anthem_plugin.search.response import (
    check_shards,
    has_model,
    hit_distances,
    narrow_to_page,
    read_point,
    read_trigrams,
    rerank_hits,
)

D = 4
FUSION = FusionWeights(lexical_offset=0.5, containment=2.0, median_distance=1.0, attention=1.5, median_attention=-0.5)
SCORING = ScoringParams("m", D, 0.2, 2**-6, 0.01, dict.fromkeys((CONTAINMENT, ATTENTION, BOTH), FUSION), BOTH)
ORIGIN = EncodedQuery(
    centres=np.array([[1, 0, 0, 0, 0]], np.float32),
    limits=np.array([[0.5, 0.4, 0.3, 0.2]], np.float32),
    weights=np.ones(1, np.float32),
    entities=np.array([0.2, 0.3], np.float32),
    intersections=np.array([[0, 0.5], [0, 0]], np.float32),
)

steps = st.integers(-128, 127)
vectors = st.lists(steps, min_size=D, max_size=D)
stored = st.one_of(
    st.none(),
    st.fixed_dictionaries({"vector": vectors, "model": st.sampled_from(["m", "other"])}),
    st.fixed_dictionaries({"vector": st.lists(steps | st.just(0.5), max_size=4), "model": st.just("m")}),
    st.just({"model": "m"}),
    st.just("not an object"),
)
windows = st.integers(1, 30)
attentions = st.none() | st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).normal(size=20))


@st.composite
def hits(draw):
    """Hits in lexical order, with and without vectors."""
    scores = sorted(draw(st.lists(st.floats(0, 50, width=32), max_size=20)), reverse=True)
    objects = [draw(stored) for _ in scores]
    return [
        {"_id": str(number), "_score": score, "_source": {} if anthem is None else {"anthem": anthem}}
        for number, (score, anthem) in enumerate(zip(scores, objects, strict=True))
    ]


def hit(tangent, score=1.0, model="m"):
    """A hit with the point that `expmap0` maps a tangent vector to."""
    vector = pack_points(lorentz.expmap0(np.array(tangent, float)), SCORING.vector_step)
    return {"_id": "1", "_score": score, "_source": ModelFields().document(vector, model, ["x"])}


def in_steps(*steps):
    """Tangent vector of the point with these coordinates in steps."""
    return lorentz.logmap0(unpack_points(steps, SCORING.vector_step))


def rerank(lexical_hits, window=100, attention=None):
    """Hits reranked by their distances to the query, and by attention scores if there are any."""
    distance = hit_distances(lexical_hits[:window], ORIGIN, SCORING)
    attention = attention if attention is None else attention[: len(distance)]
    return rerank_hits(lexical_hits, SCORING, window=window, distance=distance, attention=attention)


@given(hits(), windows, attentions)
def test_reranking_is_a_permutation(lexical_hits, window, attention):
    """No hit is lost or duplicated, and only scores change."""
    ranked = rerank(lexical_hits, window, attention)
    by_id = {item["_id"]: item for item in lexical_hits}
    assert sorted(item["_id"] for item in ranked) == sorted(by_id)
    assert all({**item, "_score": by_id[item["_id"]]["_score"]} == by_id[item["_id"]] for item in ranked)


@given(hits(), windows, attentions)
def test_the_window_is_first_and_the_rest_keeps_its_order(lexical_hits, window, attention):
    """Scores descend; those of the window are far above those of the other hits, which are in lexical order."""
    ranked = rerank(lexical_hits, window, attention)
    scores = [item["_score"] for item in ranked]
    assert scores == sorted(scores, reverse=True)
    lowest = FUSION.lexical_offset / MAX_FACTOR_RATIO**0.5
    assert all(score >= 0.999 * lowest for score in scores[:window])
    assert all(score < 1e-6 * lowest for score in scores[window:])
    assert [item["_id"] for item in ranked[window:]] == [item["_id"] for item in lexical_hits[window:]]


@given(hits(), attentions, st.integers(0, 19))
def test_a_boost_by_more_than_the_factor_stays_first(lexical_hits, attention, position):
    """A hit whose lexical score is far above all others stays first, whatever the model says."""
    if lexical_hits:
        boosted = lexical_hits[position % len(lexical_hits)] | {"_score": 1.01 * MAX_FACTOR_RATIO * (50.0 + 0.5)}
        others = [item for item in lexical_hits if item["_id"] != boosted["_id"]]
        assert rerank([boosted, *others], attention=attention)[0]["_id"] == boosted["_id"]


def test_ties_keep_lexical_order():
    """Hits that are equal in every signal keep their order, however many there are."""
    equal_hits = [{"_id": str(number), "_score": float(number % 2)} for number in range(200)]
    expected = [str(number) for number in (*range(1, 200, 2), *range(0, 200, 2))]
    assert [item["_id"] for item in rerank(equal_hits, 200)] == expected


def test_each_signal_orders_by_itself():
    """If all signals but one are equal for all hits, this one decides the order."""
    near, far = hit([0.1, 0, 0, 0]), hit([2, 0, 0, 0])
    assert rerank([far, near])[0]["_source"] == near["_source"]
    weak, strong = hit([1, 0, 0, 0], 1.0), hit([1, 0, 0, 0], 9.0)
    assert rerank([weak, strong])[0]["_source"] == strong["_source"]
    first, second = hit([1, 0, 0, 0]), hit([1, 0, 0, 0]) | {"_id": "2"}
    assert rerank([first, second], attention=np.array([-1.0, 2.0]))[0]["_id"] == "2"


@given(hits(), attentions)
def test_scores_fuse_the_given_signals(lexical_hits, attention):
    """The score is that of `fuse`, in float32; a signal that is left out changes nothing."""
    distance = hit_distances(lexical_hits, ORIGIN, SCORING)
    attention = None if attention is None else attention[: len(lexical_hits)]
    lexical = np.array([item["_score"] for item in lexical_hits])
    for signals in ((distance, attention), (None, attention)):
        expected = fuse(lexical, model_shift(*signals, FUSION), FUSION)
        if signals[0] is None and signals[1] is None:
            expected = lexical
        ranked = rerank_hits(lexical_hits, SCORING, distance=signals[0], attention=signals[1])
        by_id = {item["_id"]: item["_score"] for item in ranked}
        np.testing.assert_allclose([by_id[item["_id"]] for item in lexical_hits], expected, rtol=2e-7)


@pytest.mark.parametrize(
    "unusable",
    [
        {"_id": "1", "_score": 1.0},
        {"_id": "1", "_score": 1.0, "_source": {}},
        hit([1, 0, 0, 0], model="other"),
        hit([1, 0, 0]),
        *(
            {"_id": "1", "_score": 1.0, "_source": {"anthem": {"model": "m", "vector": vector}}}
            for vector in ("1 0 0 0", [1, 0, 0, 0, 0], *([1.0, 0, 0, odd] for odd in (128, 0.5, 1e999, "0", None)))
        ),
    ],
)
def test_a_product_without_a_usable_vector_gets_the_median_distance(unusable):
    """Its distance is NaN, its score is that of a product at the median distance, and it has no explanation."""
    (ranked,) = rerank([unusable])
    median = fuse(np.ones(1), model_shift(np.array([FUSION.median_distance]), None, FUSION), FUSION)[0]
    assert np.isnan(hit_distances([unusable], ORIGIN, SCORING)).all()
    assert ranked["_score"] == pytest.approx(median, rel=2e-7)
    assert explain_region(unusable, ORIGIN, SCORING) is None


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ({"model": "m", "trigrams": b64encode(b"\1\17\7").decode()}, [(7, 15)]),
        ({"model": "m", "trigrams": ""}, []),
        ({"model": "m", "trigrams": b64encode(b"\1\17").decode()}, []),
        ({"model": "m", "trigrams": "not base64"}, []),
        ({"model": "m", "trigrams": 5}, []),
        ({"model": "m"}, []),
        ({"model": "other", "trigrams": b64encode(b"\1\17\7").decode()}, []),
        ({}, []),
    ],
)
def test_stored_trigrams_are_read_or_missing(stored, expected):
    """Trigrams of this model are read as they were packed; anything else counts as missing."""
    hit = {"_source": {"anthem": stored}}
    titles = read_trigrams([hit, hit], SCORING)
    assert list(zip(titles.ids, titles.weights, strict=True)) == 2 * expected
    assert titles.lengths.tolist() == [len(expected)] * 2
    assert has_model(hit, SCORING) == (stored.get("model") == "m")


def test_no_score_is_ever_nan():
    """NaN weights, or a hit without a finite score, raise an error, so that the search is plain."""
    broken = replace(SCORING, fusions={CONTAINMENT: replace(FUSION, lexical_offset=float("nan"))})
    for scoring, score in ((broken, 1.0), (SCORING, None)):
        with pytest.raises(ValueError, match="not a finite number"):
            rerank_hits([hit([1, 0, 0, 0], score)], scoring, distance=np.ones(1))


@pytest.mark.parametrize(
    "write",
    [
        lambda stored: {f"anthem.{key}": value for key, value in stored.items()},
        lambda stored: {"anthem": [stored]},
        lambda stored: {"anthem": {"vector": stored["vector"]}, "anthem.model": stored["model"]},
    ],
    ids=["dotted", "list", "both"],
)
def test_a_point_is_read_however_the_source_is_written(write):
    """OpenSearch accepts dotted names and a list of one object; the client reads the same point as the script."""
    nested = hit([0.2, -0.1, 0.3, 0])
    other = {**nested, "_source": write(nested["_source"]["anthem"])}
    expected = read_point(nested, SCORING)
    assert expected is not None
    assert np.array_equal(read_point(other, SCORING), expected)


def test_to_float64_keeps_distances():
    """Lifting a float32 query and dropping zero weights changes no distance by more than 1e-6."""
    rng = np.random.default_rng(1)
    centres = lorentz.expmap0(rng.normal(size=(3, D))).astype(np.float32)
    limits, weights = rng.random((3, D)).astype(np.float32), np.array([0.25, 0, 0.75], np.float32)
    query = EncodedQuery(centres, limits, weights, weights, weights)
    points = lorentz.expmap0(rng.normal(size=(50, D)))
    exact = to_float64(query)
    assert exact.centres.shape == (2, D + 1)
    np.testing.assert_allclose(exact.distance(points, 0.2), query.distance(points, 0.2), atol=1e-6)


def test_the_page_is_cut_after_reranking():
    """`from` and `size` apply to the reranked hits; the rest of the response is unchanged."""
    ranked = [{"_id": str(number), "_score": 2 - number / 10, "_source": {"anthem": {}}} for number in range(9)]
    response = {"took": 3, "aggregations": {"a": 1}, "hits": {"total": {"value": 9}, "max_score": 5.0, "hits": ranked}}
    cut = narrow_to_page(response, {"from": 2, "size": 3}, ranked, SCORING)
    assert [item["_id"] for item in cut["hits"]["hits"]] == ["2", "3", "4"]
    assert cut["hits"]["max_score"] == 2
    assert (cut["took"], cut["aggregations"], cut["hits"]["total"]) == (3, {"a": 1}, {"value": 9})
    assert narrow_to_page({"hits": {"hits": []}}, {}, [], SCORING)["hits"] == {"hits": [], "max_score": None}


@pytest.mark.parametrize(
    ("failures", "cause"),
    [
        (
            [{"reason": {"reason": "outer", "caused_by": {"reason": "middle", "caused_by": {"reason": "inner"}}}}],
            "inner",
        ),
        ([{"reason": {"reason": "outer", "caused_by": {"type": "null_pointer_exception", "reason": None}}}], "outer"),
        ([{"reason": {"type": "null_pointer_exception"}}], "OpenSearch gives no reason"),
        ([{}], "OpenSearch gives no reason"),
        ([], "OpenSearch gives no reason"),
    ],
)
def test_the_reason_of_a_failed_shard_is_the_innermost(failures, cause):
    """A search that only fails when it is reranked is skipped with the innermost reason of the first failed shard."""
    response = {"_shards": {"total": 2, "failed": 1, "failures": failures}}
    plain = {"_shards": {"total": 2, "failed": 0}}
    steps = check_shards(SearchRequest("shop", {}, {}, None), response)
    assert next(steps).method == "search"
    with pytest.raises(RerankSkipped) as skipped:
        steps.send(plain)
    assert str(skipped.value) == f"1 of 2 shards failed while reranking: {cause}"
    assert (skipped.value.response, skipped.value.failed) == (plain, True)


def test_margins_are_limits_less_coordinates_tightest_first():
    """A product is contained if its tightest margin is not below minus the slack."""
    inside = explain_region(hit(in_steps(6, 19, 6, 0)), ORIGIN, SCORING)
    assert inside.contained
    assert [margin.dimension for margin in inside.margins] == [1, 3, 2]
    np.testing.assert_allclose([margin.value for margin in inside.margins], [0.1, 0.2, 0.2], atol=0.01)
    outside = explain_region(hit(in_steps(0, 0, 0, 32)), ORIGIN, SCORING)
    assert not outside.contained
    assert outside.margins[0].dimension == 3
    assert outside.margins[0].value == pytest.approx(0.2 - np.arcsinh(0.5), abs=1e-6)
    assert explain_region(hit(in_steps(0, 0, 0, 13)), ORIGIN, SCORING).contained, "a margin within the slack is inside"


def test_a_bundle_without_weights_is_an_error(tmp_path):
    """A bundle without fusion weights for these signals is an error that names the weights it has."""
    bundle = Bundle(tmp_path, "m", D, 1, 3.0, 0.2, 2**-6, 0.0, Vocabulary((), 10), {"all": FUSION})
    with pytest.raises(BundleError, match=r"\['all'\]"):
        ScoringParams.from_bundle(bundle)


def test_a_new_hit_has_no_previous_rank():
    """A product that the plain search did not return has no previous rank."""
    hit = {"_index": "i", "_id": "1", "_score": 1.5, "_source": {"title": "fire tv"}}
    (row,) = hit_rows({"hits": {"hits": []}}, {"hits": {"hits": [hit]}}, "title")
    assert (row["rank"], row["before"], row["lexical"]) == (1, None, None)
