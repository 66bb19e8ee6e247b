"""Laws of following an index, of a second model, of slices and of a copy with graphs, on a real node."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from click.testing import CliRunner

from anthem_core.encoding.encoder import Encoder
from anthem_core.errors import ClusterError
from anthem_core.opensearch.schema import VectorFields, resolve_current_fields
from anthem_ingest import ann
from anthem_ingest.ann import create_ann_copy
from anthem_ingest.cli import ingest
from anthem_ingest.follow import catch_up, read_checkpoints
from anthem_ingest.ingest import DEFAULT_OPTIONS, IngestOptions, ingest_index, prepare_index
from anthem_ingest.multi_model import choose_vector_fields, list_stale_objects, switch_aliases
from anthem_ingest.slices import SliceTask, ingest_in_slices

pytestmark = pytest.mark.node

FIELDS = ("title",)
FIRST = VectorFields()


def fill(client, index, number=20, shards=2):
    """Make an index of numbered sofas."""
    settings = {"number_of_shards": shards, "number_of_replicas": 0}
    client.indices.create(
        index=index, body={"settings": settings, "mappings": {"properties": {"title": {"type": "text"}}}}
    )
    lines = [line for n in range(number) for line in ({"index": {"_id": str(n)}}, {"title": f"red sofa {n}"})]
    client.bulk(index=index, body=lines, refresh=True)


def pointed(client, index, names=FIRST):
    """Number of products with a vector."""
    client.indices.refresh(index=index)
    return client.count(index=index, body={"query": {"exists": {"field": names.vector}}})["count"]


@pytest.fixture
def other(encoder):
    """The same encoder under another model's id."""
    return Encoder(replace(encoder.bundle, model="0123abcd" + encoder.bundle.model[8:]))


def test_a_look_finds_what_was_written_since(client, index, encoder):
    """New products, changed texts and vectors that a feed erased are found, and nothing else is read or written."""
    fill(client, index)
    ingest_index(client, index, encoder)
    seen = read_checkpoints(client, index)

    def look():
        nonlocal seen
        report, seen = catch_up(client, index, encoder, FIELDS, DEFAULT_OPTIONS, seen)
        return report.written, report.skipped

    assert look() == (0, 0)
    client.index(index=index, id="new", body={"title": "boot"})
    client.index(index=index, id="3", body={"title": "red sofa 3"})
    client.update(index=index, id="4", body={"doc": {"title": "green sofa"}})
    client.update(index=index, id="5", body={"doc": {"price": 7}})
    client.delete(index=index, id="6")
    assert look() == (3, 1)
    assert look() == (0, 3)
    assert look() == (0, 0)
    assert pointed(client, index) == 20


def test_an_index_made_anew_is_read_anew(client, index, encoder):
    """Under a name that now means another index, every product is read."""
    fill(client, index)
    seen = read_checkpoints(client, index)
    client.indices.delete(index=index)
    fill(client, index)
    prepare_index(client, index, encoder.bundle, FIELDS)
    report, _ = catch_up(client, index, encoder, FIELDS, DEFAULT_OPTIONS, seen)
    assert report.written == 20


def test_the_command_follows_until_it_is_interrupted(client, cluster, index, tmp_path):
    """`--follow` gives new products their vectors as they come, and ends in 0 with its counts when interrupted."""
    fill(client, index)
    command = [
        sys.executable,
        "-c",
        "from anthem_ingest.cli import ingest; ingest()",
        index,
        "--url",
        cluster,
        "--json",
    ]
    command += ["--follow", "--interval", "0.2", "--dead-letter", str(tmp_path / "dead")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        for number in (20, 21, 22):
            if number > 20:
                client.index(index=index, id=str(number), body={"title": f"boot {number}"})
            end = time.monotonic() + 30
            while pointed(client, index) < number and time.monotonic() < end:
                time.sleep(0.1)
            assert pointed(client, index) == number
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        counts = json.loads(process.communicate(timeout=20)[0])
    assert process.returncode == 0
    assert counts["written"] == 22


def test_a_second_model_lives_beside_the_first_until_the_switch(client, index, encoder, other):
    """Vectors of a new model leave the old ones alone; the aliases follow the switch; pruning takes the old ones."""
    fill(client, index)
    ingest_index(client, index, encoder)
    assert choose_vector_fields(client, index, encoder.bundle.model, beside=True) == VectorFields("anthem")
    assert choose_vector_fields(client, index, other.bundle.model) == VectorFields("anthem"), (
        "without --beside it replaces"
    )
    new = choose_vector_fields(client, index, other.bundle.model, beside=True)
    assert new == VectorFields("anthem_0123abcd")
    client.indices.put_mapping(index=index, body=new.mapping(encoder.bundle.dimension))
    with pytest.raises(ClusterError, match="20 products"):
        switch_aliases(client, index, new)
    assert ingest_index(client, index, other, options=IngestOptions(names=new)).written == 20
    assert choose_vector_fields(client, index, other.bundle.model) == new
    assert pointed(client, index) == pointed(client, index, new) == 20
    with pytest.raises(ClusterError, match="switch first"):
        list_stale_objects(client, index, new)
    for names in (VectorFields("anthem"), new):
        switch_aliases(client, index, names)
        assert resolve_current_fields(client.indices.get_mapping(index=index)[index]["mappings"]) == names
        model = client.search(
            index=index, body={"size": 1, "script_fields": {"m": {"script": "doc['anthem_current.model'].value"}}}
        )["hits"]["hits"][0]["fields"]["m"]
        assert model == [encoder.bundle.model if names.name == "anthem" else other.bundle.model]
    assert list_stale_objects(client, index, new) == ("anthem",)


def test_the_command_switches_and_prunes(client, cluster, index, tmp_path, bundle):
    """`--beside --prune` leaves one model's vectors, which the aliases name, and a second run writes nothing."""
    fill(client, index)
    client.indices.put_mapping(index=index, body=VectorFields().mapping(bundle.dimension))
    foreign = VectorFields().document([1.0] + [0.0] * bundle.dimension, "another", "red sofa")
    client.update(index=index, id="1", body={"doc": foreign}, refresh=True)
    command = [index, "--url", cluster, "--beside", "--prune", "--json", "--dead-letter", str(tmp_path / "dead")]
    counts = [json.loads(CliRunner().invoke(ingest, command).stdout) for _ in range(2)]
    assert [(count["written"], count["skipped"]) for count in counts] == [(20, 0), (0, 20)]
    assert counts[0]["object"] == f"anthem_{bundle.model[:8]}"
    client.indices.refresh(index=index)
    assert "anthem" not in client.get(index=index, id="1")["_source"]
    assert pointed(client, index, VectorFields(counts[0]["object"])) == 20


@pytest.mark.parametrize("shards", [1, 3])
def test_slices_cover_an_index(client, cluster, index, tmp_path, bundle, shards):
    """Two processes give every product its vector, once."""
    fill(client, index, 40, shards)
    client.indices.put_mapping(index=index, body=VectorFields().mapping(bundle.dimension))
    share = SliceTask(index, str(bundle.path), FIELDS, VectorFields(), tmp_path / "dead", cluster)
    steps = []
    report = ingest_in_slices(share, 2, steps.append)
    assert (report.written, report.skipped, report.failed, sum(steps)) == (40, 0, 0, 40)
    assert pointed(client, index) == 40


def test_a_copy_with_graphs_takes_the_alias(client, index, encoder):
    """The copy has all products, a graph that finds them, and the aliases with their filters; the old index is kept."""
    fill(client, index)
    ingest_index(client, index, encoder)
    alias, red = f"{index}-alias", f"{index}-red"
    client.indices.put_alias(index=index, name=alias)
    client.indices.put_alias(index=index, name=red, body={"filter": {"match": {"title": "red"}}})
    copy = create_ann_copy(client, alias, VectorFields())
    assert (copy.products, copy.aliases) == (20, (alias, red))
    assert list(client.indices.get(index=alias)) == [f"{index}-ann"]
    assert client.indices.get_alias(index=f"{index}-ann")[f"{index}-ann"]["aliases"][red]["filter"]
    vector = encoder.products(["red sofa 7"])[0].tolist()
    found = client.search(index=alias, body={"query": {"knn": {"anthem.vector": {"vector": vector, "k": 1}}}})
    assert "7" in [hit["_id"] for hit in found["hits"]["hits"]]
    assert client.count(index=index)["count"] == 20
    with pytest.raises(ClusterError, match="already"):
        create_ann_copy(client, alias, VectorFields())


def test_a_copy_goes_on_where_it_was(client, index, encoder):
    """A copy made before takes on what was changed, added and deleted since, and nothing is older in it."""
    fill(client, index)
    ingest_index(client, index, encoder)
    create_ann_copy(client, index, VectorFields())
    client.update(index=index, id="1", body={"doc": {"title": "green sofa"}})
    client.index(index=index, id="new", body={"title": "boot"})
    client.delete(index=index, id="2")
    assert create_ann_copy(client, index, VectorFields()).products == 20
    found = {
        hit["_id"]: hit["_source"]["title"]
        for hit in client.search(index=f"{index}-ann", body={"size": 99})["hits"]["hits"]
    }
    assert (found["1"], found["new"], "2" in found) == ("green sofa", "boot", False)


def test_a_copy_that_is_not_the_same_gets_no_alias(client, index, encoder, monkeypatch):
    """Where count or sample differ, the alias stays."""
    fill(client, index)
    ingest_index(client, index, encoder)
    client.indices.put_alias(index=index, name=f"{index}-alias")
    copied = ann._copy_until_unchanged

    def and_spoilt(client_, old, new, advance):
        copied(client_, old, new, advance)
        client_.delete(index=new, id="1", refresh=True)

    monkeypatch.setattr(ann, "_copy_all", and_spoilt)
    with pytest.raises(ClusterError, match="not the same"):
        create_ann_copy(client, f"{index}-alias", VectorFields())
    assert list(client.indices.get(index=f"{index}-alias")) == [index]
