"""What OpenSearch gives each query of a data set: scores of its judged products, and the first hundred of all."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from opensearchpy.helpers import bulk

from anthem_core.cluster import connect
from anthem_core.console import err, progress
from anthem_core.node import test_cluster
from anthem_model.shop import prepare

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from opensearchpy import OpenSearch

    from anthem_core.beir import Dataset, Qrels
    from anthem_model.shop import Parts

Scored: TypeAlias = dict[str, float]  # product id to score, best first

INDEX = "quality"
WINDOW = 100
HELD_OUT = 300  # queries of `train` on which fusion is fitted, at most
SPLIT_SEED = 0  # the same queries are held out whatever the seed of the training
BATCH = 50
ENGLISH, TRIGRAMS = "title", "title.trigrams"

_TRIGRAM_ANALYSIS = {
    "tokenizer": {"grams": {"type": "ngram", "min_gram": 3, "max_gram": 3, "token_chars": ["letter", "digit"]}},
    "analyzer": {"grams": {"type": "custom", "tokenizer": "grams", "filter": ["lowercase"]}},
}
BODY = {
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
class Found:
    """One query's candidates: judged products and window, in OpenSearch's order, and the trigram score of both."""

    judged: Scored
    window: Scored
    trigrams: Scored

    @property
    def products(self) -> list[str]:
        """Every candidate once."""
        return list(dict.fromkeys([*self.judged, *self.window]))


@dataclass(frozen=True)
class Split:
    """Queries with their judgments and candidates, all by query id in the same order."""

    queries: dict[str, str]
    qrels: Qrels
    found: dict[str, Found]


def held_out(dataset: Dataset, parts: Parts) -> Qrels:
    """Judgments of the queries of `train` that no training learns from."""
    learned = {query.text for query in parts.learn.judged}
    kept = {query.text for query in parts.validate.judged} - learned
    train = dataset.qrels["train"]
    return {query: train[query] for query in sorted(train) if dataset.queries[query] in kept}


def cut(dataset: Dataset, name: str) -> Parts:
    """The parts of `train` that every cell of a data set trains on."""
    return prepare(name, dataset, random.Random(SPLIT_SEED))


def splits(dataset: Dataset, parts: Parts, cache: Path) -> dict[str, Split]:
    """Candidates of `dev` and of the held-out queries, from the cache or, once, from a real OpenSearch."""
    held = held_out(dataset, parts)
    few = random.Random(SPLIT_SEED).sample(sorted(held), min(HELD_OUT, len(held)))
    wanted = {"dev": dataset.qrels["dev"], "validation": {query: held[query] for query in few}}
    if not cache.is_file():
        with err.status("OpenSearch answers every query once"), test_cluster() as url, connect(url) as client:
            found = fetch(client, dataset, [query for qrels in wanted.values() for query in qrels], wanted)
        write(found, cache)
    known = read(cache)
    return {
        name: Split({q: dataset.queries[q] for q in qrels}, qrels, {q: known[q] for q in qrels})
        for name, qrels in wanted.items()
    }


def fetch(client: OpenSearch, dataset: Dataset, queries: Sequence[str], wanted: dict[str, Qrels]) -> dict[str, Found]:
    """Index the titles anew and ask for all queries; the index is gone afterwards."""
    judged = {query: list(grades) for qrels in wanted.values() for query, grades in qrels.items()}
    client.indices.create(index=INDEX, body=BODY)
    try:
        bulk(client, _actions(dataset), refresh=True)
        client.indices.forcemerge(index=INDEX, max_num_segments=1)
        client.indices.refresh(index=INDEX)
        texts = {query: dataset.queries[query] for query in queries}
        windows = _ask(client, {query: window(text) for query, text in texts.items()})
        pools = _ask(client, {query: pool(text, judged[query], ENGLISH) for query, text in texts.items()})
        every = {query: list(dict.fromkeys([*judged[query], *windows[query]])) for query in queries}
        grams = _ask(client, {query: pool(text, every[query], TRIGRAMS) for query, text in texts.items()})
    finally:
        client.indices.delete(index=INDEX)
    return {query: Found(pools[query], windows[query], grams[query]) for query in queries}


def window(text: str) -> dict[str, Any]:
    """Search body of the lexical first hundred."""
    return {"size": WINDOW, "_source": False, "query": {"match": {ENGLISH: text}}}


def pool(text: str, products: Sequence[str], field: str) -> dict[str, Any]:
    """Search body that scores some products, matching or not: those that do not match have 0."""
    chosen = {"filter": [{"ids": {"values": list(products)}}], "should": [{"match": {field: text}}]}
    return {"size": max(1, len(products)), "_source": False, "query": {"bool": chosen}}


def _actions(dataset: Dataset) -> Iterator[dict[str, Any]]:
    for product in dataset.products.values():
        yield {"_index": INDEX, "_id": product.id, "title": product.title}


def _ask(client: OpenSearch, bodies: dict[str, dict[str, Any]]) -> dict[str, Scored]:
    """Answers by query id, product to score in the order of the hits."""
    names = list(bodies)
    found: dict[str, Scored] = {}
    with progress("searching", len(names)) as advance:
        for start in range(0, len(names), BATCH):
            some = names[start : start + BATCH]
            lines = [line for name in some for line in ({"index": INDEX}, bodies[name])]
            answers = client.msearch(body=lines)["responses"]
            for name, answer in zip(some, answers, strict=True):
                found[name] = {hit["_id"]: float(hit["_score"]) for hit in answer["hits"]["hits"]}
            advance(len(some))
    return found


def write(found: dict[str, Found], cache: Path) -> None:
    """Keep what OpenSearch answered."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    rows = {query: [one.judged, one.window, one.trigrams] for query, one in found.items()}
    cache.write_bytes(gzip.compress(json.dumps(rows).encode()))


def read(cache: Path) -> dict[str, Found]:
    """What OpenSearch answered, by query id."""
    rows = json.loads(gzip.decompress(cache.read_bytes()))
    return {query: Found(*parts) for query, parts in rows.items()}
