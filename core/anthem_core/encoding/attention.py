"""The attention score: a query is a table over the ids of entities, a title its ids and their weights.

In the cluster, the script in `anthem_plugin.scoring.painless_source` computes the same score from the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from anthem_core.encoding.bundle import ATTENTION_TABLE_GRAPH, Bundle
from anthem_core.encoding.encoder import open_checked_session
from anthem_core.encoding.packed_titles import MAX_STORED_ID, MAX_WEIGHT
from anthem_core.encoding.title_entities import TitleEntities
from anthem_core.encoding.tokenizer import unpack_ids
from anthem_core.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anthem_core.encoding.packed_titles import IntArray
    from anthem_core.geometry.lorentz import Array

TABLE_INPUTS = ("query", "query_mask")
TABLE_OUTPUTS = (
    "ids",
    "answered",
    "answered_cells",
    "explained",
    "default_answered",
    "default_answered_cells",
    "default_explained",
    "attention",
    "id_logits",
    "place_logits",
)
QUERY_OUTPUTS = TABLE_OUTPUTS[:-2]  # the logits do not depend on the query
SIGNIFICANT_DIGITS = 7  # of a table's numbers: they travel as decimals to the cluster


@dataclass(frozen=True, slots=True)
class AttentionParts:
    """What the attention scores of N titles are made of.

    Attributes:
        answers: How well each title answers each of the T entities of the query, weighted, `(N, T)`.
        coverage: How well the query explains each title, `(N,)`.
    """

    answers: Array
    coverage: Array

    @property
    def scores(self) -> Array:
        """Attention scores, `Σ_i answers[n, i] + coverage[n]`, `(N,)`."""
        scores: Array = self.answers.sum(-1) + self.coverage
        return scores


@dataclass(frozen=True, slots=True)
class AttentionTable:
    """A query of T entities as a table with rows for n ids; the last row, n, is the default of all other ids.

    Attributes:
        ids: The ids with rows of their own, ascending, `(n,)`.
        answered: How strongly an id answers each entity of the query, `(n+1, T)`.
        answered_cells: The same times the cell of the entity and the id, `(n+1, T)`.
        explained: How well the query explains an id, `(n+1,)`.
        attention: Weight of each entity of the query, `(T,)`.
    """

    ids: IntArray
    answered: Array
    answered_cells: Array
    explained: Array
    attention: Array

    def score(self, titles: TitleEntities) -> Array:
        """Attention score of each title, `(N,)`; NaN for a title without entities.

        `Σ_i attention_i · Σ_j answered_cells[v_j, i] / Σ_j answered[v_j, i] + Σ_j w_j·explained[v_j] / Σ_j w_j`
        """
        return self.score_parts(titles).scores

    def score_parts(self, titles: TitleEntities) -> AttentionParts:
        """The terms that the attention score of each title is the sum of; NaN for a title without entities."""
        rows = np.minimum(np.searchsorted(self.ids, titles.ids), len(self.ids) - 1)
        found = self.ids[rows] == titles.ids
        found_rows, owners = rows[found], np.repeat(np.arange(len(titles.lengths)), titles.lengths)
        found_lengths = np.bincount(owners[found], minlength=len(titles.lengths))
        weights = titles.weights.astype(np.float64)

        def sum_entries(entries: Array) -> Array:
            """Sum of a title's entries: as many defaults as it has entities, and the differences of those found."""
            differences = (entries[:-1] - entries[-1])[found_rows]
            defaults: Array = np.multiply.outer(titles.lengths, entries[-1])
            return defaults + _sum_groups(differences, found_lengths)

        total_weights = _sum_groups(weights, titles.lengths)
        differences = (self.explained[:-1] - self.explained[-1])[found_rows] * weights[found]
        with np.errstate(invalid="ignore"):  # 0/0 is NaN for a title without entities
            answers = sum_entries(self.answered_cells) / sum_entries(self.answered)
            coverage = self.explained[-1] + _sum_groups(differences, found_lengths) / total_weights
        return AttentionParts(answers * self.attention, coverage)


class AttentionScorer:
    """Attention scores of a bundle, whose graph is read at first use; thread-safe.

    Raises:
        BundleError: The bundle has no attention, or more than 65,536 ids; or, at first use, its graph cannot be read or
            has other inputs and outputs than expected.
    """

    def __init__(self, bundle: Bundle, *, threads: int = 1) -> None:
        if not bundle.has_attention:
            raise BundleError(
                f"{bundle.path} has no {ATTENTION_TABLE_GRAPH}, which the attention score needs. "
                "Use a bundle that has one, or rank without attention."
            )
        if len(bundle.vocabulary) > MAX_STORED_ID + 1:
            raise BundleError(
                f"{bundle.path} has {len(bundle.vocabulary)} ids; an index stores ids up to {MAX_STORED_ID}. "
                "Train with a smaller vocabulary."
            )
        self.bundle = bundle
        self._threads = threads

    def encode_query(self, text: str) -> AttentionTable | None:
        """Table of a query text; None for a text without letters or digits."""
        vocabulary = self.bundle.vocabulary
        packed = vocabulary.packed_ids(text, vocabulary.query_limit)
        if not packed:
            return None
        values = self._graph.run(QUERY_OUTPUTS, dict(zip(TABLE_INPUTS, unpack_ids([packed]), strict=True)))
        return build_attention_table(dict(zip(QUERY_OUTPUTS, values, strict=True)))

    def encode_titles(self, titles: Sequence[str]) -> TitleEntities:
        """Entities of titles."""
        vocabulary = self.bundle.vocabulary
        packed = [vocabulary.packed_ids(title, vocabulary.title_limit) for title in titles]
        ids = np.frombuffer(b"".join(packed), np.int64)
        lengths = np.array([len(row) // ids.itemsize for row in packed], np.int64)
        return TitleEntities(ids, weigh_entities(ids, lengths, *self._logits), lengths)

    def score_titles(self, query: str, titles: Sequence[str]) -> Array:
        """Score of each title for a query text, `(N,)`; higher is better.

        NaN for a title without letters or digits, and for every title if the query has none.
        """
        table = self.encode_query(query)
        return np.full(len(titles), np.nan) if table is None else table.score(self.encode_titles(titles))

    @cached_property
    def _logits(self) -> tuple[Array, Array]:
        """Logits of a title's entities, by id `(V,)` and by place `(P,)`."""
        text = dict(zip(TABLE_INPUTS, unpack_ids([bytes(8)]), strict=True))
        by_id, by_place = self._graph.run(TABLE_OUTPUTS[-2:], text)
        return by_id, by_place

    @cached_property
    def _graph(self) -> Any:  # noqa: ANN401 (ONNX Runtime has no types)
        path = self.bundle.path / ATTENTION_TABLE_GRAPH
        return open_checked_session(path, TABLE_INPUTS, TABLE_OUTPUTS, self._threads)


def weigh_entities(ids: IntArray, lengths: IntArray, id_logits: Array, place_logits: Array) -> IntArray:
    """Weights of the entities of titles, `(E,)` uint8: `15·exp(logit − the title's largest)`, rounded."""
    filled = lengths[lengths > 0]
    if not len(filled):
        return np.zeros(0, np.uint8)
    starts = np.concatenate([[0], np.cumsum(filled)[:-1]])
    places = np.arange(len(ids)) - np.repeat(starts, filled)
    logits = id_logits[ids] + place_logits[places]
    largest = np.repeat(np.maximum.reduceat(logits, starts), filled)
    weights: IntArray = np.rint(MAX_WEIGHT * np.exp(logits - largest)).astype(np.uint8)
    return weights


def build_attention_table(outputs: Mapping[str, Array]) -> AttentionTable:
    """Table from the outputs of its graph, of which `ids` and three others are `(T, M)`, M neighbours an entity."""
    entities, neighbours = outputs["ids"].shape
    neighbour_ids: IntArray = outputs["ids"].astype(np.int64).reshape(-1)
    ids, rows = np.unique(neighbour_ids, return_inverse=True)
    columns = np.repeat(np.arange(entities), neighbours)
    explained = np.full(len(ids) + 1, outputs["default_explained"], np.float64)
    explained[rows] = outputs["explained"].reshape(-1)

    def fill(entries: Array, defaults: Array) -> Array:
        filled = np.tile(_round(defaults), (len(ids) + 1, 1))
        filled[rows, columns] = _round(entries).reshape(-1)
        return filled

    answered = fill(outputs["answered"], outputs["default_answered"])
    answered_cells = fill(outputs["answered_cells"], outputs["default_answered_cells"])
    return AttentionTable(ids, answered, answered_cells, _round(explained), _round(outputs["attention"]))


def _round(values: Array) -> Array:
    """Values in float64, rounded to seven significant digits."""
    exact = values.astype(np.float64)
    magnitude = np.floor(np.log10(np.maximum(np.abs(exact), 1e-30)))
    power = 10.0 ** (SIGNIFICANT_DIGITS - 1 - magnitude)
    rounded: Array = np.rint(exact * power) / power
    return rounded


def _sum_groups(values: Array, lengths: IntArray) -> Array:
    """Sums of consecutive values, `lengths[n]` of them in group n; `(E, ...)` to `(N, ...)`."""
    sums = np.zeros((len(lengths), *values.shape[1:]))
    filled = np.flatnonzero(lengths)
    if len(filled):
        sums[filled] = np.add.reduceat(values, np.cumsum(lengths[filled]) - lengths[filled])
    return sums
