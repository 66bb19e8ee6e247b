"""Fixtures of the container tests: the engine, its socket, and a container with OpenSearch."""

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import pytest
from containers.engine import NoEngineError, find_engine, open_socket, state_folder
from containers.images import provide_opensearch

from anthem_sandbox.node.cluster_choice import find_test_release

# Prints the address of the cluster that the node tests would use, and keeps it until standard input is closed.
STARTER = """
import sys
from anthem_sandbox.node.cluster_choice import cluster_for_tests
with cluster_for_tests() as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="session")
def engine(proof):
    """The container engine of this machine. `make containers` fails earlier if there is none, and waits longer."""
    try:
        return replace(find_engine(), build_seconds=1200 if proof else 300)
    except NoEngineError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def build_folder():
    """Folder for the builds of images, which need a few hundred megabytes."""
    return state_folder() / "build"


@pytest.fixture(scope="session")
def opensearch_image(engine, build_folder, proof):
    """Name of the image with OpenSearch. Where it cannot be had, the short form of the tests is skipped."""
    try:
        return provide_opensearch(engine, build_folder, find_test_release())
    except NoEngineError as error:
        (pytest.fail if proof else pytest.skip)(str(error))


@contextmanager
def run_container(engine, folder):
    """Start OpenSearch in a container by testcontainers, in a process of its own; yield its URL."""
    if not any(os.access(os.path.join(path, "docker"), os.X_OK) for path in os.get_exec_path()):  # noqa: PTH118
        (folder / "docker").symlink_to(engine.path)  # podman understands the commands of Docker's client
    with open_socket(engine) as socket:
        environment = engine.environment | socket | {"PATH": os.pathsep.join([*os.get_exec_path(), str(folder)])}
        environment["TC_MAX_TRIES"] = "600"  # seconds; testcontainers gives up after 120, too early on a busy machine
        environment.pop("ANTHEM_TEST_URL", None)
        words = [sys.executable, "-P", "-c", STARTER]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(words, env=environment, text=True, **pipes) as starter:
            yield starter.stdout.readline().strip()
            starter.stdin.close()
            assert starter.wait(60) == 0


@pytest.fixture(scope="module")
def container_url(engine, opensearch_image, tmp_path_factory):
    """URL of OpenSearch in a container, which testcontainers starts and removes."""
    with run_container(engine, tmp_path_factory.mktemp("docker")) as url:
        assert url, f"testcontainers did not start {opensearch_image}"
        yield url
    assert find_images(engine, url) == []


def find_images(engine, url):
    """Images of the containers that answer at this URL: one, or none if no container does."""
    port = url.rpartition(":")[2]
    lines = engine.call("ps", "--all", "--format", "{{.Image}} {{.Ports}}").stdout.splitlines()
    return [line.split()[0] for line in lines if f":{port}->9200" in line]
