"""What a map of queries and products shows, in words: the text alternative of its picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anthem_plugin.search.disk_map import DiskMap, MapPoint, MapProjection, MapRegion

MAX_NAMED_PRODUCTS = 3
MAX_QUOTED_LETTERS = 60


def describe_map(shown: DiskMap) -> str:
    """The map in sentences: what each region contains, which query is inside which, and how true the map is."""
    sentences = [
        f"A map of {_join_names([_quote(region.name) for region in shown.regions])} and {_count(len(shown.points))}.",
        _region_sentence(shown.regions[0], shown.points),
        *(_region_sentence(region, ()) for region in shown.regions[1:]),
        *(f"In {_quote(join.name)}: {_count(len(join.inside))}." for join in shown.joins),
        *_nesting_sentences(shown.regions),
        describe_projection(shown.projection),
    ]
    return " ".join(sentences)


def describe_projection(projection: MapProjection) -> str:
    """The name of the projection and its errors, in a sentence."""
    sides = (
        "every product is on the correct side of every outline"
        if not projection.wrong_sides
        else f"{projection.wrong_sides} of {projection.sides} times, a product is on the wrong side of an outline"
    )
    return (
        f"Projection: {projection.name}; distances are wrong by {projection.mean_error:.0%} on average and by "
        f"{projection.largest_error:.0%} at most; {sides}."
    )


def _region_sentence(region: MapRegion, points: Sequence[MapPoint]) -> str:
    """What a region contains; the nearest of the points in it are named."""
    nearest = sorted((point for point in points if point.inside), key=lambda point: point.distance)
    titles = [_quote(point.title) for point in nearest[:MAX_NAMED_PRODUCTS]]
    names = f", nearest {_join_names(titles)}" if titles else ""
    return f"{_quote(region.name)} (size {region.size:.4f}) contains {_count(len(region.inside))}{names}."


def _nesting_sentences(regions: Sequence[MapRegion]) -> Iterator[str]:
    for region in regions:
        if region.holds:
            held = _join_names([_quote(name) for name in region.holds])
            yield f"{_quote(region.name)} contains the centre of {held}."


def _quote(text: str) -> str:
    """The start of a text in quotation marks: who listens to a picture's alternative hears names, not descriptions."""
    return f"“{text}”" if len(text) <= MAX_QUOTED_LETTERS else f"“{text[: MAX_QUOTED_LETTERS - 1]}…”"


def _count(number: int) -> str:
    return "no product" if not number else "1 product" if number == 1 else f"{number} products"


def _join_names(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
