"""The node tests against OpenSearch in a container, which testcontainers starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from containers.conftest import find_images

from anthem_core.opensearch.connection import connect
from anthem_sandbox.node.cluster_choice import find_test_release

pytestmark = pytest.mark.containers

ROOT = Path(__file__).resolve().parents[2]
SHORT_TESTS = ["test_schema.py", "test_search.py"]
FULL_TESTS = [
    "test_bodies.py", "test_client.py", "test_client_async.py", "test_connection.py", "test_filter.py",
    "test_front_door.py", "test_ingest_meta.py", "test_ingest_node.py", "test_painless.py", "test_remove.py",
    "test_retrieve.py", "test_schema.py", "test_search.py", "test_service_rewrite.py", "test_signals.py",
]  # fmt: skip


def test_the_tests_choose_the_container(engine, opensearch_image, container_url):
    """Where a container engine answers, the cluster for tests is a container with the release of the local node."""
    (image,) = find_images(engine, container_url)
    assert opensearch_image.endswith(image.removeprefix("docker.io/"))  # Docker leaves out its own registry
    with connect(container_url) as client:
        info = client.info()
    assert info["cluster_name"] != "anthem-local"
    assert info["version"]["number"] == find_test_release().version


def test_the_node_tests_pass_in_a_container(container_url, proof, record_figures):
    """Tests that need a node pass against the one in a container, without one skipped."""
    files = [str(ROOT / "tests" / name) for name in (FULL_TESTS if proof else SHORT_TESTS)]
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "node", *files]
    environment = os.environ | {"ANTHEM_TEST_URL": container_url}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20_000:]
    result = done.stdout.splitlines()[-1]
    assert "passed" in result
    assert "skipped" not in result
    record_figures("node tests in a container", result=result)
