"""Reports: the page loads nothing and escapes everything, and page, text and JSON have the same numbers."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anthem_evaluation.charts import change_bars, forest_plot
from anthem_evaluation.formatting import describe_movement, format_movement, format_signed, nested_sentence
from anthem_evaluation.metrics import HEADLINE_MEASURE, compare_runs
from anthem_evaluation.render import render_html, render_text, report_to_json, summarise
from anthem_evaluation.report import (
    BundleSummary,
    ContainmentShares,
    Correlation,
    DatasetSummary,
    Example,
    ExampleGrid,
    ExampleHit,
    ExampleMap,
    Generality,
    MapSpot,
    NestedPairs,
    Report,
    ResultSummary,
    SearchLatency,
    StepTiming,
)
from anthem_evaluation.runs import rank_scores

VOID_TAGS = {"meta", "line", "rect", "br", "hr", "img", "link", "input"}
MALICIOUS_TEXT = "<script>alert('1')</script>\"&<img src=x onerror=alert(1)>"


class Page(HTMLParser):
    """A strict parser that collects tags, attributes and text, and checks that tags are closed in order."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.attributes, self.words, self.mismatched = [], [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        """Record a tag and its attributes, and that it is open."""
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        """Record a self-closing tag."""
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        """Close the innermost open tag, or record a mismatch."""
        if not self.open or self.open.pop() != tag:
            self.mismatched.append(tag)

    def handle_data(self, data):
        """Record text."""
        self.words.append(data)


def sample(words="fire tv", *, baseline=("b", "a", "c"), reranked=("a", "c", "b")):
    """A report with every part filled; `words` is used wherever untrusted text can occur."""
    qrels = {"q1": {"a": 3, "b": 0, "c": 2}, "q2": {"a": 1, "b": 3}, "q3": {"c": 3, "a": 0}}
    before, after = ({query: rank_scores(order) for query in qrels} for order in (baseline, reranked))
    hits = tuple(
        ExampleHit(words, words, grade, grade != 0, 12.5, -0.25, 0.001, was)
        for grade, was in ((3, 2), (0, 1), (1, 3), (None, None))
    )
    grid = ExampleGrid(words, (words, words), (words,), ((0.25,), (0.001,)))
    spots = [MapSpot(n, words, grade, (9.5, -n), (9.5, 2.0), bool(n), not n) for n, grade in enumerate((3, 1, 0, None))]
    example_map = ExampleMap(80.0, 7.5, tuple(spots), words, words)
    return Report(
        title=words,
        date=words,
        machine=words,
        dataset=DatasetSummary(words, 20_000, 3, 7, 3),
        cluster=words,
        bundle=BundleSummary(words, words, 4_200_000),
        comparison=compare_runs(before, after, qrels),
        signals={"lexical,containment,attention": 2, "lexical,attention": 1},
        queries=dict.fromkeys(qrels, words),
        timings=(StepTiming(words, 3.25),),
        latencies=(SearchLatency(words, 1.26, 4.5, 9.75),),
        contained=ContainmentShares(0.875, 0.125),
        generality=Generality(
            (Correlation(words, 1_178, 0.625, 0.25, None, 0.82),), NestedPairs(2_423, 0.75, (0.7, 0.8))
        ),
        examples=(Example("q1", words, hits, hits, grid, example_map), Example(words, words, (), ())),
        limits=(words,),
        modes=(ResultSummary(words, 3, 0.5, 0.6, 0.1, (0.0, 0.2), 0.04, 2, 1),),
        signal_sets=(ResultSummary(words, 3, 0.5, 0.6, 0.1, (0.0, 0.2), 0.04, 2, 1),),
        slices=(ResultSummary(words, 1, 0.5, 0.25, -0.25, None, 1.0, 0, 1),),
    )


def test_the_page_is_well_formed():
    """Every tag is closed in order, and there is one main heading and one language."""
    page = Page(render_html(sample()))
    assert (page.open, page.mismatched) == ([], [])
    assert page.tags.count("h1") == 1
    assert ("lang", "en") in page.attributes


def test_the_page_starts_with_the_doctype():
    """Nothing precedes the doctype; otherwise browsers switch to quirks mode."""
    assert render_html(sample()).startswith("<!doctype html>\n")


def test_every_table_has_a_caption_and_scopes():
    """Screen readers need a caption for each table and a scope for each header cell."""
    page = Page(render_html(sample()))
    assert page.tags.count("caption") == page.tags.count("table") > 0
    assert [name for name, _ in page.attributes].count("scope") == page.tags.count("th")


def test_every_chart_has_a_label():
    """Each outer SVG is an image with a label."""
    page = render_html(sample())
    assert len(re.findall(r'<svg [^>]*role="img" aria-label="[^"]+"', page)) == 3


def test_the_page_loads_nothing():
    """The page and its style contain no script, link, source or address."""
    html = render_html(sample())
    page = Page(html)
    assert not {"script", "link", "img", "iframe", "object", "embed"} & set(page.tags)
    assert not {"src", "href", "xlink:href", "data", "action"} & {name for name, _ in page.attributes}
    assert not re.search(r"https?://|@import|url\(", html)


@settings(deadline=None, max_examples=40)  # three pages per example
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"])).map(lambda letters: MALICIOUS_TEXT + letters))
def test_untrusted_text_is_escaped(words):
    """Whatever a title, query or name contains, the tags of the page are those of a harmless page."""
    page = Page(render_html(sample(words)))
    assert page.tags == Page(render_html(sample())).tags
    assert "".join(page.words).count(words) == "".join(Page(render_html(sample("\x02"))).words).count("\x02")


@pytest.mark.parametrize("part", ["timings", "latencies", "examples", "limits", "contained", "generality"])
def test_a_missing_part_is_not_shown(part):
    """A report without a part can be rendered in all forms and is shorter."""
    report = sample()
    without = replace(report, **{part: None if part in ("contained", "generality") else ()})
    assert len(render_html(without)) < len(render_html(report))
    assert len(render_text(without)) < len(render_text(report))


def test_the_json_value():
    """The value is the same after a strict round trip and contains the measures."""
    value = report_to_json(sample())
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    measure = sample().comparison[HEADLINE_MEASURE]
    assert next(m for m in value["comparison"]["measures"] if m["name"] == HEADLINE_MEASURE)["p"] == measure.p


def test_all_forms_name_the_signals_that_ranked():
    """Every form says which signals ranked the searches, and how many if not all by the same."""
    report = sample()
    several = "lexical, containment, attention (2); lexical, attention (1)"
    for used, words in ((report.signals, several), ({"lexical,attention": 3}, "lexical, attention"), ({}, "none")):
        shown = replace(report, signals=used)
        assert f"signals  {words}\n" in render_text(shown)
        assert f"<dd>{words}</dd>" in render_html(shown)
        assert report_to_json(shown)["signals"] == used


def test_all_forms_show_the_generality():
    """Every form has the correlations, the number of queries, the ceiling and the sentence on nested pairs."""
    report = sample()
    page = " ".join(" ".join(Page(render_html(report)).words).split())
    for words in ("1,178", "+0.62", "+0.25", "+0.82", nested_sentence(report.generality.nested)):
        assert words in page
        assert words in render_text(report)
    assert report_to_json(report)["generality"]["correlations"][0]["ceiling"] == 0.82
    assert "75.0 % of 2,423 pairs (95 % interval 70.0 % to 80.0 %" in render_text(report)


@pytest.mark.parametrize("missing", ["correlations", "nested"])
def test_half_of_the_generality_is_shown(missing):
    """Correlations without nested pairs, or pairs without correlations, still make a section."""
    report = sample()
    half = replace(report.generality, **{missing: None if missing == "nested" else ()})
    report = replace(report, generality=half)
    assert "Size and generality" in render_html(report)
    assert ("1,178" in render_text(report)) == (missing != "correlations") == ("1,178" in render_html(report))
    assert ("2,423" in render_text(report)) == (missing != "nested") == ("2,423" in render_html(report))


def test_all_forms_have_the_summary():
    """The sentences of the summary are in the page, the text and the JSON."""
    report = sample()
    page = "".join(Page(render_html(report)).words)
    for sentence in summarise(report):
        assert sentence in page
        assert sentence in render_text(report)
        assert sentence in report_to_json(report)["verdict"]


def test_a_loss_is_reported():
    """If reranking is worse, the summary reports the fall, and the searches that lost are named."""
    worse = sample("green kettle", baseline=("a", "c", "b"), reranked=("b", "c", "a"))
    assert f"{HEADLINE_MEASURE} fell" in summarise(worse)[0]
    assert "most lost" in render_text(worse)
    assert re.search(r"most lost[^\n]*\n  −\d\.\d{3}  green kettle", render_text(worse))


def test_an_unchanged_run_is_reported():
    """If nothing moved, one sentence says so, and no search is named."""
    unchanged = sample(reranked=("b", "a", "c"))
    (sentence,) = summarise(unchanged)
    assert "before and after: no search changed in quality" in sentence
    assert "No search lost." in render_html(unchanged)


def test_control_characters_are_removed():
    """Control characters of a title do not reach the terminal."""
    assert "\x1b" not in render_text(
        replace(sample(), examples=(Example("q", "a\x1b[2Jb", (), (ExampleHit("p", "\x1b]0;x\n"),)),))
    )


def test_columns_of_the_text_are_aligned():
    """In the table of measures every line is as wide as its header."""
    block = next(part for part in render_text(sample()).split("\n\n") if part.lstrip().startswith("measure "))
    assert len({len(line) for line in block.split("\n")}) == 1


@given(st.dictionaries(st.text(), st.floats(-1, 1)))
def test_bars_fill_the_chart_and_stay_in_it(changes):
    """One bar per query, side by side from edge to edge, none above or below the chart."""
    bars = change_bars(changes)
    assert len(bars) == len(changes)
    for bar in bars:
        assert bar.y >= -1
        assert bar.y + bar.height <= 101
    if bars:
        assert bars[-1].x + bars[-1].width == pytest.approx(100, abs=0.1)


@pytest.mark.parametrize("reranked", [("a", "c", "b"), ("b", "c", "a"), ("b", "a", "c"), ("c", "b", "a")])
def test_marks_stay_in_the_forest_plot(reranked):
    """Every interval contains its mean and lies within the axis."""
    for mark in forest_plot(sample(reranked=reranked).comparison.measures).marks:
        assert 0 <= mark.low <= mark.place <= mark.high <= 100


@given(st.integers(1, 200), st.integers(1, 200))
def test_an_arrow_shows_how_far_a_hit_moved(was, rank):
    """Up by n from rank + n, down by n from rank − n, `=` from the same rank."""
    sign = format_movement(was, rank)
    moved = 0 if sign == "=" else int(sign[1:]) * (1 if sign[0] == "▲" else -1)
    assert rank + moved == was
    assert str(abs(moved)) in describe_movement(was, rank) or moved == 0


@given(st.floats(-10, 10))
def test_a_signed_number_can_be_read_back(value):
    """A signed number parses to its value, and a value that rounds to zero has no sign."""
    written = format_signed(value)
    assert float(written.replace("−", "-")) == pytest.approx(value, abs=6e-4)
    assert (written[0] in "+−") == (float(written.replace("−", "-")) != 0)


def luminance(colour):
    """Relative luminance of #rrggbb, as WCAG defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_text_has_enough_contrast():
    """In light, dark and print, every text colour has a contrast of 4.5 with its backgrounds (WCAG AA)."""
    palettes = [
        dict(re.findall(r"--([\w-]+): (#\w{6});", block))
        for block in re.findall(r":root \{([^}]*)\}", render_html(sample()))
    ]
    assert len(palettes) == 3
    for palette in palettes:
        for ink, grounds in {"ink": ("page", "panel"), "quiet": ("page", "panel"), "up": ("page", "up-soft"),
                             "down": ("page", "down-soft"), "fair": ("page", "fair-soft")}.items():  # fmt: skip
            for ground in grounds:
                low, high = sorted((luminance(palette[ink]), luminance(palette[ground])))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)
