"""Shops on one shard, and a proxy that is slow for some requests, for the tests of clients and modes."""

import itertools
import urllib.request
import uuid
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest

from anthem_core.opensearch.schema import VectorFields

BRANDS = ["acme", "globex", "initech", "umbrella", "stark"]
TRAITS = ["red", "blue", "wireless", "mini", "pro"]
NOUNS = ["fire tv", "tv stick", "tablet", "running shoe", "fire pit", "kindle reader"]
PRODUCTS = [" ".join(words) for words in itertools.product(BRANDS, TRAITS, NOUNS)]
GRAPH = {"name": "hnsw", "engine": "lucene", "space_type": "l2"}
TITLES = ["fire tv stick", "fire pit", "tv table", "red tv", "fire tv cube", "garden hose"]


def match(query):
    """Body of a plain search."""
    return {"query": {"match": {"title": {"query": query}}}}


@contextmanager
def small_shop(client, encoder, model=None):
    """Name of an index of the titles with the encoder's vectors, said to be of its model if no other is named."""
    name = f"test-client-{uuid.uuid4().hex}"
    mappings = VectorFields().mapping(encoder.bundle.dimension)
    client.indices.create(index=name, body={"settings": {"number_of_shards": 1}, "mappings": mappings})
    for number, (title, point) in enumerate(zip(TITLES, encoder.products(TITLES), strict=True)):
        document = VectorFields().document(point, model or encoder.bundle.model, "")
        client.index(index=name, id=str(number), body={"title": title, **document})
    client.indices.refresh(index=name)
    yield name
    client.indices.delete(index=name)


@pytest.fixture(scope="module")
def index(client, encoder):
    """A small shop on one shard, with vectors."""
    with small_shop(client, encoder) as name:
        yield name


@pytest.fixture(scope="module")
def bare(client, encoder):
    """The same shop, whose vectors are of another model."""
    with small_shop(client, encoder, "other") as name:
        yield name


@contextmanager
def large_shop(client, encoder, *, graph=True, shards=1):
    """Name of an index of 150 products, every tenth without a vector, with a graph of the others or without."""
    name = f"test-modes-{uuid.uuid4().hex}"
    mappings = VectorFields().mapping(encoder.bundle.dimension)
    kinds = {"title": "text", "brand": "keyword", "price": "integer"}
    mappings["properties"] |= {field: {"type": kind} for field, kind in kinds.items()}
    if graph:
        mappings["properties"]["anthem"]["properties"]["vector"]["method"] = GRAPH
    settings = {"number_of_shards": shards} | ({"index.knn": True} if graph else {})
    client.indices.create(index=name, body={"settings": settings, "mappings": mappings})
    lines = []
    for number, (title, point) in enumerate(zip(PRODUCTS, encoder.products(PRODUCTS), strict=True)):
        vector = VectorFields().document(point, encoder.bundle.model, title) if number % 10 else {}
        product = {"title": title, "brand": title.split()[0], "price": number}
        lines += [{"index": {"_id": str(number)}}, product | vector]
    assert not client.bulk(body=lines, index=name, refresh=True)["errors"]
    yield name
    client.indices.delete(index=name)


@contextmanager
def slow_for(word, cluster, seconds=None):
    """A proxy where requests whose body holds a word wait for some seconds, or until it is closed; yields its URL."""
    closing_time = Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            """Pass a request on, or let it wait."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if word in body:
                closing_time.wait(seconds or 60)
                if seconds is None:
                    return
            headers = {"Content-Type": "application/json"}
            asked = urllib.request.Request(cluster + self.path, body, headers, method=self.command)
            with urllib.request.urlopen(asked) as answer:
                content = answer.read()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            closing_time.set()
            server.shutdown()
            thread.join()
