"""Indices that a reindex or a rollover creates: the printed template gives them the model's fields, on a real node."""

import json
import signal
import subprocess
import sys
import warnings

import pytest
from click.testing import CliRunner
from small_index import GRAPH, match

from anthem_core.errors import ClusterError
from anthem_core.opensearch.schema import DEFAULT_TEXT_FIELDS, MODEL_SIGNALS, ModelFields
from anthem_core.opensearch.versions import SAFE_MAPPING_CHANGES
from anthem_ingest.actions import has_all_values
from anthem_ingest.cli import ingest
from anthem_ingest.follow import find_followed_index
from anthem_ingest.index_io import read_release
from anthem_ingest.ingest import ingest_index
from anthem_ingest.mapping import choose_write_index
from anthem_ingest.recipe import choose_patterns
from anthem_plugin.client import AnthemClient

TITLES = ["fire tv stick", "fire pit", "tv table", "red tv", "garden hose"]
STRICT = {"dynamic": "strict", "properties": {"title": {"type": "text"}}}


@pytest.mark.parametrize(
    ("name", "indices", "patterns"),
    [
        ("products", [], ("products", "products-*")),
        ("products", ["products"], ("products", "products-*")),
        ("products-000001", ["products-000001"], ("products-000001", "products-*")),
        ("products", ["products-000001", "products-000002"], ("products-*",)),
        ("shop", ["catalogue_v7"], ("catalogue-*",)),
        ("shop", [".ds-shop-000001"], ("shop-*", ".ds-shop-*")),
        ("2026", ["2026"], ("2026", "2026-*")),
        ("shop24", ["shop24"], ("shop24", "shop24-*")),
    ],
)
def test_patterns_match_the_successors_of_an_index(name, indices, patterns):
    """A template is for the name itself, unless it is an alias, and for the same name with other endings."""
    assert choose_patterns(name, indices) == patterns


@pytest.mark.parametrize(("writers", "expected"), [([], "shop"), (["b"], "b"), (["a", "b"], "shop")])
def test_the_write_index_of_an_alias_is_chosen(writers, expected):
    """Of several indices of an alias, the one that is marked is written; without a mark, none is chosen."""
    response = {
        name: {"aliases": {"shop": {"is_write_index": True} if name in writers else {}}} for name in ("a", "b", "c")
    }
    assert choose_write_index(response, "shop") == expected
    assert choose_write_index({"a": {"aliases": {"shop": {"is_write_index": True}}}}, "shop") == "shop"
    stream = {f".ds-shop-{number:06d}": {"data_stream": "shop"} for number in (9, 10, 8)}
    assert choose_write_index(stream, "shop") == ".ds-shop-000010"


def create_index(client, index, mappings=None, alias=None):
    """Create an index of products, the write index of an alias if one is named."""
    aliases = {alias: {"is_write_index": True}} if alias else {}
    properties = {"properties": {"title": {"type": "text"}}}
    client.indices.create(index=index, body={"mappings": mappings or properties, "aliases": aliases})
    for number, title in enumerate(TITLES):
        client.index(index=index, id=str(number), body={"title": title})
    client.indices.refresh(index=index)


@pytest.fixture
def apply_template(client, cluster):
    """Function that stores the template that the command prints; it is deleted afterwards."""
    stored = []

    def apply(index, *options):
        result = CliRunner().invoke(ingest, [index, "--template", "--json", *options, "--url", cluster])
        assert result.exit_code == 0, result.output
        calls = json.loads(result.stdout)["calls"]
        for call in calls:
            stored.append(call["path"])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the local node has a template for all indices
                client.transport.perform_request(call["method"], call["path"], body=call["body"])
        return calls

    yield apply
    for path in reversed(stored):
        client.transport.perform_request("DELETE", path)


def read_mappings(client, index):
    """The mapping of an index."""
    return client.indices.get_mapping(index=index)[index]["mappings"]


def assert_ranked(client, encoder, index):
    """Check that a search of an index is ranked by all signals."""
    report = AnthemClient(client, encoder).search(index, match("fire tv"))["anthem"]
    assert (report["reranked"], report["signals"]) == (True, ["lexical", "containment", "attention"]), report


@pytest.mark.node
@pytest.mark.parametrize("mappings", [STRICT, {"properties": {"title": {"type": "text"}}}])
def test_a_reindex_keeps_the_values(client, index, encoder, apply_template, mappings):
    """With the template, a reindex into a new index, strict or dynamic, keeps the values and what was ingested."""
    old, new = f"{index}-1", f"{index}-2"
    create_index(client, old)
    ingest_index(client, old, encoder)
    apply_template(old)
    client.indices.create(index=new, body={"mappings": mappings})
    copied = client.reindex(body={"source": {"index": old}, "dest": {"index": new}}, refresh=True)
    assert (copied["created"], copied["failures"]) == (len(TITLES), [])
    values = read_mappings(client, old)["properties"]["anthem"]
    if not read_release(client).has(SAFE_MAPPING_CHANGES):  # a new index has index.knn there, and its vectors a graph
        values["properties"]["vector"]["method"] = GRAPH | {"parameters": {}}
        assert client.indices.get_settings(index=new)[new]["settings"]["index"]["knn"] == "true"
    assert read_mappings(client, new)["properties"]["anthem"] == values
    assert read_mappings(client, new)["_meta"] == read_mappings(client, old)["_meta"]
    assert_ranked(client, encoder, new)
    assert ingest_index(client, new, encoder).skipped == len(TITLES)


@pytest.mark.node
def test_the_template_has_what_the_index_has(client, index, bundle, apply_template):
    """Object, text fields, signals and graphs are those of the index; printing writes nothing."""
    mappings = {"properties": {"name": {"type": "text"}, "anthem": {"type": "keyword"}}}
    client.indices.create(index=f"{index}-1", body={"mappings": mappings, "settings": {"index.knn": True}})
    before = client.indices.get(index=f"{index}-1")
    component, template = apply_template(f"{index}-1", "--as", "model", "--field", "name", "--signals", "containment")
    assert client.indices.get(index=f"{index}-1") == before
    body = component["body"]["template"]
    assert body["settings"] == {"index.knn": True}
    assert body["mappings"]["properties"].keys() == {"model"}
    assert body["mappings"]["properties"]["model"]["properties"]["vector"]["method"]["engine"] == "lucene"
    record = body["mappings"]["_meta"]["anthem"]["model"]
    assert (record["model"], record["fields"], record["signals"]) == (bundle.model_id, ["name"], ["containment"])
    assert template["body"]["index_patterns"] == [f"{index}-1", f"{index}-*"]
    client.indices.create(index=f"{index}-2", body={"mappings": {"properties": {"name": {"type": "text"}}}})
    assert read_mappings(client, f"{index}-2")["properties"]["model"]["properties"].keys() == {
        "vector", "model", "text_hash"
    }  # fmt: skip


@pytest.mark.node
def test_after_a_rollover_the_write_index_is_ingested(client, cluster, index, encoder, apply_template):
    """The new index has the fields; the command writes to it alone, and says so; without a write index it refuses."""
    first, second = f"{index}-000001", f"{index}-000002"
    create_index(client, first, alias=index)
    ingest_index(client, first, encoder)
    apply_template(index)
    client.indices.rollover(alias=index)
    assert read_mappings(client, second)["properties"].keys() == {"anthem"}
    client.index(index=index, id="new", body={"title": "fire pit cover"}, params={"refresh": "true"})
    versions = client.indices.stats(index=first)["_all"]["primaries"]["indexing"]["index_total"]
    result = CliRunner().invoke(ingest, [index, "--url", cluster, "--json"])
    assert result.exit_code == 0, result.output
    counts = json.loads(result.stdout)
    assert (counts["index"], counts["written"], counts["skipped"]) == (second, 1, 0)
    assert f"only its write index {second} is ingested" in result.stderr
    assert client.indices.stats(index=first)["_all"]["primaries"]["indexing"]["index_total"] == versions
    assert_ranked(client, encoder, index)
    client.indices.put_alias(index=second, name=index, body={"is_write_index": False})
    refused = CliRunner().invoke(ingest, [index, "--url", cluster])
    assert refused.exit_code == 6
    assert "is_write_index" in refused.output


@pytest.mark.node
def test_an_alias_is_followed_to_its_write_index(client, index):
    """The index that is followed changes with a rollover; an alias with a filter is followed by its own name."""
    first = f"{index}-000001"
    create_index(client, first, alias=index)
    assert find_followed_index(client, index) == first
    assert find_followed_index(client, first) == first
    client.indices.rollover(alias=index)
    assert find_followed_index(client, index) == f"{index}-000002"
    client.indices.put_alias(index=first, name=f"{index}-red", body={"filter": {"match": {"title": "red"}}})
    assert find_followed_index(client, f"{index}-red") == f"{index}-red"
    client.indices.update_aliases(body={"actions": [{"add": {"index": f"{index}-*", "alias": f"{index}-all"}}]})
    with pytest.raises(ClusterError, match="is_write_index"):
        find_followed_index(client, f"{index}-all")


@pytest.mark.node
def test_the_command_follows_an_alias_over_a_rollover(client, cluster, index, tmp_path, wait_until):
    """Products written before and after a rollover get their values, those of the former index as well."""
    create_index(client, f"{index}-000001", alias=index)
    code = "from anthem_ingest.cli import ingest; ingest()"
    command = [sys.executable, "-c", code, index, "--url", cluster, "--json"]
    command += ["--follow", "--interval", "0.2", "--dead-letter", str(tmp_path / "dead")]

    def count_complete(name):
        client.indices.refresh(index=name)
        return client.count(index=name, body={"query": has_all_values(ModelFields(), MODEL_SIGNALS)})["count"]

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: count_complete(f"{index}-000001") == len(TITLES))
            client.index(index=index, id="last", body={"title": "lamp"})
            client.indices.rollover(alias=index)
            client.index(index=index, id="first", body={"title": "fire tv cube"})
            wait_until(lambda: count_complete(f"{index}-000002") == 1)
            wait_until(lambda: count_complete(f"{index}-000001") == len(TITLES) + 1)
            process.send_signal(signal.SIGTERM)
            counts = json.loads(process.communicate(timeout=60)[0])
        finally:
            process.kill()
    assert process.returncode == 0
    assert counts["written"] >= len(TITLES)  # a pass that SIGTERM interrupts is not counted
    vector = read_mappings(client, f"{index}-000002")["properties"]["anthem"]["properties"]["vector"]
    assert vector["type"] == "knn_vector"
    recorded = read_mappings(client, f"{index}-000002")["_meta"]["anthem"]["anthem"]["fields"]
    assert tuple(recorded) == DEFAULT_TEXT_FIELDS
