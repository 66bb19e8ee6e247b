"""A real node from start to stop; all tests share one start."""

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
    print("guarded", flush=True)
    time.sleep(60)
"""

pytestmark = pytest.mark.node


def call(url: str, method: str, path: str, body: object = None) -> dict:
    """Send one JSON request to the node, and return the response."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def bulk(url: str, index: str, documents: list[dict]) -> None:
    """Index documents in one request, and refresh."""
    lines = "".join(f'{{"index":{{}}}}\n{json.dumps(document)}\n' for document in documents)
    request = urllib.request.Request(
        f"{url}/{index}/_bulk?refresh=true", lines.encode(), {"content-type": "application/x-ndjson"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        assert json.load(response)["errors"] is False


@pytest.fixture(scope="module")
def home():
    """An empty home that the node's user can reach, deleted afterwards."""
    folder = Path(mkdtemp(dir="/var/tmp", prefix="anthem-test-"))
    yield folder
    lifecycle.stop_node(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def started(home):
    """Status of the node in that home, started by the command."""
    try:
        find_java()
    except NodeError as error:
        pytest.skip(str(error))
    result = CliRunner().invoke(node, ["start", "--json", "--heap", "512m", "--home", str(home)])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_start_listens_on_loopback(started):
    """A started node is OpenSearch 3.6.0 on the loopback address, and does not run as root."""
    assert started["url"].startswith("http://127.0.0.1:")
    assert call(started["url"], "GET", "/")["version"]["number"] == "3.6.0"
    assert Path(f"/proc/{started['pid']}").stat().st_uid != 0 or not Path("/proc").is_dir()


def test_second_start_finds_the_first(started, home):
    """Starting a running node starts nothing, returns its address, and refuses another port."""
    status = lifecycle.start_node(home)
    assert (status.url, status.pid) == (started["url"], started["pid"])
    result = CliRunner().invoke(node, ["start", "--home", str(home), "--port", str(system.find_free_port())])
    assert result.exit_code == 5
    assert started["url"] in result.output
    assert CliRunner().invoke(node, ["status", "--home", str(home)]).exit_code == 0


def test_painless_reads_vectors_of_a_plain_index(started):
    """Painless reads a vector of an index without `index.knn` as it was written."""
    call(started["url"], "PUT", "/plain", {"mappings": {"properties": {"v": {"type": "knn_vector", "dimension": 3}}}})
    call(started["url"], "POST", "/plain/_doc?refresh=true", {"v": [1, 2, 3]})
    script = {"source": "def v = doc['v'].value; return v[0] + 10 * v[1] + 100 * v[2]"}
    query = {"query": {"script_score": {"query": {"match_all": {}}, "script": script}}}
    assert call(started["url"], "POST", "/plain/_search", query)["hits"]["max_score"] == 321


def test_vector_field_without_an_engine_does_not_crash_the_node(started):
    """A k-NN index whose field names no engine accepts documents, refreshes, merges and answers searches."""
    mapping = {
        "settings": {"index.knn": True},
        "mappings": {"properties": {"v": {"type": "knn_vector", "dimension": 2}}},
    }
    call(started["url"], "PUT", "/no-engine", mapping)
    for number in range(2):
        call(started["url"], "POST", f"/no-engine/_doc/{number}?refresh=true", {"v": [number, number]})
    call(started["url"], "POST", "/no-engine/_forcemerge?max_num_segments=1")
    response = call(started["url"], "POST", "/no-engine/_search", {"query": {"knn": {"v": {"vector": [1, 1], "k": 1}}}})
    assert response["hits"]["hits"][0]["_id"] == "1"


def test_lucene_still_builds_its_graph(started):
    """The threshold that keeps Faiss from building a graph does not affect Lucene: its HNSW graph is on disk."""
    field = {"type": "knn_vector", "dimension": 2, "method": {"name": "hnsw", "engine": "lucene", "space_type": "l2"}}
    call(started["url"], "PUT", "/hnsw", {"settings": {"index.knn": True}, "mappings": {"properties": {"v": field}}})
    for _ in range(2):  # two segments, to force a merge
        bulk(started["url"], "hnsw", [{"v": [number, number % 7]} for number in range(1500)])
    call(started["url"], "POST", "/hnsw/_forcemerge?max_num_segments=1")
    call(started["url"], "POST", "/hnsw/_flush")
    graphs = (Path(started["home"]) / "data").rglob("*.vex")
    assert max(path.stat().st_size for path in graphs) > 3000


def test_stop_leaves_no_process(started, home):
    """After a stop the process is gone, the port is free and the data is kept."""
    assert lifecycle.stop_node(home) is True
    assert not Path(f"/proc/{started['pid']}").exists()
    port = int(started["url"].rsplit(":", 1)[1])
    assert system.find_free_port(port) == port
    assert any((home / "data").iterdir())
    assert lifecycle.get_node_status(home) == lifecycle.NodeStatus(False, None, None, "3.6.0", home)


def test_watchdog_ends_an_orphaned_node(tmp_path):
    """If the process that started a node is killed, the node and its home are removed within seconds."""
    (tmp_path / "home").mkdir()
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as orphan:
        starter = subprocess.Popen([sys.executable, "-c", STARTER, str(orphan.pid), str(tmp_path / "home")], stdout=-1)
        with starter:
            assert starter.stdout.readline() == b"guarded\n"
            starter.kill()
        assert orphan.wait(15) == -signal.SIGTERM
    deadline = time.monotonic() + 15
    while (tmp_path / "home").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not (tmp_path / "home").exists()
