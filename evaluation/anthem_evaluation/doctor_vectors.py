"""What `anthem doctor` looks at in the vectors of an index: how many there are, and whether a sample is sound. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from anthem_core.fields import text_hash
from anthem_core.lorentz import inner, on_sheet
from anthem_core.text import text_of, trigrams
from anthem_evaluation.doctor import Asked, Fact, Finding, several, told

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anthem_core.encoder import Encoder
    from anthem_core.fields import Fields
    from anthem_core.lorentz import Array
    from anthem_ingest.actions import Hit

SAME = 1e-3  # by which a coordinate may differ from that of the same text encoded again


@dataclass(frozen=True, slots=True)
class Counts:
    """Products of an index, those with a vector under our names, and those whose vector is of the bundle's model."""

    products: int
    vectors: int
    own: int

    def __add__(self, other: Counts) -> Counts:
        """Counts of two indices together."""
        return Counts(self.products + other.products, self.vectors + other.vectors, self.own + other.own)


@dataclass(frozen=True)
class Vectors:
    """Counts of one index, a sample of its products with a vector of the model, and one of those without any."""

    name: str
    counts: Fact
    sample: Fact
    bare: Fact


def vector_findings(asked: Asked, found: Vectors, names: Fields, encoder: Encoder) -> list[Finding]:
    """All that is found of the vectors of one index."""
    bare = [] if not isinstance(found.bare, list) else found.bare
    return [
        *told("coverage", found.counts, lambda counts: coverage(asked, found.name, counts, bare)),
        *told("text", found.sample, lambda sample: texts(asked, found.name, sample, names)),
        *told("points", found.sample, lambda sample: points(asked, found.name, sample, names, encoder)),
    ]


def coverage(asked: Asked, index: str, counts: Counts, bare: Sequence[Hit]) -> Iterator[Finding]:
    """How many products have a vector of the model; one without letters or digits in its text needs none.

    `bare` is a sample of the products without any vector, from which the number of those that need one is estimated.
    """
    without, stale = counts.products - counts.vectors, counts.vectors - counts.own
    speaking = sum(bool(trigrams(text_of(hit.get("_source", {}), asked.fields), 1)) for hit in bare)
    needed = round(without * speaking / len(bare)) if bare else without
    share = counts.own / max(counts.products, 1)
    found = f"{index}: {counts.own} of {several(counts.products)} ({share:.1%}) have a vector of this model"
    found += f", {stale} one of another model" if stale else ""
    if without:
        found += f", {without} none; about {needed} of these have words, by a sample of {len(bare)}"
    mends = asked.command("ingest", *(["--beside"] if stale and not counts.own else []), index=index)
    if counts.products and not counts.own and (needed or stale):
        yield Finding("coverage", "fault", found, "vectors of this model", mends)
    elif needed or stale:
        yield Finding("coverage", "warning", found, "one for each product with words; others rank as the median", mends)
    else:
        yield Finding("coverage", "ok", found)


def texts(asked: Asked, index: str, sample: Sequence[Hit], names: Fields) -> Iterator[Finding]:
    """Whether products still have the text their vector was made from."""
    if not sample:
        return
    changed = [hit["_id"] for hit in sample if not _same_text(asked, hit, names)]
    found = f"{index}: {len(changed)} of a sample of {len(sample)} have another text than their vector was made from"
    if not changed:
        yield Finding("text", "ok", found)
        return
    mends = asked.command("ingest", index=index)
    wanted = "vectors of the text that is there; a run renews what has changed"
    if len(changed) == len(sample):
        wanted += ". All differ: was it ingested from other fields? Name them: --field"
    yield Finding("text", "warning", f"{found}, such as {changed[0]}", wanted, mends)


def _same_text(asked: Asked, hit: Hit, names: Fields) -> bool:
    stored = hit["_source"].get(names.name) or {}
    return bool(stored.get("text_hash") == text_hash(text_of(hit["_source"], asked.fields)))


def points(asked: Asked, index: str, sample: Sequence[Hit], names: Fields, encoder: Encoder) -> Iterator[Finding]:
    """Whether vectors are points, `|<x,x> + 1| ≤ 1e-4·x0²`, within the radius, and those this bundle makes."""
    if not sample:
        return
    found = [(hit, _point(hit, names, asked.bundle.dimension)) for hit in sample]
    hidden = [hit["_id"] for hit, point in found if point is None]
    kept = [(hit, point) for hit, point in found if point is not None]
    told_of = f"{index}: of a sample of {len(sample)}"
    if hidden:
        wanted, mends = "vectors in _source, or a partial update loses them", asked.command("ingest", index=index)
        said = f"{told_of}, {len(hidden)} have no vector in _source, such as {hidden[0]}"
        yield Finding("points", "fault", said, wanted, mends)
    if kept:
        hits, stack = [hit for hit, _ in kept], np.array([point for _, point in kept])
        yield _judged(asked, index, told_of, stack, _renewed(asked, hits, stack, names, encoder))


def _point(hit: Hit, names: Fields, dimension: int) -> Any:  # noqa: ANN401 (an array, or None)
    vector = (hit["_source"].get(names.name) or {}).get("vector")
    return np.array(vector, np.float64) if isinstance(vector, list) and len(vector) == dimension + 1 else None


def _renewed(asked: Asked, hits: Sequence[Hit], stack: Array, names: Fields, encoder: Encoder) -> float:
    """Greatest difference between a stored coordinate and that of the same text encoded now; 0 where none compares."""
    same = [number for number, hit in enumerate(hits) if _same_text(asked, hit, names)]
    if not same:
        return 0.0
    again = encoder.products([text_of(hits[number]["_source"], asked.fields) for number in same])
    return float(np.abs(again - stack[same]).max())


def _judged(asked: Asked, index: str, told_of: str, stack: Array, differs: float) -> Finding:
    off = float(np.abs(inner(stack, stack) + 1).max())
    radius = float(np.arccosh(np.maximum(stack[:, 0], 1)).max())
    found = f"{told_of}, |<x,x>+1| is at most {off:.1e}, the radius {radius:.2f} of {asked.bundle.radius:g}"
    found += f", and the same text encoded again differs by {differs:.1e}"
    sound = all(on_sheet(point[None]) for point in stack) and radius <= asked.bundle.radius * 1.01
    if sound and differs <= SAME:
        return Finding("points", "ok", found)
    # What removes an index's vectors may take the script along; a search stores it again.
    mends = "\n".join(asked.command(*words, index=index) for words in (("remove",), ("ingest",), ("search", "QUERY")))
    wanted = "the points that this bundle makes; their model id says so, and a run of ingest alone would leave them"
    return Finding("points", "fault", found, wanted, mends)
