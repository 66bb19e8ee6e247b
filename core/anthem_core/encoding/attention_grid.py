"""The attention grid of one title, run by ONNX Runtime, for explanations; `attention` computes scores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from anthem_core.encoding.bundle import ATTENTION_GRAPH, Bundle
from anthem_core.encoding.encoder import open_checked_session
from anthem_core.encoding.tokenizer import unpack_ids

if TYPE_CHECKING:
    from anthem_core.encoding.tokenizer import Entity
    from anthem_core.geometry.lorentz import Array

GRID_INPUTS = ("query", "query_mask", "titles", "title_mask")
GRID_OUTPUTS = ("scores", "grids")


@dataclass(frozen=True, slots=True)
class TitleGrid:
    """How well a title answers a query: `cells (T, L)`, a row per query entity, a column per title entity."""

    query: list[Entity]
    title: list[Entity]
    cells: Array
    score: float


class GridExplainer:
    """Attention grids from the grid's graph in a bundle, which is read at first use; thread-safe.

    Raises:
        BundleError: At first use, ONNX Runtime cannot read the graph, or its inputs and outputs are not the expected
            ones.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    def explain_title(self, query: str, title: str) -> TitleGrid | None:
        """Grid of one title with its entities; None if the query or the title has no letters or digits.

        Its score is that of the whole grid. The attention score, which reads the same cells from a table, differs
        slightly.
        """
        vocabulary = self.bundle.vocabulary
        query_ids = vocabulary.packed_ids(query, vocabulary.query_limit)
        title_ids = vocabulary.packed_ids(title, vocabulary.title_limit)
        if not (query_ids and title_ids):
            return None
        values = (*unpack_ids([query_ids]), *unpack_ids([title_ids]))
        scores, grids = self._graph.run(GRID_OUTPUTS, dict(zip(GRID_INPUTS, values, strict=True)))
        query_entities = vocabulary.entities(query, vocabulary.query_limit)
        title_entities = vocabulary.entities(title, vocabulary.title_limit)
        return TitleGrid(query_entities, title_entities, grids[0], float(scores[0]))

    @cached_property
    def _graph(self) -> Any:  # noqa: ANN401 (ONNX Runtime has no types)
        return open_checked_session(self.bundle.path / ATTENTION_GRAPH, GRID_INPUTS, GRID_OUTPUTS)
