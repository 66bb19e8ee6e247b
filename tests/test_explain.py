"""Explanations: the parts of a score add up to it, and pairs of words share out the attention grid."""

import html
import math
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from anthem_core.encoding.attention_grid import GridExplainer, TitleGrid
from anthem_core.encoding.text_rules import RULES_1, RULES_2, TEXT_RULES
from anthem_core.encoding.tokenizer import Vocabulary
from anthem_core.fusion import MAX_FACTOR_RATIO, MAX_SHIFT, QUERY_WEIGHT, FusionWeights, fuse, model_shift
from anthem_plugin.scoring.params import ATTENTION, BOTH, CONTAINMENT
from anthem_plugin.search.explain import SignalPart, fused_signals, is_below_window, score_parts
from anthem_plugin.search.spelling import spelled_words
from anthem_plugin.search.word_pairs import strongest_pairs, word_pairs
from anthem_plugin.search_report import format_result

TEXTS = [
    "Cordless DRILL, 20 V", "½ Zoll ﬁx", "Weiße Straße straße", "टीवी टीवी", "Men’s 1½ in. x 12-Volt Pokémon™ men's",
    "18 volt 18V", "5/8 in. &amp; 0.5&quot;", "AT&T iPhone手机壳 手机", "IŞIKLI ayna",
]  # fmt: skip
words = st.text(st.characters(codec="utf-8"), max_size=40)
some_text = st.one_of(words, st.sampled_from(TEXTS), st.text("½1./-25 volt&amp;", max_size=20))
all_rules = st.sampled_from([*TEXT_RULES.values()])
KNOWN_WORDS = ("drill", "strasse", "टीवी", "volt", "12", "手机壳", "ayna")
weights = st.builds(
    FusionWeights, st.floats(1e-3, 10), st.floats(0, 5), st.floats(0, 3), st.floats(0, 5), st.floats(-3, 1)
)
signal_values = st.floats(-5, 5) | st.just(math.nan)


@given(some_text, some_text, all_rules, st.integers(2, 30), st.integers(0, 99))
def test_pairs_share_out_the_grid(query, title, rules, limit, seed):
    """A pair has the cells of the entities of its two words, and all pairs together have the whole grid."""
    vocabulary = Vocabulary((), 9, words=KNOWN_WORDS, text_rules=rules)
    asked, offered = vocabulary.entities(query, limit), vocabulary.entities(title, 2 * limit)
    assume(asked and offered)
    cells = np.random.default_rng(seed).random((len(asked), len(offered)))
    pairs = word_pairs(TitleGrid(asked, offered, cells, 0.0), query, title, rules)
    assert sum(pair.share for pair in pairs) == pytest.approx(cells.sum())
    sides = [list_entities(entities, text, rules) for entities, text in ((asked, query), (offered, title))]
    for pair, ((one, rows), (other, columns)) in zip(pairs, product(*(side.items() for side in sides)), strict=True):
        assert pair.share == pytest.approx(cells[np.ix_(rows, columns)].sum())
        assert pair.query == spelled_words(query, rules)[rules.split_words(query).index(one)]
        assert pair.title == spelled_words(title, rules)[rules.split_words(title).index(other)]


def list_entities(entities, text, rules):
    """Places of the entities of each word that has some, by word, in the order of the text."""
    words = rules.split_words(text)
    places = {word: [n for n, entity in enumerate(entities) if words[entity.word] == word] for word in words}
    return {word: found for word, found in places.items() if found}


@given(some_text, all_rules)
def test_words_are_spelled_as_in_the_text(text, rules):
    """There is one spelling for each word of the text: the word itself, or a part of the text with letters or digits.

    By version 1 of the rules, which read a word alike wherever it stands, the part is this word alone.
    """
    spelled, expected = spelled_words(text, rules), rules.split_words(text)
    assert len(spelled) == len(expected)
    sources = [" ".join(source.split()) for source in (text, html.unescape(text))]
    for spelling, word in zip(spelled, expected, strict=True):
        assert spelling == word or any(spelling in source for source in sources)
        assert RULES_1.split_words(spelling)
        assert rules.version > 1 or rules.split_words(spelling) == [word]


@pytest.mark.parametrize("rules", TEXT_RULES.values())
def test_spellings_are_kept(rules):
    """Capitals, accents and apostrophes stay as they are, punctuation around a word does not."""
    assert spelled_words("(Cordless) DRILL, Weiße: é.", rules) == ["Cordless", "DRILL", "Weiße", "é"]


@pytest.mark.parametrize(
    ("rules", "text", "expected"),
    [
        (RULES_1, "Bohrer ½ Zoll", ["Bohrer", "1", "2", "Zoll"]),
        (RULES_2, "Men’s 1½ Pokémon™", ["Men’s", "1", "½", "Pokémon"]),
        (RULES_2, "18-Volt 12 Volts Drill", ["18", "Volt", "12", "Volts", "Drill"]),
        (RULES_2, "&quot;AT&amp;T&quot; iPhone手机壳", ["AT", "T", "iPhone", "手机壳"]),
        (RULES_2, "IŞIKLI 1,234 Ct.", ["IŞIKLI", "1,234", "Ct"]),
    ],
)
def test_golden_spellings(rules, text, expected):
    """Where the rules join, split or rename words, each is shown as the text has it, if a part of it is that word."""
    assert spelled_words(text, rules) == expected


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
    """Each hit has its numbers in lines that fit; the formula follows once, below all hits; no dimension is printed."""
    fusion = FusionWeights(0.1, 0.2, 0.46, 1.2, -1.3)
    parts = score_parts(2.0, 0.8, -1.0, fusion, BOTH)
    region = {"distance": 0.8, "contained": False, "outside_by": 0.12, "margins": [{"dimension": 7, "value": -0.3}]}
    lines = format_result(
        result(row(explanation={"attention": None, "region": region, "score": parts.to_dict()}))
    ).splitlines()
    signals = "attention −1.000 (+0.360), distance 0.800 (−0.068)"
    expected = f"lexical 2.0000, {signals}, m +0.292, factor {parts.factor:.4f}, outside by .12"
    assert " ".join(line.strip() for line in lines[3:5]) == expected
    assert max(map(len, lines[3:5])) <= 80
    assert lines[5:] == [
        "Score = (lexical + 0.1000)·factor, factor = exp(1.956·tanh(m/1.956)),",
        "m = 1.200·(attention + 1.300) − 0.200·(distance − 0.460),",
        "without a term for what a hit lacks.",
    ]
