"""Requests of the rerank endpoints, whose formats are defined elsewhere: unknown names are ignored.

Cohere's and Jina's documents may be objects; a document's text is then its `text`, or its `rank_fields`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from anthem_plugin.service.models import INTEGRAL_FLOAT_AS_INT, unprocessable


def replace_surrogates(text: str) -> str:
    """Replace lone surrogates, which a JSON response in UTF-8 cannot contain, by question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


LenientText = Annotated[str, AfterValidator(replace_surrogates)]
QueryText = Annotated[LenientText, Field(description="Query text; characters past `--max-characters` are ignored.")]
_WORD_SCHEMA: dict[str, Any] = {"type": ["string", "number", "boolean", "null"]}
_OBJECT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "An object with `text`; with `rank_fields`, an object with any of them.",
}
# Without `rank_fields`, every object has `text`.
_DOCUMENT_TEXT_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"required": ["rank_fields"], "properties": {"rank_fields": {"type": "array", "minItems": 1}}},
        {
            "properties": {
                "documents": {
                    "items": {
                        "if": {"type": "object"},
                        "then": {
                            "required": ["text"],
                            "properties": {"text": {"anyOf": [_WORD_SCHEMA, {"type": "array", "items": _WORD_SCHEMA}]}},
                        },
                    }
                }
            }
        },
    ]
}
_SINGLE_LIST_SCHEMA: dict[str, Any] = {
    "oneOf": [
        {"required": ["texts"], "properties": {"texts": {"type": "array"}, "documents": {"type": "null"}}},
        {"required": ["documents"], "properties": {"documents": {"type": "array"}, "texts": {"type": "null"}}},
    ]
}
RerankDocument: TypeAlias = LenientText | Annotated[dict[str, Any], WithJsonSchema(_OBJECT_SCHEMA)]
RerankDocuments = Annotated[list[RerankDocument], Field(min_length=1)]
MAX_RANK_FIELDS = 100
MAX_FIELD_NAME_CHARACTERS = 200
RankFields = Annotated[
    Annotated[list[Annotated[str, Field(max_length=MAX_FIELD_NAME_CHARACTERS)]], Field(max_length=MAX_RANK_FIELDS)]
    | None,
    Field(
        description="For documents that are objects: the fields to rank by, in this order, instead of `text`. Their "
        "values are strings, numbers, or lists of these; null, true and false are left out."
    ),
]
TopN = Annotated[
    Annotated[int, Field(ge=1), INTEGRAL_FLOAT_AS_INT] | None,
    Field(description="Number of results; all documents by default."),
]


class LenientModel(BaseModel):
    """Base of the requests: ignores unknown names and converts no types."""

    model_config = ConfigDict(extra="ignore", strict=True)


class CohereRerankRequest(LenientModel):
    """Documents to rerank, in the format of Cohere's API, of its clients and of OpenSearch's ml-commons."""

    model_config = ConfigDict(json_schema_extra=_DOCUMENT_TEXT_SCHEMA)

    query: QueryText
    documents: RerankDocuments = Field(
        description="Titles, or stored vectors as text in OpenSearch's format.",
        examples=[["Fire TV stick 4K", "Red running shoe"]],
    )
    top_n: TopN = None
    rank_fields: RankFields = None
    return_documents: bool | None = Field(None, description="Whether each result contains its document.")
    model: str | None = Field(None, description="Ignored: a service has one model.")


class PlainRerankRequest(LenientModel):
    """Texts to rerank as Text Embeddings Inference does, or documents to rerank as Jina and vLLM do."""

    model_config = ConfigDict(json_schema_extra=_SINGLE_LIST_SCHEMA | _DOCUMENT_TEXT_SCHEMA)

    query: QueryText
    texts: Annotated[list[LenientText], Field(min_length=1)] | None = Field(
        None, description="Titles, or stored vectors as text.", examples=[["Fire TV stick 4K", "Red running shoe"]]
    )
    documents: RerankDocuments | None = Field(
        None, description="Titles, stored vectors as text, or objects; instead of `texts`."
    )
    top_n: TopN = None
    rank_fields: RankFields = None
    raw_scores: bool = Field(False, description="Return log-odds instead of scores in [0, 1].")
    return_text: bool = Field(False, description="With `texts`: whether each result contains its text.")
    return_documents: bool | None = Field(
        None, description="With `documents`: whether each result contains its document; true by default."
    )
    model: str | None = Field(None, description="Ignored: a service has one model.")

    @model_validator(mode="after")
    def _check_single_list(self) -> Self:
        if (self.texts is None) == (self.documents is None):
            raise ValueError("give a list of `texts` or a list of `documents`, one of the two")
        return self


def read_document_texts(documents: Sequence[str | Mapping[str, Any]], rank_fields: Sequence[str] | None) -> list[str]:
    """Text of each document: itself, its `text`, or the values of its `rank_fields`, one a line.

    A number is its digits. Null, true and false are no words, so they are left out: a product that has nothing else
    has an empty text.

    Raises:
        HTTPException: An object has none of the fields, or one of them is an object, NaN or infinite.
    """
    return [
        document
        if isinstance(document, str)
        else _read_object(document, rank_fields or ("text",), f"documents.{number}")
        for number, document in enumerate(documents)
    ]


def _read_object(document: Mapping[str, Any], fields: Sequence[str], place: str) -> str:
    if not any(field in document for field in fields):
        names = ", ".join(f"`{field}`" for field in fields)
        sentence = f"{place}: the object has none of the fields {names}. Name those to rank by in `rank_fields`."
        raise unprocessable(replace_surrogates(sentence))
    values = [_read_value(document[field], f"{place}.{field}") for field in fields if field in document]
    return "\n".join(value for value in values if value)


def _read_value(value: object, place: str) -> str:
    parts = [part for part in (value if isinstance(value, list) else [value]) if not isinstance(part, bool | None)]
    if not all(isinstance(part, str | int | float) for part in parts):
        raise unprocessable(replace_surrogates(f"{place}: expected a string, a number, or a list of these."))
    if any(isinstance(part, float) and not math.isfinite(part) for part in parts):
        raise unprocessable(replace_surrogates(f"{place}: expected a finite number, found NaN or an infinite number."))
    return " ".join(replace_surrogates(str(part)) for part in parts)
