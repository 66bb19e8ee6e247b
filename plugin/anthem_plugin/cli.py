"""`anthem search`: one search, before and after reranking."""

from __future__ import annotations

from contextlib import closing, contextmanager
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, Any, Unpack, get_args

import click

from anthem_core.console import (
    NON_EMPTY_TEXT,
    handle_errors,
    json_option,
    print_result,
    url_option,
)
from anthem_core.encoding.attention_grid import GridExplainer
from anthem_core.encoding.bundle import load_bundle
from anthem_core.encoding.encoder import Encoder
from anthem_core.opensearch.connection import cluster_address, cluster_errors, connect
from anthem_core.opensearch.schema import DEFAULT_TEXT_FIELDS, MATCH_ALL
from anthem_plugin.client import AnthemClient
from anthem_plugin.modes import Filter, ModeName, default_window
from anthem_plugin.options import ClientOptions
from anthem_plugin.search.page_limit import search_within_limit
from anthem_plugin.search_input import SearchOptions, check_input, read_input
from anthem_plugin.search_remarks import read_page_note, read_remarks
from anthem_plugin.search_report import RankedHits, add_explanations, add_pairs, format_result, hit_key, hit_rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opensearchpy import OpenSearch

    from anthem_plugin.modes import RerankMode
    from anthem_plugin.search.request import IndexProfile, Response
    from anthem_plugin.search_input import SearchInput

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
    help="With --body: path of the query text in it, such as query.match.title; of several, the first that leads to a "
    "text counts. Defaults to the text on which all its clauses agree.",
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
    help="Number of lexical hits to rerank; in cluster mode, per shard. Defaults to that of the bundle, or 100.",
)
@url_option
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
    window: int | None,
    url: str | None,
    as_json: bool,
    **asked_for: Unpack[SearchOptions],
) -> None:
    """Search INDEX for QUERY and show each hit's rank before and after reranking, and what moved it.

    Below each hit that moved are the strongest pairs of a query word and a title word, with each pair's share of the
    attention. A search that cannot be reranked shows the plain hits and the reason. Exit codes: 0 searched, 3 no
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
    window = window or default_window(encoder.bundle)
    with _open_cluster(url) as cluster:
        client = AnthemClient(cluster, encoder, ClientOptions(text_fields=(field,) if field else None))
        profile = client.profile(index)
        shown = field or next(iter(profile.text_fields), DEFAULT_TEXT_FIELDS[0])
        asked = read_input(shown, asked_for)
        before = _search_plainly(client, index, asked, window, profile)
        sent = asked.body | _source_setting(shown, profile, explaining)
        after = client.search(index, sent, **asked.found_by, mode=rerank_mode, window=window, operators=operators,
                              preference=_PREFERENCE)  # fmt: skip
        rows = hit_rows(before, after, shown, asked.start)
        remarks = read_remarks(after, cluster, index, bundle, profile, encoder)
        remarks |= read_page_note(cluster, index, asked.body, before, None if asked.file and not field else shown, rows)
        if explaining:
            _add_lexical_scores(rows, client, index, asked.body, after)
    result: dict[str, Any] = {"index": index, "query": asked.text, **after["anthem"], **remarks, "hits": rows}
    ranked = RankedHits(after, before["hits"]["hits"][:window], asked.phrases(operators=operators), profile)
    result |= _add_reasons(rows, ranked, encoder, explaining=explaining)
    print_result(result, format_result(result, asked.name), as_json=as_json)


@contextmanager
def _open_cluster(url: str | None) -> Iterator[OpenSearch]:
    """The cluster to search, whose address is printed; its errors become those of the command."""
    with closing(connect(url, credentials=True)) as cluster, cluster_errors():
        click.echo(f"Cluster: {cluster_address(cluster)}", err=True)
        yield cluster


def _add_reasons(
    rows: Sequence[dict[str, Any]], ranked: RankedHits, encoder: Encoder, *, explaining: bool
) -> dict[str, Any]:
    """Add to each hit what moved it; with explanations, return what the query attends to."""
    add_pairs(rows, ranked, GridExplainer(encoder.bundle))
    return add_explanations(rows, ranked, encoder) if explaining else {}


def _search_plainly(
    client: AnthemClient, index: str, asked: SearchInput, window: int, profile: IndexProfile
) -> Response:
    """The plain search, which gives the former ranks of the hits, with the model of each.

    The window is cut to `index.max_result_window`, as the client cuts its own.
    """
    body = asked.widened(window)
    sent = {**body, "_source": [profile.scoring.fields.model]} if profile.text_fields else body
    search = partial(client.search, index, mode="none", preference=_PREFERENCE)
    return search_within_limit(search, sent, asked.body)


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
