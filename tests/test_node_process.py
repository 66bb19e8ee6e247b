"""A real node from start to stop: one boot for all of it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from tempfile import mkdtemp

import pytest
from click.testing import CliRunner

from anthem_core.errors import NodeError
from anthem_sandbox.node import lifecycle, system
from anthem_sandbox.node.cli import node
from anthem_sandbox.node.java import find_java

STARTER = """
import sys, time
from pathlib import Path
from anthem_sandbox.node.lifecycle import watchdog
with watchdog(int(sys.argv[1]), Path(sys.argv[2])):
    print("tied", flush=True)
    time.sleep(60)
"""

pytestmark = pytest.mark.node


def call(url: str, method: str, path: str, body: object = None) -> dict:
    """One JSON request to the node."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def bulk(url: str, index: str, documents: list[dict]) -> None:
    """Write documents in one request, and make them visible."""
    lines = "".join(f'{{"index":{{}}}}\n{json.dumps(document)}\n' for document in documents)
    request = urllib.request.Request(
        f"{url}/{index}/_bulk?refresh=true", lines.encode(), {"content-type": "application/x-ndjson"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert json.load(answer)["errors"] is False


@pytest.fixture(scope="module")
def home():
    """An empty home that the node's user can reach, gone afterwards."""
    folder = Path(mkdtemp(dir="/var/tmp", prefix="anthem-test-"))
    yield folder
    lifecycle.stop_node(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def started(home):
    """The node of that home, started by the command."""
    try:
        find_java()
    except NodeError as error:
        pytest.skip(str(error))
    told = CliRunner().invoke(node, ["start", "--json", "--heap", "512m", "--home", str(home)])
    assert told.exit_code == 0, told.output
    return json.loads(told.stdout)


def test_start_answers_at_loopback(started):
    """A started node is OpenSearch 3.6.0 on the loopback address, and not run by root."""
    assert started["url"].startswith("http://127.0.0.1:")
    assert call(started["url"], "GET", "/")["version"]["number"] == "3.6.0"
    assert Path(f"/proc/{started['pid']}").stat().st_uid != 0 or not Path("/proc").is_dir()


def test_second_start_finds_the_first(started, home):
    """Starting a node that runs starts nothing, says where it is, and refuses another port."""
    again = lifecycle.start_node(home)
    assert (again.url, again.pid) == (started["url"], started["pid"])
    other = CliRunner().invoke(node, ["start", "--home", str(home), "--port", str(system.find_free_port())])
    assert other.exit_code == 5
    assert started["url"] in other.output
    assert CliRunner().invoke(node, ["status", "--home", str(home)]).exit_code == 0


def test_painless_reads_vectors_of_a_plain_index(started):
    """A dimension-only vector of a plain index is read by Painless as it was written."""
    call(started["url"], "PUT", "/plain", {"mappings": {"properties": {"v": {"type": "knn_vector", "dimension": 3}}}})
    call(started["url"], "POST", "/plain/_doc?refresh=true", {"v": [1, 2, 3]})
    script = {"source": "def v = doc['v'].value; return v[0] + 10 * v[1] + 100 * v[2]"}
    query = {"query": {"script_score": {"query": {"match_all": {}}, "script": script}}}
    assert call(started["url"], "POST", "/plain/_search", query)["hits"]["max_score"] == 321


def test_vector_without_an_engine_does_not_kill(started):
    """The trap: a k-NN index whose field names no engine takes documents, refreshes, merges and answers."""
    mapping = {
        "settings": {"index.knn": True},
        "mappings": {"properties": {"v": {"type": "knn_vector", "dimension": 2}}},
    }
    call(started["url"], "PUT", "/trap", mapping)
    for number in range(2):
        call(started["url"], "POST", f"/trap/_doc/{number}?refresh=true", {"v": [number, number]})
    call(started["url"], "POST", "/trap/_forcemerge?max_num_segments=1")
    found = call(started["url"], "POST", "/trap/_search", {"query": {"knn": {"v": {"vector": [1, 1], "k": 1}}}})
    assert found["hits"]["hits"][0]["_id"] == "1"


def test_lucene_still_builds_its_graph(started):
    """What keeps Faiss from building leaves Lucene alone: its HNSW graph is on the disk."""
    field = {"type": "knn_vector", "dimension": 2, "method": {"name": "hnsw", "engine": "lucene", "space_type": "l2"}}
    call(started["url"], "PUT", "/hnsw", {"settings": {"index.knn": True}, "mappings": {"properties": {"v": field}}})
    for _ in range(2):  # two segments, so that there is something to merge
        bulk(started["url"], "hnsw", [{"v": [number, number % 7]} for number in range(1500)])
    call(started["url"], "POST", "/hnsw/_forcemerge?max_num_segments=1")
    call(started["url"], "POST", "/hnsw/_flush")
    graphs = (Path(started["home"]) / "data").rglob("*.vex")
    assert max(path.stat().st_size for path in graphs) > 3000


def test_stop_leaves_no_process(started, home):
    """A stopped node's process is gone, its port is free again, its data is still there."""
    assert lifecycle.stop_node(home) is True
    assert not Path(f"/proc/{started['pid']}").exists()
    port = int(started["url"].rsplit(":", 1)[1])
    assert system.find_free_port(port) == port
    assert any((home / "data").iterdir())
    assert lifecycle.get_node_status(home) == lifecycle.NodeStatus(False, None, None, "3.6.0", home)


def test_watchdog_ends_what_is_left(tmp_path):
    """When the process that started a node is killed, the node and its home are gone within seconds."""
    (tmp_path / "home").mkdir()
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as left:
        starter = subprocess.Popen([sys.executable, "-c", STARTER, str(left.pid), str(tmp_path / "home")], stdout=-1)
        with starter:
            assert starter.stdout.readline() == b"tied\n"
            starter.kill()
        assert left.wait(15) == -signal.SIGTERM
    end = time.monotonic() + 15
    while (tmp_path / "home").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not (tmp_path / "home").exists()
