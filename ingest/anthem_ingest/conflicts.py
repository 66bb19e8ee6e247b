"""Why the fields of an index cannot hold a model's values: errors that name what is there and what to do."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, count
from typing import TYPE_CHECKING, Any

from anthem_core.errors import ClusterError, DataError
from anthem_core.opensearch.schema import is_model_object, is_users_field, recorded_objects

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Iterator, Mapping

    from anthem_ingest.actions import ProductDocument

_VECTOR_KEYS = {"dimension", "data_type"}  # that no mapping can change
_OF_FILE = " --corpus FILE"
_FREE_NAME = "anthem_values"


def is_own_object(mappings: Mapping[str, Any], name: str) -> bool:
    """Whether an object certainly holds values of models: it is recorded, or has fields as only a model has them."""
    if is_users_field(mappings, name):
        return False
    has_fields = mappings.get("properties", {}).get(name, {}).get("properties")
    return bool(has_fields or name in recorded_objects(mappings))


def choose_free_name(taken: Container[str]) -> str:
    """A name for the object of the model's values that is not taken."""
    names = chain([_FREE_NAME], (f"{_FREE_NAME}_{number}" for number in count(2)))
    return next(name for name in names if name not in taken)


def _advise_free_name(index: str, taken: Container[str], options: str = "") -> str:
    name = choose_free_name(taken)
    return (
        "Write the model's values into an object of another name, which all commands and clients then find: add "
        f"--as {name}, as in anthem ingest {index}{options} --as {name}"
    )


class MappingConflictError(ClusterError):
    """A field of an index differs from what the bundle needs; `actual` and `required` hold the keys that differ."""

    def __init__(self, index: str, path: str, actual: Mapping[str, Any], required: Mapping[str, Any]) -> None:
        self.path, self.actual, self.required = path, actual, required
        actual_text, required_text = (
            ", ".join(f"{key} {value}" for key, value in keys.items()) for keys in (actual, required)
        )
        remedy = (
            f"Write into a new object with `anthem ingest {index} --beside`, which also moves the aliases there; then "
            f"`anthem ingest {index} --prune` removes the old values."
            if self.is_of_other_vectors
            else "Use the bundle that made it, or reindex without it (POST _reindex) and run ingest on the new index."
        )
        super().__init__(
            f"Index '{index}' has a field {path} of {actual_text}; the bundle needs {required_text}. OpenSearch cannot "
            f"change a field. {remedy}"
        )

    @property
    def is_of_other_vectors(self) -> bool:
        """Whether the field holds vectors too, but of another size or element type."""
        return self.required.keys() <= _VECTOR_KEYS and self.actual.get("dimension", 0) is not None


class UsersFieldError(MappingConflictError):
    """The object of a model's values has the name of a field that belongs to the user."""

    def __init__(self, index: str, name: str, field: Mapping[str, Any], taken: Container[str] = ()) -> None:
        contents = ", ".join(field.get("properties", {}))
        self.found = f"with the fields {contents}" if contents else f"of type {field.get('type', 'object')}"
        self.path, self.actual, self.required = name, {"type": field.get("type", "object")}, {"type": "object"}
        ClusterError.__init__(
            self,
            f"Index '{index}' has a field {name} of its own ({self.found}), so the model's values cannot be written "
            f"there. {_advise_free_name(index, taken)}",
        )


def find_users_data(source: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """What an object of a product holds that no model wrote, in the form of a mapping; None if it holds nothing else.

    OpenSearch treats a dotted key, `anthem.model`, as a field of the object.
    """
    dotted = [key.removeprefix(f"{name}.") for key in source if key.startswith(f"{name}.")]
    if dotted:
        return {"properties": dict.fromkeys(dotted)}
    value = source.get(name)
    if is_model_object(value):
        return None
    return {"properties": dict.fromkeys(value)} if isinstance(value, dict) else {"type": type(value).__name__}


def without_model_object(
    documents: Iterable[ProductDocument], name: str, index: str, taken: Collection[str] = ()
) -> Iterator[ProductDocument]:
    """The documents of a file, without the model's object of this name that an exported product has.

    `taken` are the names of the index's fields.

    Raises:
        DataError: A document has a field of this name that is not a model's object, and would be overwritten; or a
            field such as `name.song`, which would lie in this object.
    """
    for document in documents:
        dotted = next((key for key in document.source if key.startswith(f"{name}.")), None)
        if dotted:
            raise DataError(
                f"Product '{document.id}' of the file has a field {dotted}, which OpenSearch would store in the object "
                f"{name} of the model's values. Leave it out or rename it. "
                f"{_advise_free_name(index, {*taken, name}, _OF_FILE)}"
            )
        if name not in document.source:
            yield document
        elif is_model_object(document.source[name]):
            source = {key: value for key, value in document.source.items() if key != name}
            yield replace(document, source=source)
        else:
            raise DataError(
                f"Product '{document.id}' of the file has a field {name} of its own, which the model's values would "
                f"replace. {_advise_free_name(index, {*taken, *document.source}, _OF_FILE)}"
            )
