"""The lexical hits of judged queries, each with the signals that `client` mode ranks it by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.query_operators import encode_tables
from anthem_core.errors import ClusterError, DataError
from anthem_core.opensearch.connection import cluster_errors
from anthem_evaluation.judgments import comparable_text
from anthem_plugin.rewriter.rescore import build_window_body
from anthem_plugin.rewriter.source_filtering import fetchable_text_fields
from anthem_plugin.scoring.window import given_signals
from anthem_plugin.search.client_mode import measure_signals
from anthem_plugin.search.request import PreparedSearch, no_values_reason
from anthem_plugin.search.time_budget import TimeBudget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from opensearchpy import OpenSearch

    from anthem_core.beir import Qrels
    from anthem_core.encoding.encoder import Encoder
    from anthem_core.geometry.lorentz import Array
    from anthem_evaluation.judgments import JudgedQueries
    from anthem_evaluation.measure import SearchSetup
    from anthem_plugin.scoring.params import Signals
    from anthem_plugin.search.request import IndexProfile
    from anthem_plugin.search.response import Hit


@dataclass(frozen=True)
class CandidateList:
    """The hits of one query in lexical order, with their signals and grades; all arrays are `(N,)`.

    Attributes:
        query: Id of the query.
        ids: Ids of the products.
        lexical: Lexical scores.
        distance: Distances to the query's region, NaN if unknown; None if the signal is not used.
        attention: Attention scores, NaN if unknown; None if the signal is not used.
        grades: Judgments, NaN for an unjudged product.
        judged: Grades of all judged products of the query, found or not, `(J,)`.
    """

    query: str
    ids: tuple[str, ...]
    lexical: Array
    distance: Array | None
    attention: Array | None
    grades: Array
    judged: Array

    @property
    def signals(self) -> Signals:
        """Signals of the model that the hits are ranked by."""
        return given_signals(self.distance, self.attention)

    def only(self, signals: Signals) -> CandidateList:
        """The same hits without the other signals."""
        distance = self.distance if "containment" in signals else None
        return replace(self, distance=distance, attention=self.attention if "attention" in signals else None)


@dataclass(frozen=True)
class CandidateReader:
    """Reads the hits of a query as `client` mode does, and keeps their signals instead of a score."""

    cluster: OpenSearch
    setup: SearchSetup
    encoder: Encoder
    profile: IndexProfile
    attention: AttentionScorer | None
    depth: int

    @classmethod
    def create(cls, cluster: OpenSearch, setup: SearchSetup, encoder: Encoder, depth: int) -> CandidateReader:
        """Reader of the first `depth` hits of a query."""
        attention = AttentionScorer(encoder.bundle) if encoder.bundle.has_attention else None
        return cls(cluster, setup, encoder, setup.client.profile(setup.index), attention, depth)

    def read(self, query: str, text: str, grades: Mapping[str, float]) -> CandidateList:
        """The hits of a query.

        Raises:
            ClusterError: The cluster refuses.
            DataError: The body of the search cannot be reranked.
        """
        text_fields, hits = self._search(text)
        distance, attention = self._measure(text, text_fields, hits)
        ids = tuple(hit["_id"] for hit in hits)
        return CandidateList(
            query,
            ids,
            np.array([hit["_score"] for hit in hits], np.float64),
            distance,
            attention,
            np.array([grades.get(product, np.nan) for product in ids], np.float64),
            np.array([*grades.values()], np.float64),
        )

    def _search(self, text: str) -> tuple[Sequence[str], list[Hit]]:
        fields, body = self.profile.scoring.fields, {**self.setup.query_body(text), "size": self.depth}
        text_fields = fetchable_text_fields(body, fields, self.profile.text_fields) if self.attention else ()
        rewritten = build_window_body(body, window=self.depth, fields=fields, text_fields=text_fields)
        if rewritten.reason is not None:
            raise DataError(f"The search cannot be reranked: {rewritten.reason}. Change the body that --body names.")
        with cluster_errors():
            response = self.cluster.search(index=self.setup.index, body=rewritten.body, preference="_local")
        hits: list[Hit] = response["hits"]["hits"][: self.depth]
        return text_fields, hits

    def _measure(self, text: str, text_fields: Sequence[str], hits: Sequence[Hit]) -> tuple[Array | None, Array | None]:
        region = self.encoder.encode_query(text)
        if region is None or not hits:
            return None, None
        tables = encode_tables(self.attention.encode_query, [text]) if self.attention else ()
        prepared = PreparedSearch(text, region, self.profile, TimeBudget(None), tables)
        return measure_signals(prepared, hits, text_fields, self.attention)


def merge_same_texts(judged: JudgedQueries) -> JudgedQueries:
    """One query for each text, because a repeated one would count as new evidence; a product's first grade counts."""
    first: dict[str, str] = {}
    qrels: Qrels = {}
    for query, grades in judged.qrels.items():
        kept = first.setdefault(comparable_text(judged.queries[query]), query)
        qrels[kept] = {**grades, **qrels.get(kept, {})}
    return replace(judged, queries={query: judged.queries[query] for query in qrels}, qrels=qrels)


def read_candidate_lists(
    reader: CandidateReader, judged: JudgedQueries, advance: Callable[[int], object] = lambda _: None
) -> list[CandidateList]:
    """The hits of every judged query.

    Raises:
        ClusterError: The cluster refuses.
        DataError: The body of the search cannot be reranked.
    """
    candidates = []
    for query, grades in judged.qrels.items():
        candidates.append(reader.read(query, judged.queries[query], grades))
        advance(1)
    return candidates


def check_tunable(candidates: Iterable[CandidateList], index: str) -> None:
    """Check that the hits of an index have values of the model and judgments.

    Raises:
        ClusterError: No query has hits with values of all its signals.
        DataError: No hit is judged.
    """
    if not ranking_signals(candidates):
        raise ClusterError(f"There is nothing to tune: {no_values_reason(index)}.")
    if not any(np.isfinite(each.grades).any() for each in candidates):
        raise DataError(
            f"None of the judgments is of a product among the hits. Expected the _id of products in {index}. Check the "
            "judgments and the field that is searched."
        )


def ranking_signals(candidates: Iterable[CandidateList]) -> Signals:
    """The signals that most queries are ranked by; empty if no query has hits with values of all its signals."""
    sets = [each.signals for each in candidates if _has_values(each)]
    return max(sorted(set(sets), key=len, reverse=True), key=sets.count, default=frozenset())


def _has_values(candidates: CandidateList) -> bool:
    values = [scores for scores in (candidates.distance, candidates.attention) if scores is not None]
    return bool(values) and all(bool(np.isfinite(scores).any()) for scores in values)
