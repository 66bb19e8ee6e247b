"""The result of `anthem search`: its hits before and after reranking, what moved them, and all of it as text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from anthem_core.console import printable
from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.query_operators import encode_phrases, encode_tables
from anthem_core.fusion import MAX_SHIFT
from anthem_core.opensearch.schema import product_text
from anthem_plugin.explanation_text import grid_blocks, weights_line, wrap_text
from anthem_plugin.grid_table import GridTable
from anthem_plugin.rewriter.query_text import value_at_path
from anthem_plugin.scoring.window import score_attention
from anthem_plugin.search.explain import (
    explain_hits,
    fused_signals,
    is_attention_from_texts,
    stored_attention,
)
from anthem_plugin.search.response import read_trigrams
from anthem_plugin.search.title_explanation import TitleExplainer, TitleExplanation
from anthem_plugin.search.word_pairs import strongest_pairs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from anthem_core.encoding.attention_grid import GridExplainer
    from anthem_core.encoding.encoder import Encoder
    from anthem_core.geometry.lorentz import Array
    from anthem_plugin.search.request import IndexProfile, Response
    from anthem_plugin.search.response import Hit

_SHOWN_GRIDS = 3  # of the first hits, in text
_SMALLEST_SHOWN_SHARE = 0.005  # of a pair of words, in text: a smaller one would read .00


@dataclass(frozen=True, slots=True)
class RankedHits:
    """A response, the window it was ranked from with the model of each hit, the query's phrases, the index's profile.

    The hits of the response have their values and texts in `_source`.
    """

    response: Response
    window: Sequence[Hit]
    phrases: Sequence[str]
    profile: IndexProfile

    @property
    def hits(self) -> Sequence[Hit]:
        """The hits of the response, best first."""
        hits: Sequence[Hit] = self.response["hits"]["hits"]
        return hits

    @property
    def report(self) -> Mapping[str, Any]:
        """How the response was ranked."""
        report: Mapping[str, Any] = self.response["anthem"]
        return report

    @property
    def from_texts(self) -> bool:
        """Whether attention was computed from the texts of the hits."""
        return is_attention_from_texts(self.report, self.profile, self.window)

    def text(self, hit: Hit) -> str:
        """The text of a hit, which attention compares with the query."""
        return product_text(hit.get("_source", {}), self.profile.text_fields)

    def has_attention(self, hit: Hit) -> bool:
        """Whether attention ranked the response and the hit has a value of it."""
        if "attention" not in self.report["signals"]:
            return False
        return self.from_texts or bool(read_trigrams([hit], self.profile.scoring).lengths.any())


def hit_rows(before: Response, after: Response, field: str, start: int = 0) -> list[dict[str, Any]]:
    """Reranked hits with both ranks, both scores and title; `before` is None for a hit past the plain window.

    `start` is the number of hits before the page.
    """
    former = {hit_key(hit): (rank, hit["_score"]) for rank, hit in enumerate(before["hits"]["hits"], start=1)}
    rows = []
    for rank, hit in enumerate(after["hits"]["hits"], start=start + 1):
        former_rank, lexical = former.get(hit_key(hit), (None, None))
        title = value_at_path(hit.get("_source", {}), field)
        row = {"rank": rank, "before": former_rank, "id": hit["_id"], "title": title}
        rows.append(row | {"score": hit["_score"], "lexical": lexical})
    return rows


def hit_key(hit: Hit) -> tuple[str, str]:
    """What identifies a hit in several responses."""
    return hit["_index"], hit["_id"]


def add_pairs(rows: Sequence[dict[str, Any]], ranked: RankedHits, explainer: GridExplainer) -> None:
    """Add `pairs` to each hit that moved and that attention ranked: `[query word, title word, share]`, two at most."""
    for row, hit in zip(rows, ranked.hits, strict=True):
        if row["rank"] != row["before"] and ranked.has_attention(hit):
            pairs = strongest_pairs(explainer, ranked.phrases, ranked.text(hit))
            row["pairs"] = [[pair.query, pair.title, round(pair.share, 4)] for pair in pairs]


def add_explanations(rows: Sequence[dict[str, Any]], ranked: RankedHits, encoder: Encoder) -> dict[str, Any]:
    """Add `explanation` to each hit; returns the weights of the query, nothing for one without letters or digits."""
    phrases = list(dict.fromkeys(ranked.phrases))
    encode_query, scoring = cache(encoder.encode_query), ranked.profile.scoring
    region = encode_phrases(encode_query, phrases)
    if region is None:
        return {}
    explainer = TitleExplainer(encoder.bundle, encoder)
    signals = fused_signals(ranked.report, ranked.profile, from_texts=ranked.from_texts)
    attention = _hit_attention(ranked, phrases, encoder) if "attention" in signals else None
    lexical = [row["lexical"] for row in rows]
    explanations = explain_hits(ranked.hits, lexical, region, scoring, signals, attention)
    for row, hit, part in zip(rows, ranked.hits, explanations, strict=True):
        text = ranked.text(hit)
        attended = explainer.explain_attention(phrases, text)
        row["explanation"] = TitleExplanation(text, attended, part.region, part.score).to_dict()
    return {"weights": explainer.phrase_weights(phrases)}


def _hit_attention(ranked: RankedHits, phrases: Sequence[str], encoder: Encoder) -> Array:
    scorer = AttentionScorer(encoder.bundle)
    tables = encode_tables(scorer.encode_query, phrases)
    if ranked.from_texts:
        return score_attention(tables, scorer.encode_titles([ranked.text(hit) for hit in ranked.hits]))
    return stored_attention(ranked.hits, tables, ranked.profile.scoring)


def format_result(result: Mapping[str, Any], search: str | None = None) -> str:
    """A search as text: how it was ranked, the hits and what moved them, and explanations if there are any.

    `search` names what was searched for; by default that is the query text.
    """
    name = search or f"'{result['query']}'"
    lines = [printable(f"{name} in {result['index']}, {result['took_ms']:.1f} ms, {_ranking(result)}")]
    if result["note"]:
        lines.append(f"Note: {result['note']}")
    if not result["hits"]:
        return "\n".join([*lines, "No hits." if result["note"] else "No product matches."])
    lines.append(f"{'rank':>4} {'was':>4} {'':>5} {'score':>9}  title")
    for row in result["hits"]:
        lines += [_format_row(row), *_detail_lines(row)]
    return "\n".join([*lines, *_grid_lines(result["hits"]), *_closing_lines(result)])


def _ranking(result: Mapping[str, Any]) -> str:
    if not result["reranked"]:
        return f"not reranked: {result['reason']}"
    how = ": ".join(filter(None, (result["mode"], result["reason"])))
    done = "filtered" if result["mode"] == "filter" else "reranked"
    return f"{done} ({how}) by {', '.join(result['signals'])}"


def title_text(value: object) -> str:
    """A title as text: list items joined by commas, or `(no value)` if the title is missing."""
    items = value if isinstance(value, list) else [value]
    return ", ".join(str(item) for item in items if item is not None) or "(no value)"


def _format_row(row: Mapping[str, Any]) -> str:
    before = row["before"]
    former, title = "–" if before is None else str(before), printable(title_text(row["title"]))
    score = "–" if row["score"] is None else f"{row['score']:.4f}"  # a sort by fields gives none
    return f"{row['rank']:>4} {former:>4} {_format_movement(row['rank'], before):>5} {score:>9}  {title}"


def _format_movement(rank: int, before: int | None) -> str:
    if before is None or before == rank:
        return "" if before else "new"
    return f"{'▲' if before > rank else '▼'}{abs(before - rank)}"


def _detail_lines(row: Mapping[str, Any]) -> list[str]:
    """Lines below a hit: the words that moved it, and its explanation."""
    shown = [pair for pair in row.get("pairs", ()) if pair[2] >= _SMALLEST_SHOWN_SHARE]
    pairs = ", ".join(
        f"{printable(asked)} ↔ {printable(found)} {_format_share(share)}" for asked, found, share in shown
    )
    shown_pairs = [f"{'':26}{pairs}"] if pairs else []
    numbers = wrap_text(_format_explanation(row), indent=" " * 10) if "explanation" in row else []
    return shown_pairs + numbers


def _format_share(share: float) -> str:
    return f"{share:.2f}".removeprefix("0")


def _format_explanation(row: Mapping[str, Any]) -> str:
    explanation = row["explanation"]
    parts, region = explanation["score"], explanation["region"]
    words = [f"lexical {row['lexical']:.4f}"] if row["lexical"] is not None else []
    if parts:
        words += [_format_signal(name, parts[name]) for name in ("attention", "distance") if parts[name]]
        words += [f"m {parts['shift']:+.3f}", f"factor {parts['factor']:.4f}"]
    elif region:
        words.append(f"distance {region['distance']:.3f}")
    if region:
        outside = f"outside by {_format_share(region['outside_by'])}"
        words.append("inside the query's region" if region["contained"] else outside)
    return ", ".join(words).replace("-", "−")


def _format_signal(name: str, part: Mapping[str, float | None]) -> str:
    value = "unknown" if part["value"] is None else f"{part['value']:.3f}"
    return f"{name} {value} ({part['contribution']:+.3f})"


def _grid_lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The attention grids of the first hits that are explained, by words, with the rank and title of each."""
    attended = [row for row in rows if row.get("explanation", {}).get("attention")]
    for row in attended[:_SHOWN_GRIDS]:
        table = GridTable.from_dict(row["explanation"]["attention"]["words"])
        yield from ["", *wrap_text(printable(f"{row['rank']}. {title_text(row['title'])}"), indent="")]
        for block in grid_blocks(table):
            yield from ["", *block]
    if attended:
        yield from ["", "A cell is the share of the attention that falls on the two words.", ""]


def _closing_lines(result: Mapping[str, Any]) -> list[str]:
    """The formula of the score, which is the same for every hit, and the weights of the query's words."""
    explained = (row["explanation"]["score"] for row in result["hits"] if "explanation" in row)
    parts = next(filter(None, explained), None)
    lines = _score_lines(parts) if parts else []
    if weights := result.get("weights"):
        lines += wrap_text(weights_line(result["query"], weights), indent="")
    return lines


def _score_lines(parts: Mapping[str, Any]) -> list[str]:
    terms = [f"{part['weight']:.3f}·({name} − {part['median']:.3f})"
             for name in ("attention", "distance") if (part := parts[name])]  # fmt: skip
    sums = " + ".join(terms).replace("+ -", "− ").replace("− -", "+ ").replace("-", "−")
    return [
        f"Score = (lexical + {parts['offset']:.4f})·factor, factor = exp({MAX_SHIFT:.3f}·tanh(m/{MAX_SHIFT:.3f})),",
        f"m = {sums},",
        "without a term for what a hit lacks.",
    ]
