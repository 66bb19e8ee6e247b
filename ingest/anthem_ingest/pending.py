"""Marks in `_meta` the object that `--beside` fills while searches read the same model's values in another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anthem_core.opensearch.schema import PENDING_KEY, recorded_objects, with_ingest_meta

if TYPE_CHECKING:
    from collections.abc import Mapping


def pending_mark(meta: Mapping[str, Any] | None, object_name: str, model: str) -> dict[str, bool]:
    """What marks the record of a new object while another one has values of the same model; otherwise empty."""
    records = recorded_objects({"_meta": meta})
    is_new = records.get(object_name, {PENDING_KEY: True}).get(PENDING_KEY)
    has_other = any(record.get("model") == model for name, record in records.items() if name != object_name)
    return {PENDING_KEY: True} if is_new and has_other else {}


def is_pending(mappings: Mapping[str, Any], object_name: str) -> bool:
    """Whether an object's values are being written while searches read those of the same model in another one."""
    return bool(recorded_objects(mappings).get(object_name, {}).get(PENDING_KEY))


def without_pending_mark(meta: Mapping[str, Any], object_name: str) -> dict[str, Any]:
    """Mapping `_meta` in which the record of an object is no longer pending; everything else in it is kept."""
    record = recorded_objects({"_meta": meta}).get(object_name, {})
    return with_ingest_meta(meta, object_name, {key: value for key, value in record.items() if key != PENDING_KEY})
