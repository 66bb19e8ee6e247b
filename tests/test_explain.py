"""Explanations: the parts of a score add up to it, and pairs of words share out the attention grid."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.encoding.attention_grid import GridExplainer, TitleGrid
from anthem_core.encoding.tokenizer import extract_trigrams, split_words
from anthem_core.fusion import MAX_FACTOR_RATIO, MAX_SHIFT, QUERY_WEIGHT, FusionWeights, fuse, model_shift
from anthem_plugin.scoring.params import ATTENTION, BOTH, CONTAINMENT
from anthem_plugin.search.explain import SignalPart, fused_signals, is_below_window, score_parts
from anthem_plugin.search.word_pairs import spelled_words, strongest_pairs, word_pairs
from anthem_plugin.search_report import format_result

words = st.text(st.characters(codec="utf-8"), max_size=40)
some_text = st.one_of(words, st.sampled_from(["Cordless DRILL, 20 V", "½ Zoll ﬁx", "Weiße Straße straße", "टीवी टीवी"]))
queries = some_text.filter(extract_trigrams)
weights = st.builds(
    FusionWeights, st.floats(1e-3, 10), st.floats(0, 5), st.floats(0, 3), st.floats(0, 5), st.floats(-3, 1)
)
signal_values = st.floats(-5, 5) | st.just(math.nan)


def random_grid(query, title, seed):
    """A grid of two texts with random shares; None if one of them has no letters."""
    asked, offered = extract_trigrams(query, 48), extract_trigrams(title, 112)
    if not (asked and offered):
        return None
    cells = np.random.default_rng(seed).random((len(asked), len(offered)))
    return TitleGrid(asked, offered, cells / cells.sum(), 0.0)


@given(queries, queries, st.integers(0, 99))
def test_pairs_share_out_the_grid(query, title, seed):
    """A pair has the cells of all places of its two words, and all pairs together have the whole grid."""
    grid = random_grid(query, title, seed)
    pairs = word_pairs(grid, query, title)
    assert sum(pair.share for pair in pairs) == pytest.approx(grid.cells.sum())
    spelled = [spelled_words(text) for text in (query, title)]
    for pair in pairs:
        wanted = [split_words(word) for word in (pair.query, pair.title)]
        share, row = 0.0, 0
        for asked in split_words(query):
            for i in range(row, min(row + len(asked), len(grid.query))):
                column = 0
                for offered in split_words(title):
                    end = min(column + len(offered), len(grid.title))
                    share += grid.cells[i, column:end].sum() * ([[asked], [offered]] == wanted)
                    column += len(offered)
            row += len(asked)
        assert pair.share == pytest.approx(share)
        assert pair.query in spelled[0]
        assert pair.title in spelled[1]
    assert len({(pair.query, pair.title) for pair in pairs}) == len(pairs)


@given(some_text)
def test_words_are_spelled_as_in_the_text(text):
    """There is one spelling for each word of the tokenizer, which normalises to that word."""
    spelled = spelled_words(text)
    assert [split_words(word) for word in spelled] == [[word] for word in split_words(text)]


def test_spellings_are_kept():
    """Capitals and accents stay as they are; where words do not correspond, they are printed normalised."""
    assert spelled_words("Cordless DRILL, Weiße") == ["Cordless", "DRILL", "Weiße"]
    assert spelled_words("Bohrer ½") == split_words("Bohrer ½")


def test_the_strongest_pairs_are_the_words_in_common(bundle):
    """A misspelled word is paired with the right one; a title or query without letters has no pairs."""
    explainer = GridExplainer(bundle)
    pairs = strongest_pairs(explainer, ["cordless dril"], "Ryobi 18-Volt Cordless Drill kit")
    assert {(pair.query, pair.title) for pair in pairs} == {("cordless", "Cordless"), ("dril", "Drill")}
    assert pairs[0].share >= pairs[1].share > 0.1
    assert strongest_pairs(explainer, ["cordless dril"], "?!") == strongest_pairs(explainer, ["?!"], "drill") == []


def test_the_best_phrase_has_the_pairs(bundle):
    """Of several phrases, the one that the title answers best is shown."""
    explainer = GridExplainer(bundle)
    pairs = strongest_pairs(explainer, ["garden hose", "?!", "cordless drill"], "cordless drill 20 v")
    assert pairs == strongest_pairs(explainer, ["cordless drill"], "cordless drill 20 v")


@given(st.floats(0, 1e9), signal_values, signal_values, weights, st.sampled_from([CONTAINMENT, ATTENTION, BOTH]))
def test_the_parts_add_up_to_the_score(lexical, distance, attention, fusion, signals):
    """Contributions sum to the shift, the shift gives the factor, and the score is that of the fusion."""
    parts = score_parts(lexical, distance, attention, fusion, signals)
    told = parts.to_dict()
    contributions = [told[name]["contribution"] for name in ("attention", "distance") if told[name]]
    assert len(contributions) == len(signals)
    assert told["shift"] == pytest.approx(sum(contributions))
    assert told["factor"] == pytest.approx(math.exp(MAX_SHIFT * math.tanh(told["shift"] / MAX_SHIFT)))
    assert told["score"] == pytest.approx((told["lexical"] + told["offset"]) * told["factor"])
    values = {"distance": distance, "attention": attention}
    given_values = [np.array([values[name]]) if told[name] else None for name in ("distance", "attention")]
    expected = fuse(np.array([lexical]), model_shift(*given_values, fusion), fusion)
    assert told["score"] == pytest.approx(expected[0])


@given(signal_values, st.floats(-3, 3), st.floats(-5, 5))
def test_a_signal_that_a_hit_lacks_adds_nothing(value, median, weight):
    """A part is the weight times the distance from the median, or 0."""
    part = SignalPart(None if math.isnan(value) else value, median, weight)
    assert part.contribution == (0 if math.isnan(value) else weight * (value - median))


@given(st.floats(0, 1e9), st.floats(1e-3, 10), st.floats(-50, 50))
def test_a_hit_below_the_window_is_recognised(lexical, offset, shift):
    """The score alone tells whether a hit was inside the window."""
    assert is_below_window(float(np.float32(QUERY_WEIGHT) * np.float32(lexical)), lexical)
    fused = fuse(np.array(lexical), np.array(shift), FusionWeights(offset))
    assert fused >= (lexical + offset) / math.sqrt(MAX_FACTOR_RATIO) * (1 - 1e-9)
    assert not is_below_window(float(fused), lexical)


@pytest.mark.parametrize(
    ("report", "stored", "from_texts", "expected"),
    [
        ({"reranked": True, "mode": "cluster", "signals": ["lexical", "attention"]}, BOTH, False, BOTH),
        ({"reranked": True, "mode": "cluster", "signals": ["lexical", "containment"]}, CONTAINMENT, False, CONTAINMENT),
        ({"reranked": True, "mode": "client", "signals": ["lexical", "attention"]}, CONTAINMENT, True, BOTH),
        ({"reranked": True, "mode": "client", "signals": ["lexical", "attention"]}, frozenset(), True, ATTENTION),
        ({"reranked": True, "mode": "client", "signals": ["lexical", "containment"]}, BOTH, True, CONTAINMENT),
        ({"reranked": True, "mode": "filter", "signals": ["containment"]}, BOTH, False, frozenset()),
        ({"reranked": False, "mode": "none", "signals": []}, BOTH, False, frozenset()),
    ],
)
def test_the_weights_are_those_of_the_signals_the_index_has(report, stored, from_texts, expected):
    """The index's signals have their weights even if they told no hits apart; texts add attention if it did."""
    assert fused_signals(report, SimpleNamespace(signals=stored), from_texts=from_texts) == expected


def row(**values):
    """A hit of a result that moved from 7 to 2."""
    return {"rank": 2, "before": 7, "id": "1", "title": "Cordless Drill", "score": 1.5, "lexical": 2.0} | values


def result(*rows):
    """A reranked result with some hits."""
    report = {"reranked": True, "mode": "cluster", "reason": None, "note": None, "took_ms": 1.0}
    signals = ["lexical", "containment", "attention"]
    return {"query": "dril", "index": "shop", "signals": signals, "hits": list(rows), **report}


def test_pairs_stand_under_the_hit_in_plain_words():
    """Shares have two digits; a share that would read .00 and a hit without pairs take no place."""
    pairs = [["dril", "Drill", 0.314], ["dril", "kit", 0.004]]
    text = format_result(result(row(pairs=pairs), row(rank=7), row(pairs=[["a", "b", 1.0]])))
    assert "reranked (cluster) by lexical, containment, attention" in text
    lines = text.splitlines()
    assert lines[3].strip() == "dril ↔ Drill .31"
    assert lines[5:] == [lines[2], f"{'':26}a ↔ b 1.00"]


def test_an_explanation_as_text_adds_up_without_coordinates():
    """Each hit has one line of numbers; the formula follows once, below all hits; no dimension is printed."""
    fusion = FusionWeights(0.1, 0.2, 0.46, 1.2, -1.3)
    parts = score_parts(2.0, 0.8, -1.0, fusion, BOTH)
    region = {"distance": 0.8, "contained": False, "outside_by": 0.12, "margins": [{"dimension": 7, "value": -0.3}]}
    lines = format_result(result(row(explanation={**region, "score": parts.to_dict()}))).splitlines()
    signals = "attention −1.000 (+0.360), distance 0.800 (−0.068)"
    expected = f"lexical 2.0000, {signals}, m +0.292, factor {parts.factor:.4f}, outside by .12"
    assert lines[3].strip() == expected
    assert lines[4:] == [
        "Score = (lexical + 0.1000)·factor, factor = exp(1.956·tanh(m/1.956)),",
        "m = 1.200·(attention + 1.300) − 0.200·(distance − 0.460), without a term for what a hit lacks",
    ]
