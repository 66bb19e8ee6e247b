"""`anthem ingest` and `anthem serve` killed at random moments of their work, on a real node."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from opensearchpy.helpers import scan

pytestmark = pytest.mark.node

INGEST = [sys.executable, "-c", "from anthem_ingest.cli import ingest; ingest()"]
NOWHERE = subprocess.DEVNULL
SERVE = [sys.executable, "-c", "from anthem_plugin.service.cli import serve; serve()"]
ASKED = {"query": "red lamp", "documents": ["red lamp", "blue lamp", "garden hose", "lamp shade"] * 25}


def fill(client, index, number):
    """Make an index of numbered lamps."""
    client.indices.create(index=index, body={"settings": {"number_of_shards": 2, "number_of_replicas": 0}})
    for start in range(0, number, 5_000):
        numbers = range(start, min(number, start + 5_000))
        lines = (line for n in numbers for line in ({"index": {"_id": str(n)}}, {"title": f"red lamp {n}"}))
        assert not client.bulk(index=index, body=list(lines))["errors"]
    client.indices.refresh(index=index)


def pointed(client, index):
    """Number of products with a vector."""
    client.indices.refresh(index=index)
    return client.count(index=index, body={"query": {"exists": {"field": "anthem.vector"}}})["count"]


def written(client, index):
    """How many products were written how often."""
    hits = scan(client, {"version": True, "_source": False, "query": {"match_all": {}}}, index=index, size=5_000)
    return Counter(hit["_version"] for hit in hits)


def test_an_ingest_killed_at_random_loses_nothing_and_doubles_nothing(
    client, cluster, index, proof, until, tmp_path, measured
):
    """Killed at random moments of one ingest and run again, every product has its vector, and was written once."""
    kills, number, rate = (20, 40_000, 500) if proof else (2, 2_000, 250)
    fill(client, index, number)
    command = [*INGEST, index, "--url", cluster, "--dead-letter", str(tmp_path / "dead")]
    chance, reached = random.Random(7), [0]
    for _ in range(kills):
        with subprocess.Popen([*command, "--rate", str(rate)], stdout=NOWHERE, stderr=NOWHERE) as process:
            until(lambda process=process: process.poll() is not None or pointed(client, index) > reached[-1])
            time.sleep(chance.uniform(0, 2))
            assert process.poll() is None, "it was to be killed before its end"
            process.kill()
        reached.append(pointed(client, index))
    done = subprocess.run([*command, "--json"], check=True, capture_output=True)
    counts = json.loads(done.stdout)
    assert counts["written"] <= number - reached[-1]
    assert counts["written"] + counts["skipped"] == pointed(client, index) == number
    assert written(client, index) == {2: number}
    measured(f"{kills} kills of ingest", products=number, with_a_vector_after_each=reached[1:])


def test_a_service_killed_under_load_comes_back_as_it_was(until, tmp_path, proof, measured):
    """Whoever asks a service while it is killed gets a right answer or a lost connection; started again it answers."""
    times, port, right, counts = (10 if proof else 1), "0", None, Counter()
    for number in range(times):
        log = (tmp_path / str(number)).open("a+")  # the service appends, whatever was read meanwhile
        with log, subprocess.Popen([*SERVE, "--port", port, "--json"], stdout=log, stderr=log, env=away()) as process:
            port = str(json.loads(until(lambda log=log, process=process: said(log, process)))["port"])
            url = f"http://127.0.0.1:{port}/v1/rerank"
            right = right or asked(httpx.post(url, json=ASKED, timeout=60))
            told = []
            with ThreadPoolExecutor(8) as threads:
                clients = [threads.submit(ask, url, process, told) for _ in range(8)]
                until(lambda told=told: len(told) >= 24)
                process.send_signal(signal.SIGKILL)
            for one in clients:
                one.result()  # raises what a client raised
        lost = sum(answer is None for answer in told)
        assert all(answer in (right, None) for answer in told)
        counts.update(right=len(told) - lost, lost=lost)
    measured(f"{times} kills of serve, 8 clients", **counts)


def away():
    """An environment in which no cluster answers."""
    return os.environ | {"OPENSEARCH_URL": "http://127.0.0.1:9"}


def said(log, process):
    """The line with which a service says that it listens."""
    log.seek(0)
    assert process.poll() is None, log.read()
    return next((line for line in log if line.startswith("{") and line.endswith("}\n")), None)


def asked(answer):
    """The documents of an answer in their order, with their scores."""
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


def ask(url, process, told):
    """Let one client ask until the service is gone, and note what it is told; None for a connection that was lost."""
    with httpx.Client(timeout=60) as http:
        while process.poll() is None:
            try:
                told.append(asked(http.post(url, json=ASKED)))
            except httpx.TransportError:
                told.append(None)
