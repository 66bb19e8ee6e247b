"""What `anthem search` says about a search beside its hits: the reason and notes, in the words of the command line."""

from __future__ import annotations

import re
from shlex import quote
from typing import TYPE_CHECKING, Any

from opensearchpy.exceptions import NotFoundError

from anthem_core.encoding.bundle import find_shipped_bundles, load_bundle
from anthem_core.errors import ClusterError
from anthem_core.opensearch.schema import MODEL_OBJECT_KEYS, MODEL_OBJECT_PATTERN, recorded_objects
from anthem_plugin.rewriter.rescore import page_bounds
from anthem_plugin.search.missing_values import indices_of, ingest_advice, unread_values_reason
from anthem_plugin.search.request import NO_VALUES
from anthem_plugin.search.response import has_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opensearchpy import OpenSearch

    from anthem_core.encoding.encoder import Encoder
    from anthem_plugin.search.request import IndexProfile, Response

# The reasons of a search name the arguments of Python, which are the fields of `/rewrite` too.
_COMMAND_WORDS = {
    "`query_text`": "QUERY",
    "`query_path`": "`--query-path`",
    "(text_fields)": "(`--field`)",
    "use client mode": "use `--rerank client`",
    "; set `filter` to": "; in Python, set `Retrieve(filter=…)` to",
}
_INGEST_COMMAND = re.compile(r"anthem ingest [^\s;`]+")  # with the name of an index, which an alias may lead to
_INGEST_ADVICE = re.compile(f"({NO_VALUES}; )(run)")
_TEXT_TYPES = ("text", "match_only_text", "search_as_you_type", "alias")


def in_command_words(sentence: str | None) -> str | None:
    """A reason with the options of the command in place of the arguments of Python."""
    for name, option in _COMMAND_WORDS.items():
        sentence = sentence and sentence.replace(name, option)
    return sentence


def read_remarks(
    after: Response, cluster: OpenSearch, index: str, bundle: str, profile: IndexProfile, encoder: Encoder
) -> dict[str, str | None]:
    """Reason and note; for missing values they say with which bundle to search, or how to ingest with this one."""
    note = missing_values_note(after, index, profile, encoder)
    remarks = {"reason": in_command_words(after["anthem"]["reason"]), "note": note}
    options, used = f" --bundle {quote(bundle)}", None
    if any(text and NO_VALUES in text for text in remarks.values()):
        stored = {"query": {"exists": {"field": profile.scoring.fields.model}}}
        if cluster.count(index=index, body=stored)["count"]:
            options += " --beside"
            used = _ingested_with(cluster, index, encoder.bundle.model_id)
    full = {key: text and _INGEST_COMMAND.sub(lambda found: found[0] + options, text) for key, text in remarks.items()}
    if used is None:
        return full
    instead = f"{used}; to add values of this model too, "
    return {key: text and _INGEST_ADVICE.sub(rf"\1{instead}\2", text) for key, text in full.items()}


def _ingested_with(cluster: OpenSearch, index: str, model_id: str) -> str | None:
    """The bundle to search with instead, by what other ingests of the index recorded; None if they recorded nothing."""
    response = cluster.indices.get_mapping(index=index, params={"filter_path": "*.mappings._meta.anthem"})
    records = [record for each in response.values() for record in recorded_objects(each["mappings"]).values()]
    models = sorted({str(record["model"]) for record in records if record.get("model") not in (None, model_id)})
    if not models:
        return None
    shipped = {load_bundle(name).model_id: name for name in find_shipped_bundles()}
    known = [shipped[model] for model in models if model in shipped]
    if known:
        return f"{index} was ingested with another bundle: search with --bundle {known[0]}"
    return f"{index} was ingested with the bundle of model {', '.join(models)}: name its folder with --bundle"


def missing_values_note(after: Response, index: str, profile: IndexProfile, encoder: Encoder) -> str | None:
    """Note on hits that lack values that the bundle could rank by; None if they have them."""
    report, scoring, hits = after["anthem"], profile.scoring, after["hits"]["hits"]
    if not report["reranked"]:
        return None
    if report["mode"] == "client" and not any(has_model(hit, scoring) for hit in hits):
        return f"attention was computed from the texts: {unread_values_reason(index, profile, indices_of(hits))}"
    is_old = encoder.bundle.has_attention and "attention" not in profile.signals and not profile.note
    if report["mode"] in ("cluster", "retrieve") and is_old:
        return f"reranked without attention, because {index} has no trigrams; {ingest_advice(index, profile)}"
    return None


def read_page_note(
    cluster: OpenSearch,
    index: str,
    body: Mapping[str, Any],
    before: Response,
    field: str | None,
    rows: Sequence[Mapping[str, Any]],
) -> dict[str, str | None]:
    """The note on a page without hits, or without any value of the field that is shown; empty for any other page.

    Args:
        cluster: The cluster of the index.
        index: Index, alias or pattern.
        body: Body of the search.
        before: Response of the plain search of the window.
        field: Field that the user named or that was searched, or None.
        rows: The hits of the page.

    Raises:
        ClusterError: No index of this name has the field.
    """
    note = None if rows else _empty_page_note(body, before)
    if field is not None:
        note = check_shown_field(cluster, index, field, rows) or note
    return {"note": note} if note or not rows else {}


def _empty_page_note(body: Mapping[str, Any], before: Response) -> str | None:
    """Why a page has no hits although products match; None if none does. `before` is the plain search of the window."""
    start, size = page_bounds(body)
    matches = _count_matches(before)
    if not matches:
        return None
    if size == 0:
        return f"{matches}, but `size` is 0; show some with --size"
    return f"the page starts after the last hit (`from: {start}`); {matches}" if start else None


def _count_matches(response: Response) -> str | None:
    """How many products match, in words; None for none."""
    total = response["hits"].get("total") or {"value": len(response["hits"]["hits"]), "relation": "gte"}
    count, least = total["value"], "at least " if total["relation"] == "gte" else ""
    if not count:
        return None
    return f"{least}{count:,} {'product matches' if count == 1 else 'products match'}"


def check_shown_field(cluster: OpenSearch, index: str, field: str, rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Distinguish a field that does not exist, or that is no text, from one in which nothing was found.

    The cluster is asked only if no row has a value of the field. The result is a note, or None.

    Raises:
        ClusterError: No index of this name has the field.
    """
    if any(row["title"] is not None for row in rows):
        return None
    types = _read_field_types(cluster, index)
    names = sorted(name for name, kind in types.items() if kind == "text" and not _is_of_model(name))
    texts = ", ".join(names) or "none"
    if field not in types:
        raise ClusterError(
            f"Field '{field}' not found in {index}. Its text fields are: {texts}. Name one with --field."
        )
    if rows or types[field] in _TEXT_TYPES:
        return None
    return f"`{field}` is a field of type {types[field]}, which is not searched word by word; text fields: {texts}"


def _is_of_model(name: str) -> bool:
    """Whether a field belongs to a model's object: OpenSearch maps some as text after a reindex without a template."""
    above, _, below = name.partition(".")
    return MODEL_OBJECT_PATTERN.fullmatch(above) is not None and below.partition(".")[0] in MODEL_OBJECT_KEYS


def _read_field_types(cluster: OpenSearch, index: str) -> dict[str, str]:
    """Type of every field of the indices, by its full name."""
    try:
        mappings = cluster.indices.get_field_mapping(fields="*", index=index)
    except NotFoundError as error:
        if not error.info:  # an index with a block on its metadata; the mapping is refused with the reason
            cluster.indices.get_mapping(index=index, params={"filter_path": "*.mappings._meta"})
        raise
    leaves = [leaf for mapping in mappings.values() for leaf in mapping["mappings"].values()]
    return {leaf["full_name"]: str(entry.get("type")) for leaf in leaves for entry in leaf["mapping"].values()}
