"""`anthem search`: one search, before and after."""

from __future__ import annotations

from contextlib import closing
from math import isfinite
from shlex import quote
from typing import TYPE_CHECKING, Any, get_args

import click

from anthem_core.console import handle_errors, json_option, print_result, printable
from anthem_core.encoding.bundle import load_bundle
from anthem_core.encoding.encoder import Encoder
from anthem_core.encoding.query_operators import split_phrases, unite_queries
from anthem_core.errors import ClusterError
from anthem_core.opensearch.connection import cluster_errors, connect
from anthem_plugin.client import AnthemClient
from anthem_plugin.modes import DEFAULT_WINDOW, Filter, ModeName
from anthem_plugin.rewriter.query_text import value_at_path
from anthem_plugin.search.discovery import adapt_to_release, fields_of
from anthem_plugin.search.explain import explain_hit, strongest_attention
from anthem_plugin.search.request import no_vectors_reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opensearchpy import OpenSearch

    from anthem_core.encoding.tokenizer import Vocabulary
    from anthem_core.geometry.regions import EncodedQuery
    from anthem_core.opensearch.schema import VectorFields
    from anthem_plugin.scoring.params import ScoringParams
    from anthem_plugin.search.request import Response

# Both searches ask the same copies of the shards: another copy may break ties another way.
_PREFERENCE = "anthem"
_STRONGEST = 5  # entities and intersections that are shown


@click.command()
@click.argument("index")
@click.argument("query")
@click.option(
    "--bundle", default="general", show_default=True, help="Folder of a bundle, or the name of one that ships."
)
@click.option(
    "--rerank",
    "mode",
    type=click.Choice(get_args(ModeName)),
    default="cluster",
    show_default=True,
    help="cluster: rerank by a script there; client: in this process; filter: leave out what is not contained; "
    "retrieve: add what is near, and rerank; none: search plainly.",
)
@click.option("--slack", type=float, help="With --rerank filter: what is added to every limit, if not the bundle's.")
@click.option("--explain", "explaining", is_flag=True, help="Say why each hit stands where it stands.")
@click.option("--operators", is_flag=True, help="OR between phrases of QUERY asks for either: 'fire OR kindle'.")
@click.option("--field", default="title", show_default=True, help="Text field that is searched and shown.")
@click.option("--size", type=click.IntRange(1, 1000), default=10, show_default=True, help="Hits to show.")
@click.option(
    "--window",
    type=click.IntRange(1, 10_000),
    default=DEFAULT_WINDOW,
    show_default=True,
    help="Lexical hits that are reranked; in cluster mode on every shard.",
)
@click.option(
    "--url",
    help="The cluster, signed in to as docs/permissions.md says; else OPENSEARCH_URL, else the local node.",
)
@json_option
@handle_errors
def search(  # noqa: PLR0913 (an argument an option)
    *,
    index: str,
    query: str,
    bundle: str,
    mode: ModeName,
    slack: float | None,
    explaining: bool,
    operators: bool,
    field: str,
    size: int,
    window: int,
    url: str | None,
    as_json: bool,
) -> None:
    """Search INDEX for QUERY and show each hit's rank before and after reranking.

    A search that is not reranked is shown all the same, and says why. Exit codes: 0 searched, 3 the bundle cannot be
    used, 6 the cluster refuses or cannot be reached, or has no such field.

    \b
    Example:
      anthem search products 'fire tv'
      anthem search products 'fire tv' --rerank client --explain
      anthem search products 'fire tv OR kindle' --operators
      anthem search products 'fire tv' --rerank filter --slack 0.2
    """
    how = _how(mode, slack)
    loaded = load_bundle(bundle)
    body = {"query": {"match": {field: {"query": query}}}, "size": size}
    with closing(connect(url, credentials=True)) as cluster, cluster_errors():
        encoder = Encoder(adapt_to_release(cluster, loaded))
        fields = fields_of(cluster, index, loaded.model)
        client = AnthemClient(cluster, encoder, fields=fields, text_fields=(field,))
        shown = [field, fields.model, fields.vector] if explaining else [field]
        wide = {**body, "size": max(size, window), "_source": False}
        before = client.search(index, wide, mode="none", preference=_PREFERENCE)
        after = client.search(
            index, {**body, "_source": shown}, mode=how, window=window, operators=operators, preference=_PREFERENCE
        )
        if not before["hits"]["hits"]:
            _check_field(cluster, index, field)
        told = _told(after, cluster, index, bundle, fields)
    result: dict[str, Any] = {"index": index, "query": query, **after["anthem"], **told}
    result["hits"] = rows(before, after, field)
    if explaining:
        texts = split_phrases(query) if operators else [query]
        asked = {text: found for text in texts if (found := encoder.query(text)) is not None}
        _explain(result, after, asked, client.scoring, encoder.bundle.vocabulary)
    print_result(result, as_text(result), as_json=as_json)


def _how(mode: ModeName, slack: float | None) -> ModeName | Filter:
    if slack is None:
        return mode
    if mode != "filter":
        raise click.BadParameter(f"goes with --rerank filter, not with {mode}", param_hint="--slack")
    if not isfinite(slack):
        raise click.BadParameter("a finite number was wanted", param_hint="--slack")
    return Filter(slack)


def _told(after: Response, cluster: OpenSearch, index: str, bundle: str, fields: VectorFields) -> dict[str, str | None]:
    """Reason and note; where vectors are wanting, with a command that names the bundle and spares another model's."""
    said, plain = {"reason": after["anthem"]["reason"], "note": note(after, index)}, no_vectors_reason(index)
    if not any(text and plain in text for text in said.values()):
        return said
    others = cluster.count(index=index, body={"query": {"exists": {"field": fields.vector}}})["count"]
    named = f"{plain} --bundle {quote(bundle)}{' --beside' if others else ''}"
    return {key: text and text.replace(plain, named) for key, text in said.items()}


def note(after: Response, index: str) -> str | None:
    """What is odd about hits that were reranked: that attention alone did it, for want of vectors."""
    found = after["anthem"]
    vectors = not found["reranked"] or "containment" in found["signals"]
    return None if vectors else f"reranked by attention alone: {no_vectors_reason(index)}"


def _check_field(cluster: OpenSearch, index: str, field: str) -> None:
    """Tell a field that is nowhere in the index from one in which nothing was found.

    Raises:
        ClusterError: No index of this name has such a field.
    """
    mappings = cluster.indices.get_field_mapping(fields="*", index=index)
    leaves = [leaf for found in mappings.values() for leaf in found["mappings"].values()]
    kinds = {leaf["full_name"]: kind.get("type") for leaf in leaves for kind in leaf["mapping"].values()}
    if field not in kinds:
        texts = ", ".join(sorted(name for name, kind in kinds.items() if kind == "text"))
        raise ClusterError(f"{index} has no field '{field}'; its text fields are: {texts or 'none'}. Give one: --field")


def rows(before: Response, after: Response, field: str) -> list[dict[str, Any]]:
    """Hits of the later response with both ranks, both scores and title; `before` is None below the former's last."""
    former = {_key(hit): (rank, hit["_score"]) for rank, hit in enumerate(before["hits"]["hits"], start=1)}
    result = []
    for rank, hit in enumerate(after["hits"]["hits"], start=1):
        was, lexical = former.get(_key(hit), (None, None))
        row = {"rank": rank, "before": was, "id": hit["_id"], "title": value_at_path(hit.get("_source", {}), field)}
        result.append(row | {"score": hit["_score"], "lexical": lexical})
    return result


def as_text(result: dict[str, Any]) -> str:
    """A search for people: a line on how it was ranked, a line a hit, and why where that was asked for."""
    how = ": ".join(filter(None, (result["mode"], result["reason"])))
    ranked = (
        f"{'filtered' if result['mode'] == 'filter' else 'reranked'} ({how})"
        if result["reranked"]
        else f"not reranked: {result['reason']}"
    )
    lines = [printable(f"{result['query']} in {result['index']}, {result['took_ms']:.1f} ms, {ranked}")]
    if not result["hits"]:
        return f"{lines[0]}\nNo product matches."
    if result["note"]:
        lines.append(f"Note: {result['note']}")
    lines.append(f"{'rank':>4} {'was':>4} {'':>5} {'score':>9}  title")
    for row in result["hits"]:
        lines.append(_row_text(row))
        if "explanation" in row:
            lines.append(f"{'':26}{_explanation_text(row)}")
    if "attention" in result:
        strongest = ", ".join(f"{name} {share:.2f}" for name, share in result["attention"])
        lines.append(f"The query looks most at: {strongest}")
    return "\n".join(lines)


def _key(hit: dict[str, Any]) -> tuple[str, str]:
    return hit["_index"], hit["_id"]


def _explain(
    result: dict[str, Any],
    after: Response,
    asked: Mapping[str, EncodedQuery],
    scoring: ScoringParams,
    vocabulary: Vocabulary,
) -> None:
    query = unite_queries(asked.values())
    if query is None:
        return
    strongest = [pair for text, one in asked.items() for pair in strongest_attention(one, text, vocabulary)]
    result["attention"] = sorted(strongest, key=lambda pair: -pair[1])[:_STRONGEST]
    for row, hit in zip(result["hits"], after["hits"]["hits"], strict=True):
        explanation = explain_hit(hit, query, scoring)
        row["explanation"] = explanation and explanation.to_dict()


def _row_text(row: dict[str, Any]) -> str:
    before = row["before"]
    was, title = "–" if before is None else str(before), printable(str(row["title"]))
    return f"{row['rank']:>4} {was:>4} {_movement(row['rank'], before):>5} {row['score']:>9.4f}  {title}"


def _movement(rank: int, before: int | None) -> str:
    if before is None or before == rank:
        return "" if before else "new"
    return f"{'▲' if before > rank else '▼'}{abs(before - rank)}"


def _explanation_text(row: dict[str, Any]) -> str:
    lexical = f"lexical {row['lexical']:.3f}, " if row["lexical"] is not None else ""
    found = row["explanation"]
    if found is None:
        return f"{lexical}no vector of this model"
    margins = ", ".join(f"{margin['value']:+.3f} in {margin['dimension']}" for margin in found["margins"])
    where = "contained" if found["contained"] else "not contained"
    return f"{lexical}distance {found['distance']:.3f}, {where}, tightest margins {margins}"
