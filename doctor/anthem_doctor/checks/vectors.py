"""Checks of the vectors in one index: coverage, and whether a sample has the right text and valid points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from anthem_core.geometry.lorentz import inner, is_on_hyperboloid
from anthem_core.opensearch.schema import hash_text, product_text
from anthem_doctor.checks.coverage import check_coverage
from anthem_doctor.findings import DoctorTarget, Finding, judge_fact

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anthem_core.encoding.encoder import Encoder
    from anthem_core.geometry.lorentz import Array
    from anthem_core.opensearch.schema import VectorFields
    from anthem_doctor.facts import VectorFacts
    from anthem_ingest.actions import IndexHit

MAX_COORDINATE_DIFFERENCE = 1e-3  # between a stored vector and the same text encoded again


def check_vectors(target: DoctorTarget, facts: VectorFacts, fields: VectorFields, encoder: Encoder) -> list[Finding]:
    """All findings about the vectors of one index."""
    name = facts.index_name
    without_vector = facts.sample_without_vector if isinstance(facts.sample_without_vector, list) else []
    return [
        *judge_fact("coverage", facts.counts, lambda counts: check_coverage(target, name, counts, without_vector)),
        *judge_fact("text", facts.sample, lambda sample: check_texts(target, name, sample, fields)),
        *judge_fact("points", facts.sample, lambda sample: check_points(target, name, sample, fields, encoder)),
    ]


def check_texts(
    target: DoctorTarget, index: str, sample: Sequence[IndexHit], fields: VectorFields
) -> Iterator[Finding]:
    """Whether products still have the text that their vector was computed from."""
    if not sample:
        return
    changed = [hit["_id"] for hit in sample if not _text_unchanged(target, hit, fields)]
    found = (
        f"{index}: the text of {len(changed)} of {len(sample)} sampled products changed after their vector was computed"
    )
    if not changed:
        yield Finding("text", "ok", found)
        return
    expected = "vectors of the current text; ingest recomputes those that changed"
    if len(changed) == len(sample):
        expected += ". All differ: were other fields ingested? Name them with --field"
    command = target.command("ingest", index=index)
    yield Finding("text", "warning", f"{found}, such as {changed[0]}", expected, command)


def _text_unchanged(target: DoctorTarget, hit: IndexHit, fields: VectorFields) -> bool:
    stored = hit["_source"].get(fields.name) or {}
    return bool(stored.get("text_hash") == hash_text(product_text(hit["_source"], target.text_fields)))


def check_points(
    target: DoctorTarget, index: str, sample: Sequence[IndexHit], fields: VectorFields, encoder: Encoder
) -> Iterator[Finding]:
    """Whether vectors lie on the hyperboloid, `|<x,x> + 1| ≤ 1e-4·x0²`, within the radius, and are this bundle's."""
    if not sample:
        return
    points = [_stored_vector(hit, fields, target.bundle.dimension) for hit in sample]
    without = [hit["_id"] for hit, point in zip(sample, points, strict=True) if point is None]
    scope = f"{index}: of {len(sample)} sampled products"
    if without:
        found = f"{scope}, {len(without)} have no vector in _source, such as {without[0]}"
        expected = "vectors in _source; otherwise a partial update loses them"
        yield Finding("points", "fault", found, expected, target.command("ingest", index=index))
    hits = [hit for hit, point in zip(sample, points, strict=True) if point is not None]
    if hits:
        stack = np.array([point for point in points if point is not None])
        yield _points_finding(target, index, scope, stack, _largest_difference(target, hits, stack, fields, encoder))


def _stored_vector(hit: IndexHit, fields: VectorFields, dimension: int) -> Array | None:
    vector = (hit["_source"].get(fields.name) or {}).get("vector")
    return np.array(vector, np.float64) if isinstance(vector, list) and len(vector) == dimension + 1 else None


def _largest_difference(
    target: DoctorTarget, hits: Sequence[IndexHit], points: Array, fields: VectorFields, encoder: Encoder
) -> float:
    """Largest difference of a coordinate between stored points and the same texts encoded again; 0 if all changed."""
    unchanged = [number for number, hit in enumerate(hits) if _text_unchanged(target, hit, fields)]
    if not unchanged:
        return 0.0
    texts = [product_text(hits[number]["_source"], target.text_fields) for number in unchanged]
    return float(np.abs(encoder.encode_products(texts) - points[unchanged]).max())


def _points_finding(target: DoctorTarget, index: str, scope: str, points: Array, difference: float) -> Finding:
    residual = float(np.abs(inner(points, points) + 1).max())
    radius, max_radius = float(np.arccosh(np.maximum(points[:, 0], 1)).max()), target.bundle.radius
    found = f"{scope}, |<x,x> + 1| is at most {residual:.1e}, the largest radius {radius:.2f} (limit {max_radius:g}), "
    found += f"and the largest difference to the same text encoded again {difference:.1e}"
    valid = all(is_on_hyperboloid(point[None]) for point in points) and radius <= max_radius * 1.01
    if valid and difference <= MAX_COORDINATE_DIFFERENCE:
        return Finding("points", "ok", found)
    # Removing an index's vectors may remove the stored script too; a search stores it again.
    steps = (("remove",), ("ingest",), ("search", "QUERY"))
    commands = "\n".join(target.command(*words, index=index) for words in steps)
    expected = "the points that this bundle computes; remove them first, as ingest skips vectors with its model id"
    return Finding("points", "fault", found, expected, commands)
