"""Values of other text fields beside those that searches use: before, during and after the switch, on a real node."""

import json
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from anthem_core.errors import ClusterError
from anthem_core.opensearch.schema import (
    CURRENT_FIELDS,
    MODEL_SIGNALS,
    ModelFields,
    fields_of_model,
    find_model_fields,
    ingested_fields,
    with_ingest_meta,
)
from anthem_ingest.actions import has_any_value
from anthem_ingest.cli import ingest
from anthem_ingest.encode import ValueBuilder
from anthem_ingest.ingest import IngestOptions, ingest_index
from anthem_ingest.multi_model import switch_aliases
from anthem_ingest.pending import is_pending, pending_mark, without_pending_mark
from anthem_plugin.client import AnthemClient

MODEL = "0123456789abcdef"
FIRST, OWN = ModelFields(), fields_of_model(MODEL)
PRODUCTS = {
    "1": {"title": "blue drill", "brand": "Acme tools"},
    "2": {"title": "blue saw"},
    "3": {"title": "blue lamp", "brand": "Bosch tools"},
    "4": {"title": "blue drill bits", "brand": "!!!"},
    "5": {"title": "blue rope", "brand": "Bosch blue tools"},
}


def build_mappings(pending=False, recorded=(FIRST, OWN)):
    """Mappings with two objects of one model, of which the second may be pending."""
    meta = {}
    for fields in recorded:
        record = {"model": MODEL, "fields": ["title"]} | ({"pending": True} if pending and fields == OWN else {})
        meta = with_ingest_meta(meta, fields.name, record)
    return {"properties": FIRST.mapping(3)["properties"] | OWN.mapping(3)["properties"], "_meta": meta}


def test_a_pending_object_is_found_only_after_the_switch():
    """Of two objects of one model, the first is found while the second is pending or pruned, then the second."""
    pending = build_mappings(pending=True)
    assert find_model_fields([pending], MODEL) == FIRST
    switched = pending | {"_meta": without_pending_mark(pending["_meta"], OWN.name)}
    assert find_model_fields([switched], MODEL) == OWN
    assert switched == build_mappings()
    assert find_model_fields([build_mappings(recorded=[FIRST])], MODEL) == FIRST
    assert find_model_fields([build_mappings(pending=True, recorded=[OWN])], MODEL) == OWN
    assert find_model_fields([build_mappings(recorded=[])], MODEL) == OWN
    assert find_model_fields([pending, switched], MODEL) == OWN, (
        "several indices are searched by the model's own object"
    )


def test_only_a_second_object_of_one_model_is_pending():
    """A record is marked while another object has the same model's values, and never again after the switch."""
    assert pending_mark({}, "anthem", MODEL) == {}
    first = build_mappings(recorded=[FIRST])["_meta"]
    assert pending_mark(first, OWN.name, MODEL) == {"pending": True}
    assert pending_mark(first, "anthem", MODEL) == {}
    assert pending_mark(first, "anthem_ffffffff", "f" * 16) == {}
    assert pending_mark(build_mappings(pending=True)["_meta"], OWN.name, MODEL) == {"pending": True}
    assert pending_mark(build_mappings()["_meta"], OWN.name, MODEL) == {}


@pytest.fixture
def command(cluster, index, tmp_path, bundle):
    """Options of every command on the index."""
    return [index, "--url", cluster, "--json", "--bundle", str(bundle.path), "--dead-letter", str(tmp_path / "dead")]


@pytest.fixture
def own(bundle):
    """Fields of the model's own object."""
    return fields_of_model(bundle.model_id)


@pytest.fixture
def ingested(client, index, encoder):
    """An index of products whose values are made from the title; returns its name."""
    text = {"type": "text"}
    client.indices.create(index=index, body={"mappings": {"properties": {"title": text, "brand": text}}})
    for number, product in PRODUCTS.items():
        client.index(index=index, id=number, body=product)
    client.indices.refresh(index=index)
    ingest_index(client, index, encoder)
    return index


def run(*arguments):
    """Result of `anthem ingest` as a JSON object."""
    done = CliRunner().invoke(ingest, arguments)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def search(client, index, encoder, field, text):
    """Where a new client reads the values, from which text fields they are made, and the order of its hits."""
    anthem = AnthemClient(client, encoder)
    response = anthem.search(index, {"query": {"match": {field: {"query": text}}}})
    assert response["anthem"]["reranked"], response["anthem"]
    profile = anthem.profile(index)
    return profile.scoring.fields, profile.text_fields, [hit["_id"] for hit in response["hits"]["hits"]]


def kill_after_first_values(client, command, index, own):
    """Start an ingest of the brand beside the title, and kill it once some values are written."""
    code = "from anthem_ingest.cli import ingest; ingest()"
    slow = [*command, "--field", "brand", "--beside", "--rate", "1"]
    with subprocess.Popen([sys.executable, "-c", code, *slow], stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + 60
        while time.monotonic() < end and process.poll() is None:
            client.indices.refresh(index=index)
            if client.count(index=index, body={"query": has_any_value(own)})["count"]:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.node
def test_searches_use_the_former_values_until_the_switch(client, ingested, encoder, command, own):
    """A killed run with other fields changes no search; the next one completes it, switches, and can be pruned."""
    before = search(client, ingested, encoder, "title", "blue drill")
    assert before[:2] == (ModelFields(), ("title",))
    kill_after_first_values(client, command, ingested, own)
    assert search(client, ingested, encoder, "title", "blue drill") == before
    assert run(*command)["object"] == "anthem", "without --beside, the current values are kept up to date"
    resumed = run(*command, "--beside")
    assert (resumed["object"], resumed["written"] + resumed["skipped"], resumed["empty"]) == (own.name, 3, 2)
    assert search(client, ingested, encoder, "brand", "bosch tools")[:2] == (own, ("brand",))
    again = run(*command, "--prune")
    assert (again["object"], again["written"]) == (own.name, 0)
    assert all("anthem" not in client.get(index=ingested, id=number)["_source"] for number in PRODUCTS)
    assert search(client, ingested, encoder, "brand", "bosch tools")[:2] == (own, ("brand",))


@pytest.mark.node
def test_products_without_text_do_not_hold_up_the_switch(client, ingested, encoder, own):
    """Products without text in the new fields do not prevent the switch; one with text but without values does."""
    ingest_index(client, ingested, encoder, text_fields=["brand"], options=IngestOptions(own))
    builder = ValueBuilder(encoder, MODEL_SIGNALS, ("brand",), own)
    client.update(index=ingested, id="2", body={"doc": {"brand": "Ryobi"}})
    expected = rf"^1 product with values in anthem and .* brand still lacks values.*anthem ingest {ingested} --beside$"
    with pytest.raises(ClusterError, match=expected):
        switch_aliases(client, ingested, builder)
    mappings = client.indices.get_mapping(index=ingested)[ingested]["mappings"]
    assert is_pending(mappings, own.name)
    assert CURRENT_FIELDS.name not in mappings["properties"]
    ingest_index(client, ingested, encoder, text_fields=["brand"], options=IngestOptions(own))
    switch_aliases(client, ingested, builder)
    mappings = client.indices.get_mapping(index=ingested)[ingested]["mappings"]
    assert find_model_fields([mappings], encoder.bundle.model_id) == own
    assert ingested_fields(mappings, own.name) == ("brand",)


@pytest.mark.node
def test_values_that_no_product_has_never_become_current(client, ingested, encoder, own):
    """If no product has text in the new fields, the switch is refused, and searches keep the former values."""
    for number in PRODUCTS:
        client.update(index=ingested, id=number, body={"doc": {"brand": "!!!"}})
    ingest_index(client, ingested, encoder, text_fields=["brand"], options=IngestOptions(own))
    with pytest.raises(ClusterError, match=f"^No product of '{ingested}' has values in {own.name}.* with --field, or"):
        switch_aliases(client, ingested, ValueBuilder(encoder, MODEL_SIGNALS, ("brand",), own))
    assert search(client, ingested, encoder, "title", "blue drill")[0] == FIRST


@pytest.mark.node
def test_pending_values_of_one_of_several_indices_are_said(client, ingested, encoder, own):
    """A search of several indices reads one object; if one index has incomplete values there, the reason names it."""
    other = f"{ingested}-b"
    client.indices.create(index=other, body={"mappings": {"properties": {"title": {"type": "text"}}}})
    try:
        client.index(index=other, id="7", body={"title": "blue boat", "brand": "Boat brand"}, refresh=True)
        ingest_index(client, other, encoder, text_fields=["brand"], options=IngestOptions(own))
        ingest_index(client, ingested, encoder, text_fields=["brand"], options=IngestOptions(own))
        response = AnthemClient(client, encoder).search(f"{ingested},{other}", {"query": {"match": {"title": "blue"}}})
    finally:
        client.indices.delete(index=other)
    expected = f"the values of {ingested} in `{own.name}`, which the other indices use, are not complete yet; run"
    assert response["anthem"]["reason"].startswith(expected)


@pytest.mark.node
def test_a_pending_object_can_be_given_up(client, ingested, encoder, command, own):
    """`--prune` before the switch removes the pending values; searches stay with the current ones."""
    before = search(client, ingested, encoder, "title", "blue drill")
    ingest_index(client, ingested, encoder, text_fields=["brand"], options=IngestOptions(own))
    assert search(client, ingested, encoder, "title", "blue drill") == before
    assert run(*command, "--prune")["object"] == "anthem"
    assert all(own.name not in client.get(index=ingested, id=number)["_source"] for number in PRODUCTS)
    assert search(client, ingested, encoder, "title", "blue drill") == before
    assert run(*command, "--beside")["object"] == "anthem"
