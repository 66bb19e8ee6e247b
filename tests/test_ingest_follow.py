"""Following an index, a second model, slices, and a copy with graphs, on a real node."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from click.testing import CliRunner

from anthem_core.encoding.encoder import Encoder
from anthem_core.errors import ClusterError
from anthem_core.opensearch.schema import MODEL_SIGNALS, ModelFields, resolve_current_fields
from anthem_ingest import ann
from anthem_ingest.actions import has_all_values
from anthem_ingest.ann import create_ann_copy
from anthem_ingest.cli import ingest
from anthem_ingest.encode import ValueBuilder
from anthem_ingest.follow import catch_up, read_checkpoints
from anthem_ingest.ingest import DEFAULT_OPTIONS, IngestOptions, ingest_index
from anthem_ingest.multi_model import choose_model_fields, list_stale_objects, switch_aliases
from anthem_ingest.report import IngestReport
from anthem_ingest.slices import SliceTask, ingest_in_slices

pytestmark = pytest.mark.node

TEXT_FIELDS = ("title",)
FIRST_MODEL_FIELDS = ModelFields()
OTHER_MODEL = "0123456789abcdef"


def create_index(client, index, number=20, shards=2):
    """Create an index of numbered sofas."""
    settings = {"number_of_shards": shards, "number_of_replicas": 0}
    client.indices.create(
        index=index, body={"settings": settings, "mappings": {"properties": {"title": {"type": "text"}}}}
    )
    lines = [line for n in range(number) for line in ({"index": {"_id": str(n)}}, {"title": f"red sofa {n}"})]
    client.bulk(index=index, body=lines, refresh=True)


def count_complete(client, index, model_fields=FIRST_MODEL_FIELDS):
    """Number of products with both values."""
    client.indices.refresh(index=index)
    return client.count(index=index, body={"query": has_all_values(model_fields, MODEL_SIGNALS)})["count"]


@pytest.fixture
def other_encoder(encoder):
    """The same encoder under another model id."""
    return Encoder(replace(encoder.bundle, model_id="0123abcd" + encoder.bundle.model_id[8:]))


def test_a_pass_finds_what_was_written_since(client, index, encoder):
    """New products, changed titles and values that a feed erased are found, and nothing else is read or written."""
    create_index(client, index)
    # On 2.19.1 the shards of an index with vectors fail for a moment when a write adds a field.
    client.indices.put_mapping(index=index, body={"properties": {"price": {"type": "integer"}}})
    ingest_index(client, index, encoder)
    last = read_checkpoints(client, index)

    def run_pass():
        nonlocal last
        report, last = catch_up(client, index, encoder, TEXT_FIELDS, DEFAULT_OPTIONS, last)
        return report.written, report.skipped

    assert run_pass() == (0, 0)
    client.index(index=index, id="new", body={"title": "boot"})
    client.index(index=index, id="3", body={"title": "red sofa 3"})
    client.update(index=index, id="4", body={"doc": {"title": "green sofa"}})
    client.update(index=index, id="5", body={"doc": {"price": 7}})
    client.delete(index=index, id="6")
    assert run_pass() == (3, 1)
    assert run_pass() == (0, 3)
    assert run_pass() == (0, 0)
    assert count_complete(client, index) == 20


def test_a_shard_that_does_not_answer_is_not_read_from_its_beginning(client, index, encoder):
    """A pass that misses a shard of the last one fails, and names it; its checkpoint is kept for the next pass."""
    create_index(client, index)
    ingest_index(client, index, encoder)
    last = read_checkpoints(client, index)
    with pytest.raises(ClusterError, match=f"Shard 2 of index '{index}' does not answer"):
        catch_up(client, index, encoder, TEXT_FIELDS, DEFAULT_OPTIONS, replace(last, shards=last.shards | {"2": 7}))


@pytest.mark.parametrize("shards", [1, 2])
def test_an_index_without_a_shard_that_answers_is_an_error_of_the_cluster(client, index, shards):
    """If no shard is assigned, as after a restart, the error is a ClusterError, after which `--follow` tries again."""
    settings = {"number_of_shards": shards, "index.routing.allocation.require.place": "nowhere"}
    client.indices.create(index=index, body={"settings": settings}, params={"wait_for_active_shards": "0"})
    with pytest.raises(ClusterError, match=f"No shard of index '{index}' answers; see GET _cat/shards/{index}"):
        read_checkpoints(client, index)


def test_a_recreated_index_is_prepared_and_read_again(client, index, encoder):
    """If another index has been created with the name, it gets the fields and every product is read."""
    create_index(client, index)
    last = read_checkpoints(client, index)
    client.indices.delete(index=index)
    create_index(client, index)
    report, _ = catch_up(client, index, encoder, TEXT_FIELDS, DEFAULT_OPTIONS, last)
    assert report.written == 20
    vector = client.indices.get_mapping(index=index)[index]["mappings"]["properties"]["anthem"]["properties"]["vector"]
    assert vector["type"] == "knn_vector"


def test_the_command_follows_until_it_is_interrupted(client, cluster, index, tmp_path):
    """`--follow` gives new products their values as they arrive; on SIGTERM it prints its counts and exits with 0."""
    create_index(client, index)
    code = "from anthem_ingest.cli import ingest; ingest()"
    command = [sys.executable, "-c", code, index, "--url", cluster, "--json"]
    command += ["--follow", "--interval", "0.2", "--dead-letter", str(tmp_path / "dead")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        for number in (20, 21, 22):
            if number > 20:
                client.index(index=index, id=str(number), body={"title": f"boot {number}"})
            end = time.monotonic() + 30
            while count_complete(client, index) < number and time.monotonic() < end:
                time.sleep(0.1)
            assert count_complete(client, index) == number
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        counts = json.loads(process.communicate(timeout=20)[0])
    assert process.returncode == 0
    assert counts["written"] == 22


def test_a_follower_that_is_stopped_exits_with_0_after_failures(client, cluster, index, tmp_path):
    """A failed product is counted and listed in the dead letters, and does not make a stop a failure."""
    client.indices.create(index=index, body={"mappings": {"properties": {"price": {"type": "integer"}}}})
    rows = [{"_id": "1", "title": "red sofa", "price": 7}, {"_id": "2", "title": "red boot", "price": "free"}]
    (tmp_path / "shop.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    command = [sys.executable, "-m", "anthem_search", "ingest", index, "--url", cluster, "--json", "--follow"]
    command += ["--corpus", str(tmp_path / "shop.jsonl"), "--interval", "0.2", "--dead-letter", str(tmp_path / "dead")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        end = time.monotonic() + 60
        while count_complete(client, index) < 1 and time.monotonic() < end:
            time.sleep(0.1)
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        printed, messages = process.communicate(timeout=20)
    assert process.returncode == 0, messages
    assert json.loads(printed)["failed"] == 1
    assert b"1 product could not be written" in messages
    assert json.loads((tmp_path / "dead").read_text())["id"] == "2"


def test_the_first_pass_can_be_interrupted(client, cluster, index, tmp_path):
    """SIGTERM while `--follow` writes its first values prints the counts so far and exits with 0."""
    create_index(client, index)
    code = "from anthem_ingest.cli import ingest; ingest()"
    command = [sys.executable, "-c", code, index, "--url", cluster, "--json", "--rate", "4"]
    command += ["--follow", "--dead-letter", str(tmp_path / "dead")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        end = time.monotonic() + 30
        while not count_complete(client, index) and time.monotonic() < end:
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        counts = json.loads(process.communicate(timeout=20)[0])
    assert process.returncode == 0
    assert 0 < counts["written"] <= count_complete(client, index) < 20


def test_a_second_model_lives_beside_the_first_until_the_switch(client, index, encoder, other_encoder):
    """Values of a new model do not change the old ones; the switch moves the aliases; pruning removes the old ones."""
    create_index(client, index)
    ingest_index(client, index, encoder)
    assert choose_model_fields(client, index, encoder.bundle.model_id, beside=True) == ModelFields("anthem")
    assert choose_model_fields(client, index, other_encoder.bundle.model_id) == ModelFields("anthem"), (
        "without --beside it replaces"
    )
    new = choose_model_fields(client, index, other_encoder.bundle.model_id, beside=True)
    assert new == ModelFields("anthem_0123abcd")
    client.indices.put_mapping(index=index, body=new.mapping(encoder.bundle.dimension))
    builder = ValueBuilder(other_encoder, MODEL_SIGNALS, model_fields=new)
    with pytest.raises(ClusterError, match="20 products"):
        switch_aliases(client, index, builder)
    assert ingest_index(client, index, other_encoder, options=IngestOptions(new)).written == 20
    assert choose_model_fields(client, index, other_encoder.bundle.model_id) == new
    assert count_complete(client, index) == count_complete(client, index, new) == 20
    with pytest.raises(ClusterError, match=rf"switch to this one first.*anthem ingest {index} --beside"):
        list_stale_objects(client, index, new)
    for model_fields in (ModelFields("anthem"), new):
        switch_aliases(client, index, replace(builder, model_fields=model_fields))
        assert resolve_current_fields(client.indices.get_mapping(index=index)[index]["mappings"]) == model_fields
        model = client.search(
            index=index, body={"size": 1, "script_fields": {"m": {"script": "doc['anthem_current.model'].value"}}}
        )["hits"]["hits"][0]["fields"]["m"]
        assert model == [encoder.bundle.model_id if model_fields.name == "anthem" else other_encoder.bundle.model_id]
    assert list_stale_objects(client, index, new) == ("anthem",)


def test_the_command_switches_and_prunes(client, cluster, index, tmp_path, bundle):
    """`--beside --prune` leaves the values of one model, which the aliases name; a second run writes nothing."""
    create_index(client, index)
    client.indices.put_mapping(index=index, body=ModelFields().mapping(bundle.dimension))
    foreign = ModelFields().document([0] * bundle.dimension, OTHER_MODEL, ["red", "sofa"])
    client.update(index=index, id="1", body={"doc": foreign}, refresh=True)
    command = [index, "--url", cluster, "--beside", "--prune", "--json", "--dead-letter", str(tmp_path / "dead")]
    counts = [json.loads(CliRunner().invoke(ingest, command).stdout) for _ in range(2)]
    assert [(count["written"], count["skipped"]) for count in counts] == [(20, 0), (0, 20)]
    assert counts[0]["object"] == f"anthem_{bundle.model_id[:8]}"
    client.indices.refresh(index=index)
    assert "anthem" not in client.get(index=index, id="1")["_source"]
    assert count_complete(client, index, ModelFields(counts[0]["object"])) == 20


@pytest.mark.parametrize("has_values", [True, False])
def test_an_index_of_an_earlier_version_says_what_to_run(client, cluster, index, tmp_path, bundle, has_values):
    """Vectors of floats are refused with two commands; these write the new values and remove the old ones."""
    create_index(client, index)
    fields = {"vector": {"type": "knn_vector", "dimension": bundle.dimension + 1}, "model": {"type": "keyword"}}
    client.indices.put_mapping(index=index, body={"properties": {"anthem": {"properties": fields}}})
    if has_values:
        foreign = {"vector": [1.0] + [0.0] * bundle.dimension, "model": OTHER_MODEL, "text_hash": OTHER_MODEL}
        client.update(index=index, id="1", body={"doc": {"anthem": foreign}}, refresh=True)
    command = [index, "--url", cluster, "--dead-letter", str(tmp_path / "dead")]
    refused = CliRunner().invoke(ingest, command)
    assert refused.exit_code == 6
    for option in ("--beside", "--prune"):
        assert f"anthem ingest {index} {option}" in refused.output
        done = CliRunner().invoke(ingest, [*command, option, "--json"])
        assert json.loads(done.stdout)["written"] == (20 if option == "--beside" else 0)
    client.indices.refresh(index=index)
    assert "anthem" not in client.get(index=index, id="1")["_source"]
    assert count_complete(client, index, ModelFields(f"anthem_{bundle.model_id[:8]}")) == 20


@pytest.mark.parametrize("shards", [1, 3])
def test_slices_cover_an_index(client, cluster, index, tmp_path, bundle, shards):
    """Two processes give every product its values, once."""
    create_index(client, index, 40, shards)
    client.indices.put_mapping(index=index, body=ModelFields().mapping(bundle.dimension))
    task = SliceTask(index, str(bundle.path), TEXT_FIELDS, ModelFields(), MODEL_SIGNALS, tmp_path / "dead", cluster)
    advanced, started = [], time.perf_counter()
    report = ingest_in_slices(task, 2, advanced.append)
    elapsed = time.perf_counter() - started
    assert (report.written, report.skipped, report.failed, sum(advanced)) == (40, 0, 0, 40)
    assert 0.9 * elapsed <= report.seconds <= elapsed  # of all slices, not of the longest one
    assert count_complete(client, index) == 40


def test_the_times_of_passes_add_up():
    """A pass starts when the one before has ended, so the report of all has the sum of their times."""
    total = IngestReport(1, 0, 0, 0, 0, seconds=2.0) + IngestReport(2, 0, 0, 0, 0, seconds=1.5)
    assert str(total).startswith("3 written, 0 skipped, 0 failed in 3.5 s (1 products/s)")


def test_an_ingest_says_what_an_alias_hides(client, cluster, index, tmp_path, bundle):
    """Only the products that an alias shows are written; the aliases of the fields move only with the whole index."""
    create_index(client, index)
    client.indices.put_mapping(index=index, body=ModelFields().mapping(bundle.dimension))
    foreign = ModelFields().document([0] * bundle.dimension, OTHER_MODEL, ["red", "sofa"])
    for product_id in ("1", "2"):
        client.update(index=index, id=product_id, body={"doc": foreign}, refresh=True)
    name = f"{index}-few"
    client.indices.put_alias(index=index, name=name, body={"filter": {"ids": {"values": ["1", "3"]}}})
    arguments = ["--url", cluster, "--dead-letter", str(tmp_path / "dead")]
    beside = CliRunner().invoke(ingest, [name, *arguments, "--beside"])
    assert f"hides 18 products of index '{index}'" in beside.output
    assert f"name the index: anthem ingest {index}\n" in beside.output
    assert (beside.exit_code, count_complete(client, index, ModelFields(f"anthem_{bundle.model_id[:8]}"))) == (6, 2)
    assert "1 product with values in anthem and with text in title still lacks values" in beside.output
    whole = CliRunner().invoke(ingest, [index, *arguments, "--beside"])
    assert whole.exit_code == 0
    assert "hides" not in whole.output
    pruned = CliRunner().invoke(ingest, [name, *arguments, "--prune"])
    assert f"hides 18 products of index '{index}', which keep their old values" in pruned.output
    assert "anthem" not in client.get(index=index, id="1")["_source"]
    assert client.get(index=index, id="2")["_source"]["anthem"]["model"] == OTHER_MODEL


@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_slices_remove_no_device(client, cluster, index, tmp_path, bundle, kind):
    """The dead letters of an earlier run are removed if they are a file; a pipe or a device stays."""
    create_index(client, index, 4)
    path = tmp_path / "dead"
    path.write_text("old") if kind == "file" else os.mkfifo(path)
    options = ["--slices", "2", "--dead-letter", str(path), "--bundle", str(bundle.path), "--url", cluster]
    done = CliRunner().invoke(ingest, [index, *options, "--json"])
    assert json.loads(done.stdout)["written"] == 4
    assert path.is_fifo() == (kind == "pipe")
    assert not path.is_file()


def test_a_copy_with_graphs_gets_the_aliases(client, index, encoder):
    """The copy has all products, a graph that finds them, and the aliases with filters; the original is kept."""
    create_index(client, index)
    ingest_index(client, index, encoder)
    alias, red = f"{index}-alias", f"{index}-red"
    client.indices.put_alias(index=index, name=alias)
    client.indices.put_alias(index=index, name=red, body={"filter": {"match": {"title": "red"}}})
    copy = create_ann_copy(client, alias, ModelFields())
    assert (copy.products, copy.aliases) == (20, (alias, red))
    assert list(client.indices.get(index=alias)) == [f"{index}-ann"]
    assert client.indices.get_alias(index=f"{index}-ann")[f"{index}-ann"]["aliases"][red]["filter"]
    vector = encoder.encode_vectors(["red sofa 7"])[0].tolist()
    found = client.search(index=alias, body={"query": {"knn": {"anthem.vector": {"vector": vector, "k": 1}}}})
    assert "7" in [hit["_id"] for hit in found["hits"]["hits"]]
    assert client.count(index=index)["count"] == 20
    with pytest.raises(ClusterError, match="already"):
        create_ann_copy(client, alias, ModelFields())


def test_a_copy_is_resumed(client, index, encoder):
    """An earlier copy is updated with the products that were changed, added and deleted since."""
    create_index(client, index)
    ingest_index(client, index, encoder)
    create_ann_copy(client, index, ModelFields())
    client.update(index=index, id="1", body={"doc": {"title": "green sofa"}})
    client.index(index=index, id="new", body={"title": "boot"})
    client.delete(index=index, id="2")
    assert create_ann_copy(client, index, ModelFields()).products == 20
    found = {
        hit["_id"]: hit["_source"]["title"]
        for hit in client.search(index=f"{index}-ann", body={"size": 99})["hits"]["hits"]
    }
    assert (found["1"], found["new"], "2" in found) == ("green sofa", "boot", False)


def test_a_copy_that_differs_gets_no_alias(client, index, encoder, monkeypatch):
    """If count or sample differ, the alias is not moved."""
    create_index(client, index)
    ingest_index(client, index, encoder)
    client.indices.put_alias(index=index, name=f"{index}-alias")
    copy_until_unchanged = ann._copy_until_unchanged

    def copy_and_delete_one(client_, old, new, advance):
        copy_until_unchanged(client_, old, new, advance)
        client_.delete(index=new, id="1", refresh=True)

    monkeypatch.setattr(ann, "_copy_until_unchanged", copy_and_delete_one)
    with pytest.raises(ClusterError, match=r"has 19 products.*expected 20 products.*\('1' is missing\)"):
        create_ann_copy(client, f"{index}-alias", ModelFields())
    assert list(client.indices.get(index=f"{index}-alias")) == [index]


@pytest.mark.filterwarnings("ignore:index template:opensearchpy.exceptions.OpenSearchWarning")
def test_a_template_that_changes_copies_is_named(client, index, encoder):
    """If only contents differ, the message has an example with its fields and no counts, and names the template."""
    create_index(client, index)
    ingest_index(client, index, encoder)
    client.indices.put_alias(index=index, name=f"{index}-alias")
    template = {"index_patterns": [f"{index}-ann"], "template": {"mappings": {"_source": {"excludes": ["title"]}}}}
    client.indices.put_index_template(name=index, body=template)
    try:
        with pytest.raises(ClusterError) as refused:
            create_ann_copy(client, f"{index}-alias", ModelFields())
    finally:
        client.indices.delete_index_template(name=index)
    assert re.search(r"': 20 of 20 compared products differ \('\d+' in title\)\..*_index_template", str(refused.value))
    assert list(client.indices.get(index=f"{index}-alias")) == [index]
    client.indices.delete(index=f"{index}-ann")
    assert create_ann_copy(client, f"{index}-alias", ModelFields()).products == 20
