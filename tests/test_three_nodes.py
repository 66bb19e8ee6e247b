"""A cluster of three real nodes, one of which is killed during an ingest and searches."""

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
with local_cluster(1) as cluster:
    print(cluster.nodes[0].home, flush=True)
    time.sleep(600)
"""
PRODUCTS, PROOF_PRODUCTS = 2_000, 10_000  # ingested without and with --proof
INDEX_SETTINGS = {"number_of_shards": 3, "number_of_replicas": 1}


@dataclass(frozen=True)
class Answer:
    """One answer to a search: its time, its duration, whether it has the right products, and how it was ranked."""

    at: float
    seconds: float
    complete: bool
    reranked: bool
    reason: str | None


def pytest_generate_tests(metafunc):
    """Kill a node that is not the cluster manager; with `--proof` also the manager, and the only node ingest knows."""
    if "case" in metafunc.fixturenames:
        victims = ["member", "manager", "entry"] if metafunc.config.getoption("--proof") else ["member"]
        products = PROOF_PRODUCTS if len(victims) > 1 else PRODUCTS
        metafunc.parametrize("case", [(victim, products) for victim in victims], ids=victims)


@pytest.fixture(scope="module")
def nodes(proof):
    """A cluster of three nodes. Without `--proof` the JVM does not spend time on optimising code."""
    release = find_test_release()
    try:
        find_java(release=release)
    except NodeError as error:
        pytest.skip(str(error))
    with pytest.MonkeyPatch.context() as environment:
        if not proof:
            environment.setenv("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
        with local_cluster(release=release) as cluster:
            yield cluster


@pytest.fixture(scope="module")
def all_nodes(nodes):
    """A client that knows all nodes, and tries another node if one does not answer."""
    with connect_nodes(nodes.urls) as opensearch:
        yield opensearch


@pytest.fixture(scope="module")
def matches(all_nodes, encoder):
    """Create the index `catalogue` with vectors; returns query texts with the ids of all their matches."""
    dataset = generate_catalogue(products=600)
    all_nodes.indices.create(index="catalogue", body={"settings": INDEX_SETTINGS})
    load_products(all_nodes, "catalogue", dataset.products.values(), encoder)
    responses = (
        (text, all_nodes.search(index="catalogue", body=match(text))["hits"]) for text in dataset.queries.values()
    )
    matches = ((text, ids(hits)) for text, hits in responses if 5 <= hits["total"]["value"] <= 100)
    return dict(itertools.islice(matches, 30))


def connect_nodes(urls):
    """A client that survives the loss of a node: it knows all addresses, and tries the next one after a time-out."""
    return OpenSearch(hosts=urls, timeout=30, retry_on_timeout=True, max_retries=len(urls), pool_maxsize=8)


def match(text):
    """Body of a plain search whose page is as large as the window."""
    return {"query": {"match": {"title": {"query": text}}}, "size": 100, "_source": ["title"]}


def ids(hits):
    """Ids of hits as a set."""
    return frozenset(hit["_id"] for hit in hits["hits"])


def create_index(client, index, size):
    """Create an index of numbered sofas, with each shard on two nodes."""
    client.indices.create(index=index, body={"settings": INDEX_SETTINGS})
    for start in range(0, size, 5_000):
        numbers = range(start, min(size, start + 5_000))
        lines = (line for n in numbers for line in ({"index": {"_id": str(n)}}, {"title": f"red sofa {n}"}))
        assert not client.bulk(index=index, body=list(lines))["errors"]
    client.indices.refresh(index=index)
    wait_for_status(client, "green")


def wait_for_status(client, status):
    """Wait until the cluster has this health status."""
    health = client.cluster.health(wait_for_status=status, timeout="60s", request_timeout=70)
    assert not health["timed_out"], health


def count_vectors(client, index):
    """Number of products with a vector."""
    time.sleep(0.1)  # frequent refreshes would slow down the ingest
    client.indices.refresh(index=index)
    return client.count(index=index, body={"query": {"exists": {"field": "anthem.vector"}}})["count"]


def count_versions(client, index):
    """Number of products per version, which counts how often a product was written."""
    hits = scan(client, {"version": True, "_source": False, "query": {"match_all": {}}}, index=index, size=5_000)
    return Counter(hit["_version"] for hit in hits)


def choose_node(client, nodes, victim):
    """Number of the node to kill: the cluster manager, or another one."""
    manager = int(client.cat.cluster_manager(format="json")[0]["node"].removeprefix("node-"))
    return manager if victim == "manager" else (manager + 1) % len(nodes.urls)


@contextmanager
def background_searches(client, encoder, matches):
    """Search in both modes, with two threads each, during the `with` block; yields the answers by mode."""
    stop, anthem = threading.Event(), AnthemClient(client, encoder)
    answers = {mode: [] for mode in MODES}

    def search(mode):
        for text in itertools.cycle(matches):
            if stop.wait(0.02):  # the ingest runs in the same process and needs time, too
                return
            started = time.perf_counter()
            response = anthem.search("catalogue", match(text), mode=mode)
            ended, details = time.perf_counter(), response["anthem"]
            complete = ids(response["hits"]) == matches[text]
            answers[mode].append(Answer(ended, ended - started, complete, details["reranked"], details["reason"]))

    with ThreadPoolExecutor(2 * len(MODES)) as threads:
        searches = [threads.submit(search, mode) for mode in MODES * 2]
        try:
            yield answers
        finally:
            stop.set()
    for search_thread in searches:
        search_thread.result()  # raises the error of a search


def test_killing_a_node_loses_nothing(nodes, all_nodes, encoder, matches, case, wait_until, record_figures):
    """If a node is killed, no product is lost or written twice, and every search is answered with all its products."""
    victim, products = case
    heal(nodes, all_nodes)
    create_index(all_nodes, f"products-{victim}", products)
    number = choose_node(all_nodes, nodes, victim)
    urls = [nodes.urls[number]] if victim == "entry" else nodes.urls
    options = IngestOptions(rate=products / 10)
    with (
        connect_nodes(urls) as entry,
        background_searches(all_nodes, encoder, matches) as answers,
        ThreadPoolExecutor(1) as thread,
    ):
        ingest = thread.submit(ingest_index, entry, f"products-{victim}", encoder, options=options)
        wait_until(lambda: ingest.done() or count_vectors(all_nodes, f"products-{victim}") > products / 4, 300)
        assert not ingest.done(), "the ingest ended before the node was killed"
        killed = time.perf_counter()
        nodes.kill(number)
        if victim == "entry":
            nodes.restart(number)  # the ingest knows no other node
        outcome, seconds = describe_outcome(ingest), time.perf_counter() - killed
        wait_until(lambda: all(answers[mode][-1].at > killed + 3 for mode in MODES), 300)
    second_run = ingest_index(all_nodes, f"products-{victim}", encoder)
    assert (second_run.failed, second_run.conflicts) == (0, 0)
    assert count_vectors(all_nodes, f"products-{victim}") == products
    assert count_versions(all_nodes, f"products-{victim}") == {2: products}
    for mode in MODES:
        assert all(answer.complete for answer in answers[mode])
        assert all(answer.reranked or answer.reason for answer in answers[mode])
        record_figures(f"{mode} mode, {victim} killed", **summarise(answers[mode], killed))
    record_figures(
        f"ingest, {victim} killed",
        products=products,
        ended=outcome,
        s=round(seconds, 1),
        second_run=second_run.written,
    )


def test_restarted_nodes_have_all_data(nodes, all_nodes, encoder, matches, proof):
    """When all nodes run again, every shard is on two of them, and every index is as it was before."""
    if not proof:
        pytest.skip("it restarts nodes: --proof")
    heal(nodes, all_nodes)
    indices = list(all_nodes.indices.get(index="products-*"))
    assert len(indices) == 3
    for index in indices:
        assert count_versions(all_nodes, index) == {2: PROOF_PRODUCTS}
        assert count_vectors(all_nodes, index) == PROOF_PRODUCTS
    anthem = AnthemClient(all_nodes, encoder)
    for mode, text in itertools.product(MODES, matches):
        response = anthem.search("catalogue", match(text), mode=mode)
        assert response["anthem"]["reranked"]
        assert ids(response["hits"]) == matches[text]


def test_nodes_end_when_the_process_that_started_them_is_killed(proof, wait_until):
    """If the process that started nodes is killed, the nodes and their homes are removed within a minute."""
    if not proof:
        pytest.skip("it starts another node: --proof")
    with subprocess.Popen([sys.executable, "-c", STARTER], stdout=subprocess.PIPE, text=True) as starter:
        home = Path(starter.stdout.readline().strip())
        pid = get_node_status(home).pid
        starter.kill()
    wait_until(lambda: not (home.parent.exists() or Path(f"/proc/{pid}").exists()))


def test_a_node_that_does_not_run_cannot_be_killed(tmp_path):
    """Killing a stopped node is an error that says how to start it; no other process with its number is killed."""
    with pytest.raises(NodeError, match=r"restart\(0\) starts it"):
        LocalCluster([ClusterNode(tmp_path / "node-0", 1, {})], "512m").kill(0)


def test_nodes_share_their_discovery_settings(tmp_path):
    """All nodes have the same cluster, seed hosts and initial managers, but different names, homes and ports."""
    nodes = plan_cluster_nodes(tmp_path, 3)
    individual = ("node.name", "transport.port")
    shared = [{key: value for key, value in node.settings.items() if key not in individual} for node in nodes]
    assert shared == [shared[0]] * 3
    assert len({node.home for node in nodes}) == 3
    assert len({node.settings["node.name"] for node in nodes}) == 3
    transport_ports = [node.settings["transport.port"] for node in nodes]
    assert len({*(str(node.port) for node in nodes), *transport_ports}) == 6
    assert {f"127.0.0.1:{port}" for port in transport_ports} == set(shared[0]["discovery.seed_hosts"].split(","))


def describe_outcome(ingest):
    """The result of an ingest: its counts, or its error."""
    try:
        return str(ingest.result())
    except AnthemError as error:
        return f"error: {error}"


def heal(nodes, client):
    """Restart killed nodes, and wait until every shard is on two nodes."""
    for number in range(len(nodes.urls)):
        nodes.restart(number)
    client.cluster.health(wait_for_nodes=len(nodes.urls), timeout="60s", request_timeout=70)
    wait_for_status(client, "green")


def summarise(answers, killed):
    """Effect of a kill on searches: longest time without an answer, slowest answer, reasons for no reranking."""
    times = [answer.at for answer in answers if answer.at > killed - 1]
    return {
        "answers": len(answers),
        "longest_silence_s": round(max(b - a for a, b in itertools.pairwise(times)), 2),
        "slowest_s": round(max(answer.seconds for answer in answers if answer.at > killed - 1), 2),
        "not_reranked": Counter(answer.reason for answer in answers if not answer.reranked),
    }
