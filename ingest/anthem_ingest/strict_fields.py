"""Which fields of a file a strict mapping refuses: OpenSearch stores no product that has one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anthem_core.console import name_some
from anthem_core.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from anthem_ingest.actions import ProductDocument
    from anthem_ingest.mapping import IndexDescription

MAX_LISTED_FIELDS = 10


def check_accepts_fields(index: IndexDescription, documents: Sequence[ProductDocument]) -> None:
    """Check that a strict mapping accepts at least one of the first products of a file.

    Raises:
        ClusterError: Each has a field that the mapping lacks, so that none would be written.
    """
    refused = [list(find_refused_fields(index.mappings, document.source)) for document in documents]
    if not (refused and all(refused)):
        return
    names = list(dict.fromkeys(name for found in refused for name in found))
    listed = name_some(names, MAX_LISTED_FIELDS)
    raise ClusterError(
        f"Index '{index.name}' accepts only the fields of its mapping (dynamic: strict), and each of the first "
        f"{len(documents)} products of the file has fields that the mapping lacks: {listed}. OpenSearch would refuse "
        "all of these products. Add the fields to the mapping, or leave them out of the file."
    )


def find_refused_fields(node: Mapping[str, Any], source: Mapping[str, Any], dynamic: str = "true") -> Iterator[str]:
    """Dotted names of the fields of a source that a mapping or an object of it lacks, and does not accept."""
    dynamic = str(node.get("dynamic", dynamic)).lower()
    for key, value in source.items():
        name, _, rest = key.partition(".")
        field = node.get("properties", {}).get(name)
        if field is None:
            if dynamic == "strict":
                yield key
        elif ("properties" in field or "dynamic" in field) and field.get("enabled") is not False:
            parts = [{rest: value}] if rest else value if isinstance(value, list) else [value]
            for part in parts:
                if isinstance(part, dict):
                    yield from (f"{name}.{below}" for below in find_refused_fields(field, part, dynamic))
