"""Fixtures of the whole suite: the bundle that ships, and one real OpenSearch for all that needs it."""

from __future__ import annotations

import json
import shutil
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from anthem_core.encoding.bundle import (
    ALL_SIGNALS,
    ATTENTION_GRAPH,
    LEXICAL_CONTAINMENT,
    REQUIRED_FILES,
    compute_model_id,
    load_bundle,
    save_manifest,
)
from anthem_core.encoding.encoder import Encoder
from anthem_core.fusion import FusionWeights

# The machines this runs on are shared: a slow example is no failure, and a failure must repeat.
settings.register_profile("suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("proof", settings.get_profile("suite"), max_examples=2000, derandomize=False)
settings.load_profile("suite")

FIGURES = pytest.StashKey[list[str]]()


def pytest_addoption(parser):
    """`--proof` runs loads, kills, fuzz and clusters in full; without it they are short."""
    parser.addoption("--proof", action="store_true", help="loads, kills, fuzz and clusters in full (make proof)")


def pytest_configure(config):
    """The full form of the property tests draws 2,000 examples of each, others every time."""
    if config.getoption("--proof"):
        settings.load_profile("proof")


def pytest_terminal_summary(terminalreporter, config):
    """Figures that tests measured, one JSON object a line; no test depends on one."""
    for line in config.stash.get(FIGURES, []):
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def proof(pytestconfig):
    """Whether the full forms are asked for."""
    return pytestconfig.getoption("--proof")


@pytest.fixture(scope="session")
def measured(pytestconfig):
    """Takes a name and figures, which are shown when all tests are done."""
    lines = pytestconfig.stash.setdefault(FIGURES, [])
    return lambda name, **figures: lines.append(json.dumps({"measured": name, **figures}))


@pytest.fixture(scope="session")
def bundle():
    """The bundle in the repository."""
    return load_bundle("general")


@pytest.fixture(scope="session")
def encoder(bundle):
    """Both encoders of the bundle in the repository."""
    return Encoder(bundle)


@pytest.fixture(scope="session")
def with_attention():
    """Makes a copy of a bundle, without the attention graph it may have, with this one and with weights for it."""

    def make(bundle, folder, graph=Path(__file__).parent / "golden" / ATTENTION_GRAPH):
        for name in REQUIRED_FILES:
            shutil.copy(bundle.path / name, folder / name)
        shutil.copy(graph, folder / ATTENTION_GRAPH)
        two = FusionWeights(bias=0.5, lexical=4.0, containment=2.0, half_saturation=3.0, median_distance=0.7)
        weights = {LEXICAL_CONTAINMENT: two, ALL_SIGNALS: replace(two, attention=6.0, median_attention=0.6)}
        model = compute_model_id(folder, bundle.vocabulary.rules())
        save_manifest(replace(bundle, path=folder, model=model, fusion=weights))
        return load_bundle(folder)

    return make


@pytest.fixture(scope="session")
def attentive(bundle, with_attention, tmp_path_factory):
    """Encoder of a bundle with an attention graph, a small one of random weights (tests/golden/attention.py)."""
    return Encoder(with_attention(bundle, tmp_path_factory.mktemp("attentive")))


@pytest.fixture(scope="session")
def until():
    """Waits for the first true value a function returns."""

    def wait(found, seconds=60):
        end = time.monotonic() + seconds
        while not (value := found()):
            assert time.monotonic() < end, f"nothing after {seconds} s"
            time.sleep(0.02)
        return value

    return wait


@pytest.fixture(scope="session")
def serving(until):
    """Runs the service around an encoder on the loopback address; gives an HTTP client of it."""
    import httpx
    import uvicorn

    from anthem_plugin.service.app import create_app

    @contextmanager
    def run(encoder, settings=None):
        server = uvicorn.Server(uvicorn.Config(create_app(encoder, settings), port=0, ws="none", log_config=None))
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            until(lambda: server.started)
            port = server.servers[0].sockets[0].getsockname()[1]
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
                yield http
        finally:
            server.should_exit = True
            thread.join()

    return run


@pytest.fixture(scope="session")
def cluster():
    """URL of a real OpenSearch: ANTHEM_TEST_URL, then Docker, then the local node."""
    from anthem_sandbox.node import cluster_for_tests

    with cluster_for_tests() as url:
        yield url


@pytest.fixture(scope="session")
def client(cluster):
    """Client of the real OpenSearch."""
    from anthem_core.opensearch.connection import connect

    with connect(cluster) as opensearch:
        yield opensearch


@pytest.fixture
def index(client):
    """Name of an index of this test's own, deleted afterwards."""
    name = f"test-{uuid.uuid4().hex}"
    yield name
    client.indices.delete(index=f"{name}*", ignore_unavailable=True)
