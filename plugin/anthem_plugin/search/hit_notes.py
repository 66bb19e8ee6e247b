"""What is missing in the explanation of a product, and why, in sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from anthem_core.console import count_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anthem_plugin.scoring.params import ModelSignal
    from anthem_plugin.search.hit_explanation import FoundProduct
    from anthem_plugin.search.request import IndexProfile
    from anthem_plugin.search.title_explanation import TitleExplanation


@dataclass(frozen=True, slots=True)
class KnownValues:
    """What is known of a search and a product: a query with words, a vector, and a text that was not changed since."""

    has_words: bool = False
    has_point: bool = False
    is_stale: bool = False


def write_notes(
    found: FoundProduct, profile: IndexProfile, title: TitleExplanation | None, known: KnownValues
) -> list[str]:
    """What a reader of an explanation must know."""
    notes = [*_search_notes(found)]
    if title is None:
        hidden = f" among those that {_name_keys(found.hiding)} admits" if found.hiding else ""
        return [*notes, f"{found.index} has no product with the id {found.id!r}{hidden}"]
    if found.namesakes and found.stored:
        others, index = " and ".join(found.namesakes), found.stored["_index"]
        notes.append(f"another product has this id, in {others}; this is the one in {index}")
    notes += [*_place_notes(found, title), *_value_notes(found, profile, title, known)]
    if known.is_stale:
        notes.append(
            "the text was changed after the product was ingested: the grid shows the new text, the score comes "
            f"from the old one; {_advise(found)}"
        )
    return notes


def _advise(found: FoundProduct) -> str:
    """What to run for the product's own index, which may be one of several."""
    return f"run: anthem ingest {found.stored['_index'] if found.stored else found.index}"


def _name_keys(keys: Sequence[str]) -> str:
    """Keys of a body or options in a sentence."""
    return " or ".join(f"`{key}`" for key in keys)


def _search_notes(found: FoundProduct) -> Iterator[str]:
    report = found.after["anthem"]
    if not report["reranked"]:
        yield f"the search was not reranked: {report['reason']}"
    elif report["mode"] == "filter":
        yield "filter mode drops products and keeps the lexical scores and order"


def _place_notes(found: FoundProduct, title: TitleExplanation) -> Iterator[str]:
    report, looked_through = found.after["anthem"], len(found.after["hits"]["hits"])
    is_outside = title.region is not None and not title.region.contained
    if found.lexical is None and found.rank is None:
        yield "the query does not match the product"
    elif found.lexical is None:
        yield "the query does not match the product, which was found only by its vector"
    elif found.rank is None and report["mode"] == "filter" and is_outside:
        yield "the filter dropped the product, which lies outside the query's region"
    elif found.rank is None:
        dropped = f"; {_name_keys(found.dropping)} may have dropped it" if found.dropping else ""
        yield f"the product is not among the first {count_of(looked_through, 'hit')}{dropped}"
    elif report["reranked"] and report["mode"] != "filter" and not found.in_window:
        yield "the product is below the window, where hits keep their lexical order"


def _value_notes(
    found: FoundProduct, profile: IndexProfile, title: TitleExplanation, known: KnownValues
) -> Iterator[str]:
    advice = _advise(found)
    unread = profile.client_faults.get(found.stored["_index"]) if found.stored else None
    if unread:
        yield unread
    elif not known.has_point:
        counts = ", so its distance counts as the median" if _ranks_by(profile, found, "containment") else ""
        yield f"the product has no vector of this model{counts}; {advice}"
    if not known.has_words:
        yield "the search has no query text with letters or digits, so there is no region and no attention"
    elif title.attention is None:
        yield "there is no attention: the text of the product has no letters or digits, or the bundle has no attention"
    elif not unread and title.score and title.score.attention and title.score.attention.value is None:
        yield f"the product has no trigrams of this model, so its attention counts as the median; {advice}"


def _ranks_by(profile: IndexProfile, found: FoundProduct, signal: ModelSignal) -> bool:
    return found.in_window and signal in profile.signals
