"""An index template for the fields of a model: what `anthem ingest --template` prints, for indices yet to be created.

Without it, an index that a reindex or a rollover creates has no such fields: one with `dynamic: strict` refuses the
products, any other maps their vectors as plain numbers.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anthem_core.opensearch.connection import cluster_errors
from anthem_core.opensearch.versions import SAFE_MAPPING_CHANGES
from anthem_ingest import index_io
from anthem_ingest.mapping import IndexDescription, build_new_fields, choose_write_index
from anthem_ingest.preparation import record_ingest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opensearchpy import OpenSearch

    from anthem_core.encoding.bundle import Bundle
    from anthem_ingest.ingest import IngestOptions

TEMPLATE_PRIORITY = 100
_BACKING_INDEX = ".ds-"  # how the names of the indices of a data stream start
_ORDINAL = re.compile(r"[-_.]v?\d+$")  # of a rolled-over or numbered index, such as products-000001


@dataclass(frozen=True, slots=True)
class TemplateRequest:
    """A request that stores a part of the template, and a remark on it."""

    path: str
    body: Mapping[str, Any]
    remark: str

    def to_dict(self) -> dict[str, Any]:
        """The request as a JSON object."""
        return {"method": "PUT", "path": self.path, "body": dict(self.body)}

    def __str__(self) -> str:
        return f"# {self.remark}\nPUT {self.path}\n{json.dumps(self.body, indent=2, ensure_ascii=False)}"


def build_template_requests(
    name: str, patterns: Sequence[str], mappings: Mapping[str, Any], settings: Mapping[str, Any]
) -> tuple[TemplateRequest, TemplateRequest]:
    """Requests for a component template with the model's fields, and for an index template that uses it."""
    component = f"anthem-{name}"
    template = {"mappings": dict(mappings)} | ({"settings": dict(settings)} if settings else {})
    index_template = {"index_patterns": list(patterns), "composed_of": [component], "priority": TEMPLATE_PRIORITY}
    return (
        TemplateRequest(f"/_component_template/{component}", {"template": template}, "The fields of the model"),
        TemplateRequest(
            f"/_index_template/{component}",
            index_template,
            f"If an index template of yours matches these names already, add {component} to its composed_of instead: "
            "of several, OpenSearch uses only the one with the highest priority",
        ),
    )


def choose_patterns(name: str, indices: Sequence[str]) -> tuple[str, ...]:
    """Patterns of the names that the successors of an index or alias get: its own, and the same with an ending.

    The name of an alias is that of no index; its pattern could match indices that have nothing to do with it.
    """
    own = (name,) if list(indices) in ([], [name]) else ()
    is_stream = any(index.startswith(_BACKING_INDEX) for index in indices)
    stems = (_ORDINAL.sub("", index) for index in ((name, *indices) if is_stream else indices or (name,)))
    return tuple(dict.fromkeys((*own, *(f"{stem}-*" for stem in stems))))


@cluster_errors()
def read_template_requests(
    client: OpenSearch, name: str, bundle: Bundle, text_fields: Sequence[str], options: IngestOptions
) -> tuple[TemplateRequest, TemplateRequest]:
    """The requests for the successors of an index or alias, with the record of what its values are computed from.

    Raises:
        ClusterError: The cluster refuses or does not answer.
    """
    response = index_io.describe_index(client, name) or {}
    index = IndexDescription.from_response(name, response.get(choose_write_index(response, name), {}))
    knn = index.knn or not index_io.read_release(client).has(SAFE_MAPPING_CHANGES)
    fields = build_new_fields(options.model_fields, bundle.dimension, options.signals, knn=knn)
    mappings = {"properties": fields, "_meta": record_ingest({}, bundle, text_fields, options)}
    settings = {"index.knn": True} if knn else {}
    return build_template_requests(_ORDINAL.sub("", name), choose_patterns(name, sorted(response)), mappings, settings)
