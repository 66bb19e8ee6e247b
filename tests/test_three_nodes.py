"""Three real nodes in one cluster, one of which is killed while products are ingested and shoppers search."""

import itertools
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from opensearchpy import OpenSearch
from opensearchpy.helpers import scan

from anthem_core.errors import AnthemError, NodeError
from anthem_ingest.ingest import IngestOptions, ingest_index, load_products
from anthem_plugin.client import AnthemClient
from anthem_sandbox.catalogue import generate_catalogue
from anthem_sandbox.node.cluster_choice import find_test_release
from anthem_sandbox.node.java import find_java
from anthem_sandbox.node.lifecycle import get_node_status
from anthem_sandbox.node.local_cluster import ClusterNode, LocalCluster, local_cluster, plan_cluster_nodes

pytestmark = pytest.mark.node

MODES = ("cluster", "client")
STARTER = """
import time
from anthem_sandbox.node.local_cluster import local_cluster
with local_cluster(1) as several:
    print(several.members[0].home, flush=True)
    time.sleep(600)
"""
SHORT, FULL = 2_000, 10_000  # products
SHARDS = {"number_of_shards": 3, "number_of_replicas": 1}


@dataclass(frozen=True)
class Answer:
    """One answer to a search: when it came, how long it took, whether it has the right products, how it was ranked."""

    at: float
    seconds: float
    complete: bool
    reranked: bool
    reason: str | None


def pytest_generate_tests(metafunc):
    """In short a node that is not the cluster manager is killed; in full that one, too, and the only one known."""
    if "case" in metafunc.fixturenames:
        victims = ["member", "manager", "entry"] if metafunc.config.getoption("--proof") else ["member"]
        metafunc.parametrize("case", [(victim, FULL if len(victims) > 1 else SHORT) for victim in victims], ids=victims)


@pytest.fixture(scope="module")
def nodes(proof):
    """A cluster of three nodes, whose Java in short spends no time on making itself fast."""
    release = find_test_release()
    try:
        find_java(release=release)
    except NodeError as error:
        pytest.skip(str(error))
    with pytest.MonkeyPatch.context() as environment:
        if not proof:
            environment.setenv("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
        with local_cluster(release=release) as several:
            yield several


@pytest.fixture(scope="module")
def everywhere(nodes):
    """A client that knows all nodes, and asks another where one does not answer."""
    with client_of(nodes.urls) as opensearch:
        yield opensearch


@pytest.fixture(scope="module")
def shop(everywhere, encoder):
    """A shop with vectors, and of some queries all products that OpenSearch finds, by text."""
    data = generate_catalogue(products=600)
    everywhere.indices.create(index="shop", body={"settings": SHARDS})
    load_products(everywhere, "shop", data.products.values(), encoder)
    found = ((text, everywhere.search(index="shop", body=match(text))["hits"]) for text in data.queries.values())
    few = ((text, ids(hits)) for text, hits in found if 5 <= hits["total"]["value"] <= 100)
    return dict(itertools.islice(few, 30))


def client_of(urls):
    """What an application needs to outlive a node: all addresses, and leave to ask the next one after a time-out."""
    return OpenSearch(hosts=urls, timeout=30, retry_on_timeout=True, max_retries=len(urls), pool_maxsize=8)


def match(text):
    """Body of a plain search whose page has room for the whole window."""
    return {"query": {"match": {"title": {"query": text}}}, "size": 100, "_source": ["title"]}


def ids(hits):
    """Ids of hits, without their order."""
    return frozenset(hit["_id"] for hit in hits["hits"])


def fill(client, index, number):
    """Make an index of numbered sofas, each shard on two nodes."""
    client.indices.create(index=index, body={"settings": SHARDS})
    for start in range(0, number, 5_000):
        numbers = range(start, min(number, start + 5_000))
        lines = (line for n in numbers for line in ({"index": {"_id": str(n)}}, {"title": f"red sofa {n}"}))
        assert not client.bulk(index=index, body=list(lines))["errors"]
    client.indices.refresh(index=index)
    wait_for(client, "green")


def wait_for(client, status):
    """Wait until the cluster is well."""
    health = client.cluster.health(wait_for_status=status, timeout="60s", request_timeout=70)
    assert not health["timed_out"], health


def pointed(client, index):
    """Number of products with a vector; not asked for so often that it slows what writes them."""
    time.sleep(0.1)
    client.indices.refresh(index=index)
    return client.count(index=index, body={"query": {"exists": {"field": "anthem.vector"}}})["count"]


def written(client, index):
    """How many products were written how often."""
    hits = scan(client, {"version": True, "_source": False, "query": {"match_all": {}}}, index=index, size=5_000)
    return Counter(hit["_version"] for hit in hits)


def chosen(client, nodes, victim):
    """Number of the node that is to die: the cluster manager, or another."""
    manager = int(client.cat.cluster_manager(format="json")[0]["node"].removeprefix("node-"))
    return manager if victim == "manager" else (manager + 1) % len(nodes.urls)


@contextmanager
def searched(client, encoder, shop):
    """Searches in both modes by two threads each, as long as this lasts; yields the answers of each mode."""
    stop, anthem = threading.Event(), AnthemClient(client, encoder)
    answers = {mode: [] for mode in MODES}

    def ask(mode):
        for text in itertools.cycle(shop):
            if stop.wait(0.02):  # all of this is one process: let the ingest have some of it
                return
            started = time.perf_counter()
            found = anthem.search("shop", match(text), mode=mode)
            now, told = time.perf_counter(), found["anthem"]
            complete = ids(found["hits"]) == shop[text]
            answers[mode].append(Answer(now, now - started, complete, told["reranked"], told["reason"]))

    with ThreadPoolExecutor(2 * len(MODES)) as threads:
        running = [threads.submit(ask, mode) for mode in MODES * 2]
        try:
            yield answers
        finally:
            stop.set()
    for one in running:
        one.result()  # raises what a search raised


def test_a_node_dies_and_nothing_is_lost(nodes, everywhere, encoder, shop, case, until, measured):
    """A node killed under ingest and searches costs no product, none is written twice, and every search is answered."""
    victim, number = case
    heal(nodes, everywhere)
    fill(everywhere, f"products-{victim}", number)
    doomed = chosen(everywhere, nodes, victim)
    urls = [nodes.urls[doomed]] if victim == "entry" else nodes.urls
    options = IngestOptions(rate=number / 10)
    with client_of(urls) as entry, searched(everywhere, encoder, shop) as answers, ThreadPoolExecutor(1) as thread:
        running = thread.submit(ingest_index, entry, f"products-{victim}", encoder, options=options)
        until(lambda: running.done() or pointed(everywhere, f"products-{victim}") > number / 4, 300)
        assert not running.done(), "the node was to be killed before the end"
        killed = time.perf_counter()
        nodes.kill(doomed)
        if victim == "entry":
            nodes.restart(doomed)  # nobody else can be asked
        ended, seconds = outcome(running), time.perf_counter() - killed
        until(lambda: all(answers[mode][-1].at > killed + 3 for mode in MODES), 300)
    again = ingest_index(everywhere, f"products-{victim}", encoder)
    assert (again.failed, again.conflicts) == (0, 0)
    assert pointed(everywhere, f"products-{victim}") == number
    assert written(everywhere, f"products-{victim}") == {2: number}
    for mode in MODES:
        assert all(answer.complete for answer in answers[mode])
        assert all(answer.reranked or answer.reason for answer in answers[mode])
        measured(f"{mode} mode, {victim} killed", **figures(answers[mode], killed))
    measured(f"ingest, {victim} killed", products=number, ended=ended, s=round(seconds, 1), second_run=again.written)


def test_what_came_back_is_whole(nodes, everywhere, encoder, shop, proof):
    """When all nodes are back every shard is on two of them again, and every index is as it was before."""
    if not proof:
        pytest.skip("it starts nodes again: --proof")
    heal(nodes, everywhere)
    indices = list(everywhere.indices.get(index="products-*"))
    assert len(indices) == 3
    for index in indices:
        assert written(everywhere, index) == {2: FULL}
        assert pointed(everywhere, index) == FULL
    anthem = AnthemClient(everywhere, encoder)
    for mode, text in itertools.product(MODES, shop):
        found = anthem.search("shop", match(text), mode=mode)
        assert found["anthem"]["reranked"]
        assert ids(found["hits"]) == shop[text]


def test_nothing_is_left_of_a_cluster_whose_starter_is_killed(proof, until):
    """When the process that started nodes is killed, they and their homes are gone within a minute."""
    if not proof:
        pytest.skip("it starts a node of its own: --proof")
    with subprocess.Popen([sys.executable, "-c", STARTER], stdout=subprocess.PIPE, text=True) as starter:
        home = Path(starter.stdout.readline().strip())
        pid = get_node_status(home).pid
        starter.kill()
    until(lambda: not (home.parent.exists() or Path(f"/proc/{pid}").exists()))


def test_a_node_that_does_not_run_cannot_be_killed(tmp_path):
    """To kill a node twice is an error that says how to start it, not a signal to whoever has its number by now."""
    with pytest.raises(NodeError, match=r"restart\(0\) starts it"):
        LocalCluster([ClusterNode(tmp_path / "node-0", 1, {})], "512m").kill(0)


def test_every_node_is_told_of_all(tmp_path):
    """All nodes have the same cluster, seeds and first electors, and a name, a home and two ports of their own."""
    several = plan_cluster_nodes(tmp_path, 3)
    own = ("node.name", "transport.port")
    assert len({str({key: one.settings[key] for key in one.settings if key not in own}) for one in several}) == 1
    assert len({one.home for one in several}) == 3
    ports = {str(one.port) for one in several} | {one.settings["transport.port"] for one in several}
    assert len(ports) == 6
    assert {f"127.0.0.1:{one.settings['transport.port']}" for one in several} == set(
        several[0].settings["discovery.seed_hosts"].split(",")
    )


def outcome(running):
    """How a run of ingest ended: its counts, or its error."""
    try:
        return str(running.result())
    except AnthemError as error:
        return f"error: {error}"


def heal(nodes, client):
    """Bring dead nodes back, and wait until every shard is on two nodes."""
    for number in range(len(nodes.urls)):
        nodes.restart(number)
    client.cluster.health(wait_for_nodes=len(nodes.urls), timeout="60s", request_timeout=70)
    wait_for(client, "green")


def figures(answers, killed):
    """What the death of a node cost searches: the longest silence, the slowest answer, and what was left lexical."""
    times = [answer.at for answer in answers if answer.at > killed - 1]
    return {
        "answers": len(answers),
        "longest_silence_s": round(max(b - a for a, b in itertools.pairwise(times)), 2),
        "slowest_s": round(max(answer.seconds for answer in answers if answer.at > killed - 1), 2),
        "not_reranked": Counter(answer.reason for answer in answers if not answer.reranked),
    }
