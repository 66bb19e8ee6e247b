"""`anthem search`: one search, before and after reranking."""

from __future__ import annotations

from contextlib import closing
from functools import cache
from math import isfinite
from shlex import quote
from typing import TYPE_CHECKING, Any, get_args

import click

from anthem_core.console import handle_errors, json_option, print_result, printable
from anthem_core.encoding.bundle import load_bundle
from anthem_core.encoding.encoder import Encoder
from anthem_core.encoding.query_operators import encode_phrases, split_query_text
from anthem_core.errors import ClusterError
from anthem_core.opensearch.connection import cluster_errors, connect
from anthem_plugin.client import AnthemClient
from anthem_plugin.modes import DEFAULT_WINDOW, Filter, ModeName
from anthem_plugin.options import ClientOptions
from anthem_plugin.rewriter.query_text import value_at_path
from anthem_plugin.search.explain import explain_hit, strongest_attention
from anthem_plugin.search.request import no_vectors_reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opensearchpy import OpenSearch

    from anthem_plugin.modes import RerankMode
    from anthem_plugin.search.request import IndexProfile, Response

# Both searches use the same shard copies, because another copy may break ties differently.
_PREFERENCE = "anthem"
_SHOWN_ATTENTION_WEIGHTS = 5


@click.command()
@click.argument("index")
@click.argument("query")
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
@click.option("--explain", "explaining", is_flag=True, help="Show why each hit has its rank.")
@click.option(
    "--operators", is_flag=True, help="Treat OR in QUERY as an operator that means either phrase: 'fire OR kindle'."
)
@click.option("--field", help="Text field to search and show; defaults to the first field that was ingested, or title.")
@click.option("--size", type=click.IntRange(1, 1000), default=10, show_default=True, help="Number of hits to show.")
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
    query: str,
    bundle: str,
    mode: ModeName,
    slack: float | None,
    explaining: bool,
    operators: bool,
    field: str | None,
    size: int,
    window: int,
    url: str | None,
    as_json: bool,
) -> None:
    """Search INDEX for QUERY and show each hit's rank before and after reranking.

    A search that cannot be reranked shows the plain hits and the reason. Exit codes: 0 searched, 3 the bundle cannot be
    used, 6 the cluster refuses or cannot be reached, or the index has no such field.

    \b
    Example:
      anthem search products 'fire tv'
      anthem search products 'fire tv' --rerank client --explain
      anthem search products 'fire tv OR kindle' --operators
      anthem search products 'fire tv' --rerank filter --slack 0.2
    """
    encoder = Encoder(load_bundle(bundle))
    rerank_mode = _with_slack(mode, slack)
    with closing(connect(url, credentials=True)) as cluster, cluster_errors():
        client = AnthemClient(cluster, encoder, ClientOptions(text_fields=(field,) if field else None))
        profile = client.profile(index)
        field = field or profile.text_fields[0]
        body = {"query": {"match": {field: {"query": query}}}, "size": size}
        before = _search_plainly(client, index, body, window)
        sent = body | _source_setting(field, profile, explaining)
        after = client.search(index, sent, mode=rerank_mode, window=window, operators=operators, preference=_PREFERENCE)
        if not before["hits"]["hits"]:
            _check_field(cluster, index, field)
        remarks = _remarks(after, cluster, index, bundle, profile)
    result: dict[str, Any] = {"index": index, "query": query, **after["anthem"], **remarks}
    result["hits"] = hit_rows(before, after, field)
    if explaining:
        _add_explanations(result, after, split_query_text(query, operators=operators), encoder, profile)
    print_result(result, format_result(result), as_json=as_json)


def _search_plainly(client: AnthemClient, index: str, body: Mapping[str, Any], window: int) -> Response:
    """The plain search, wide enough to give the former rank of every hit of the window."""
    wide = {**body, "size": max(body["size"], window), "_source": False}
    return client.search(index, wide, mode="none", preference=_PREFERENCE)


def _source_setting(field: str, profile: IndexProfile, explaining: bool) -> dict[str, Any]:
    fields = profile.scoring.fields
    return {"_source": [field, fields.model, fields.vector] if explaining else [field]}


def _with_slack(mode: ModeName, slack: float | None) -> RerankMode:
    if slack is None:
        return mode
    if mode != "filter":
        raise click.BadParameter(f"applies to --rerank filter, not to {mode}", param_hint="--slack")
    if not isfinite(slack):
        raise click.BadParameter("expected a finite number", param_hint="--slack")
    return Filter(slack)


def _remarks(
    after: Response, cluster: OpenSearch, index: str, bundle: str, profile: IndexProfile
) -> dict[str, str | None]:
    """Reason and note; if vectors are missing, both name the command that adds them and keeps those of other models."""
    remarks = {"reason": after["anthem"]["reason"], "note": missing_vectors_note(after, index)}
    reason = no_vectors_reason(index)
    if not any(text and reason in text for text in remarks.values()):
        return remarks
    others = cluster.count(index=index, body={"query": {"exists": {"field": profile.scoring.fields.vector}}})["count"]
    command = f"{reason} --bundle {quote(bundle)}{' --beside' if others else ''}"
    return {key: text and text.replace(reason, command) for key, text in remarks.items()}


def missing_vectors_note(after: Response, index: str) -> str | None:
    """Note on hits that were reranked by attention alone, because none has a vector."""
    report = after["anthem"]
    uses_vectors = not report["reranked"] or "containment" in report["signals"]
    return None if uses_vectors else f"reranked by attention alone: {no_vectors_reason(index)}"


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


def hit_rows(before: Response, after: Response, field: str) -> list[dict[str, Any]]:
    """Reranked hits with both ranks, both scores and title; `before` is None for a hit past the plain window."""
    former = {_hit_key(hit): (rank, hit["_score"]) for rank, hit in enumerate(before["hits"]["hits"], start=1)}
    rows = []
    for rank, hit in enumerate(after["hits"]["hits"], start=1):
        former_rank, lexical = former.get(_hit_key(hit), (None, None))
        title = value_at_path(hit.get("_source", {}), field)
        row = {"rank": rank, "before": former_rank, "id": hit["_id"], "title": title}
        rows.append(row | {"score": hit["_score"], "lexical": lexical})
    return rows


def _hit_key(hit: Mapping[str, Any]) -> tuple[str, str]:
    return hit["_index"], hit["_id"]


def _add_explanations(
    result: dict[str, Any], after: Response, phrases: Sequence[str], encoder: Encoder, profile: IndexProfile
) -> None:
    encode_query, vocabulary = cache(encoder.encode_query), encoder.bundle.vocabulary
    distinct_phrases = list(dict.fromkeys(phrases))
    region = encode_phrases(encode_query, distinct_phrases)
    if region is None:
        return
    weights = [
        pair
        for phrase in distinct_phrases
        if (query := encode_query(phrase)) is not None
        for pair in strongest_attention(query, phrase, vocabulary)
    ]
    result["attention"] = sorted(weights, key=lambda pair: -pair[1])[:_SHOWN_ATTENTION_WEIGHTS]
    for row, hit in zip(result["hits"], after["hits"]["hits"], strict=True):
        explanation = explain_hit(hit, region, profile.scoring)
        row["explanation"] = explanation and explanation.to_dict()


def format_result(result: Mapping[str, Any]) -> str:
    """A search as text: a line on how it was ranked, one line per hit, and explanations if there are any."""
    how = ": ".join(filter(None, (result["mode"], result["reason"])))
    ranked = (
        f"{'filtered' if result['mode'] == 'filter' else 'reranked'} ({how})"
        if result["reranked"]
        else f"not reranked: {result['reason']}"
    )
    lines = [printable(f"'{result['query']}' in {result['index']}, {result['took_ms']:.1f} ms, {ranked}")]
    if not result["hits"]:
        return f"{lines[0]}\nNo product matches."
    if result["note"]:
        lines.append(f"Note: {result['note']}")
    lines.append(f"{'rank':>4} {'was':>4} {'':>5} {'score':>9}  title")
    for row in result["hits"]:
        lines.append(_format_row(row))
        if "explanation" in row:
            lines.append(f"{'':26}{_format_explanation(row)}")
    if "attention" in result:
        weights = ", ".join(f"{name} {share:.2f}" for name, share in result["attention"])
        lines.append(f"Strongest attention of the query: {weights}")
    return "\n".join(lines)


def _format_row(row: Mapping[str, Any]) -> str:
    before = row["before"]
    former, title = "–" if before is None else str(before), printable(str(row["title"]))
    return f"{row['rank']:>4} {former:>4} {_format_movement(row['rank'], before):>5} {row['score']:>9.4f}  {title}"


def _format_movement(rank: int, before: int | None) -> str:
    if before is None or before == rank:
        return "" if before else "new"
    return f"{'▲' if before > rank else '▼'}{abs(before - rank)}"


def _format_explanation(row: Mapping[str, Any]) -> str:
    lexical = f"lexical {row['lexical']:.3f}, " if row["lexical"] is not None else ""
    explanation = row["explanation"]
    if explanation is None:
        return f"{lexical}no vector of this model"
    margins = ", ".join(f"{margin['value']:+.3f} in {margin['dimension']}" for margin in explanation["margins"])
    contained = "contained" if explanation["contained"] else "not contained"
    return f"{lexical}distance {explanation['distance']:.3f}, {contained}, tightest margins {margins}"
