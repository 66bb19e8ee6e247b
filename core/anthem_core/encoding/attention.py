"""The attention score of titles, run by ONNX Runtime: every trigram of the query against every trigram of a title."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from anthem_core.encoding.bundle import ATTENTION_GRAPH, Bundle
from anthem_core.encoding.encoder import open_session
from anthem_core.encoding.tokenizer import extract_trigrams, unpack_ids
from anthem_core.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_core.geometry.lorentz import Array

ATTENTION_INPUTS = ("query", "query_mask", "titles", "title_mask")
ATTENTION_OUTPUTS = ("scores", "grids")
MAX_BATCH_TRIGRAMS = 4096  # title trigrams per run of the graph, padding included


@dataclass(frozen=True, slots=True)
class TitleGrid:
    """How well a title answers a query: `cells (T, L)`, a row per query trigram, a column per title trigram."""

    query: list[str]
    title: list[str]
    cells: Array
    score: float


class AttentionScorer:
    """Attention scores from the attention graph of a bundle, which is read at first use; thread-safe.

    Raises:
        BundleError: The bundle has no attention graph; or, at first use, ONNX Runtime cannot read the graph or its
            inputs and outputs are not the expected ones.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        if not bundle.has_attention:
            raise BundleError(
                f"{bundle.path} has no {ATTENTION_GRAPH}, which the attention score needs. "
                "Use a bundle that has one, or rank without attention."
            )
        self.bundle = bundle
        self._threads = threads

    def score_titles(self, query: str, titles: Sequence[str]) -> Array:
        """Score of each title for a query text, `(N,)`; higher is better.

        NaN for a title without letters or digits, and for every title if the query has none.
        """
        vocabulary = self.bundle.vocabulary
        query_ids = vocabulary.packed_ids(query, vocabulary.query_limit)
        title_ids = [vocabulary.packed_ids(title, vocabulary.title_limit) for title in titles]
        scores = np.full(len(titles), np.nan, np.float32)
        for batch in _batch_by_length(title_ids) if query_ids else ():
            (scores[batch],) = self._run(["scores"], query_ids, [title_ids[number] for number in batch])
        return scores

    def explain_title(self, query: str, title: str) -> TitleGrid | None:
        """Grid of one title with its trigrams; None if the query or the title has no letters or digits."""
        vocabulary = self.bundle.vocabulary
        query_ids = vocabulary.packed_ids(query, vocabulary.query_limit)
        title_ids = vocabulary.packed_ids(title, vocabulary.title_limit)
        if not (query_ids and title_ids):
            return None
        scores, grids = self._run(ATTENTION_OUTPUTS, query_ids, [title_ids])
        query_trigrams = extract_trigrams(query, vocabulary.query_limit)
        title_trigrams = extract_trigrams(title, vocabulary.title_limit)
        return TitleGrid(query_trigrams, title_trigrams, grids[0], float(scores[0]))

    def _run(self, outputs: Sequence[str], query_ids: bytes, title_ids: Sequence[bytes]) -> list[Array]:
        values = (*unpack_ids([query_ids]), *unpack_ids(title_ids))
        result: list[Array] = self._graph.run(list(outputs), dict(zip(ATTENTION_INPUTS, values, strict=True)))
        return result

    @cached_property
    def _graph(self) -> Any:  # noqa: ANN401 (ONNX Runtime has no types)
        path = self.bundle.path / ATTENTION_GRAPH
        graph = open_session(path, self._threads)
        names = tuple(tuple(value.name for value in values) for values in (graph.get_inputs(), graph.get_outputs()))
        if names != (ATTENTION_INPUTS, ATTENTION_OUTPUTS):
            raise BundleError(
                f"{path} has inputs and outputs {names}; expected {(ATTENTION_INPUTS, ATTENTION_OUTPUTS)}. "
                "Copy the whole folder again, or run `anthem export` again."
            )
        return graph


def _batch_by_length(rows: Sequence[bytes]) -> list[list[int]]:
    """Indices of the non-empty rows, grouped by similar length: padding costs as much to compute as text."""
    order = sorted((number for number, row in enumerate(rows) if row), key=lambda number: len(rows[number]))
    batches: list[list[int]] = []
    for number in order:
        if not batches or (len(batches[-1]) + 1) * len(rows[number]) > 8 * MAX_BATCH_TRIGRAMS:
            batches.append([])
        batches[-1].append(number)
    return batches
