"""Laws of `anthem doctor` on a real node: it finds what is broken, changes nothing, and its commands mend."""

import json
import shlex
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from anthem_core.encoding.encoder import Encoder
from anthem_core.opensearch.connection import connect
from anthem_core.opensearch.schema import VectorFields
from anthem_doctor.cli import doctor
from anthem_doctor.examination import Examination
from anthem_doctor.findings import DoctorTarget
from anthem_doctor.history import CoverageRun, append_run
from anthem_ingest.cli import ingest, remove
from anthem_ingest.ingest import IngestOptions, ingest_index
from anthem_ingest.multi_model import build_alias_mapping
from anthem_plugin.cli import search
from anthem_plugin.scoring.painless import SCRIPT_CONTEXT, build_put_script_body, script_id

pytestmark = pytest.mark.node

TITLES = ["acme red fire tv", "globex fire tv", "stark fire pit", "fire tv stand", "blue lamp", "?!"]
# What other tests, the machine and time decide: never a fault here, but a warning perhaps.
ELSEWHERE = {"deleted", "disk", "compilations"}
COMMANDS = {"ingest": ingest, "search": search, "remove": remove, "doctor": doctor}


def fill(client, index, **settings):
    """Make a shop without vectors."""
    mappings = {"dynamic": "strict", "properties": {"title": {"type": "text"}}}
    settings = {"number_of_shards": 1, "number_of_replicas": 0} | settings
    client.indices.create(index=index, body={"settings": settings, "mappings": mappings})
    lines = [line for n, title in enumerate(TITLES) for line in ({"index": {"_id": str(n)}}, {"title": title})]
    client.bulk(index=index, body=lines, refresh=True)


@pytest.fixture(scope="module")
def shop(client, encoder):
    """A shop in which all is well, and is again after each test."""
    name = f"test-doctor-{uuid.uuid4().hex}"
    fill(client, name)
    ingest_index(client, name, encoder)
    client.put_script(id=script_id(), body=build_put_script_body(), context=SCRIPT_CONTEXT)
    yield name
    client.indices.delete(index=f"{name}*")


@pytest.fixture
def examine(client, cluster, bundle, encoder, tmp_path, monkeypatch):
    """Examines an index; gives the findings that are not well and of this index's making, or all."""
    monkeypatch.chdir(tmp_path)  # where ingest leaves dead letters

    def run(index, *, model=encoder, every=False):
        asked = DoctorTarget(index, model.bundle, str(bundle.path), url=cluster)
        found = Examination(client, asked, model, tmp_path / "history.jsonl").findings()
        return [one for one in found if every or (one.level != "ok" and one.check not in ELSEWHERE)]

    return run


def run(client, line):
    """Do what a line of a finding says: a command of ours, or a request."""
    if line.startswith("anthem "):
        _, name, *words = shlex.split(line, comments=True)
        done = CliRunner().invoke(COMMANDS[name], [*words, *(["--yes"] if name == "remove" else [])])
        assert done.exit_code == 0, done.output
    else:
        method, path, *body = line.split(" ", 2)
        client.transport.perform_request(method, path, body=json.loads(body[0]) if body else None)


def mend(client, findings):
    """Run all that the findings say."""
    assert findings
    for finding in findings:
        for line in finding.command.splitlines():
            run(client, line)


def state(client, index):
    """All that a doctor could change: what the cluster knows, and what is in the index."""
    known = client.cluster.state(metric="metadata")["metadata"]
    kept = {key: value for key, value in known.items() if key not in {"version", "cluster_coordination"}}
    return kept, client.indices.stats(index=index)["indices"][index]["primaries"]["indexing"]["index_total"]


def test_a_shop_in_which_all_is_well(client, cluster, shop, tmp_path):
    """The command ends in 0, says of each check that it is well, and changes nothing, the history apart."""
    before = state(client, shop)
    words = [shop, "--url", cluster, "--history", str(tmp_path / "history"), "--json"]
    done = CliRunner().invoke(doctor, words)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["healthy"], found["faults"]) == (True, 0), found
    assert {one["check"] for one in found["findings"] if one["level"] == "warning"} <= ELSEWHERE
    checks = {one["check"]: one["found"] for one in found["findings"]}
    assert "5 of 6 products" in checks["coverage"]
    assert {"search cluster", "search client", "search filter", "search retrieve", "loss"} <= checks.keys()
    assert state(client, shop) == before
    (line,) = (tmp_path / "history").read_text().splitlines()
    assert json.loads(line).items() >= {"index": shop, "products": 6, "with_vector": 5}.items()


def without_vectors(client, index):
    """An index without vectors, in a cluster without our script."""
    client.indices.delete(index=index)
    client.delete_script(id=script_id())
    fill(client, index)


def a_feed(client, index):
    """A feed that writes whole documents."""
    for number in range(2):
        client.index(index=index, id=str(number), body={"title": TITLES[number]}, refresh=True)


def a_new_title(client, index):
    """A title that changes in place."""
    client.update(index=index, id="3", body={"doc": {"title": "green sofa"}}, refresh=True)


def a_block(client, index):
    """What a full disk does."""
    client.indices.put_settings(index=index, body={"index.blocks.read_only_allow_delete": True})


def an_edited_script(client, _):
    """Somebody edits the script."""
    client.put_script(
        id=script_id(), body={"script": {"lang": "painless", "source": "return 1.0;"}}, context=SCRIPT_CONTEXT
    )


def another_vector(client, index):
    """A vector that is not what the model makes, under its id."""
    vector = client.get(index=index, id="0")["_source"]["anthem"]["vector"]
    client.update(index=index, id="1", body={"doc": {"anthem": {"vector": vector}}}, refresh=True)


def a_closed_index(client, index):
    """Somebody closes the index."""
    client.indices.close(index=index)


@pytest.mark.parametrize(
    ("breaks", "checks"),
    [(without_vectors, {"mapping", "coverage", "script", "search cluster", "search filter"}), (a_feed, {"coverage"}),
     (a_new_title, {"text"}), (a_block, {"blocks"}), (an_edited_script, {"script"}),
     (another_vector, {"points"}), (a_closed_index, {"index"})],
)  # fmt: skip
def test_the_command_of_each_fault_mends_it(client, shop, examine, breaks, checks):
    """What is broken is found under its name, and once the printed commands have been run, nothing is any more."""
    breaks(client, shop)
    found = examine(shop)
    assert {one.check for one in found} == checks
    mend(client, [one for one in found if not one.check.startswith("search")])
    client.indices.refresh(index=shop)
    assert examine(shop) == []


def test_deleted_documents(client, shop, examine):
    """Many replaced documents are a warning; the cluster takes its request, whatever it can merge by now."""
    for _ in range(2):
        client.update(index=shop, id="5", body={"doc": {"title": "?"}}, refresh=True)
        client.update(index=shop, id="5", body={"doc": {"title": "?!"}}, refresh=True)
    (found,) = [one for one in examine(shop, every=True) if one.check == "deleted"]
    assert found.level == "warning"
    mend(client, [found])


def test_aliases_and_patterns(client, shop, examine):
    """Behind an alias or a pattern each index is examined, and a name that means none is a fault."""
    client.indices.put_alias(index=shop, name=f"{shop}-alias")
    assert examine(f"{shop}-alias") == []
    client.indices.delete_alias(index=shop, name=f"{shop}-alias")
    fill(client, f"{shop}-2")
    for name in (f"{shop}*", f"{shop},{shop}-2"):
        found = [one for one in examine(name) if one.check == "coverage"]
        assert [(one.level, one.found.split(":")[0]) for one in found] == [("fault", f"{shop}-2")]
    for name in (f"{shop}-none", f"{shop}-none*", "", "A<"):
        assert [(one.check, one.level) for one in examine(name)] == [("index", "fault")]


def test_another_model(client, shop, encoder, examine):
    """Vectors of another model are none of this one; the command puts this one's beside, and aliases say whose turn."""
    other = Encoder(replace(encoder.bundle, model="0123abcd" + encoder.bundle.model[8:]))
    (coverage,) = [one for one in examine(shop, model=other) if one.check == "coverage"]
    assert (coverage.level, "--beside" in coverage.command) == ("fault", True)
    names = VectorFields("anthem_0123abcd")
    client.indices.put_mapping(index=shop, body=names.mapping(encoder.bundle.dimension))
    ingest_index(client, shop, other, options=IngestOptions(names=names))
    client.indices.put_mapping(index=shop, body=build_alias_mapping(names))
    assert examine(shop, model=other) == []
    found = examine(shop)
    assert [one.check for one in found] == ["aliases"]
    mend(client, found)
    assert examine(shop) == []
    assert [one.check for one in examine(shop, model=other)] == ["aliases"]


def test_graphs_and_shards(client, index, encoder, examine):
    """In an index with graphs `retrieve` is tried too, and on several shards nothing is lost either."""
    fill(client, index, **{"index.knn": True, "number_of_shards": 3})
    ingest_index(client, index, encoder)
    client.put_script(id=script_id(), body=build_put_script_body(), context=SCRIPT_CONTEXT)
    found = examine(index, every=True)
    assert {one.check for one in found if one.level != "ok"} <= ELSEWHERE
    tried = {one.check: one.found for one in found}
    assert "not tried" not in tried["search retrieve"]
    assert "Lucene" in tried["engine"]
    assert "100 × 3" in tried["shards"]


def test_what_a_feed_erases_a_day(client, shop, bundle, examine, tmp_path):
    """With an earlier run in the history, what was lost since is told as a share of the products a day."""
    key = {"cluster": client.info()["cluster_uuid"], "index": shop, "model": bundle.model}
    append_run(tmp_path / "history.jsonl", key, CoverageRun(datetime.now(UTC) - timedelta(days=2), 6, 5))
    a_feed(client, shop)
    coverage, found = examine(shop)
    mend(client, [coverage])
    assert found.level == "warning"
    assert "16.67% of the products a day, by 2 runs in 2.0 days" in found.found


def test_a_cluster_that_does_not_answer(bundle, encoder, tmp_path):
    """Of a cluster that is away only that is said; there is no history of it."""
    with connect("http://127.0.0.1:9") as away:
        asked = DoctorTarget("shop", bundle)
        (found,) = Examination(away, asked, encoder, tmp_path / "history").findings()
    assert (found.check, found.level) == ("cluster", "fault")
    assert not (tmp_path / "history").exists()


@pytest.mark.parametrize(("pipeline", "calls"), [("rerank", 5), ("ml-inference", 5)])
def test_the_calls_of_a_pipeline_are_filled_in(cluster, shop, pipeline, calls):
    """`--pipeline` prints calls with index, field and service filled in, and names the plugins that are missing."""
    words = [shop, "--url", cluster, "--pipeline", pipeline, "--service", "http://10.0.0.7:81", "--field", "name"]
    told = json.loads(CliRunner().invoke(doctor, [*words, "--json"]).stdout)
    assert len(told["calls"]) == calls
    assert "opensearch-ml" in told["missing_plugins"]
    assert told["calls"][-1]["path"].startswith(f"/{shop}/_search?")
    assert told["calls"][-1]["body"]["query"] == {"match": {"name": {"query": "fire tv"}}}
    shown = CliRunner().invoke(doctor, words).stdout
    assert shown.startswith("PUT /_cluster/settings\n{")
    assert "http://10.0.0.7:81/" in shown


def test_a_history_that_cannot_be_written(cluster, shop, tmp_path):
    """The examination goes on without a history, and says so."""
    (tmp_path / "file").touch()
    words = [shop, "--url", cluster, "--history", str(tmp_path / "file" / "history"), "--json"]
    done = CliRunner().invoke(doctor, words)
    assert done.exit_code == 0
    (found,) = [one for one in json.loads(done.stdout)["findings"] if one["check"] == "loss"]
    assert found["level"] == "warning"


def test_an_index_that_is_not_there_ends_in_1(cluster, tmp_path):
    """A fault is an exit code, for people and programs alike."""
    words = [f"test-{uuid.uuid4().hex}", "--url", cluster, "--history", str(tmp_path / "history")]
    done = CliRunner().invoke(doctor, words)
    assert done.exit_code == 1
    assert "1 fault" in done.stdout
    assert "there is no index" in done.stdout
