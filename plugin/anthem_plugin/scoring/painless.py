"""The stored Painless script that scores and filters products in the cluster, and its parameters.

It computes the containment formula of `anthem_core.geometry`, the attention score of `anthem_core.encoding.attention`
and the fusion of `anthem_core.fusion`; tests check that Painless and numpy agree.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from anthem_core.fusion import MAX_SHIFT
from anthem_core.opensearch.schema import SCRIPT_ID_PREFIX
from anthem_plugin.modes import Filter
from anthem_plugin.scoring.painless_source import FUNCTIONS_SOURCE, SCORE_SOURCE
from anthem_plugin.scoring.params import ATTENTION, CONTAINMENT, ScoringParams, to_float64

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_core.encoding.attention import AttentionTable
    from anthem_core.geometry.regions import EncodedQuery, Region
    from anthem_plugin.scoring.params import Signals

SCRIPT_CONTEXT = "score"
MAX_HYPERBOLOIDS = 8  # in one call of the script

_NO_ROW = ord(" ")  # in the string of rows; the next code is row 0


def script_source() -> str:
    """Source of the stored script, which scores or filters products.

    To rerank, it returns `(s + h)·exp(B·tanh(m/B))` with `m = w_a·(a − median_a) − w_c·(d − median_d)`: never NaN or
    negative, and as long as the scores are below the largest float32, in the order of `s` where `m` is equal. The
    distance `d` counts if `centres` are given, the attention score `a` if `tables` are. A product without a vector or
    trigrams of this model gets the median, as does one whose field holds anything else.

    To filter, which the parameter `slack` selects, it returns 1 for a product with every `|z_i| ≤ l_i + slack`, 0 for
    others, and the parameter `unknown` for a product without a vector.
    """
    return FUNCTIONS_SOURCE + SCORE_SOURCE


def script_id() -> str:
    """Id of the stored script. It contains a hash of the source, so two versions can coexist during an upgrade."""
    return SCRIPT_ID_PREFIX + hashlib.sha256(script_source().encode()).hexdigest()[:8]


def build_put_script_body() -> dict[str, Any]:
    """Build the body of `PUT _scripts/<script_id()>/score`."""
    return {"script": {"lang": "painless", "source": script_source()}}


def build_score_script(
    region: Region | None, scoring: ScoringParams, tables: Sequence[AttentionTable] = ()
) -> dict[str, Any]:
    """Build the reference to the stored script for a `script_score` that ranks by the signals of an index.

    Containment counts if a region is given and the index has vectors, attention if tables are given, one per phrase of
    the query, and the index has trigrams; of several tables the highest score counts.

    Raises:
        KeyError: Neither of them counts.
    """
    region = region if scoring.signals >= CONTAINMENT else None
    tables = tables if scoring.signals >= ATTENTION else ()
    signals = (CONTAINMENT if region is not None else frozenset()) | (ATTENTION if tables else frozenset())
    params = {**model_params(scoring), **fusion_params(scoring, signals)}
    if region is not None:
        params |= region_params(region, scoring)
    if tables:
        params |= {"trigrams": scoring.fields.trigrams, "tables": [table_params(table) for table in tables]}
    return {"id": script_id(), "params": params}


def build_filter_script(region: Region, scoring: ScoringParams, mode: Filter | None = None) -> dict[str, Any]:
    """Build the reference to the stored script for a filter: 1 within limits and slack, 0 outside."""
    mode = mode or Filter()
    slack = scoring.slack if mode.slack is None else mode.slack
    params = {**model_params(scoring), **region_params(region, scoring), "slack": slack, "unknown": float(mode.unknown)}
    return {"id": script_id(), "params": params}


def model_params(scoring: ScoringParams) -> dict[str, Any]:
    """Parameters by which the script recognises values of this model."""
    return {"model_field": scoring.fields.model, "model": scoring.model_id}


def fusion_params(scoring: ScoringParams, signals: Signals) -> dict[str, float]:
    """Parameters by which the script fuses these signals of the model with the lexical score.

    Raises:
        KeyError: The model cannot rank by them.
    """
    fusion = scoring.fusion_for(signals)
    params = {"max_shift": MAX_SHIFT, "lexical_offset": fusion.lexical_offset}
    if signals >= CONTAINMENT:
        params |= {"containment": fusion.containment, "median_distance": fusion.median_distance}
    if signals >= ATTENTION:
        params |= {"attention": fusion.attention, "median_attention": fusion.median_attention}
    return params


def region_params(region: Region, scoring: ScoringParams) -> dict[str, Any]:
    """Parameters for containment in a region: the field of the vectors, hyperboloids and γ."""
    queries = to_float64(region).queries()
    return {
        "vector": scoring.fields.vector,
        "vector_step": scoring.vector_step,
        "centres": np.concatenate([query.centres for query in queries]).tolist(),
        "limits": np.concatenate([query.limits for query in queries]).tolist(),
        "weights": np.concatenate([query.weights for query in queries]).tolist(),
        "gamma": scoring.gamma,
        **(_compound_params(region, queries) if len(queries) > 1 else {}),
    }


def _compound_params(region: Region, queries: Sequence[EncodedQuery]) -> dict[str, Any]:
    """Number of hyperboloids of each query, and how the queries combine: the minimum over alternatives of maxima."""
    counts = [len(query.weights) for query in queries]
    return {"counts": counts, "alternatives": [list(alternative) for alternative in region.alternatives()]}


def table_params(table: AttentionTable) -> dict[str, Any]:
    """An attention table as the script reads it: `attention` and the defaults by trigram, `rows` and `entries` by id.

    `rows` has a character for every id up to the last with a row: code 33 for row 0, 34 for row 1, and a space for no
    row. A row of `entries` is `[explained, i, answered, answered_cells, …]`, with three numbers for every trigram `i`
    of the query whose entries differ from the defaults. Painless found a row in the string twice as fast as in sorted
    ids.
    """
    answered, cells = table.answered, table.answered_cells
    differs = (answered[:-1] != answered[-1]) | (cells[:-1] != cells[-1])
    entries: list[list[float]] = [[explained] for explained in table.explained[:-1].tolist()]
    rows, columns = np.nonzero(differs)
    own = (rows.tolist(), columns.tolist(), answered[rows, columns].tolist(), cells[rows, columns].tolist())
    for row, column, *values in zip(*own, strict=True):
        entries[row] += (column, *values)
    return {
        "rows": _rows_by_id(table),
        "entries": entries,
        "attention": table.attention.tolist(),
        "default_explained": float(table.explained[-1]),
        "default_answered": answered[-1].tolist(),
        "default_answered_cells": cells[-1].tolist(),
    }


def _rows_by_id(table: AttentionTable) -> str:
    """The row of every id as a character, a space for an id without one."""
    codes = np.full(int(table.ids.max(initial=-1)) + 1, _NO_ROW, "<u2")
    codes[table.ids] = np.arange(_NO_ROW + 1, _NO_ROW + 1 + len(table.ids))
    return codes.tobytes().decode("utf-16-le")


def too_many_hyperboloids_reason(region: Region) -> str | None:
    """Why a region has too many hyperboloids for the script, or None if it does not."""
    count = sum(len(query.weights) for query in to_float64(region).queries())
    if count <= MAX_HYPERBOLOIDS:
        return None
    return f"the query has {count} hyperboloids, but the script takes at most {MAX_HYPERBOLOIDS}"
