"""Small indices, and a proxy that delays some requests, for the tests of clients and modes."""

import itertools
import urllib.request
import uuid
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.stored_vectors import unpack_points
from anthem_core.opensearch.schema import ModelFields

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
def index_setting(client, index, name, value):
    """An index with a setting, which is reset afterwards."""
    client.indices.put_settings(index=index, body={name: value})
    try:
        yield
    finally:
        client.indices.put_settings(index=index, body={name: None})


def stored_points(encoder, titles):
    """Points of titles as an index stores them."""
    return unpack_points(encoder.encode_vectors(titles), encoder.bundle.vector_step)


def model_documents(encoder, titles, model_id=None):
    """What ingest stores for each title: the values of the encoder's model, labelled with it or another."""
    vectors, bundle = encoder.encode_vectors(titles), encoder.bundle
    trigrams = AttentionScorer(bundle).encode_titles(titles).pack() if bundle.has_attention else [None] * len(titles)
    return [
        ModelFields().document(vector, model_id or bundle.model_id, bundle.vocabulary.split_words(title), packed)
        for vector, title, packed in zip(vectors, titles, trigrams, strict=True)
    ]


@contextmanager
def small_index(client, encoder, model_id=None, titles=TITLES):
    """Create an index of titles with the encoder's values, labelled with its model or another; yield its name."""
    name = f"test-client-{uuid.uuid4().hex}"
    mappings = ModelFields().mapping(encoder.bundle.dimension)
    client.indices.create(index=name, body={"settings": {"number_of_shards": 1}, "mappings": mappings})
    for number, (title, document) in enumerate(zip(titles, model_documents(encoder, titles, model_id), strict=True)):
        client.index(index=name, id=str(number), body={"title": title, **document})
    client.indices.refresh(index=name)
    yield name
    client.indices.delete(index=name)


@pytest.fixture(scope="module")
def index(client, encoder):
    """A small index on one shard, ingested."""
    with small_index(client, encoder) as name:
        yield name


@pytest.fixture(scope="module")
def foreign_index(client, encoder):
    """The same index, with values labelled as those of another model."""
    with small_index(client, encoder, "other") as name:
        yield name


@contextmanager
def large_index(client, encoder, *, graph=True, shards=1):
    """Create an index of 150 products, nine tenths ingested, with or without an HNSW graph; yield its name."""
    name = f"test-modes-{uuid.uuid4().hex}"
    mappings = ModelFields().mapping(encoder.bundle.dimension)
    field_types = {"title": "text", "brand": "keyword", "price": "integer"}
    mappings["properties"] |= {field: {"type": field_type} for field, field_type in field_types.items()}
    if graph:
        mappings["properties"]["anthem"]["properties"]["vector"]["method"] = GRAPH
    settings = {"number_of_shards": shards} | ({"index.knn": True} if graph else {})
    client.indices.create(index=name, body={"settings": settings, "mappings": mappings})
    lines = []
    for number, (title, document) in enumerate(zip(PRODUCTS, model_documents(encoder, PRODUCTS), strict=True)):
        product = {"title": title, "brand": title.split()[0], "price": number}
        lines += [{"index": {"_id": str(number)}}, product | (document if number % 10 else {})]
    assert not client.bulk(body=lines, index=name, refresh=True)["errors"]
    yield name
    client.indices.delete(index=name)


@contextmanager
def slow_proxy(word, cluster, seconds=None, port=0):
    """A proxy that delays requests whose body contains a word, by some seconds or until it closes; yields its URL."""
    closing = Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            """Forward a request, after a delay if its body contains the word."""
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if word in body:
                closing.wait(seconds or 60)
                if seconds is None:
                    return
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(cluster + self.path, body or None, headers, method=self.command)
            with urllib.request.urlopen(request) as response:
                content = response.read()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST  # noqa: N815 (the name is http.server's)

        def log_message(self, *_):
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            closing.set()
            server.shutdown()
            thread.join()
