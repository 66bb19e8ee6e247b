"""Finds what gives scores or an order outside a body's `query`: such a body is left alone, with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OWN_RESCORE_REASON = (
    "the body has a `rescore` of its own, whose order is kept; to rank by ANTHEM, remove it from the body"
)
INDICES_BOOST_REASON = (
    "`indices_boost` changes scores outside the query, where the script does not see it; use client mode"
)
OWN_PIPELINE_REASON = (
    "the body's `search_pipeline` has a `{}` processor, which may change the order; "
    "to rank by ANTHEM, remove it from the pipeline"
)
OWN_EXTENSION_REASON = "`ext.{0}` makes OpenSearch rank the hits again; to rank by ANTHEM, remove it from the body"

# Processors of OpenSearch that change neither scores nor order. All others may, including those of plugins.
_ORDER_KEEPING_PROCESSORS = frozenset(
    (
        "collapse", "filter_query", "hybrid_score_explanation", "neural_query_enricher", "oversample", "rename_field",
        "retrieval_augmented_generation", "script", "sort", "split", "truncate_hits",
    )
)  # fmt: skip
_PROCESSOR_LISTS = ("request_processors", "phase_results_processors", "response_processors")
_RANKING_EXTENSIONS = ("mmr", "personalize_request_parameters", "rerank")


def own_scores_reason(body: Mapping[str, Any], *, boosts_indices: bool = False) -> str | None:
    """Why the scores of a body must be left alone, or None if only its query gives scores.

    `boosts_indices` says that the mode ranks by scores that already contain `indices_boost`, which is then no reason.
    A pipeline that the body names but does not define cannot be checked here.
    """
    if body.get("rescore", []) != []:
        return OWN_RESCORE_REASON
    if body.get("indices_boost") and not boosts_indices:
        return INDICES_BOOST_REASON
    for processor in _inline_processors(body.get("search_pipeline")):
        if processor not in _ORDER_KEEPING_PROCESSORS:
            return OWN_PIPELINE_REASON.format(processor)
    extensions = body.get("ext")
    own_ranking = [name for name in _RANKING_EXTENSIONS if isinstance(extensions, dict) and name in extensions]
    return OWN_EXTENSION_REASON.format(own_ranking[0]) if own_ranking else None


def _inline_processors(pipeline: object) -> Iterator[str]:
    """Types of the processors of a pipeline that is defined in the body; OpenSearch rejects any other form of it."""
    lists = [pipeline.get(key) for key in _PROCESSOR_LISTS] if isinstance(pipeline, dict) else []
    for processors in lists:
        for processor in processors if isinstance(processors, list) else ():
            yield from processor if isinstance(processor, dict) else ()
