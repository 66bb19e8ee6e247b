"""Checks of a model's values in one index: coverage, and whether a sample has the right text, points and trigrams."""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING, Any

import numpy as np

from anthem_core.console import count_of
from anthem_core.encoding.stored_vectors import MAX_STEPS, read_vector, unpack_points
from anthem_core.encoding.title_entities import TitleEntities
from anthem_core.opensearch.schema import hash_words, product_text
from anthem_doctor.checks.coverage import check_coverage, check_fields_filled
from anthem_doctor.findings import DoctorTarget, Finding, judge_fact
from anthem_ingest.actions import stored_signals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anthem_core.encoding.bundle import Bundle
    from anthem_core.geometry.lorentz import Array
    from anthem_core.opensearch.schema import ModelFields
    from anthem_doctor.facts import ValueFacts
    from anthem_ingest.actions import IndexHit
    from anthem_ingest.encode import ValueBuilder

MAX_STEP_DIFFERENCE = 1  # of a coordinate, between a stored vector and the same text encoded again


def check_values(target: DoctorTarget, facts: ValueFacts, builder: ValueBuilder) -> list[Finding]:
    """All findings about the values in one index; the builder is the one that ingest would use."""
    name, fields = facts.index_name, builder.model_fields
    without = facts.sample_without_values if isinstance(facts.sample_without_values, list) else []
    findings = [
        *check_fields_filled(target, name, [*(facts.sample if isinstance(facts.sample, list) else []), *without]),
        *judge_fact("coverage", facts.counts, lambda counts: check_coverage(target, name, counts, without)),
        *judge_fact("text", facts.sample, lambda sample: check_texts(target, name, sample, fields)),
    ]
    if "containment" in builder.signals:
        findings += judge_fact("points", facts.sample, lambda sample: check_points(target, name, sample, builder))
    if "attention" in builder.signals:
        findings += judge_fact("trigrams", facts.sample, lambda sample: check_trigrams(target, name, sample, builder))
    return findings


def check_texts(target: DoctorTarget, index: str, sample: Sequence[IndexHit], fields: ModelFields) -> Iterator[Finding]:
    """Whether products still have the text that their values were computed from."""
    if not sample:
        return
    changed = [hit["_id"] for hit in sample if not _text_unchanged(target, hit, fields)]
    found = (
        f"{index}: the text of {len(changed)} of {count_of(len(sample), 'sampled product')} changed after the values "
        "were computed"
    )
    if not changed:
        yield Finding("text", "ok", found)
        return
    expected = "values of the current text; ingest recomputes those that differ"
    if len(changed) == len(sample):
        expected += ". All differ: were other fields ingested? Name them with --field"
    command = target.command("ingest", index=index)
    yield Finding("text", "warning", f"{found}, such as {changed[0]}", expected, command)


def check_points(
    target: DoctorTarget, index: str, sample: Sequence[IndexHit], builder: ValueBuilder
) -> Iterator[Finding]:
    """Whether vectors are whole, lie within the radius, and are this bundle's."""
    fields = builder.model_fields
    sample = [hit for hit in sample if "containment" in stored_signals(hit, fields)]
    if not sample:
        return
    points = [_stored_point(hit, fields, target.bundle) for hit in sample]
    without = [hit["_id"] for hit, point in zip(sample, points, strict=True) if point is None]
    scope = f"{index}: of {count_of(len(sample), 'sampled product')}"
    if without:
        yield _missing_finding(target, index, "points", f"{scope}, {len(without)} without a vector", without)
    hits = [hit for hit, point in zip(sample, points, strict=True) if point is not None]
    if hits:
        stack = np.array([point for point in points if point is not None])
        yield _points_finding(target, index, scope, stack, _largest_difference(target, hits, stack, builder))


def check_trigrams(
    target: DoctorTarget, index: str, sample: Sequence[IndexHit], builder: ValueBuilder
) -> Iterator[Finding]:
    """Whether the trigrams of products whose text is unchanged are what this bundle computes."""
    fields = builder.model_fields
    sample = [hit for hit in sample if "attention" in stored_signals(hit, fields)]
    if not sample:
        return
    scope = f"{index}: of {count_of(len(sample), 'sampled product')}"
    without = [hit["_id"] for hit in sample if "trigrams" not in _stored_values(hit, fields)]
    if without:
        yield _missing_finding(target, index, "trigrams", f"{scope}, {len(without)} without trigrams", without)
    hits = [hit for hit in sample if "trigrams" in _stored_values(hit, fields) and _text_unchanged(target, hit, fields)]
    computed = builder.pack_trigrams([product_text(hit["_source"], target.text_fields) for hit in hits])
    differing = [
        hit["_id"]
        for hit, packed in zip(hits, computed, strict=True)
        if not _are_trigrams(_stored_values(hit, fields)["trigrams"], packed)
    ]
    found = f"{scope}, {len(hits)} with trigrams of the current text, {len(differing)} of these differ from "
    found += "what this bundle computes"
    if differing:
        yield _recomputation(target, index, "trigrams", f"{found}, such as {differing[0]}", "the trigrams")
    else:
        yield Finding("trigrams", "ok", found)


def _are_trigrams(stored: object, computed: bytes) -> bool:
    """Whether stored trigrams are the computed ones; a weight may differ by 1, as processors may round differently."""
    try:
        found = TitleEntities.unpack([b64decode(str(stored), validate=True)])
    except ValueError:
        return False
    expected = TitleEntities.unpack([computed])
    if not np.array_equal(found.ids, expected.ids):
        return False
    return bool((np.abs(found.weights.astype(np.int64) - expected.weights) <= 1).all())


def _missing_finding(target: DoctorTarget, index: str, check: str, found: str, ids: Sequence[str]) -> Finding:
    expected = "the values in _source; otherwise a partial update loses them"
    found = f"{found} in _source, such as {ids[0]}"
    return Finding(check, "fault", found, expected, target.command("ingest", index=index))


def _recomputation(target: DoctorTarget, index: str, check: str, found: str, values: str) -> Finding:
    # Removing an index's values may remove the stored script too; a search stores it again.
    steps = (("remove",), ("ingest",), ("search", "QUERY"))
    commands = "\n".join(target.command(*words, index=index) for words in steps)
    expected = f"{values} that this bundle computes; remove them first, as ingest skips products with its model id"
    return Finding(check, "fault", found, expected, commands)


def _stored_values(hit: IndexHit, fields: ModelFields) -> dict[str, Any]:
    stored = hit["_source"].get(fields.name)
    return {name: value for name, value in stored.items() if value is not None} if isinstance(stored, dict) else {}


def _text_unchanged(target: DoctorTarget, hit: IndexHit, fields: ModelFields) -> bool:
    words = target.bundle.vocabulary.split_words(product_text(hit["_source"], target.text_fields))
    return bool(_stored_values(hit, fields).get("text_hash") == hash_words(words))


def _stored_point(hit: IndexHit, fields: ModelFields, bundle: Bundle) -> Array | None:
    vector = read_vector(_stored_values(hit, fields).get("vector"), bundle.dimension)
    return None if vector is None else unpack_points(vector, bundle.vector_step)


def _largest_difference(target: DoctorTarget, hits: Sequence[IndexHit], points: Array, builder: ValueBuilder) -> int:
    """Largest difference in steps between stored points and the same texts encoded again; 0 if all texts changed."""
    unchanged = [number for number, hit in enumerate(hits) if _text_unchanged(target, hit, builder.model_fields)]
    if not unchanged:
        return 0
    texts = [product_text(hits[number]["_source"], target.text_fields) for number in unchanged]
    stored = points[unchanged, 1:] / target.bundle.vector_step
    return int(np.abs(builder.encoder.encode_vectors(texts) - stored).max())


def _points_finding(target: DoctorTarget, index: str, scope: str, points: Array, difference: int) -> Finding:
    bundle = target.bundle
    radius, rounding = float(np.arccosh(points[:, 0]).max()), bundle.vector_step / 2 * bundle.dimension**0.5
    found = f"{scope}, the largest radius is {radius:.2f} (limit {bundle.radius:g}), and the largest difference to the "
    found += f"same text encoded again {difference} of {MAX_STEPS} steps"
    if radius <= bundle.radius * 1.01 + rounding and difference <= MAX_STEP_DIFFERENCE:
        return Finding("points", "ok", found)
    return _recomputation(target, index, "points", found, "the points")
