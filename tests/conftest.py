"""Fixtures of the whole suite: the shipped bundle, and one real OpenSearch for every test that needs it."""

from __future__ import annotations

import json
import os
import shutil
import signal
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
    ATTENTION_TABLE_GRAPH,
    LEXICAL_ATTENTION,
    LEXICAL_CONTAINMENT,
    REQUIRED_FILES,
    WORDS_FILE,
    compute_model_id,
    list_bundle_files,
    load_bundle,
    save_manifest,
)
from anthem_core.encoding.encoder import Encoder
from anthem_core.fusion import FusionWeights

# Tests run on shared machines: a slow example must not fail, and a failure must be reproducible.
settings.register_profile("suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("proof", settings.get_profile("suite"), max_examples=2000, derandomize=False)
settings.load_profile("suite")

RECORDED_FIGURES = pytest.StashKey[list[str]]()


def pytest_addoption(parser):
    """Add `--proof`, which runs long tests in full, and `--screenshots`, which writes the pictures of the docs."""
    parser.addoption("--proof", action="store_true", help="run load, kill, fuzz and cluster tests in full (make proof)")
    parser.addoption("--screenshots", metavar="FOLDER", help="write pictures of the page to this folder (docs/images)")


def pytest_configure(config):
    """With `--proof`, property tests draw 2,000 examples each, different ones in every run."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts background jobs like this, and the processes that tests interrupt would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("--proof"):
        settings.load_profile("proof")


def pytest_sessionfinish(session):
    """A worker process of `pytest -n` hands its figures to the process that prints them."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["figures"] = session.config.stash.get(RECORDED_FIGURES, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Take the figures of a worker process that has ended."""
    figures = getattr(node, "workeroutput", {}).get("figures", [])
    node.config.stash.setdefault(RECORDED_FIGURES, []).extend(figures)


def pytest_terminal_summary(terminalreporter, config):
    """Print the figures that tests recorded, one JSON object per line. No test depends on them."""
    for line in config.stash.get(RECORDED_FIGURES, []):
        terminalreporter.write_line(line)


@pytest.fixture(scope="session", autouse=True)
def accept_outages():
    """With ANTHEM_ACCEPT_OUTAGES, which only the commands read, ingest from Python accepts outages too (make proof)."""
    with pytest.MonkeyPatch.context() as patch:
        if os.environ.get("ANTHEM_ACCEPT_OUTAGES"):
            patch.setattr("anthem_ingest.open_index.check_mapping_changes", lambda *_: None)
        yield


@pytest.fixture(scope="session")
def proof(pytestconfig):
    """Whether `--proof` is set."""
    return pytestconfig.getoption("--proof")


@pytest.fixture(scope="session")
def record_figures(pytestconfig):
    """Function that records a name and figures, which are printed after all tests."""
    lines = pytestconfig.stash.setdefault(RECORDED_FIGURES, [])
    return lambda name, **figures: lines.append(json.dumps({"measured": name, **figures}))


@pytest.fixture(scope="session")
def bundle():
    """The bundle `general` in the repository."""
    return load_bundle("general")


@pytest.fixture(scope="session")
def encoder(bundle):
    """Encoder of the bundle `general`."""
    return Encoder(bundle)


@pytest.fixture(scope="session")
def add_attention():
    """Function that copies a bundle to a folder, with the golden attention graphs and fusion weights for them."""
    golden = Path(__file__).parent / "golden"

    def copy_with_attention(bundle, folder, table_graph=golden / ATTENTION_TABLE_GRAPH):
        for name in {*list_bundle_files(bundle.path)} & {*REQUIRED_FILES, WORDS_FILE}:
            shutil.copy(bundle.path / name, folder / name)
        shutil.copy(golden / ATTENTION_GRAPH, folder)
        shutil.copy(table_graph, folder / ATTENTION_TABLE_GRAPH)
        containment = {"containment": 2.0, "median_distance": 0.7}
        attention = {"attention": 6.0, "median_attention": 0.8}
        fusion = {
            LEXICAL_CONTAINMENT: FusionWeights(1.0, **containment),
            LEXICAL_ATTENTION: FusionWeights(1.0, **attention),
            ALL_SIGNALS: FusionWeights(1.0, **containment, **attention),
        }
        model_id = compute_model_id(folder, bundle.rules())
        save_manifest(replace(bundle, path=folder, model_id=model_id, fusion=fusion))
        return load_bundle(folder)

    return copy_with_attention


@pytest.fixture(scope="session")
def attention_encoder(bundle, add_attention, tmp_path_factory):
    """Encoder of a bundle with small attention graphs of random weights (tests/golden/attention.py)."""
    return Encoder(add_attention(bundle, tmp_path_factory.mktemp("attention_encoder")))


@pytest.fixture(scope="session")
def wait_until():
    """Function that calls a condition until it returns a true value, and returns that value."""

    def wait(condition, seconds=60):
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < deadline, f"the condition is still false after {seconds} s"
            time.sleep(0.02)
        return value

    return wait


@pytest.fixture(scope="session")
def run_service(wait_until):
    """Context manager that runs the service with an encoder on the loopback address; yields an HTTP client."""
    import httpx
    import uvicorn

    from anthem_plugin.service.app import create_app

    @contextmanager
    def run(encoder, settings=None, page=None):
        app = create_app(encoder, settings, page=page)
        server = uvicorn.Server(uvicorn.Config(app, port=0, ws="none", log_config=None))
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            wait_until(lambda: server.started)
            port = server.servers[0].sockets[0].getsockname()[1]
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
                yield http
        finally:
            server.should_exit = True
            thread.join()

    return run


@pytest.fixture(scope="session")
def cluster():
    """URL of a real OpenSearch: `ANTHEM_TEST_URL` if set, else Docker, else the local node."""
    from anthem_sandbox.node import cluster_for_tests

    with cluster_for_tests() as url:
        yield url


@pytest.fixture(scope="session")
def client(cluster):
    """Client of the real OpenSearch, with a time-out that a busy machine does not reach."""
    from anthem_core.opensearch.connection import connect

    with connect(cluster, timeout=120) as opensearch:
        yield opensearch


@pytest.fixture
def index(client):
    """Name for an index of one test, deleted afterwards."""
    name = f"test-{uuid.uuid4().hex}"
    yield name
    client.indices.delete(index=f"{name}*", ignore_unavailable=True)
