"""`anthem search`: one search, before and after reranking."""

from __future__ import annotations

from contextlib import closing
from math import isfinite
from shlex import quote
from typing import TYPE_CHECKING, Any, Unpack, get_args

import click

from anthem_core.console import NON_EMPTY_TEXT, handle_errors, json_option, print_result
from anthem_core.encoding.attention_grid import GridExplainer
from anthem_core.encoding.bundle import find_shipped_bundles, load_bundle
from anthem_core.encoding.encoder import Encoder
from anthem_core.errors import ClusterError
from anthem_core.opensearch.connection import cluster_address, cluster_errors, connect
from anthem_core.opensearch.schema import DEFAULT_TEXT_FIELDS, MATCH_ALL, recorded_objects
from anthem_plugin.client import AnthemClient
from anthem_plugin.modes import DEFAULT_WINDOW, Filter, ModeName
from anthem_plugin.options import ClientOptions
from anthem_plugin.search.request import no_values_reason
from anthem_plugin.search.response import has_model
from anthem_plugin.search_input import SearchOptions, check_input, read_input
from anthem_plugin.search_report import RankedHits, add_explanations, add_pairs, format_result, hit_key, hit_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opensearchpy import OpenSearch

    from anthem_plugin.modes import RerankMode
    from anthem_plugin.search.request import IndexProfile, Response

# Both searches use the same shard copies, because another copy may break ties differently.
_PREFERENCE = "anthem"


@click.command()
@click.argument("index", type=NON_EMPTY_TEXT)
@click.argument("query", required=False)
@click.option(
    "--body",
    "body_file",
    metavar="FILE",
    help="Search with this body, a JSON file, instead of a match of QUERY; - reads it from "
    "standard input. Its `_source` is replaced by the fields that are shown.",
)
@click.option(
    "--query-path",
    "query_paths",
    multiple=True,
    metavar="PATH",
    help="With --body: path of the words in it, such as query.match.title; the first of several that leads to words "
    "counts. Defaults to the words that all its clauses agree on.",
)
@click.option("--bundle", default="general", show_default=True, help="Folder of a bundle, or name of a shipped one.")
@click.option(
    "--rerank",
    "mode",
    type=click.Choice(get_args(ModeName)),
    default="cluster",
    show_default=True,
    help="cluster: rerank with a script in the cluster; client: in this process; filter: remove products that are not "
    "contained; retrieve: add near products, and rerank; none: plain search.",
)
@click.option(
    "--slack", type=float, help="With --rerank filter: added to every limit; defaults to the slack of the bundle."
)
@click.option("--explain", "explaining", is_flag=True, help="Show how the score of each hit is computed.")
@click.option(
    "--operators", is_flag=True, help="Treat OR in QUERY as an operator that means either phrase: 'fire OR kindle'."
)
@click.option("--field", help="Text field to search and show; defaults to the first field that was ingested, or title.")
@click.option(
    "--size", type=click.IntRange(1, 1000), help="Number of hits to show; defaults to that of the body, or 10."
)
@click.option(
    "--window",
    type=click.IntRange(1, 10_000),
    default=DEFAULT_WINDOW,
    show_default=True,
    help="Number of lexical hits to rerank; in cluster mode, per shard.",
)
@click.option("--url", help="URL of the cluster; defaults to OPENSEARCH_URL, then to the local node.")
@json_option
@handle_errors
def search(  # noqa: PLR0913 (one argument per option)
    *,
    index: str,
    bundle: str,
    mode: ModeName,
    slack: float | None,
    explaining: bool,
    operators: bool,
    field: str | None,
    window: int,
    url: str | None,
    as_json: bool,
    **asked_for: Unpack[SearchOptions],
) -> None:
    """Search INDEX for QUERY and show each hit's rank before and after reranking, and what moved it.

    Below each hit that moved are the pairs of a query word and a title word that attention found strongest, and the
    share of each. A search that cannot be reranked shows the plain hits and the reason. Exit codes: 0 searched, 3 no
    usable bundle, 4 no readable body, 6 the cluster refuses or cannot be reached, or the index has no such field.

    \b
    Example:
      anthem search products 'fire tv'
      anthem search products 'fire tv' --rerank client --explain
      anthem search products 'fire tv OR kindle' --operators
      anthem search products 'fire tv' --rerank filter --slack 0.2
      anthem search products --body search.json
    """
    check_input(asked_for)
    encoder, rerank_mode = Encoder(load_bundle(bundle)), _with_slack(mode, slack)
    with closing(connect(url, credentials=True)) as cluster, cluster_errors():
        click.echo(f"Cluster: {cluster_address(cluster)}", err=True)
        client = AnthemClient(cluster, encoder, ClientOptions(text_fields=(field,) if field else None))
        profile = client.profile(index)
        shown = field or next(iter(profile.text_fields), DEFAULT_TEXT_FIELDS[0])
        asked = read_input(shown, asked_for)
        before = _search_plainly(client, index, asked.widened(window), profile)
        sent = asked.body | _source_setting(shown, profile, explaining)
        after = client.search(index, sent, **asked.found_by, mode=rerank_mode, window=window, operators=operators,
                              preference=_PREFERENCE)  # fmt: skip
        if not before["hits"]["hits"] and (field or not asked.file):
            _check_field(cluster, index, shown)
        remarks = _remarks(after, cluster, index, bundle, profile, encoder)
        rows = hit_rows(before, after, shown, asked.start)
        if explaining:
            _add_lexical_scores(rows, client, index, asked.body, after)
    result: dict[str, Any] = {"index": index, "query": asked.text, **after["anthem"], **remarks, "hits": rows}
    ranked = RankedHits(after, before["hits"]["hits"][:window], asked.phrases(operators=operators), profile)
    result |= _add_reasons(rows, ranked, encoder, explaining=explaining)
    print_result(result, format_result(result, asked.name), as_json=as_json)


def _add_reasons(
    rows: Sequence[dict[str, Any]], ranked: RankedHits, encoder: Encoder, *, explaining: bool
) -> dict[str, Any]:
    """Add to each hit what moved it; with explanations, return what the query attends to."""
    add_pairs(rows, ranked, GridExplainer(encoder.bundle))
    return add_explanations(rows, ranked, encoder) if explaining else {}


def _search_plainly(client: AnthemClient, index: str, body: Mapping[str, Any], profile: IndexProfile) -> Response:
    """The plain search, which gives the former ranks of the hits, with the model of each."""
    sent = {**body, "_source": [profile.scoring.fields.model]} if profile.text_fields else body
    return client.search(index, sent, mode="none", preference=_PREFERENCE)


def _source_setting(field: str, profile: IndexProfile, explaining: bool) -> dict[str, Any]:
    if not profile.text_fields:  # without a `_source`, OpenSearch refuses to filter it
        return {}
    fields = profile.scoring.fields
    values = [fields.model, fields.trigrams, *([fields.vector] if explaining else [])]
    return {"_source": [*dict.fromkeys((field, *profile.text_fields)), *values]}


def _add_lexical_scores(
    rows: Sequence[dict[str, Any]], client: AnthemClient, index: str, body: Mapping[str, Any], after: Response
) -> None:
    """Add the lexical score of hits that the plain search did not return; 0 for those found by their vectors alone."""
    missing = [row for row in rows if row["lexical"] is None]
    if not missing:
        return
    ids = [row["id"] for row in missing]
    query = {"bool": {"must": [body.get("query", MATCH_ALL)], "filter": [{"ids": {"values": ids}}]}}
    # An index pattern may hold an id several times.
    sent = {"query": query, "size": 1000, "_source": False}
    found = client.search(index, sent, mode="none", preference=_PREFERENCE)
    scores = {hit_key(hit): hit["_score"] for hit in found["hits"]["hits"]}
    for row, hit in zip(rows, after["hits"]["hits"], strict=True):
        if row["lexical"] is None:
            row["lexical"] = scores.get(hit_key(hit), 0.0)


def _with_slack(mode: ModeName, slack: float | None) -> RerankMode:
    if slack is None:
        return mode
    if mode != "filter":
        raise click.BadParameter(f"applies to --rerank filter, not to {mode}", param_hint="--slack")
    if not isfinite(slack):
        raise click.BadParameter("expected a finite number", param_hint="--slack")
    return Filter(slack)


def _remarks(
    after: Response, cluster: OpenSearch, index: str, bundle: str, profile: IndexProfile, encoder: Encoder
) -> dict[str, str | None]:
    """Reason and note; for missing values they say with which bundle to search, or how to ingest with this one."""
    remarks = {"reason": after["anthem"]["reason"], "note": missing_values_note(after, index, profile, encoder)}
    command, missing, used = f"anthem ingest {index}", no_values_reason(index), None
    options = f" --bundle {quote(bundle)}"
    if any(text and missing in text for text in remarks.values()):
        stored = {"query": {"exists": {"field": profile.scoring.fields.model}}}
        if cluster.count(index=index, body=stored)["count"]:
            options += " --beside"
            used = _ingested_with(cluster, index, encoder.bundle.model_id)
    full = {key: text and text.replace(command, command + options) for key, text in remarks.items()}
    advice = f"run: {command}{options}"
    instead = f"{used}; to add values of this model too, {advice}" if used else advice
    return {key: text and text.replace(advice, instead) for key, text in full.items()}


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
    report, scoring = after["anthem"], profile.scoring
    if not report["reranked"]:
        return None
    if report["mode"] == "client" and not any(has_model(hit, scoring) for hit in after["hits"]["hits"]):
        return f"attention was computed from the texts: {no_values_reason(index)}"
    is_old = encoder.bundle.has_attention and "attention" not in profile.signals and not profile.faults
    if report["mode"] in ("cluster", "retrieve") and is_old:
        return f"reranked without attention, because {index} has no trigrams; run: anthem ingest {index}"
    return None


def _check_field(cluster: OpenSearch, index: str, field: str) -> None:
    """Distinguish a field that does not exist from one in which nothing was found.

    Raises:
        ClusterError: No index of this name has the field.
    """
    mappings = cluster.indices.get_field_mapping(fields="*", index=index)
    leaves = [leaf for mapping in mappings.values() for leaf in mapping["mappings"].values()]
    types = {leaf["full_name"]: entry.get("type") for leaf in leaves for entry in leaf["mapping"].values()}
    if field not in types:
        texts = ", ".join(sorted(name for name, field_type in types.items() if field_type == "text"))
        raise ClusterError(
            f"Field '{field}' not found in {index}. Its text fields are: {texts or 'none'}. Name one with --field."
        )
