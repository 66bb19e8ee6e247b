"""`anthem evaluate`: judged queries on an index of one's own, lexically and in each mode, compared in one report."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from anthem_core.beir import Dataset, Product
from anthem_core.console import progress
from anthem_core.encoding.tokenizer import split_words
from anthem_core.errors import DataError
from anthem_core.opensearch.connection import cluster_errors
from anthem_core.opensearch.schema import MATCH_ALL, product_text
from anthem_evaluation.measure import RUN_DEPTH, describe_machine, measure_containment, measure_latencies
from anthem_evaluation.metrics import HEADLINE_MEASURE, compare_runs, correct_by_holm
from anthem_evaluation.report import BundleSummary, MissingProducts, Report
from anthem_evaluation.report_parts import (
    EXAMPLE_HITS,
    TIMED_QUERIES,
    ExampleBuilder,
    check_reranked,
    in_own_grades,
    not_reranked_notes,
    search_all,
    summarise_dataset,
)
from anthem_evaluation.runs import ranked_ids
from anthem_evaluation.signal_sets import run_signal_sets
from anthem_evaluation.slices import slice_queries, summarise_comparison, summarise_slices
from anthem_plugin.search.page_limit import page_limit_note

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from opensearchpy import OpenSearch

    from anthem_core.encoding.encoder import Encoder
    from anthem_evaluation.judgments import JudgedQueries
    from anthem_evaluation.measure import SearchRun, SearchSetup
    from anthem_evaluation.metrics import Comparison
    from anthem_evaluation.report import Example
    from anthem_evaluation.runs import Run
    from anthem_plugin.modes import ModeName

SHOWN_CHANGES = 20  # searches with the largest gains, and as many with the largest losses, shown side by side
FETCHED_PRODUCTS = 500  # by one request, at most
EVALUATION_CAVEATS = (
    "Unjudged products count as irrelevant, which favours the search whose results were judged.",
    "Reranking only reorders what the lexical search found: a product that it missed stays missing.",
    "The latencies are those of one client, one search at a time.",
)


@dataclass(frozen=True)
class IndexEvaluation:
    """The report of an evaluation, and the runs by mode; `none` is the lexical one, with its scores."""

    report: Report
    runs: dict[str, Run]


def evaluate_index(
    cluster: OpenSearch, judged: JudgedQueries, setup: SearchSetup, modes: Sequence[ModeName], encoder: Encoder
) -> IndexEvaluation:
    """Search for every judged query lexically and in each mode, and report on all; the first mode in detail.

    Raises:
        ClusterError: The cluster refuses a search, or no search was reranked in any mode.
        DataError: There are no judgments to compare by, or no judged product is in the index.
    """
    plain = search_all(setup, judged.queries, "none")
    lexical = plain.run
    searches = {mode: search_all(setup, judged.queries, mode) for mode in modes}
    check_reranked(searches, judged.queries)
    runs: dict[str, Run] = {mode: search.run for mode, search in searches.items()}
    sets = run_signal_sets(cluster, setup, judged, encoder)
    compared = {name: compare_runs(lexical, run, judged.qrels) for name, run in (runs | sets).items()}
    comparisons = _correct(compared, in_detail=modes)
    first = modes[0]
    details = _Details(cluster, judged, replace(setup, mode=first), encoder, lexical, searches[first].run)
    report = details.build(comparisons[first], searches)
    by_mode, by_set = (
        tuple(summarise_comparison(name, comparisons[name]) for name in names) for names in (modes, sets)
    )
    report = replace(report, modes=by_mode if len(modes) > 1 else (), signal_sets=by_set, is_corrected=True)
    return IndexEvaluation(report, {"none": plain.scored} | runs)


def _correct(comparisons: Mapping[str, Comparison], in_detail: Collection[str]) -> dict[str, Comparison]:
    """The comparisons with p-values corrected for all that are shown; judged@k is not tested.

    Shown are all measures of the comparisons that are named, and the headline measure of the others.
    """
    tested = {
        (mode, measure.name): measure.p
        for mode, comparison in comparisons.items()
        for measure in comparison.measures
        if measure.name == HEADLINE_MEASURE or (mode in in_detail and not measure.name.startswith("Judged"))
    }
    corrected = correct_by_holm(tested)
    return {
        mode: replace(
            comparison,
            measures=tuple(replace(m, p=corrected.get((mode, m.name), m.p)) for m in comparison.measures),
        )
        for mode, comparison in comparisons.items()
    }


@dataclass(frozen=True)
class _Details:
    """The parts of a report on one mode."""

    cluster: OpenSearch
    judged: JudgedQueries
    setup: SearchSetup
    encoder: Encoder
    lexical: Run
    reranked: Run

    def build(self, comparison: Comparison, searches: Mapping[ModeName, SearchRun]) -> Report:
        """The report, without the results of other modes."""
        judged, bundle = self.judged, self.encoder.bundle
        changed = _largest_changes(comparison[HEADLINE_MEASURE].changes)
        dataset = self._read_products(changed)
        wanted, missing = max(RUN_DEPTH, self.setup.window), self._find_missing(dataset)
        slices = slice_queries(judged.queries, self.lexical, self._unknown_words())
        return Report(
            title=f"Lexical against reranked: {self.setup.index}",
            date=dt.datetime.now(dt.UTC).date().isoformat(),
            machine=describe_machine(),
            dataset=summarise_dataset(self.setup.index, self._count_products(), judged.qrels, judged.grade_unit),
            cluster=f"OpenSearch {self.cluster.info()['version']['number']}",
            bundle=BundleSummary(bundle.path.name, bundle.model_id, bundle.size_bytes),
            comparison=in_own_grades(comparison, judged.grade_unit),
            signals=searches[self.setup.mode].signals,
            queries=judged.queries,
            latencies=measure_latencies(self.setup, list(judged.queries.values())[:TIMED_QUERIES]),
            contained=measure_containment(self.encoder, dataset, _known(judged.qrels, dataset.products)),
            examples=tuple(self._examples(dataset, changed)),
            limits=(
                *not_reranked_notes(searches, judged.queries),
                *filter(None, [page_limit_note(self.setup.index, self.setup.fit(wanted), wanted)]),
                *_missing_note(missing),
                *EVALUATION_CAVEATS,
            ),
            missing=missing,
            slices=summarise_slices(slices, self.lexical, self.reranked, judged.qrels),
        )

    def _count_products(self) -> int:
        return int(self.cluster.count(index=self.setup.index)["count"])

    def _read_products(self, shown: Iterable[str]) -> Dataset:
        """Texts of the judged products, and of those that the examples show."""
        judged = {product for grades in self.judged.qrels.values() for product in grades}
        runs = (self.lexical, self.reranked)
        listed = {product for query in shown for run in runs for product in ranked_ids(run[query])[:EXAMPLE_HITS]}
        fields = self.setup.client.profile(self.setup.index).text_fields
        texts = fetch_product_texts(
            self.cluster, self.setup.index, sorted(judged | listed), fields, self.setup.fit(FETCHED_PRODUCTS)
        )
        texts |= dict.fromkeys(listed - texts.keys(), "")  # deleted in the meantime
        return Dataset({product: Product(product, text) for product, text in texts.items()}, self.judged.queries)

    def _examples(self, dataset: Dataset, shown: Iterable[str]) -> Iterable[Example]:
        runs, unit = (self.lexical, self.reranked), self.judged.grade_unit
        builder = ExampleBuilder.create(dataset, self.judged.qrels, self.encoder, runs, unit)
        return map(builder.build, shown)

    def _unknown_words(self) -> set[str]:
        """Words of the queries that the search finds in no product."""
        words = sorted({word for text in self.judged.queries.values() for word in split_words(text)})
        unknown = set()
        with progress("looking up words", len(words)) as advance:
            for word in words:
                if not _has_hits(self.cluster, self.setup, word):
                    unknown.add(word)
                advance(1)
        return unknown

    def _find_missing(self, dataset: Dataset) -> MissingProducts:
        judged = {product for grades in self.judged.qrels.values() for product in grades}
        missing = len(judged - dataset.products.keys())
        if missing == len(judged):
            raise DataError(
                f"None of the {missing} judged products is in {self.setup.index}, such as {min(judged)!r}. "
                "Expected the _id of products. Check that the judgments belong to this index."
            )
        return MissingProducts(missing, len(judged))


def _missing_note(products: MissingProducts) -> tuple[str, ...]:
    return (str(products),) if products.missing else ()


def _has_hits(cluster: OpenSearch, setup: SearchSetup, word: str) -> bool:
    query = setup.query_body(word).get("query", MATCH_ALL)
    with cluster_errors():
        return bool(cluster.count(index=setup.index, body={"query": query})["count"])


def _largest_changes(changes: Mapping[str, float]) -> list[str]:
    """Queries with the largest gains, then those with the largest losses, largest first."""
    ordered = sorted(changes, key=lambda query: (-changes[query], query))
    gains = [query for query in ordered if changes[query] > 0][:SHOWN_CHANGES]
    return gains + [query for query in reversed(ordered) if changes[query] < 0][:SHOWN_CHANGES]


def _known(qrels: Mapping[str, dict[str, int]], products: Collection[str]) -> dict[str, dict[str, int]]:
    return {
        query: {product: grade for product, grade in grades.items() if product in products}
        for query, grades in qrels.items()
    }


def fetch_product_texts(
    cluster: OpenSearch, index: str, ids: Sequence[str], fields: Sequence[str], page: int = FETCHED_PRODUCTS
) -> dict[str, str]:
    """Texts of the products of an index, alias or pattern that exist, by id; `page` of them by one request.

    Raises:
        ClusterError: The cluster refuses.
    """
    texts: dict[str, str] = {}
    with progress("reading products", len(ids)) as advance:
        for start in range(0, len(ids), page):
            wanted = list(ids[start : start + page])
            body = {"query": {"ids": {"values": wanted}}, "size": len(wanted), "_source": list(fields)}
            with cluster_errors():
                hits = cluster.search(index=index, body=body)["hits"]["hits"]
            texts |= {hit["_id"]: product_text(hit.get("_source", {}), fields) for hit in hits}
            advance(len(wanted))
    return texts
