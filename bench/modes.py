"""What `filter` and `retrieve` mode do to the results of the generated catalogue: the tables of docs/modes.md.

python bench/modes.py
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from ir_measures import R, nDCG

from anthem_core.console import bundle_option, handle_errors, json_option, print_result
from anthem_core.encoding.bundle import load_bundle
from anthem_core.encoding.encoder import Encoder
from anthem_core.encoding.stored_vectors import unpack_points
from anthem_core.opensearch.connection import connect
from anthem_core.opensearch.schema import ModelFields
from anthem_evaluation.metrics import measure_per_query
from anthem_ingest.ingest import load_products
from anthem_plugin.client import AnthemClient
from anthem_plugin.modes import Filter, Retrieve
from anthem_plugin.rewriter.retrieve import HNSW_OVERFETCH
from anthem_plugin.scoring.params import to_float64
from anthem_sandbox.catalogue import generate_catalogue
from anthem_sandbox.node import cluster_for_tests

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opensearchpy import OpenSearch

    from anthem_core.beir import Dataset, Qrels
    from anthem_core.geometry.lorentz import Array
    from anthem_evaluation.runs import Run
    from anthem_plugin.modes import RerankMode

MODES_INDEX = "anthem-modes"
RELEVANT_GRADE = 2  # lowest grade of a relevant product
LEXICAL_WINDOW, RUN_DEPTH = 100, 1000
MEASURED_SLACKS = (0.25, 0.20, 0.15, 0.10)
NEIGHBOURS_PER_CENTRE = 50
HNSW_GRAPH = {"name": "hnsw", "engine": "lucene", "space_type": "l2"}
FILTER_COLUMNS = (
    "Slack", "Relevant judged products contained", "Irrelevant judged products contained",
    "First 100 lexical hits kept", "Queries without a result", "nDCG@10 in lexical order",
)  # fmt: skip
RETRIEVE_COLUMNS = (
    "Queries", "Recall of the first 100 lexical hits", "with neighbours (candidates)", "of as many lexical hits",
    "nDCG@10 lexical → `cluster` → `retrieve`", "recall@100 lexical → `cluster` → `retrieve`",
)  # fmt: skip


@click.command()
@bundle_option
@json_option
@handle_errors
def main(*, bundle_name: str, as_json: bool) -> None:
    """Measure both modes on the dev queries of the generated catalogue, on one shard.

    Example: python bench/modes.py
    """
    encoder = Encoder(load_bundle(bundle_name))
    with cluster_for_tests() as url, closing(connect(url)) as cluster:
        bench = ModesBench(cluster, encoder, generate_catalogue())
        bench.create_index()
        try:
            rows = {"filter": [*bench.filter_rows()], "retrieve": [*bench.retrieve_rows()]}
        finally:
            cluster.indices.delete(index=MODES_INDEX)
    tables = format_modes_table(FILTER_COLUMNS, rows["filter"]), format_modes_table(RETRIEVE_COLUMNS, rows["retrieve"])
    print_result(rows, "\n\n".join(tables), as_json=as_json)


@dataclass(frozen=True)
class ModesBench:
    """A cluster, an encoder, and the catalogue whose dev queries are searched."""

    cluster: OpenSearch
    encoder: Encoder
    catalogue: Dataset

    @property
    def qrels(self) -> Qrels:
        """Grades of the dev queries."""
        return self.catalogue.qrels["dev"]

    def create_index(self) -> None:
        """Load the catalogue into a new index on one shard, with the English analyzer and an HNSW graph."""
        mapping = ModelFields().mapping(self.encoder.bundle.dimension)
        mapping["properties"]["anthem"]["properties"]["vector"]["method"] = HNSW_GRAPH
        mapping["properties"]["title"] = {"type": "text", "analyzer": "english"}
        body = {"settings": {"number_of_shards": 1, "index.knn": True}, "mappings": mapping}
        self.cluster.indices.delete(index=MODES_INDEX, ignore_unavailable=True)
        self.cluster.indices.create(index=MODES_INDEX, body=body)
        load_products(self.cluster, MODES_INDEX, self.catalogue.products.values(), self.encoder)

    def runs(self, mode: RerankMode, texts: Mapping[str, str], **options: str) -> dict[str, dict[str, float]]:
        """Ids of the hits of each query, best first, with descending scores; `options` are those of the `match`."""
        client = AnthemClient(self.cluster, self.encoder)
        runs = {}
        for query, text in texts.items():
            body = {"query": {"match": {"title": {"query": text, **options}}}, "size": RUN_DEPTH, "_source": False}
            response = client.search(MODES_INDEX, body, mode=mode, window=LEXICAL_WINDOW)
            hits = response["hits"]["hits"]
            # A filter that drops everything gives the plain search.
            is_empty = isinstance(mode, Filter) and not response["anthem"]["reranked"]
            runs[query] = {} if is_empty else {hit["_id"]: float(len(hits) - rank) for rank, hit in enumerate(hits)}
        return runs

    def texts(self) -> dict[str, str]:
        """Texts of the dev queries."""
        return {query: self.catalogue.queries[query] for query in self.qrels}

    def filter_rows(self) -> Iterator[list[str]]:
        """Rows of the table of `filter` mode, one per slack."""
        texts, own = self.texts(), self.encoder.bundle.slack
        plain = self.runs("none", texts)
        yield ["no filter", "", "", "", share(not run for run in plain.values()), self.mean(plain, nDCG @ 10)]
        for slack in (own, *MEASURED_SLACKS):
            runs = self.runs(Filter(slack, unknown=False), texts)
            first = {query: [*run][:LEXICAL_WINDOW] for query, run in plain.items()}
            kept = [product in runs[query] for query, products in first.items() for product in products]
            empty = share(not run for run in runs.values())
            name = f"{slack:.3f}, the bundle's" if slack == own else f"{slack:.2f}"
            yield [name, *self.contained(slack), share(kept), empty, self.mean(runs, nDCG @ 10)]

    def contained(self, slack: float) -> list[str]:
        """Shares of the relevant and of the irrelevant judged products that the queries contain."""
        products = {product for grades in self.qrels.values() for product in grades}
        titles = {product: self.catalogue.products[product].title for product in products}
        points = dict(zip(titles, self._points([*titles.values()]), strict=True))
        inside: dict[bool, list[bool]] = {True: [], False: []}
        for query, grades in self.qrels.items():
            region = self.encoder.encode_query(self.catalogue.queries[query])
            if region is not None and grades:
                contained = to_float64(region).contains(np.array([points[product] for product in grades]), slack)
                for grade, is_inside in zip(grades.values(), contained, strict=True):
                    inside[grade >= RELEVANT_GRADE].append(bool(is_inside))
        return [share(inside[True]), share(inside[False])]

    def _points(self, titles: list[str]) -> Array:
        return unpack_points(self.encoder.encode_vectors(titles), self.encoder.bundle.vector_step)

    def retrieve_rows(self) -> Iterator[list[str]]:
        """Rows of the table of `retrieve` mode: queries as written, and with two letters of every word swapped."""
        texts, fuzzy = self.texts(), {"fuzziness": "AUTO"}
        swapped = {query: " ".join(map(swap_letters, text.split())) for query, text in texts.items()}
        name = "two letters of every word swapped"
        cases = {"as written": (texts, {}), name: (swapped, {}), f'{name}, `"fuzziness": "AUTO"`': (swapped, fuzzy)}
        for name, (written, options) in cases.items():
            plain, cluster = self.runs("none", written, **options), self.runs("cluster", written, **options)
            retrieved = self.runs(Retrieve(k=NEIGHBOURS_PER_CENTRE), written, **options)
            neighbours = self.encoder.bundle.hyperboloids * HNSW_OVERFETCH * NEIGHBOURS_PER_CENTRE
            candidates = {query: candidates_of(run, plain[query], neighbours) for query, run in retrieved.items()}
            count = round(float(np.mean([len(run) for run in candidates.values()])))
            as_many = {query: top(run, len(candidates[query])) for query, run in plain.items()}
            first = {query: top(run, LEXICAL_WINDOW) for query, run in plain.items()}
            recalls = [self.mean(runs, R(rel=RELEVANT_GRADE) @ RUN_DEPTH) for runs in (first, candidates, as_many)]
            recalls[1] += f" ({count})"
            changes = [
                " → ".join(self.mean(runs, measure) for runs in (plain, cluster, retrieved))
                for measure in (nDCG @ 10, R(rel=RELEVANT_GRADE) @ 100)
            ]
            yield [name, *recalls, *changes]

    def mean(self, runs: Run, measure: Any) -> str:  # noqa: ANN401 (ir_measures has no types)
        """Mean of a measure over all dev queries; a query without hits counts as 0."""
        values = measure_per_query(runs, self.qrels, [measure])[str(measure)]
        return f"{sum(values.values()) / len(self.qrels):.3f}"


def candidates_of(retrieved: Mapping[str, float], plain: Mapping[str, float], limit: int) -> dict[str, float]:
    """The first lexical hits, and the products that were found by their vectors alone."""
    found_by_vector = [product for product in retrieved if product not in plain][:limit]
    products = [*[*plain][:LEXICAL_WINDOW], *found_by_vector]
    return {product: float(len(products) - rank) for rank, product in enumerate(products)}


def top(run: Mapping[str, float], count: int) -> dict[str, float]:
    """The first hits of a run."""
    return dict([*run.items()][:count])


def swap_letters(word: str) -> str:
    """A word with its second and third letter swapped."""
    return word[0] + word[2] + word[1] + word[3:] if len(word) > 2 else word[::-1]


def share(flags: Any) -> str:  # noqa: ANN401 (any iterable of booleans)
    """Share of true values in percent."""
    values = [*flags]
    return f"{100 * sum(values) / max(len(values), 1):.0f} %"


def format_modes_table(columns: tuple[str, ...], rows: list[list[str]]) -> str:
    """A markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in ([*columns], ["---"] * len(columns), *rows))


if __name__ == "__main__":
    main()
