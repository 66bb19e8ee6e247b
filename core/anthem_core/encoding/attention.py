"""The attention score of titles: every trigram of a title seen by every trigram of the query, in ONNX Runtime."""

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
MAX_BATCH_TRIGRAMS = 4096  # trigrams of the titles that share a run, padding included


@dataclass(frozen=True, slots=True)
class TitleGrid:
    """How a title answers a query: `cells (T, L)`, a row a trigram of the query, a column one of the title."""

    query: list[str]
    title: list[str]
    cells: Array
    score: float


class AttentionScorer:
    """Attention scores with the graph of a bundle, which is read when it is first used; safe to share between threads.

    Raises BundleError when the bundle has no such graph and, at first use, when ONNX Runtime cannot read it or it has
    other inputs or outputs.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        if not bundle.attends:
            raise BundleError(
                f"{bundle.path} has no {ATTENTION_GRAPH}, which the attention score needs. "
                "Use a bundle that has one, or rank without attention."
            )
        self.bundle = bundle
        self._threads = threads

    def scores(self, query: str, titles: Sequence[str]) -> Array:
        """Score of each title for a query text, `(N,)`; the higher the better.

        NaN for a title without letters or digits, and for all titles of such a query.
        """
        vocabulary = self.bundle.vocabulary
        asked = vocabulary.packed(query, vocabulary.query_limit)
        rows = [vocabulary.packed(title, vocabulary.title_limit) for title in titles]
        result = np.full(len(rows), np.nan, np.float32)
        for batch in _batch_by_length(rows) if asked else ():
            (result[batch],) = self._run(["scores"], asked, [rows[number] for number in batch])
        return result

    def grid(self, query: str, title: str) -> TitleGrid | None:
        """Grid of one title with its trigrams; None where query or title has no letters or digits."""
        vocabulary = self.bundle.vocabulary
        texts = ((query, vocabulary.query_limit), (title, vocabulary.title_limit))
        asked, row = (vocabulary.packed(text, limit) for text, limit in texts)
        if not (asked and row):
            return None
        scores, grids = self._run(ATTENTION_OUTPUTS, asked, [row])
        rows, columns = (extract_trigrams(text, limit) for text, limit in texts)
        return TitleGrid(rows, columns, grids[0], float(scores[0]))

    def _run(self, outputs: Sequence[str], query: bytes, titles: Sequence[bytes]) -> list[Array]:
        values = (*unpack_ids([query]), *unpack_ids(titles))
        result: list[Array] = self._graph.run(list(outputs), dict(zip(ATTENTION_INPUTS, values, strict=True)))
        return result

    @cached_property
    def _graph(self) -> Any:  # noqa: ANN401 (ONNX Runtime has no types)
        path = self.bundle.path / ATTENTION_GRAPH
        graph = open_session(path, self._threads)
        found = tuple(tuple(value.name for value in values) for values in (graph.get_inputs(), graph.get_outputs()))
        if found != (ATTENTION_INPUTS, ATTENTION_OUTPUTS):
            raise BundleError(
                f"{path} has inputs and outputs {found}; {(ATTENTION_INPUTS, ATTENTION_OUTPUTS)} were wanted. "
                "Copy the whole folder again, or run `anthem export` once more."
            )
        return graph


def _batch_by_length(rows: Sequence[bytes]) -> list[list[int]]:
    """Numbers of the rows that are not empty, those of like length together: padding costs as much as text."""
    order = sorted((number for number, row in enumerate(rows) if row), key=lambda number: len(rows[number]))
    batches: list[list[int]] = []
    for number in order:
        if not batches or (len(batches[-1]) + 1) * len(rows[number]) > 8 * MAX_BATCH_TRIGRAMS:
            batches.append([])
        batches[-1].append(number)
    return batches
