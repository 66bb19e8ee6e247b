"""Requests of the load test: functions that send the request with a number, and return what is compared."""

from __future__ import annotations

import json
import random
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from anthem_core.encoding.text_rules import MAX_CACHED_CHUNKS

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    import httpx

    from anthem_plugin.client import AnthemClient

    SendRequest: TypeAlias = Callable[[int], Hashable]

LOAD_INDEX = "anthem-load"
DOCUMENTS_PER_RERANK = 50


class RefusedError(Exception):
    """The service answered 503 with the time to wait."""


class WrongAnswerError(Exception):
    """An answer is wrong in itself, or differs from the one that the same request got without load."""


def build_body(text: str, size: int = 20) -> dict[str, Any]:
    """Body of a plain title search."""
    return {"query": {"match": {"title": {"query": text}}}, "size": size, "_source": ["title"]}


def search_requests(anthem: AnthemClient, queries: Sequence[str], mode: Literal["cluster", "client"]) -> SendRequest:
    """Requests to the search client; an answer is the ids in order. It is wrong if the mode did not rank it."""

    def send(number: int) -> Hashable:
        response = anthem.search(LOAD_INDEX, build_body(queries[number]), mode=mode)
        ids = tuple(hit["_id"] for hit in response["hits"]["hits"])
        if len(ids) > 1 and response["anthem"]["mode"] != mode:  # fewer hits need no reranking
            raise WrongAnswerError
        return ids

    return send


def rerank_requests(http: httpx.Client, queries: Sequence[str], titles: Sequence[str]) -> SendRequest:
    """Requests to `/v1/rerank`; an answer is the documents in order, with their scores."""

    def send(number: int) -> Hashable:
        documents = [titles[(number * 7 + offset) % len(titles)] for offset in range(DOCUMENTS_PER_RERANK)]
        results = post(http, "/v1/rerank", {"query": queries[number], "documents": documents})["results"]
        return tuple((result["index"], result["relevance_score"]) for result in results)

    return send


def new_query_requests(http: httpx.Client, titles: Sequence[str]) -> SendRequest:
    """Requests to `/v1/rerank` with a new query each, of 1 to 60 words, and up to 100 documents of up to 40 titles.

    No cache helps, and long requests are computed in threads. Every query has a new word; the caches of words, which
    would take minutes to fill, are filled first. An answer is wrong if it does not rank every document once, most
    relevant first.
    """
    numbers, words = count(), sorted({word for title in titles for word in title.split()})
    for first in range(0, MAX_CACHED_CHUNKS, 1_000):
        new_words = " ".join(f"y{number}" for number in range(first, first + 1_000))
        post(http, "/v1/rerank", {"query": "fill the caches", "documents": [new_words]})

    def send(_: int) -> Hashable:
        number = next(numbers)
        generator = random.Random(number)
        query = " ".join([*generator.choices(words, k=generator.choice((1, 2, 3, 4, 6, 10, 60))), f"{number}x"])
        length = generator.choice((1, 1, 1, 40))
        documents = [" ".join(generator.choices(titles, k=length)) for _ in range(generator.randint(1, 100))]
        results = post(http, "/v1/rerank", {"query": query, "documents": documents})["results"]
        scores = [result["relevance_score"] for result in results]
        is_complete = sorted(result["index"] for result in results) == list(range(len(documents)))
        if not is_complete or scores != sorted(scores, reverse=True):
            raise WrongAnswerError
        return None  # every request is new: there is no earlier answer to compare with

    return send


def rewrite_requests(http: httpx.Client, queries: Sequence[str]) -> SendRequest:
    """Requests to `/rewrite`; an answer is the rewritten body."""
    return lambda number: json.dumps(post(http, "/rewrite", {"body": build_body(queries[number])}))


def post(http: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Send a request to the service, and return the answer.

    Raises:
        RefusedError: The service is at its limit, or too slow, and answered as specified: 503 with `Retry-After`.
        httpx.HTTPStatusError: The status is any other than 200.
    """
    response = http.post(path, json=body)
    if response.status_code == 503 and response.headers.get("Retry-After"):
        raise RefusedError
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    return answer
