"""The fused score is bounded and monotone, and the window keeps its order in float32."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.special
from hypothesis import example, given
from hypothesis import strategies as st

from anthem_core.fusion import QUERY_WEIGHT, FusionWeights, _sigmoid, fuse, rescore_window_score, saturate

weight = st.floats(0, 20)
fusions = st.builds(
    FusionWeights,
    bias=st.floats(-10, 10),
    lexical=weight,
    containment=weight,
    half_saturation=st.floats(0.01, 100),
    median_distance=st.floats(0, 6),
)
attention_fusions = st.builds(replace, fusions, attention=weight, median_attention=st.floats(-5, 5))
attentions = st.floats(-1000, 1000)
scores = st.floats(0, 500)
distances = st.floats(0, 8)
both_dtypes = pytest.mark.parametrize("dtype", [np.float64, np.float32])


@both_dtypes
def test_sigmoid_equals_scipy(dtype):
    """The sigmoid is scipy's `expit` to the precision of the dtype, from −∞ to ∞, and NaN stays NaN."""
    x = np.concatenate([np.linspace(-1000, 1000, 4001), np.linspace(-5, 5, 1001), [-np.inf, np.inf, np.nan]])
    sigmoid, expected = _sigmoid(x.astype(dtype)), scipy.special.expit(x.astype(dtype))
    assert sigmoid.dtype == dtype
    np.testing.assert_allclose(sigmoid, expected, rtol=4 * np.finfo(dtype).eps, atol=np.finfo(dtype).tiny)


def test_golden_value():
    """A score s = h saturates to 0.5: sigma(1 + 2 * 0.5 - 4 * 0.5) = 0.5, and a distance of 0 gives sigma(2)."""
    fusion = FusionWeights(bias=1.0, lexical=2.0, containment=4.0, half_saturation=10.0, median_distance=1.0)
    fused = fuse(np.array([10.0, 10.0]), np.array([0.5, 0.0]), fusion)
    np.testing.assert_allclose(fused, [0.5, 1 / (1 + np.exp(-2))], rtol=1e-12)


@both_dtypes
@given(lexical=scores, distance=distances, fusion=fusions)
@example(lexical=0.0, distance=7.0, fusion=FusionWeights(0.0, 0.0, 13.0, 1.0, 0.0))  # e⁹¹ overflows float32
def test_fused_lies_between_0_and_1(dtype, lexical, distance, fusion):
    """Any signals and weights give a number in [0, 1], in the dtype of the signals."""
    fused = fuse(np.array([lexical], dtype), np.array([distance], dtype), fusion)
    assert fused.dtype == dtype
    assert 0 <= fused[0] <= 1


@given(st.lists(scores, min_size=2, max_size=9), distances, fusions)
def test_fused_rises_with_the_lexical_score(lexical, distance, fusion):
    """At the same distance, a higher lexical score never lowers the fused score."""
    fused = fuse(np.sort(lexical), np.full(len(lexical), distance), fusion)
    assert (np.diff(fused) >= -1e-15).all()


@given(scores, st.lists(distances, min_size=2, max_size=9), fusions)
def test_fused_falls_with_the_distance(lexical, distance, fusion):
    """At the same lexical score, a greater distance never raises the fused score."""
    fused = fuse(np.full(len(distance), lexical), np.sort(distance), fusion)
    assert (np.diff(fused) <= 1e-15).all()


@given(scores, fusions)
def test_a_missing_vector_counts_as_the_median(lexical, fusion):
    """A NaN distance gives the same score as the bundle's median distance."""
    fused = fuse(np.array([lexical, lexical]), np.array([np.nan, fusion.median_distance]), fusion)
    assert fused[0] == fused[1]


@given(scores, st.floats(0.01, 100))
def test_saturation(score, half):
    """Saturation is 0 at 0, 0.5 at the half-saturation, and at most 1."""
    saturated = saturate(np.array([0.0, half, score]), half)
    assert saturated[0] == 0
    assert saturated[1] == 0.5
    assert 0 <= saturated[2] <= 1


@given(st.lists(st.tuples(scores, st.floats(0, 1)), min_size=2, max_size=9))
def test_window_keeps_the_fused_order(signals):
    """A lead larger than the lexical tie-break and float32's precision is kept."""
    lexical, fused = (np.array(column) for column in zip(*signals, strict=True))
    window = rescore_window_score(lexical, fused)
    assert window.dtype == np.float32
    ahead = fused[:, None] - fused[None] > QUERY_WEIGHT * np.abs(lexical[:, None] - lexical[None]) + 1e-6
    assert (window[:, None] > window[None])[ahead].all()


@given(st.floats(0, 1), scores, scores)
def test_lexical_breaks_ties_in_the_window(fused, one, other):
    """With the same fused score, the product with the higher lexical score comes first."""
    low, high = rescore_window_score(np.array(sorted([one, other])), np.array([fused, fused]))
    assert low <= high
    if abs(one - other) > 1:
        assert low < high


@given(scores, st.floats(0, 1), st.floats(0, 1e5))
def test_the_window_comes_first(lexical, fused, lexical_outside):
    """A product in the window scores higher than one outside, whose score is its lexical score times 1e-6."""
    assert rescore_window_score(np.array([lexical]), np.array([fused]))[0] > QUERY_WEIGHT * lexical_outside


def test_golden_value_of_three_signals():
    """An attention of 3 with weight 2 adds 6 to the logit: sigma(1 + 2 * 0.5 - 4 * 2 + 6) = 0.5."""
    fusion = FusionWeights(1.0, 2.0, 4.0, 10.0, 1.0, attention=2.0, median_attention=0.0)
    assert fuse(np.array([10.0]), np.array([2.0]), fusion, np.array([3.0]))[0] == pytest.approx(0.5, abs=1e-12)


@given(scores, distances, attentions, attention_fusions)
def test_three_signals_lie_between_0_and_1(lexical, distance, attention, fusion):
    """Any attention gives a score in [0, 1]."""
    assert 0 <= fuse(np.array([lexical]), np.array([distance]), fusion, np.array([attention]))[0] <= 1


@given(scores, distances, st.lists(attentions, min_size=2, max_size=9), attention_fusions)
def test_fused_rises_with_the_attention(lexical, distance, attention, fusion):
    """With the same other signals, a higher attention never lowers the fused score."""
    fused = fuse(np.full(len(attention), lexical), np.full(len(attention), distance), fusion, np.sort(attention))
    assert (np.diff(fused) >= -1e-15).all()


@given(
    st.lists(scores, min_size=2, max_size=9), st.lists(distances, min_size=2, max_size=9), attentions, attention_fusions
)
def test_attention_reverses_no_other_signal(lexical, distance, attention, fusion):
    """At the same attention, the fused score still rises with the lexical score and falls with the distance."""
    rising = fuse(np.sort(lexical), np.full(len(lexical), 1.0), fusion, np.full(len(lexical), attention))
    falling = fuse(np.full(len(distance), 5.0), np.sort(distance), fusion, np.full(len(distance), attention))
    assert (np.diff(rising) >= -1e-15).all()
    assert (np.diff(falling) <= 1e-15).all()


@given(scores, distances, attention_fusions, st.sampled_from([np.nan, np.inf, -np.inf]))
def test_a_missing_title_counts_as_the_median(lexical, distance, fusion, unknown):
    """A NaN or infinite attention gives the same score as the bundle's median, and so does no attention at all."""
    pair = (np.full(2, lexical), np.full(2, distance), fusion)
    one, other = fuse(*pair, np.array([unknown, fusion.median_attention]))
    assert one == other == fuse(*pair)[0]


@given(scores, distances, attentions, fusions)
def test_attention_of_weight_zero_has_no_effect(lexical, distance, attention, fusion):
    """Three signals with an attention weight of 0 give the same bits as two signals."""
    two = fuse(np.array([lexical]), np.array([distance]), fusion)
    assert fuse(np.array([lexical]), np.array([distance]), fusion, np.array([attention])) == two


def test_older_weights_have_no_attention():
    """Weights of two signals are written without attention, and read with an attention weight of 0."""
    names = {"bias", "lexical", "containment", "half_saturation", "median_distance"}
    assert FusionWeights(0.0, 1.0, 1.0, 1.0, 1.0).to_dict().keys() == names
    assert FusionWeights(0.0, 1.0, 1.0, 1.0, 1.0, 2.0, 3.0).to_dict().keys() == names | {
        "attention",
        "median_attention",
    }
    assert FusionWeights.from_dict(dict.fromkeys(names, 1.0)).attention == 0


@given(fusions | attention_fusions)
def test_weights_survive_the_manifest(fusion):
    """From_dict reads back what to_dict wrote."""
    assert FusionWeights.from_dict(fusion.to_dict()) == fusion


@pytest.mark.parametrize("change", [{"unknown": 1.0}, {"bias": None}])
def test_foreign_weights_are_refused(change):
    """An unknown weight, one that is not a number, or a missing one is a TypeError."""
    values = FusionWeights(0.0, 1.0, 1.0, 1.0, 1.0).to_dict() | change
    with pytest.raises(TypeError):
        FusionWeights.from_dict(values)
    del values["lexical"]
    with pytest.raises(TypeError):
        FusionWeights.from_dict(values)
