"""`anthem doctor` on a real node: it finds what is broken, changes nothing, and its commands fix the faults."""

import json
import shlex
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from anthem_core.encoding.bundle import load_bundle
from anthem_core.encoding.encoder import Encoder
from anthem_core.opensearch.connection import connect
from anthem_core.opensearch.schema import ModelFields
from anthem_doctor.cli import doctor
from anthem_doctor.examination import Examination
from anthem_doctor.findings import DoctorTarget
from anthem_doctor.history import CoverageRun, append_run
from anthem_doctor.probe import read_profile
from anthem_ingest.cli import ingest, remove
from anthem_ingest.index_io import put_mapping
from anthem_ingest.ingest import IngestOptions, ingest_index
from anthem_ingest.multi_model import build_alias_mapping
from anthem_plugin.cli import search
from anthem_plugin.scoring.painless import SCRIPT_CONTEXT, build_put_script_body, script_id

pytestmark = pytest.mark.node

TITLES = ["acme red fire tv", "globex fire tv", "stark fire pit", "fire tv stand", "blue lamp", "?!"]
# Depend on other tests, the machine and time: never a fault here, but perhaps a warning.
UNSTABLE_CHECKS = {"deleted", "disk", "compilations"}
COMMANDS = {"ingest": ingest, "search": search, "remove": remove, "doctor": doctor}


def create_index(client, index, **settings):
    """Create an index of the titles, without values."""
    mappings = {"dynamic": "strict", "properties": {"title": {"type": "text"}}}
    settings = {"number_of_shards": 1, "number_of_replicas": 0} | settings
    client.indices.create(index=index, body={"settings": settings, "mappings": mappings})
    lines = [line for n, title in enumerate(TITLES) for line in ({"index": {"_id": str(n)}}, {"title": title})]
    client.bulk(index=index, body=lines, refresh=True)


@pytest.fixture(scope="module")
def healthy_index(client, encoder):
    """Name of an index without faults, to which each test returns it."""
    name = f"test-doctor-{uuid.uuid4().hex}"
    create_index(client, name)
    ingest_index(client, name, encoder)
    client.put_script(id=script_id(), body=build_put_script_body(), context=SCRIPT_CONTEXT)
    yield name
    client.indices.delete(index=f"{name}*")


@pytest.fixture
def examine(client, cluster, bundle, encoder, tmp_path, monkeypatch):
    """Function that examines an index and returns the findings that are not ok and stable, or all."""
    monkeypatch.chdir(tmp_path)  # ingest writes dead letters to the working directory

    def run(index, *, model=encoder, everything=False):
        target = DoctorTarget(index, model.bundle, str(bundle.path), url=cluster)
        findings = Examination(
            client, target, model, read_profile(client, model, index), tmp_path / "history.jsonl"
        ).run()
        return [
            finding
            for finding in findings
            if everything or (finding.level != "ok" and finding.check not in UNSTABLE_CHECKS)
        ]

    return run


def run_line(client, line):
    """Run one line of a finding's command: an `anthem` command or a request."""
    if line.startswith("anthem "):
        _, name, *words = shlex.split(line, comments=True)
        result = CliRunner().invoke(COMMANDS[name], [*words, *(["--yes"] if name == "remove" else [])])
        assert result.exit_code == 0, result.output
    else:
        method, path, *body = line.split(" ", 2)
        client.transport.perform_request(method, path, body=json.loads(body[0]) if body else None)


def fix(client, findings):
    """Run the commands of all findings."""
    assert findings
    for finding in findings:
        for line in finding.command.splitlines():
            run_line(client, line)


def read_state(client, index):
    """Everything a doctor could change: the cluster's metadata, and the number of writes to the index."""
    metadata = client.cluster.state(metric="metadata")["metadata"]
    stable = {key: value for key, value in metadata.items() if key not in {"version", "cluster_coordination"}}
    return stable, client.indices.stats(index=index)["indices"][index]["primaries"]["indexing"]["index_total"]


def test_a_healthy_index(client, cluster, healthy_index, tmp_path):
    """The command exits with 0, finds every check ok, and changes nothing but the history."""
    before = read_state(client, healthy_index)
    words = [healthy_index, "--url", cluster, "--history", str(tmp_path / "history"), "--json"]
    result = CliRunner().invoke(doctor, words)
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert (value["healthy"], value["faults"]) == (True, 0), value
    assert {finding["check"] for finding in value["findings"] if finding["level"] == "warning"} <= UNSTABLE_CHECKS
    checks = {finding["check"]: finding["found"] for finding in value["findings"]}
    assert "5 of 6 products" in checks["coverage"]
    assert "containment and attention" in checks["signals"]
    assert {"search cluster", "search client", "search filter", "search retrieve", "loss"} <= checks.keys()
    assert read_state(client, healthy_index) == before
    (line,) = (tmp_path / "history").read_text().splitlines()
    assert json.loads(line).items() >= {"index": healthy_index, "products": 6, "with_vector": 5}.items()


def remove_values(client, index):
    """Replace the index by one without values."""
    client.indices.delete(index=index)
    create_index(client, index)


def delete_the_script(client, _):
    """Delete the stored script."""
    client.delete_script(id=script_id())


def write_whole_documents(client, index):
    """Write whole documents, as a feed does, which erases their values."""
    for number in range(2):
        client.index(index=index, id=str(number), body={"title": TITLES[number]}, refresh=True)


def change_a_title(client, index):
    """Change a title in place."""
    client.update(index=index, id="3", body={"doc": {"title": "green sofa"}}, refresh=True)


def block_writes(client, index):
    """Block writes, as a full disk does."""
    client.indices.put_settings(index=index, body={"index.blocks.read_only_allow_delete": True})


def change_the_script(client, _):
    """Overwrite the stored script."""
    client.put_script(
        id=script_id(), body={"script": {"lang": "painless", "source": "return 1.0;"}}, context=SCRIPT_CONTEXT
    )


def swap_a_vector(client, index):
    """Give a product the vector of another one, under the same model id."""
    vector = client.get(index=index, id="0")["_source"]["anthem"]["vector"]
    client.update(index=index, id="1", body={"doc": {"anthem": {"vector": vector}}}, refresh=True)


def swap_trigrams(client, index):
    """Give a product the trigrams of another one, under the same model id."""
    trigrams = client.get(index=index, id="0")["_source"]["anthem"]["trigrams"]
    client.update(index=index, id="1", body={"doc": {"anthem": {"trigrams": trigrams}}}, refresh=True)


def remove_trigrams(client, index):
    """Remove the trigrams of a product, as they are missing after an ingest of an earlier version."""
    client.update(index=index, id="1", body={"doc": {"anthem": {"trigrams": None}}}, refresh=True)


def ingest_vectors_only(client, index):
    """Replace the index by one that an earlier version ingested: with vectors, without a record of the signals."""
    client.indices.delete(index=index)
    create_index(client, index)
    bundle = load_bundle("general")
    ingest_index(client, index, Encoder(bundle), options=IngestOptions(signals=("containment",)))
    put_mapping(client, index, {"_meta": {}})


def close_the_index(client, index):
    """Close the index."""
    client.indices.close(index=index)


def lower_the_result_window(client, index):
    """Let searches fetch fewer hits than the window."""
    client.indices.put_settings(index=index, body={"index.max_result_window": 4})


def lower_the_rescore_window(client, index):
    """Let searches rescore fewer hits than the window."""
    client.indices.put_settings(index=index, body={"index.max_rescore_window": 3})


def forbid_doc_values(client, index):
    """Let searches read no doc values."""
    client.indices.put_settings(index=index, body={"index.max_docvalue_fields_search": 0})


def forbid_expensive_queries(client, _):
    """Forbid `script_score` queries, in both places of a setting."""
    setting = {"search.allow_expensive_queries": False}
    client.cluster.put_settings(body={"persistent": setting, "transient": setting})


@pytest.mark.parametrize(
    ("damage", "checks"),
    [(lower_the_result_window, {"limits"}), (lower_the_rescore_window, {"limits"}), (forbid_doc_values, {"limits"}),
     (forbid_expensive_queries, {"scripts"}), (remove_values, {"mapping", "coverage"}),
     (write_whole_documents, {"coverage"}), (change_a_title, {"text"}), (block_writes, {"blocks"}),
     (change_the_script, {"script"}), (swap_a_vector, {"points"}), (swap_trigrams, {"trigrams"}),
     (remove_trigrams, {"coverage"}), (ingest_vectors_only, {"mapping", "coverage"}), (close_the_index, {"index"})],
)  # fmt: skip
def test_the_command_of_each_fault_fixes_it(client, healthy_index, examine, damage, checks):
    """Damage is found by its check, and after the printed commands have run there is no finding left."""
    damage(client, healthy_index)
    findings = examine(healthy_index)
    assert {finding.check for finding in findings} == checks
    fix(client, [finding for finding in findings if not finding.check.startswith("search")])
    client.indices.refresh(index=healthy_index)
    assert examine(healthy_index) == []


SCOPES = [("persistent",), ("transient",), ("persistent", "transient")]
CLUSTER_BLOCKS = {
    "cluster.blocks.read_only": "fault",
    "cluster.blocks.read_only_allow_delete": "fault",
    "cluster.blocks.create_index": "warning",
}


def remove_cluster_blocks(client):
    """Remove all blocks of the cluster, one at a time."""
    for scope in ("transient", "persistent"):
        for block in CLUSTER_BLOCKS:
            client.cluster.put_settings(body={scope: {block: None}}, ignore=403)


@pytest.mark.parametrize("scopes", SCOPES)
@pytest.mark.parametrize("blocks", [*((block,) for block in CLUSTER_BLOCKS), tuple(CLUSTER_BLOCKS)])
def test_the_command_removes_each_block_of_the_cluster(client, healthy_index, examine, blocks, scopes):
    """A block of the cluster is found in every place of a setting, and the cluster accepts the requests in order."""
    client.cluster.put_settings(body={scope: dict.fromkeys(blocks, True) for scope in scopes})
    try:
        findings = examine(healthy_index)
        fix(client, findings)
    finally:
        remove_cluster_blocks(client)
    levels = [(finding.check, finding.level) for finding in findings]
    assert sorted(levels) == sorted(("blocks", CLUSTER_BLOCKS[block]) for block in blocks)
    assert examine(healthy_index) == []


def test_blocks_of_an_index_are_removed_in_order(client, healthy_index, examine):
    """An index that is read-only accepts only a request that removes one block, so each block has a request."""
    blocks = {"index.blocks.write": True, "index.blocks.read_only_allow_delete": True, "index.blocks.read_only": True}
    client.indices.put_settings(index=healthy_index, body=blocks)
    fix(client, [finding for finding in examine(healthy_index) if finding.check == "blocks"])
    assert examine(healthy_index) == []


def test_a_missing_search_pipeline_is_a_fault(client, healthy_index, examine):
    """If searches fail because of a default pipeline, the one fault has the request that mends it; no permission."""
    client.indices.put_settings(index=healthy_index, body={"index.search.default_pipeline": "no-such-pipeline"})
    findings = examine(healthy_index)
    (fault,) = [finding for finding in findings if finding.level == "fault"]
    fix(client, [fault])
    assert fault.check == "search"
    assert "Pipeline no-such-pipeline is not defined" in fault.found
    assert "create the search pipeline no-such-pipeline" in fault.expected
    assert [finding.expected for finding in findings if "permission" in finding.expected] == []
    assert examine(healthy_index) == []


def test_a_block_is_no_missing_permission(client, healthy_index, examine):
    """An index that cannot be read is blocked, not forbidden, although OpenSearch answers 403."""
    client.indices.put_settings(index=healthy_index, body={"index.blocks.read": True})
    findings = examine(healthy_index)
    fix(client, [finding for finding in findings if finding.check == "blocks"])
    assert {"blocks", "search"} <= {finding.check for finding in findings if finding.level == "fault"}
    assert [finding.expected for finding in findings if "permission" in finding.expected] == []
    assert examine(healthy_index) == []


def test_a_cluster_that_compiles_no_script(client, healthy_index, examine):
    """A compilation limit of 0 is a fault, the modes that need the script are not tried, and the command resets it."""
    client.cluster.put_settings(body={"persistent": {"script.context.score.max_compilations_rate": "0/1m"}})
    findings = {finding.check: finding for finding in examine(healthy_index, everything=True)}
    fix(client, [findings["compilations"]])
    assert findings["compilations"].level == "fault"
    assert "the cluster refuses the script" in findings["search cluster"].found
    assert "not tried" not in findings["search client"].found
    (reset,) = [finding for finding in examine(healthy_index, everything=True) if finding.check == "compilations"]
    assert reset.level != "fault"


def test_modes_wait_for_the_script(client, healthy_index, examine):
    """As long as the script is missing, the modes that need it are not tried, and nothing is advised against them."""
    delete_the_script(client, healthy_index)
    findings = {finding.check: finding for finding in examine(healthy_index, everything=True)}
    for mode in ("cluster", "filter"):
        finding = findings[f"search {mode}"]
        assert (finding.level, finding.command) == ("ok", "")
        assert finding.found == "not tried: the script is not stored yet; the first search stores it"
    assert "graphs" in findings["search retrieve"].found
    assert "not tried" not in findings["search client"].found
    fix(client, [findings["script"]])
    assert examine(healthy_index) == []


def test_deleted_documents(client, index, examine):
    """More deleted documents than products are a warning; the cluster accepts its request, whether or not it merges."""
    create_index(client, index)
    for number in range(4):
        client.delete(index=index, id=str(number))
    client.indices.refresh(index=index)
    (finding,) = [finding for finding in examine(index, everything=True) if finding.check == "deleted"]
    assert finding.level == "warning"
    fix(client, [finding])


def test_a_blank_index_is_no_fault(client, index, encoder, examine):
    """After a rollover the write index has no fields: no fault, and the printed commands leave no finding on it."""
    first, second = f"{index}-000001", f"{index}-000002"
    create_index(client, first)
    client.indices.put_alias(index=first, name=index, body={"is_write_index": True})
    ingest_index(client, first, encoder)
    client.put_script(id=script_id(), body=build_put_script_body(), context=SCRIPT_CONTEXT)
    client.indices.rollover(alias=index)
    for name in (index, second):
        findings = examine(name)
        assert {(finding.check, finding.level) for finding in findings} == {
            ("mapping", "warning"),
            ("template", "warning"),
        }
    (missing,) = [finding for finding in examine(second) if finding.check == "mapping"]
    fix(client, [missing])
    assert [finding.check for finding in examine(second)] == ["template"]


def test_a_product_that_no_search_finds(client, index, encoder, examine):
    """If the plain search for the text of a product finds nothing, that is a warning, whatever the modes find."""
    client.indices.create(index=index, body={"mappings": {"dynamic": "false"}})
    client.index(index=index, id="1", body={"title": "red shoe"}, refresh=True)
    ingest_index(client, index, encoder)
    (finding,) = [finding for finding in examine(index, everything=True) if finding.check.startswith("search")]
    assert (finding.check, finding.level) == ("search", "warning")
    assert "no product matches 'red shoe'" in finding.found


def test_aliases_and_patterns(client, healthy_index, examine):
    """Every index behind an alias or a pattern is examined, and a name that matches none is a fault."""
    client.indices.put_alias(index=healthy_index, name=f"{healthy_index}-alias")
    assert examine(f"{healthy_index}-alias") == []
    client.indices.delete_alias(index=healthy_index, name=f"{healthy_index}-alias")
    create_index(client, f"{healthy_index}-2")
    for name in (f"{healthy_index}*", f"{healthy_index},{healthy_index}-2"):
        findings = [finding for finding in examine(name) if finding.check == "coverage"]
        levels = [(finding.level, finding.found.split(":")[0]) for finding in findings]
        assert levels == [("fault", f"{healthy_index}-2")]
    for name in (f"{healthy_index}-none", f"{healthy_index}-none*", "", "A<"):
        assert [(finding.check, finding.level) for finding in examine(name)] == [("index", "fault")]


@pytest.mark.parametrize("fields", [("name", "title"), ("name", "label")])
def test_indices_with_different_fields(client, cluster, index, encoder, fields, tmp_path):
    """Each index behind a pattern is compared and searched by its own text fields: there is no finding."""
    for field in fields:
        name = f"{index}-{field}"
        client.indices.create(index=name, body={"mappings": {"properties": {field: {"type": "text"}}}})
        for number, title in enumerate(TITLES[:4]):
            client.index(index=name, id=str(number), body={field: title}, refresh=True)
        ingest_index(client, name, encoder, text_fields=(field,))
    client.put_script(id=script_id(), body=build_put_script_body(), context=SCRIPT_CONTEXT)
    words = [f"{index}-*", "--url", cluster, "--history", str(tmp_path / "history"), "--json"]
    result = CliRunner().invoke(doctor, words)
    findings = json.loads(result.stdout)["findings"]
    assert [found for found in findings if found["level"] != "ok" and found["check"] not in UNSTABLE_CHECKS] == []
    assert sum(found["check"] == "search cluster" for found in findings) == 2


def test_another_model(client, healthy_index, encoder, examine):
    """Values of another model do not count; the command adds this model's, and aliases decide which is current."""
    other = Encoder(replace(encoder.bundle, model_id="0123abcd" + encoder.bundle.model_id[8:]))
    before = {finding.check: finding for finding in examine(healthy_index, model=other)}
    coverage = before["coverage"]
    assert before["search"].found == "not tried: the values of 5 products are of another model"
    assert (coverage.level, "--beside" in coverage.command) == ("fault", True)
    fields = ModelFields("anthem_0123abcd")
    put_mapping(client, healthy_index, fields.mapping(encoder.bundle.dimension))
    ingest_index(client, healthy_index, other, options=IngestOptions(fields))
    put_mapping(client, healthy_index, build_alias_mapping(fields))
    assert examine(healthy_index, model=other) == []
    findings = examine(healthy_index)
    assert [finding.check for finding in findings] == ["aliases"]
    fix(client, findings)
    assert examine(healthy_index) == []
    assert [finding.check for finding in examine(healthy_index, model=other)] == ["aliases"]


def test_graphs_and_shards(client, index, encoder, examine):
    """In an index with graphs `retrieve` is tried too, and nothing is lost on several shards."""
    create_index(client, index, **{"index.knn": True, "number_of_shards": 3})
    ingest_index(client, index, encoder)
    client.put_script(id=script_id(), body=build_put_script_body(), context=SCRIPT_CONTEXT)
    findings = examine(index, everything=True)
    assert {finding.check for finding in findings if finding.level != "ok"} <= UNSTABLE_CHECKS
    checks = {finding.check: finding.found for finding in findings}
    assert "not tried" not in checks["search retrieve"]
    assert "Lucene" in checks["engine"]
    assert "100 × 3" in checks["shards"]


@pytest.mark.parametrize("signal", ["containment", "attention"])
def test_an_index_with_one_value(client, index, encoder, examine, signal):
    """An index that ingest was told to give one value to is healthy, and the findings say what it is ranked by."""
    create_index(client, index)
    ingest_index(client, index, encoder, options=IngestOptions(signals=(signal,)))
    client.put_script(id=script_id(), body=build_put_script_body(), context=SCRIPT_CONTEXT)
    findings = examine(index, everything=True)
    assert {finding.check for finding in findings if finding.level != "ok"} <= UNSTABLE_CHECKS
    checks = {finding.check: finding.found for finding in findings}
    assert f"by the lexical score and {signal}, not by" in checks["signals"]
    assert ("points" in checks, "trigrams" in checks) == (signal == "containment", signal == "attention")
    assert ("needs vectors" in checks["search filter"]) == (signal == "attention")


def test_the_loss_per_day(client, healthy_index, bundle, examine, tmp_path):
    """If the history has an earlier run, the values lost since are reported as a share of the products per day."""
    key = {"cluster": client.info()["cluster_uuid"], "index": healthy_index, "model": bundle.model_id}
    append_run(tmp_path / "history.jsonl", key, CoverageRun(datetime.now(UTC) - timedelta(days=2), 6, 5))
    write_whole_documents(client, healthy_index)
    coverage, loss = examine(healthy_index)
    fix(client, [coverage])
    assert loss.level == "warning"
    assert "16.67% of the products lose their values per day (2 runs in 2.0 days" in loss.found


def test_a_cluster_that_does_not_answer(bundle, encoder, tmp_path):
    """The only finding is that the cluster does not answer; no command is advised, and the history gets no line."""
    with connect("http://127.0.0.1:9") as unreachable:
        target, profile = DoctorTarget("products", bundle), read_profile(unreachable, encoder, "products")
        (finding,) = Examination(unreachable, target, encoder, profile, tmp_path / "history").run()
    assert (finding.check, finding.level, finding.command) == ("cluster", "fault", "")
    assert not (tmp_path / "history").exists()


@pytest.mark.parametrize(("pipeline", "calls"), [("rerank", 5), ("ml-inference", 5)])
def test_the_calls_of_a_pipeline_are_filled_in(cluster, healthy_index, pipeline, calls):
    """`--pipeline` prints calls with index, field and service filled in, and names the missing plugins."""
    words = [healthy_index, "--url", cluster, "--pipeline", pipeline]
    words += ["--service", "http://10.0.0.7:81", "--field", "name"]
    value = json.loads(CliRunner().invoke(doctor, [*words, "--json"]).stdout)
    assert len(value["calls"]) == calls
    assert "opensearch-ml" in value["missing_plugins"]
    assert value["calls"][-1]["path"].startswith(f"/{healthy_index}/_search?")
    assert value["calls"][-1]["body"]["query"] == {"match": {"name": {"query": "fire tv"}}}
    text = CliRunner().invoke(doctor, words).stdout
    assert text.startswith("PUT /_cluster/settings\n{")
    assert "http://10.0.0.7:81/" in text


def test_the_default_fields_are_those_that_were_ingested(client, cluster, index, tmp_path):
    """Without `--field` the text is compared by the fields that ingest recorded in the index."""
    mappings = {"properties": {"name": {"type": "text"}, "brand": {"type": "text"}}}
    client.indices.create(index=index, body={"mappings": mappings})
    client.index(index=index, id="1", body={"name": "fire tv", "brand": "acme"}, refresh=True)
    words = [index, "--url", cluster, "--field", "name", "--field", "brand"]
    assert CliRunner().invoke(ingest, words).exit_code == 0
    client.indices.refresh(index=index)
    words = [index, "--url", cluster, "--history", str(tmp_path / "history"), "--json"]
    value = json.loads(CliRunner().invoke(doctor, words).stdout)
    checks = {finding["check"]: finding for finding in value["findings"]}
    assert checks["fields"]["found"].endswith("has name, brand")
    assert checks["text"]["level"] == "ok"


@pytest.mark.parametrize("name", ["file", "file/history"])
def test_a_history_that_cannot_be_written(cluster, healthy_index, tmp_path, name):
    """The examination continues without a history, with a warning; a file of something else stays as it is."""
    (tmp_path / "file").write_text("notes\n")
    words = [healthy_index, "--url", cluster, "--history", str(tmp_path / name), "--json"]
    result = CliRunner().invoke(doctor, words)
    assert result.exit_code == 0
    (finding,) = [finding for finding in json.loads(result.stdout)["findings"] if finding["check"] == "loss"]
    assert finding["level"] == "warning"
    assert (tmp_path / "file").read_text() == "notes\n"


def test_a_missing_index_exits_with_1(cluster, tmp_path):
    """A fault sets the exit code."""
    words = [f"test-{uuid.uuid4().hex}", "--url", cluster, "--history", str(tmp_path / "history")]
    result = CliRunner().invoke(doctor, words)
    assert result.exit_code == 1
    assert "1 fault" in result.stdout
    assert "not found" in result.stdout
