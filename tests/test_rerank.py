"""Reranking in numpy: the window is reordered by the fused score and stays above all other hits."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.encoding.bundle import Bundle
from anthem_core.encoding.tokenizer import Vocabulary
from anthem_core.errors import BundleError
from anthem_core.fusion import FusionWeights, fuse
from anthem_core.geometry import lorentz
from anthem_core.geometry.regions import EncodedQuery
from anthem_core.opensearch.schema import VectorFields
from anthem_plugin.cli import hit_rows
from anthem_plugin.scoring.params import ScoringParams, to_float64
from anthem_plugin.search.explain import explain_hit, strongest_attention
from anthem_plugin.search.request import RerankSkipped, SearchRequest
from anthem_plugin.search.response import check_shards, hit_distances, narrow_to_page, read_point, rerank_hits

D = 4
FUSION = FusionWeights(bias=0.0, lexical=1.0, containment=2.0, half_saturation=5.0, median_distance=1.0)
SCORING = ScoringParams(model_id="m", dimension=D, gamma=0.2, slack=0.01, fusion=FUSION)
ORIGIN = EncodedQuery(
    centres=np.array([[1, 0, 0, 0, 0]], np.float32),
    limits=np.array([[0.5, 0.4, 0.3, 0.2]], np.float32),
    weights=np.ones(1, np.float32),
    entities=np.array([0.2, 0.3], np.float32),
    intersections=np.array([[0, 0.5], [0, 0]], np.float32),
)

unit = st.floats(-1, 1, allow_nan=False)
vectors = st.lists(unit, min_size=D, max_size=D).map(lambda v: lorentz.expmap0(np.array(v)).tolist())
stored = st.one_of(
    st.none(),
    st.fixed_dictionaries({"vector": vectors, "model": st.sampled_from(["m", "other"])}),
    st.fixed_dictionaries({"vector": st.lists(unit, max_size=3), "model": st.just("m")}),
    st.just({"model": "m"}),
    st.just("not an object"),
)
windows = st.integers(1, 30)


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
    point = lorentz.expmap0(np.array(tangent, float))
    return {"_id": "1", "_score": score, "_source": VectorFields().document(point, model, "x")}


@given(hits(), windows)
def test_reranking_is_a_permutation(lexical_hits, window):
    """No hit is lost or duplicated, and only scores change."""
    ranked = rerank_hits(lexical_hits, ORIGIN, SCORING, window=window)
    by_id = {item["_id"]: item for item in lexical_hits}
    assert sorted(item["_id"] for item in ranked) == sorted(by_id)
    assert all({**item, "_score": by_id[item["_id"]]["_score"]} == by_id[item["_id"]] for item in ranked)


@given(hits(), windows)
def test_the_window_is_first_and_the_rest_keeps_its_order(lexical_hits, window):
    """Scores descend; those of the window are in [1, 2.001], the others are below 0.001 and in lexical order."""
    ranked = rerank_hits(lexical_hits, ORIGIN, SCORING, window=window)
    scores = [item["_score"] for item in ranked]
    assert scores == sorted(scores, reverse=True)
    assert all(1 <= score <= 2.001 for score in scores[:window])
    assert all(score < 0.001 for score in scores[window:])
    assert [item["_id"] for item in ranked[window:]] == [item["_id"] for item in lexical_hits[window:]]


def test_ties_keep_lexical_order():
    """Hits that are equal in every signal keep their order, however many there are."""
    equal_hits = [{"_id": str(number), "_score": float(number % 2)} for number in range(200)]
    expected = [str(number) for number in (*range(1, 200, 2), *range(0, 200, 2))]
    assert [item["_id"] for item in rerank_hits(equal_hits, ORIGIN, SCORING, window=200)] == expected


def test_each_signal_orders_by_itself():
    """If one signal is equal for all hits, the other decides the order."""
    near, far = hit([0.1, 0, 0, 0]), hit([2, 0, 0, 0])
    assert rerank_hits([far, near], ORIGIN, SCORING)[0]["_source"] == near["_source"]
    weak, strong = hit([1, 0, 0, 0], 1.0), hit([1, 0, 0, 0], 9.0)
    assert rerank_hits([weak, strong], ORIGIN, SCORING)[0]["_source"] == strong["_source"]


def test_scores_are_one_plus_fused():
    """The score is `1 + fuse(lexical, distance)` plus a millionth of the lexical score, in float32."""
    items = [hit([0.5, 1, 0, 0], 7.0), hit([0, 0, 0, 2], 3.0)]
    ranked = rerank_hits(items, ORIGIN, SCORING)
    fused = fuse(np.array([7.0, 3.0]), hit_distances(items, ORIGIN, SCORING), FUSION)
    expected = 1 + fused + 1e-6 * np.array([7.0, 3.0])
    np.testing.assert_allclose([item["_score"] for item in ranked], expected, atol=2e-7)


@pytest.mark.parametrize(
    "unusable",
    [
        {"_id": "1", "_score": 1.0},
        {"_id": "1", "_score": 1.0, "_source": {}},
        hit([1, 0, 0, 0], model="other"),
        hit([1, 0, 0]),
        {"_id": "1", "_score": 1.0, "_source": {"anthem": {"model": "m", "vector": "1 0 0 0 0"}}},
    ],
)
def test_a_product_without_a_usable_vector_gets_the_median_distance(unusable):
    """Its distance is NaN, its score is that of a product at the median distance, and it has no explanation."""
    (ranked,) = rerank_hits([unusable], ORIGIN, SCORING)
    median = 1 + fuse(np.ones(1), np.array([FUSION.median_distance]), FUSION)[0] + 1e-6
    assert np.isnan(hit_distances([unusable], ORIGIN, SCORING)).all()
    assert ranked["_score"] == pytest.approx(median, abs=2e-7)
    assert explain_hit(unusable, ORIGIN, SCORING) is None


def test_no_score_is_ever_nan():
    """NaN weights give the fused score 0, as in the script; a hit without a finite score raises an error."""
    broken = replace(SCORING, fusion=replace(FUSION, bias=float("nan")))
    (ranked,) = rerank_hits([hit([1, 0, 0, 0])], ORIGIN, broken)
    assert ranked["_score"] == pytest.approx(1, abs=2e-6)
    with pytest.raises(ValueError, match="not a finite number"):
        rerank_hits([hit([1, 0, 0, 0], None)], ORIGIN, SCORING)


def test_time_is_recomputed_from_space():
    """A vector stored off the hyperboloid is ranked by its space coordinates alone, as in the script."""
    item = hit([0.5, 1, 0, 0])
    expected = hit_distances([item], ORIGIN, SCORING)
    item["_source"]["anthem"]["vector"][0] = 99.0
    assert hit_distances([item], ORIGIN, SCORING) == expected


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
    inside = explain_hit(hit([0.1, 0.3, 0.1, 0]), ORIGIN, SCORING)
    assert inside.contained
    assert [margin.dimension for margin in inside.margins] == [1, 3, 2]
    np.testing.assert_allclose([margin.value for margin in inside.margins], [0.1, 0.2, 0.2], atol=1e-6)
    outside = explain_hit(hit([0, 0, 0, 0.5]), ORIGIN, SCORING)
    assert not outside.contained
    assert outside.margins[0].dimension == 3
    assert outside.margins[0].value == pytest.approx(-0.3, abs=1e-6)
    assert explain_hit(hit([0, 0, 0, 0.205]), ORIGIN, SCORING).contained, "a margin within the slack is inside"


def test_attention_names_entities_and_intersections():
    """The strongest parts of a query come first; an intersection names both of its trigrams."""
    strongest = strongest_attention(ORIGIN, "tv", Vocabulary((), 10))
    assert [name for name, _ in strongest] == ["#tv × tv#", "tv#", "#tv"]


def test_a_bundle_without_weights_is_an_error(tmp_path):
    """A bundle without fusion weights for these signals is an error that names the weights it has."""
    bundle = Bundle(tmp_path, "m", D, 1, 3.0, 0.2, 0.0, Vocabulary((), 10), {"all": FUSION})
    with pytest.raises(BundleError, match=r"\['all'\]"):
        ScoringParams.from_bundle(bundle)


def test_a_new_hit_has_no_previous_rank():
    """A product that the plain search did not return has no previous rank."""
    hit = {"_index": "i", "_id": "1", "_score": 1.5, "_source": {"title": "fire tv"}}
    (row,) = hit_rows({"hits": {"hits": []}}, {"hits": {"hits": [hit]}}, "title")
    assert (row["rank"], row["before"], row["lexical"]) == (1, None, None)
