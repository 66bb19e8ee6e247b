"""Checks whether the index that the next rollover creates will have the fields of the model."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from anthem_core.errors import ClusterError
from anthem_doctor.findings import DoctorTarget, Finding
from anthem_ingest.mapping import IndexDescription, build_missing_mapping

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from anthem_core.opensearch.schema import ModelFields

_ROLLED_OVER = re.compile(r"(?P<stem>.*)-(?P<number>\d+)")


def next_index_name(index: IndexDescription) -> str | None:
    """Name of the index that a rollover creates after this one; None if it is not the write index of an alias."""
    match = _ROLLED_OVER.fullmatch(index.name)
    is_written = any(alias.get("is_write_index") for alias in index.aliases.values())
    return f"{match['stem']}-{int(match['number']) + 1:06d}" if match and is_written else None


def check_template(
    target: DoctorTarget, index: IndexDescription, next_name: str, simulated: Mapping[str, Any], fields: ModelFields
) -> Iterator[Finding]:
    """Whether the simulated index has the fields; a strict one would refuse the values, others map plain numbers."""
    mappings = simulated.get("template", {}).get("mappings", {})
    successor = IndexDescription(next_name, mappings, {})
    try:
        missing = build_missing_mapping(successor, fields, target.bundle.dimension, target.expected_signals)
        problem = f"has no fields {fields.name}" if missing else None
    except ClusterError as error:
        problem = str(error)
    if problem is None:
        yield Finding("template", "ok", f"{next_name}, the successor of {index.name}, gets the fields of the model")
        return
    found = f"{next_name}, which the next rollover of {index.name} creates, {problem}"
    expected = "an index template with the fields of the model; this command prints one"
    yield Finding("template", "warning", found, expected, target.command("ingest", "--template", index=index.name))
