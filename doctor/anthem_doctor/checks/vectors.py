"""What `anthem doctor` looks at in the vectors of an index: how many there are, and whether a sample is sound. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from anthem_core.encoding.tokenizer import extract_trigrams
from anthem_core.geometry.lorentz import inner, is_on_hyperboloid
from anthem_core.opensearch.schema import hash_text, product_text
from anthem_doctor.findings import DoctorTarget, Fact, Finding, count_of, judge_fact

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anthem_core.encoding.encoder import Encoder
    from anthem_core.geometry.lorentz import Array
    from anthem_core.opensearch.schema import VectorFields
    from anthem_ingest.actions import IndexHit

MAX_COORDINATE_DIFFERENCE = 1e-3  # by which a coordinate may differ from that of the same text encoded again


@dataclass(frozen=True, slots=True)
class VectorCounts:
    """Products of an index, those with a vector under our names, and those whose vector is of the bundle's model."""

    products: int
    vectors: int
    own: int

    def __add__(self, other: VectorCounts) -> VectorCounts:
        """Counts of two indices together."""
        return VectorCounts(self.products + other.products, self.vectors + other.vectors, self.own + other.own)


@dataclass(frozen=True)
class VectorFacts:
    """Counts of one index, a sample of its products with a vector of the model, and one of those without any."""

    name: str
    counts: Fact
    sample: Fact
    bare: Fact


def check_vectors(asked: DoctorTarget, found: VectorFacts, names: VectorFields, encoder: Encoder) -> list[Finding]:
    """All that is found of the vectors of one index."""
    bare = [] if not isinstance(found.bare, list) else found.bare
    return [
        *judge_fact("coverage", found.counts, lambda counts: check_coverage(asked, found.name, counts, bare)),
        *judge_fact("text", found.sample, lambda sample: check_texts(asked, found.name, sample, names)),
        *judge_fact("points", found.sample, lambda sample: check_points(asked, found.name, sample, names, encoder)),
    ]


def check_coverage(
    asked: DoctorTarget, index: str, counts: VectorCounts, bare: Sequence[IndexHit]
) -> Iterator[Finding]:
    """How many products have a vector of the model; one without letters or digits in its text needs none.

    `bare` is a sample of the products without any vector, from which the number of those that need one is estimated.
    """
    without, stale = counts.products - counts.vectors, counts.vectors - counts.own
    speaking = sum(bool(extract_trigrams(product_text(hit.get("_source", {}), asked.fields), 1)) for hit in bare)
    needed = round(without * speaking / len(bare)) if bare else without
    share = counts.own / max(counts.products, 1)
    found = f"{index}: {counts.own} of {count_of(counts.products)} ({share:.1%}) have a vector of this model"
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


def check_texts(asked: DoctorTarget, index: str, sample: Sequence[IndexHit], names: VectorFields) -> Iterator[Finding]:
    """Whether products still have the text their vector was made from."""
    if not sample:
        return
    changed = [hit["_id"] for hit in sample if not _text_unchanged(asked, hit, names)]
    found = f"{index}: {len(changed)} of a sample of {len(sample)} have another text than their vector was made from"
    if not changed:
        yield Finding("text", "ok", found)
        return
    mends = asked.command("ingest", index=index)
    wanted = "vectors of the text that is there; a run renews what has changed"
    if len(changed) == len(sample):
        wanted += ". All differ: was it ingested from other fields? Name them: --field"
    yield Finding("text", "warning", f"{found}, such as {changed[0]}", wanted, mends)


def _text_unchanged(asked: DoctorTarget, hit: IndexHit, names: VectorFields) -> bool:
    stored = hit["_source"].get(names.name) or {}
    return bool(stored.get("text_hash") == hash_text(product_text(hit["_source"], asked.fields)))


def check_points(
    asked: DoctorTarget, index: str, sample: Sequence[IndexHit], names: VectorFields, encoder: Encoder
) -> Iterator[Finding]:
    """Whether vectors are points, `|<x,x> + 1| ≤ 1e-4·x0²`, within the radius, and those this bundle makes."""
    if not sample:
        return
    found = [(hit, _stored_vector(hit, names, asked.bundle.dimension)) for hit in sample]
    hidden = [hit["_id"] for hit, point in found if point is None]
    kept = [(hit, point) for hit, point in found if point is not None]
    told_of = f"{index}: of a sample of {len(sample)}"
    if hidden:
        wanted, mends = "vectors in _source, or a partial update loses them", asked.command("ingest", index=index)
        said = f"{told_of}, {len(hidden)} have no vector in _source, such as {hidden[0]}"
        yield Finding("points", "fault", said, wanted, mends)
    if kept:
        hits, stack = [hit for hit, _ in kept], np.array([point for _, point in kept])
        yield _points_finding(asked, index, told_of, stack, _largest_difference(asked, hits, stack, names, encoder))


def _stored_vector(hit: IndexHit, names: VectorFields, dimension: int) -> Any:  # noqa: ANN401 (an array, or None)
    vector = (hit["_source"].get(names.name) or {}).get("vector")
    return np.array(vector, np.float64) if isinstance(vector, list) and len(vector) == dimension + 1 else None


def _largest_difference(
    asked: DoctorTarget, hits: Sequence[IndexHit], stack: Array, names: VectorFields, encoder: Encoder
) -> float:
    """Greatest difference between a stored coordinate and that of the same text encoded now; 0 where none compares."""
    same = [number for number, hit in enumerate(hits) if _text_unchanged(asked, hit, names)]
    if not same:
        return 0.0
    again = encoder.products([product_text(hits[number]["_source"], asked.fields) for number in same])
    return float(np.abs(again - stack[same]).max())


def _points_finding(asked: DoctorTarget, index: str, told_of: str, stack: Array, differs: float) -> Finding:
    off = float(np.abs(inner(stack, stack) + 1).max())
    radius = float(np.arccosh(np.maximum(stack[:, 0], 1)).max())
    found = f"{told_of}, |<x,x>+1| is at most {off:.1e}, the radius {radius:.2f} of {asked.bundle.radius:g}"
    found += f", and the same text encoded again differs by {differs:.1e}"
    sound = all(is_on_hyperboloid(point[None]) for point in stack) and radius <= asked.bundle.radius * 1.01
    if sound and differs <= MAX_COORDINATE_DIFFERENCE:
        return Finding("points", "ok", found)
    # What removes an index's vectors may take the script along; a search stores it again.
    mends = "\n".join(asked.command(*words, index=index) for words in (("remove",), ("ingest",), ("search", "QUERY")))
    wanted = "the points that this bundle makes; their model id says so, and a run of ingest alone would leave them"
    return Finding("points", "fault", found, wanted, mends)
