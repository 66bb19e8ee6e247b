"""Candidates of every query, with their lexical scores from OpenSearch: its judged products, and BM25's first 100."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from opensearchpy.helpers import bulk

from anthem_core.console import progress, stderr
from anthem_core.opensearch.connection import connect
from anthem_model.data.training_shop import split_dataset
from anthem_sandbox.node import cluster_for_tests

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from opensearchpy import OpenSearch

    from anthem_core.beir import Dataset, Qrels
    from anthem_evaluation.runs import Run
    from anthem_model.data.training_shop import ShopSplit

ProductScores: TypeAlias = dict[str, float]  # product id to score, best first
CandidateScores: TypeAlias = dict[str, ProductScores]  # query id to the scores of its candidates

RANKING_TASKS = ("judged", "window")  # fields of QueryCandidates, and the first half of every key in the results
CANDIDATE_INDEX = "quality"
WINDOW_SIZE = 100
MAX_HELD_OUT_QUERIES = 300  # queries of `train` on which the fusion weights are fitted
SPLIT_SEED = 0  # the held-out queries do not depend on the seed of the training
MSEARCH_BATCH_SIZE = 50
ENGLISH_FIELD = "title"
TRIGRAM_FIELD = "title.trigrams"

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
    """Candidates of one query with their BM25 scores, in OpenSearch's order; `trigrams` scores all of them."""

    judged: ProductScores
    window: ProductScores
    trigrams: ProductScores

    @property
    def product_ids(self) -> list[str]:
        """Ids of all candidates, without duplicates."""
        return list(dict.fromkeys([*self.judged, *self.window]))


@dataclass(frozen=True)
class CandidateSplit:
    """Queries with their judgments and candidates: three mappings with the same query ids in the same order."""

    queries: dict[str, str]
    qrels: Qrels
    candidates: dict[str, QueryCandidates]


def select_held_out_qrels(dataset: Dataset, parts: ShopSplit) -> Qrels:
    """Return the judgments of those `train` queries that no model is trained on."""
    training_texts = {query.text for query in parts.train.judged_queries}
    held_out_texts = {query.text for query in parts.validation.judged_queries} - training_texts
    train = dataset.qrels["train"]
    return {query: train[query] for query in sorted(train) if dataset.queries[query] in held_out_texts}


def prepare_training_parts(dataset: Dataset, name: str) -> ShopSplit:
    """Split `train` into the parts for training and validation, the same for every cell of a dataset."""
    return split_dataset(name, dataset, random.Random(SPLIT_SEED))


def load_splits(dataset: Dataset, parts: ShopSplit, cache: Path) -> dict[str, CandidateSplit]:
    """Load the splits `dev` and `validation` (held-out queries of `train`).

    The first call fetches all candidates from OpenSearch and writes them to `cache`; later calls read that file.
    """
    held_out = select_held_out_qrels(dataset, parts)
    sample = random.Random(SPLIT_SEED).sample(sorted(held_out), min(MAX_HELD_OUT_QUERIES, len(held_out)))
    qrels_by_split = {"dev": dataset.qrels["dev"], "validation": {query: held_out[query] for query in sample}}
    if not cache.is_file():
        with stderr.status("Fetching candidates from OpenSearch"), cluster_for_tests() as url, connect(url) as client:
            write_candidates(fetch_candidates(client, dataset, qrels_by_split), cache)
    candidates = read_candidates(cache)
    return {
        name: CandidateSplit({q: dataset.queries[q] for q in qrels}, qrels, {q: candidates[q] for q in qrels})
        for name, qrels in qrels_by_split.items()
    }


def fetch_candidates(
    client: OpenSearch, dataset: Dataset, qrels_by_split: Mapping[str, Qrels]
) -> dict[str, QueryCandidates]:
    """Index all titles, search for every judged query, and delete the index again."""
    judged = {query: list(grades) for qrels in qrels_by_split.values() for query, grades in qrels.items()}
    texts = {query: dataset.queries[query] for query in judged}
    client.indices.create(index=CANDIDATE_INDEX, body=INDEX_BODY)
    try:
        bulk(client, _index_actions(dataset), refresh=True)
        client.indices.forcemerge(index=CANDIDATE_INDEX, max_num_segments=1)
        client.indices.refresh(index=CANDIDATE_INDEX)
        windows = _search_all(client, {query: build_lexical_body(text) for query, text in texts.items()})
        pools = _score_products(client, texts, judged, ENGLISH_FIELD)
        all_ids = {query: list(dict.fromkeys([*judged[query], *windows[query]])) for query in texts}
        trigrams = _score_products(client, texts, all_ids, TRIGRAM_FIELD)
    finally:
        client.indices.delete(index=CANDIDATE_INDEX)
    return {query: QueryCandidates(pools[query], windows[query], trigrams[query]) for query in texts}


def build_lexical_body(text: str) -> dict[str, Any]:
    """Build the search body for BM25's first 100 products."""
    return {"size": WINDOW_SIZE, "_source": False, "query": {"match": {ENGLISH_FIELD: text}}}


def build_pool_body(text: str, product_ids: Sequence[str], field: str) -> dict[str, Any]:
    """Build the search body that scores the given products; those that do not match score 0."""
    query = {"filter": [{"ids": {"values": list(product_ids)}}], "should": [{"match": {field: text}}]}
    return {"size": max(1, len(product_ids)), "_source": False, "query": {"bool": query}}


def _index_actions(dataset: Dataset) -> Iterator[dict[str, Any]]:
    for product in dataset.products.values():
        yield {"_index": CANDIDATE_INDEX, "_id": product.id, "title": product.title}


def _score_products(
    client: OpenSearch, texts: Mapping[str, str], product_ids: Mapping[str, Sequence[str]], field: str
) -> CandidateScores:
    """Score the given products of every query by one field."""
    return _search_all(
        client, {query: build_pool_body(text, product_ids[query], field) for query, text in texts.items()}
    )


def _search_all(client: OpenSearch, bodies: Mapping[str, dict[str, Any]]) -> CandidateScores:
    """Send one search per query id; the scores of each are in the order of its hits."""
    queries = list(bodies)
    scores: CandidateScores = {}
    with progress("searching", len(queries)) as advance:
        for start in range(0, len(queries), MSEARCH_BATCH_SIZE):
            batch = queries[start : start + MSEARCH_BATCH_SIZE]
            lines = [line for query in batch for line in ({"index": CANDIDATE_INDEX}, bodies[query])]
            responses = client.msearch(body=lines)["responses"]
            for query, response in zip(batch, responses, strict=True):
                scores[query] = {hit["_id"]: float(hit["_score"]) for hit in response["hits"]["hits"]}
            advance(len(batch))
    return scores


def write_candidates(candidates: Mapping[str, QueryCandidates], cache: Path) -> None:
    """Write all candidates to a gzipped JSON file."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    rows = {query: [item.judged, item.window, item.trigrams] for query, item in candidates.items()}
    cache.write_bytes(gzip.compress(json.dumps(rows).encode()))


def read_candidates(cache: Path) -> dict[str, QueryCandidates]:
    """Read a file of `write_candidates`, by query id."""
    rows = json.loads(gzip.decompress(cache.read_bytes()))
    return {query: QueryCandidates(*scores) for query, scores in rows.items()}


def lexical_run(split: CandidateSplit, task: str) -> Run:
    """Return the candidates of a task with their BM25 scores, in OpenSearch's order."""
    return {query: getattr(candidates, task) for query, candidates in split.candidates.items()}
