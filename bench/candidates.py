"""What OpenSearch gives each query of a data set: scores of its judged products, and the first hundred of all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anthem_core.beir import Qrels
    from anthem_evaluation.runs import Run


import gzip
import json
import random
from typing import TYPE_CHECKING, Any

from opensearchpy.helpers import bulk

from anthem_core.console import progress, stderr
from anthem_core.opensearch.connection import connect
from anthem_model.data.training_shop import split_dataset
from anthem_sandbox.node import cluster_for_tests

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from opensearchpy import OpenSearch

    from anthem_core.beir import Dataset, Qrels
    from anthem_model.data.training_shop import ShopSplit

ProductScores: TypeAlias = dict[str, float]  # product id to score, best first

CANDIDATE_INDEX = "quality"
WINDOW_SIZE = 100
MAX_HELD_OUT_QUERIES = 300  # queries of `train` on which fusion is fitted, at most
SPLIT_SEED = 0  # the same queries are held out whatever the seed of the training
MSEARCH_BATCH_SIZE = 50
ENGLISH, TRIGRAMS = "title", "title.trigrams"

_TRIGRAM_ANALYSIS = {
    "tokenizer": {"grams": {"type": "ngram", "min_gram": 3, "max_gram": 3, "token_chars": ["letter", "digit"]}},
    "analyzer": {"grams": {"type": "custom", "tokenizer": "grams", "filter": ["lowercase"]}},
}
INDEX_BODY = {
    "settings": {"number_of_shards": 1, "number_of_replicas": 0, "analysis": _TRIGRAM_ANALYSIS},
    "mappings": {
        "properties": {
            "title": {
                "type": "text",
                "analyzer": "english",
                "fields": {"trigrams": {"type": "text", "analyzer": "grams"}},
            }
        }
    },
}


@dataclass(frozen=True)
class QueryCandidates:
    """One query's candidates: judged products and window, in OpenSearch's order, and the trigram score of both."""

    judged: ProductScores
    window: ProductScores
    trigrams: ProductScores

    @property
    def products(self) -> list[str]:
        """Every candidate once."""
        return list(dict.fromkeys([*self.judged, *self.window]))


@dataclass(frozen=True)
class CandidateSplit:
    """Queries with their judgments and candidates, all by query id in the same order."""

    queries: dict[str, str]
    qrels: Qrels
    found: dict[str, QueryCandidates]


def select_held_out_qrels(dataset: Dataset, parts: ShopSplit) -> Qrels:
    """Judgments of the queries of `train` that no training learns from."""
    learned = {query.text for query in parts.learn.judged}
    kept = {query.text for query in parts.validate.judged} - learned
    train = dataset.qrels["train"]
    return {query: train[query] for query in sorted(train) if dataset.queries[query] in kept}


def prepare_training_parts(dataset: Dataset, name: str) -> ShopSplit:
    """The parts of `train` that every cell of a data set trains on."""
    return split_dataset(name, dataset, random.Random(SPLIT_SEED))


def load_splits(dataset: Dataset, parts: ShopSplit, cache: Path) -> dict[str, CandidateSplit]:
    """Candidates of `dev` and of the held-out queries, from the cache or, once, from a real OpenSearch."""
    held = select_held_out_qrels(dataset, parts)
    few = random.Random(SPLIT_SEED).sample(sorted(held), min(MAX_HELD_OUT_QUERIES, len(held)))
    wanted = {"dev": dataset.qrels["dev"], "validation": {query: held[query] for query in few}}
    if not cache.is_file():
        with stderr.status("OpenSearch answers every query once"), cluster_for_tests() as url, connect(url) as client:
            found = fetch_candidates(client, dataset, [query for qrels in wanted.values() for query in qrels], wanted)
        write_candidates(found, cache)
    known = read_candidates(cache)
    return {
        name: CandidateSplit({q: dataset.queries[q] for q in qrels}, qrels, {q: known[q] for q in qrels})
        for name, qrels in wanted.items()
    }


def fetch_candidates(
    client: OpenSearch, dataset: Dataset, queries: Sequence[str], wanted: dict[str, Qrels]
) -> dict[str, QueryCandidates]:
    """Index the titles anew and ask for all queries; the index is gone afterwards."""
    judged = {query: list(grades) for qrels in wanted.values() for query, grades in qrels.items()}
    client.indices.create(index=CANDIDATE_INDEX, body=INDEX_BODY)
    try:
        bulk(client, _index_actions(dataset), refresh=True)
        client.indices.forcemerge(index=CANDIDATE_INDEX, max_num_segments=1)
        client.indices.refresh(index=CANDIDATE_INDEX)
        texts = {query: dataset.queries[query] for query in queries}
        windows = _search_all(client, {query: build_lexical_body(text) for query, text in texts.items()})
        pools = _search_all(
            client, {query: build_pool_body(text, judged[query], ENGLISH) for query, text in texts.items()}
        )
        every = {query: list(dict.fromkeys([*judged[query], *windows[query]])) for query in queries}
        grams = _search_all(
            client, {query: build_pool_body(text, every[query], TRIGRAMS) for query, text in texts.items()}
        )
    finally:
        client.indices.delete(index=CANDIDATE_INDEX)
    return {query: QueryCandidates(pools[query], windows[query], grams[query]) for query in queries}


def build_lexical_body(text: str) -> dict[str, Any]:
    """Search body of the lexical first hundred."""
    return {"size": WINDOW_SIZE, "_source": False, "query": {"match": {ENGLISH: text}}}


def build_pool_body(text: str, products: Sequence[str], field: str) -> dict[str, Any]:
    """Search body that scores some products, matching or not: those that do not match have 0."""
    chosen = {"filter": [{"ids": {"values": list(products)}}], "should": [{"match": {field: text}}]}
    return {"size": max(1, len(products)), "_source": False, "query": {"bool": chosen}}


def _index_actions(dataset: Dataset) -> Iterator[dict[str, Any]]:
    for product in dataset.products.values():
        yield {"_index": CANDIDATE_INDEX, "_id": product.id, "title": product.title}


def _search_all(client: OpenSearch, bodies: dict[str, dict[str, Any]]) -> dict[str, ProductScores]:
    """Answers by query id, product to score in the order of the hits."""
    names = list(bodies)
    found: dict[str, ProductScores] = {}
    with progress("searching", len(names)) as advance:
        for start in range(0, len(names), MSEARCH_BATCH_SIZE):
            some = names[start : start + MSEARCH_BATCH_SIZE]
            lines = [line for name in some for line in ({"index": CANDIDATE_INDEX}, bodies[name])]
            answers = client.msearch(body=lines)["responses"]
            for name, answer in zip(some, answers, strict=True):
                found[name] = {hit["_id"]: float(hit["_score"]) for hit in answer["hits"]["hits"]}
            advance(len(some))
    return found


def write_candidates(found: dict[str, QueryCandidates], cache: Path) -> None:
    """Keep what OpenSearch answered."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    rows = {query: [one.judged, one.window, one.trigrams] for query, one in found.items()}
    cache.write_bytes(gzip.compress(json.dumps(rows).encode()))


def read_candidates(cache: Path) -> dict[str, QueryCandidates]:
    """What OpenSearch answered, by query id."""
    rows = json.loads(gzip.decompress(cache.read_bytes()))
    return {query: QueryCandidates(*parts) for query, parts in rows.items()}


CandidateScores: TypeAlias = dict[str, "ProductScores"]  # query id to product id to score

RANKING_TASKS = ("judged", "window")


def lexical_run(split: CandidateSplit, task: str) -> Run:
    """The order OpenSearch gave, as a run."""
    return {name: getattr(found, task) for name, found in split.found.items()}
