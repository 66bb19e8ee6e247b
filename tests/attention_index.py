"""Titles, queries, an encoder without attention, and an index, for the tests of the three signals."""

import itertools
import uuid
from dataclasses import replace

import pytest

from anthem_core.encoding.bundle import ATTENTION_FILES, compute_model_id, load_bundle, save_manifest
from anthem_core.encoding.encoder import Encoder

BRANDS = ["acme", "globex", "initech", "stark"]
TRAITS = ["red", "wireless", "fire resistant", "mini", "4k"]
NOUNS = ["tv stick", "tablet", "phone case", "fire pit", "kindle reader"]
TITLES = {str(n): " ".join(parts) for n, parts in enumerate(itertools.product(BRANDS, TRAITS, NOUNS))}
TITLES |= {"bare": "?!", "odd": "fire tv 電視 टीवी"}
QUERIES = {"q1": "fire tv", "q2": "wireless phone tablet", "q3": "kindel stark", "q4": "4k red stick", "q5": "fire"}


@pytest.fixture(scope="module")
def encoder_without_attention(attention_encoder, add_attention, tmp_path_factory):
    """Encoder of the same bundle, without the attention graphs."""
    folder = tmp_path_factory.mktemp("without_attention")
    bundle = add_attention(attention_encoder.bundle, folder)
    for name in ATTENTION_FILES:
        (folder / name).unlink()
    save_manifest(replace(bundle, model_id=compute_model_id(folder, bundle.rules())))
    return Encoder(load_bundle(folder))


def hits(response):
    """Hits of a response."""
    return response["hits"]["hits"]


def create_index(client, mapping, documents):
    """Create an index of one shard from documents by id, and return its name."""
    name = f"test-attention-{uuid.uuid4().hex}"
    client.indices.create(index=name, body={"settings": {"number_of_shards": 1}, "mappings": mapping})
    lines = [line for number, document in documents.items() for line in ({"index": {"_id": number}}, document)]
    assert not client.bulk(body=lines, index=name, refresh=True)["errors"]
    return name
