"""Checks a response for failed shards, reranks its hits in numpy, and cuts them to what the caller expects."""

from __future__ import annotations

from base64 import b64decode
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from anthem_core.encoding.stored_vectors import read_vector, unpack_points
from anthem_core.encoding.title_entities import TitleEntities
from anthem_core.fusion import QUERY_WEIGHT
from anthem_core.opensearch.connection import innermost_reason
from anthem_core.opensearch.schema import VALUE_OF_SIGNAL
from anthem_plugin.modes import DEFAULT_WINDOW
from anthem_plugin.rewriter.inner_hits import restore_suggestions
from anthem_plugin.rewriter.rescore import page_bounds
from anthem_plugin.rewriter.source_filtering import read_model_object, restore_source
from anthem_plugin.scoring.window import point_distances, rank_descending, score_window
from anthem_plugin.search.request import RerankSkipped, ShardsFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anthem_core.encoding.stored_vectors import Vector
    from anthem_core.geometry.lorentz import Array
    from anthem_core.geometry.regions import Region
    from anthem_plugin.scoring.params import ScoringParams
    from anthem_plugin.search.request import Response, SearchRequest, Steps

Hit: TypeAlias = dict[str, Any]


def check_shards(request: SearchRequest, response: Response) -> Steps[Response]:
    """The response, unless reranking failed on shards on which the plain search succeeds.

    Raises:
        ShardsFailed: Reranking failed on such a shard.
        RerankSkipped: The response has no `_shards`.
    """
    shards = response.get("_shards", {})
    if "failed" not in shards:
        raise RerankSkipped("`filter_path` removes `_shards`, which shows failed shards; add `_shards` to it")
    if not shards["failed"]:
        return response
    plain = yield request.search_step()
    if plain["_shards"]["failed"] >= shards["failed"]:
        return response
    causes = [failure["reason"] for failure in shards.get("failures", []) if failure.get("reason")]
    cause = (innermost_reason(causes[0]) if causes else None) or "OpenSearch gives no reason"
    failed_shards = f"{shards['failed']} of {shards['total']} shards"
    raise ShardsFailed(f"{failed_shards} failed while reranking: {cause}", plain, causes)


def rerank_hits(
    hits: Sequence[Hit],
    scoring: ScoringParams,
    *,
    window: int = DEFAULT_WINDOW,
    distance: Array | None = None,
    attention: Array | None = None,
) -> list[Hit]:
    """Rerank the first `window` hits and set their `_score`; the other hits follow in their lexical order.

    `distance` and `attention` have one score per hit of the window, NaN if unknown; None leaves the signal out. Ties
    keep their lexical order.

    Raises:
        ValueError: The score of a hit is not a finite number.
    """
    lexical = np.array([hit["_score"] for hit in hits], np.float64)
    window_scores = score_window(lexical[:window], scoring, distance=distance, attention=attention)
    other_scores = np.float32(QUERY_WEIGHT) * lexical[window:].astype(np.float32)
    scores = np.concatenate([window_scores, other_scores])
    if not np.isfinite(scores).all():
        raise ValueError("the score of a hit is not a finite number")
    order = [*rank_descending(window_scores), *range(len(window_scores), len(hits))]
    return [{**hits[number], "_score": float(scores[number])} for number in order]


def narrow_to_page(
    response: Mapping[str, Any],
    body: Mapping[str, Any],
    ranked: Sequence[Hit],
    scoring: ScoringParams,
    text_fields: Sequence[str] = (),
) -> dict[str, Any]:
    """Cut the response of a window body to the page and the sources that the caller's `body` requests."""
    start, size = page_bounds(body)
    page = [restore_source(hit, body, scoring.fields, text_fields) for hit in ranked[start : start + size]]
    best = ranked[0]["_score"] if ranked else response["hits"].get("max_score")
    suggested = restore_suggestions(response, body, scoring.fields, text_fields)
    return {**response, **suggested, "hits": {**response["hits"], "max_score": best, "hits": page}}


def hit_distances(hits: Sequence[Hit], region: Region, scoring: ScoringParams) -> Array:
    """Distance of each hit to the query, `(N,)`; NaN for a hit without a vector of this model and dimension."""
    vectors = [_read_vector(hit, scoring) for hit in hits]
    known = [vector for vector in vectors if vector is not None]
    points = iter(unpack_points(np.array(known), scoring.vector_step) if known else ())
    return point_distances([None if vector is None else next(points) for vector in vectors], region, scoring)


def read_point(hit: Hit, scoring: ScoringParams) -> Array | None:
    """Point `(D+1,)` of a hit in float64; None without a vector of this model."""
    vector = _read_vector(hit, scoring)
    return None if vector is None else unpack_points(vector, scoring.vector_step)


def _read_vector(hit: Hit, scoring: ScoringParams) -> Vector | None:
    return read_vector(_read_values(hit, scoring).get("vector"), scoring.dimension)


def read_trigrams(hits: Sequence[Hit], scoring: ScoringParams) -> TitleEntities:
    """Stored trigrams of hits; a hit has no entities without those of this model, or if its bytes are malformed.

    Of several values the smallest by its bytes counts, which is the one that the script reads.
    """
    stored = [smallest_trigrams(_read_values(hit, scoring).get("trigrams")) for hit in hits]
    return TitleEntities.unpack(stored, skip_malformed=True)


def smallest_trigrams(stored: object) -> bytes:
    """The value of a binary field in base64, the smallest of several by its bytes; empty without one."""
    values = stored if isinstance(stored, list) else [stored]
    return min((_decode(value) for value in values if isinstance(value, str)), default=b"")


def _decode(value: str) -> bytes:
    try:
        return b64decode(value + "=" * (-len(value) % 4), validate=True)  # doc values have no padding
    except ValueError:
        return b""


def has_model(hit: Hit, scoring: ScoringParams) -> bool:
    """Whether a hit was ingested with this model, in an index that maps one of its values correctly."""
    return bool(_read_values(hit, scoring))


def _read_values(hit: Hit, scoring: ScoringParams) -> dict[str, Any]:
    """What the source of a hit stores for this model; empty if it belongs to another one.

    A value that the hit's index maps as another type is left out, because the script does not read it either.
    """
    stored = read_model_object(hit.get("_source", {}), scoring.fields)
    if _read_model_id(stored.get("model")) != scoring.model_id:
        return {}
    unreadable = scoring.signals - scoring.readable_signals(hit.get("_index"))
    if unreadable and unreadable == scoring.signals:
        return {}
    hidden = {VALUE_OF_SIGNAL[signal] for signal in unreadable}
    return {key: value for key, value in stored.items() if key not in hidden}


def _read_model_id(value: object) -> object:
    """Model id of a source; the smallest id of a list, as the script reads it."""
    if not isinstance(value, list):
        return value
    return min((str(item) for item in value if item is not None), default=None)
