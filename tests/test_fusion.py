"""The fused score is the lexical score times a bounded factor: ratios of lexical scores count, their scale does not."""

import math

import numpy as np
import pytest
import scipy.special
from hypothesis import assume, example, given
from hypothesis import strategies as st

from anthem_core.fusion import (
    MAX_FACTOR_RATIO,
    MAX_SHIFT,
    QUERY_WEIGHT,
    FusionWeights,
    fuse,
    model_shift,
    relevance,
)

weight = st.floats(0, 20)
fusions = st.builds(
    FusionWeights,
    lexical_offset=st.floats(0.01, 100),
    containment=weight,
    median_distance=st.floats(0, 6),
    attention=weight,
    median_attention=st.floats(-5, 5),
)
scores = st.floats(0, 1e12)
distances = st.floats(0, 8)
attentions = st.floats(-1000, 1000)
shifts = st.floats(-1e9, 1e9)
unknown_values = st.sampled_from([np.nan, np.inf, -np.inf])
some_offset = pytest.mark.parametrize("offset", [0.05, 0.5, 20.0])

ROUNDING = 1e-12  # relative, in float64
FLOAT32_ROUNDING = 1e-6  # relative


def fuse_products(lexical, distance, attention, fusion):
    """Fused scores of products, from all three signals."""
    return fuse(np.asarray(lexical), model_shift(np.asarray(distance), np.asarray(attention), fusion), fusion)


def test_golden_values():
    """With m = 2·(a + 1) − 4·(d − 0.5), by hand: m = ±1 is a factor of 2.512 or its inverse, m = 20 one of √50."""
    fusion = FusionWeights(2.0, containment=4.0, median_distance=0.5, attention=2.0, median_attention=-1.0)
    fused = fuse_products([10.0, 10.0, 10.0, 0.0], [0.5, 0.25, 0.75, 0.5], [-1.0, -1.0, -1.0, 9.0], fusion)
    up = math.exp(1.956011502714073 * 0.47091423690116124)  # ln(50)/2, and tanh of its inverse
    np.testing.assert_allclose(fused, [12, 12 * up, 12 / up, 2 * math.sqrt(50)], rtol=1e-7)


@given(scores, shifts, fusions)
def test_the_logarithm_of_the_fused_score(lexical, shift, fusion):
    """It is `log h + log1p(s/h) + B·tanh(m/B)`: the lexical score counts as a logarithm."""
    offset = fusion.lexical_offset
    expected = math.log(offset) + math.log1p(lexical / offset) + MAX_SHIFT * math.tanh(shift / MAX_SHIFT)
    assert math.log(fuse(np.array(lexical), np.array(shift), fusion)) == pytest.approx(expected, abs=1e-9)


@given(scores, shifts | st.sampled_from([np.inf, -np.inf]), fusions)
@example(0.0, 1e300, FusionWeights(0.01))
def test_the_factor_is_bounded(lexical, shift, fusion):
    """Whatever the model says, it multiplies `s + h` by a factor between `1/√50` and `√50`."""
    factor = fuse(np.array(lexical), np.array(shift), fusion) / (lexical + fusion.lexical_offset)
    assert math.sqrt(50) == pytest.approx(math.sqrt(MAX_FACTOR_RATIO))
    assert 1 / math.sqrt(50) * (1 - ROUNDING) <= factor <= math.sqrt(50) * (1 + ROUNDING)


@given(scores, st.floats(50, 1e6), shifts, shifts, fusions)
@example(0.0, 50.0, 1e9, -1e9, FusionWeights(1.0))
def test_a_score_fifty_times_as_high_always_wins(low, ratio, low_shift, high_shift, fusion):
    """A product whose `s + h` is more than 50 times as high is ranked above the other, whatever the model says."""
    high = ratio * (1 + ROUNDING) * (low + fusion.lexical_offset) - fusion.lexical_offset
    behind, ahead = fuse(np.array([low, high]), np.array([low_shift, high_shift]), fusion)
    assert ahead > behind


@given(scores, st.floats(1, 1e6), distances, attentions, fusions)
def test_a_boost_of_a_thousand_pins_a_product(highest, ratio, distance, attention, fusion):
    """A product that scores a thousand times as high as the next one, itself at least the offset, comes first."""
    highest = max(highest, fusion.lexical_offset)
    first, second = fuse_products([1000 * ratio * highest, highest], [distance, 0.0], [attention, 1000.0], fusion)
    assert first > second


@given(scores, st.floats(1.000001, 1e6), distances, attentions, fusions)
def test_a_higher_lexical_score_is_ranked_higher(score, ratio, distance, attention, fusion):
    """With equal signals of the model, the fused score rises strictly with the lexical score, also beyond 1e9."""
    high = ratio * (score + fusion.lexical_offset) - fusion.lexical_offset
    behind, ahead = fuse_products([score, high], [distance] * 2, [attention] * 2, fusion)
    assert ahead > behind


@some_offset
def test_scores_up_to_1e9_still_differ_in_float32(offset):
    """OpenSearch's scores are float32: in float32 too, scores from 1e-3 to 1e12 that differ by 1e-6 stay in order."""
    lexical = np.geomspace(1e-3, 1e12, 2000) * np.array([[1], [1 + 1e-6]])
    lexical = np.sort((lexical - 1e-3).clip(0).ravel())
    lexical = lexical[np.flatnonzero(np.diff(lexical, prepend=-1) > FLOAT32_ROUNDING / 2 * (lexical + offset))]
    fused = fuse(lexical, np.full(len(lexical), -3.0), FusionWeights(offset)).astype(np.float32)
    assert len(fused) > 2000
    assert (np.diff(fused) > 0).all()


@given(st.lists(scores, min_size=1, max_size=9), shifts, fusions, st.floats(1e-3, 1e3))
@example([1.0, 30.0], 0.7, FusionWeights(0.5), 2.2)
def test_the_scale_of_lexical_scores_does_not_matter(lexical, shift, fusion, factor):
    """Lexical scores and offset times 2.2, as BM25 before 3.0, or times any factor, give fused scores times as much."""
    scaled = FusionWeights(fusion.lexical_offset * factor)
    shift = np.full(len(lexical), shift)
    np.testing.assert_allclose(
        fuse(factor * np.array(lexical), shift, scaled), factor * fuse(np.array(lexical), shift, fusion), rtol=1e-9
    )


@given(st.lists(st.tuples(st.floats(0, 1e9), shifts), min_size=2, max_size=9), fusions)
def test_2_2_times_the_score_moves_a_product_by_its_offset_only(products, fusion):
    """Without scaling the offset, a fused score changes by a factor between 1 and 2.2, and far above it by 2.2."""
    lexical, shift = (np.array(column) for column in zip(*products, strict=True))
    ratio = fuse(2.2 * lexical, shift, fusion) / fuse(lexical, shift, fusion)
    assert (ratio >= 1).all()
    assert (ratio <= 2.2 * (1 + ROUNDING)).all()
    large = lexical > 100 * fusion.lexical_offset
    assert (ratio[large] > 2.18).all()


@given(scores, st.lists(distances, min_size=2, max_size=9), attentions, fusions)
def test_fused_falls_with_the_distance(lexical, distance, attention, fusion):
    """With the other signals equal, a greater distance never raises the fused score."""
    count = len(distance)
    fused = fuse_products([lexical] * count, np.sort(distance), [attention] * count, fusion)
    assert (np.diff(fused) <= ROUNDING * fused[1:]).all()


@given(scores, distances, st.lists(attentions, min_size=2, max_size=9), fusions)
def test_fused_rises_with_the_attention(lexical, distance, attention, fusion):
    """With the other signals equal, a higher attention score never lowers the fused score."""
    count = len(attention)
    fused = fuse_products([lexical] * count, [distance] * count, np.sort(attention), fusion)
    assert (np.diff(fused) >= -ROUNDING * fused[1:]).all()


@given(scores, st.floats(-3, 3), st.floats(0.01, 3), fusions)
def test_a_moderate_shift_is_never_flat(lexical, shift, difference, fusion):
    """A higher shift gives a strictly higher score unless it is extreme, and near 0 a shift of m is a factor eᵐ."""
    low, high = fuse(np.full(2, lexical), np.array([shift, shift + difference]), fusion)
    assert high > low
    small = fuse(np.array(lexical), np.array(1e-4), fusion) / fuse(np.array(lexical), np.zeros(()), fusion)
    assert small == pytest.approx(math.exp(1e-4), abs=1e-9)


@given(scores, distances, attentions, fusions, unknown_values)
def test_a_missing_signal_counts_as_the_median(lexical, distance, attention, fusion, unknown):
    """A product without a distance, or without an attention score, has the same bits as one at the median."""
    fused = fuse_products([lexical] * 2, [unknown, fusion.median_distance], [attention] * 2, fusion)
    assert fused[0] == fused[1]
    fused = fuse_products([lexical] * 2, [distance] * 2, [unknown, fusion.median_attention], fusion)
    assert fused[0] == fused[1]


@given(scores, distances, attentions, fusions)
def test_a_signal_that_is_not_used_counts_as_the_median(lexical, distance, attention, fusion):
    """None for a signal gives the same bits as its median for every product; without both, the score is `s + h`."""
    lexical, distance, attention = np.array([lexical]), np.array([distance]), np.array([attention])
    medians = np.array([fusion.median_distance]), np.array([fusion.median_attention])
    assert model_shift(distance, None, fusion) == model_shift(distance, medians[1], fusion)
    assert model_shift(None, attention, fusion) == model_shift(medians[0], attention, fusion)
    assert fuse(lexical, model_shift(None, None, fusion), fusion) == lexical + fusion.lexical_offset


@given(scores, distances, attentions, fusions)
def test_a_signal_of_weight_zero_has_no_effect(lexical, distance, attention, fusion):
    """Weights without attention give, with an attention score, the same bits as without one."""
    plain = FusionWeights(fusion.lexical_offset, fusion.containment, fusion.median_distance)
    lexical, distance, attention = np.array([lexical]), np.array([distance]), np.array([attention])
    shift = model_shift(distance, attention, plain)
    assert fuse(lexical, shift, plain) == fuse(lexical, model_shift(distance, None, plain), plain)


@given(st.lists(st.tuples(scores, shifts), min_size=1, max_size=9), scores, fusions)
def test_the_window_comes_first(products, outside, fusion):
    """A product in the window, whose lexical score is at least as high as any outside, stays above those outside."""
    lexical, shift = (np.array(column) for column in zip(*products, strict=True))
    lexical = np.maximum(lexical, outside)
    assert (fuse(lexical, shift, fusion) > QUERY_WEIGHT * outside).all()


@given(st.floats(0, 1e30), shifts, fusions)
def test_the_query_weight_is_not_visible_in_the_window(lexical, shift, fusion):
    """OpenSearch adds the lexical score times `query_weight` to the fused score; in float32 the sum is the same."""
    fused = np.float32(fuse(np.array(lexical), np.array(shift), fusion))
    assert fused + np.float32(QUERY_WEIGHT) * np.float32(lexical) == fused


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_relevance_equals_scipy(dtype):
    """Relevance is scipy's `expit` to the precision of the dtype, from −∞ to ∞, and NaN stays NaN."""
    x = np.concatenate([np.linspace(-1000, 1000, 4001), np.linspace(-5, 5, 1001), [-np.inf, np.inf, np.nan]])
    computed, expected = relevance(x.astype(dtype)), scipy.special.expit(x.astype(dtype))
    assert computed.dtype == dtype
    np.testing.assert_allclose(computed, expected, rtol=4 * np.finfo(dtype).eps, atol=np.finfo(dtype).tiny)


@given(distances, distances, attentions, attentions, fusions)
def test_relevance_orders_as_the_fused_score(distance, other_distance, attention, other_attention, fusion):
    """Of two products with the same lexical score, the more relevant one is never ranked below the other."""
    shift = model_shift(np.array([distance, other_distance]), np.array([attention, other_attention]), fusion)
    assume(shift[0] < shift[1])
    low, high = relevance(shift)
    behind, ahead = fuse(np.ones(2), shift, fusion)
    assert 0 <= low <= high <= 1
    assert ahead >= behind * (1 - ROUNDING)


@given(fusions)
def test_weights_survive_the_manifest(fusion):
    """From_dict reads back what to_dict wrote, and every weight has its name in the manifest."""
    names = ["lexical_offset", "containment", "median_distance", "attention", "median_attention"]
    assert list(fusion.to_dict()) == names
    assert FusionWeights.from_dict(fusion.to_dict()) == fusion


@pytest.mark.parametrize("change", [{"unknown": 1.0}, {"bias": 0.0}, {"containment": None}])
def test_foreign_weights_are_refused(change):
    """An unknown weight, such as the bias of older bundles, one that is not a number, or no offset is a TypeError."""
    with pytest.raises(TypeError):
        FusionWeights.from_dict(FusionWeights(1.0).to_dict() | change)
    with pytest.raises(TypeError):
        FusionWeights.from_dict({"containment": 1.0})
