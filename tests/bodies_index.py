"""The indices of the tests of search bodies: one for each set of values that an index can have."""

import itertools
import json
import uuid

import pytest
from small_index import GRAPH, model_documents

from anthem_core.opensearch.schema import ModelFields

BRANDS, TRAITS, NOUNS = ["acme", "globex", "stark"], ["red"], ["fire tv", "tv", "mini fire pit"]
TITLES = [" ".join(words) for words in itertools.product(BRANDS, TRAITS, NOUNS)]


@pytest.fixture(scope="module")
def names(client, encoder):
    """An ingested index with an alias and a point in time, one without an HNSW graph, and some without some values."""
    name = f"test-bodies-{uuid.uuid4().hex}"
    properties = {"title": {"type": "text"}, "text": {"type": "text"}, "brand": {"type": "keyword"}}
    properties["variants"] = {"type": "nested", "properties": {"name": {"type": "text"}}}
    plain = properties | {"price": {"type": "integer"}, "v": {"type": "knn_vector", "dimension": 2, "method": GRAPH}}
    without_graph = {field: kind for field, kind in plain.items() if field != "v"}
    values = ModelFields().mapping(encoder.bundle.dimension)["properties"]
    with_graph = json.loads(json.dumps(values))
    with_graph["anthem"]["properties"]["vector"]["method"] = GRAPH

    def mapping_without(value):
        mapping = json.loads(json.dumps(with_graph))
        del mapping["anthem"]["properties"][value]
        return plain | mapping

    mappings = {
        name: plain | with_graph,
        f"{name}-bare": plain,
        f"{name}-flat": without_graph | values,
        f"{name}-vectors": mapping_without("trigrams"),
        f"{name}-trigrams": mapping_without("vector"),
    }
    documents = model_documents(encoder, TITLES)
    for index, mapping in mappings.items():
        settings = {"number_of_shards": 1} | ({"index.knn": True} if mapping.keys() & {"v"} else {})
        client.indices.create(index=index, body={"settings": settings, "mappings": {"properties": mapping}})
        lines = []
        for number, (title, document) in enumerate(zip(TITLES, documents, strict=True)):
            product = {"title": title, "text": f"a {title}", "brand": title.split()[0], "price": number}
            product["variants"] = [{"name": title}, {"name": title.upper()}]
            stored = mapping.get("anthem", {"properties": {}})["properties"]
            kept = {field: value for field, value in document["anthem"].items() if field in stored}
            product |= {"anthem": kept} if kept else {}
            product |= {"v": [number, 1]} if index == name else {}
            lines += [{"index": {"_id": str(number), "routing": "x"}}, product]
        assert not client.bulk(body=lines, index=index, refresh=True)["errors"]
    client.indices.put_alias(index=name, name=f"{name}-alias")
    pit = client.create_pit(index=name, params={"keep_alive": "5m"})["pit_id"]
    yield {"index": name, "pit": pit}
    client.delete_pit(body={"pit_id": [pit]})
    client.indices.delete(index=",".join(mappings))
