"""Chooses the cluster for tests and the demo. It ignores `OPENSEARCH_URL`, which may point to a live cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
import warnings
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from anthem_sandbox.node.lifecycle import start_node, temporary_node
from anthem_sandbox.node.releases import DEFAULT_RELEASE, find_node_release

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from anthem_sandbox.node.releases import NodeRelease

DOCKER_REPOSITORY = "opensearchproject/opensearch"
DOCKER_IMAGE = f"{DOCKER_REPOSITORY}:{DEFAULT_RELEASE.version}"


def is_docker_available() -> bool:
    """Whether testcontainers is installed and a Docker daemon answers; a Docker client alone is not enough."""
    docker = shutil.which("docker")
    if docker is None or find_spec("testcontainers") is None:
        return False
    try:
        return subprocess.run([docker, "version"], capture_output=True, timeout=10, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def find_test_release() -> NodeRelease:
    """The release that `ANTHEM_TEST_RELEASE` names, or the default release if it is unset or empty.

    Raises:
        NodeError: No local node of that release is available.
    """
    return find_node_release(os.environ.get("ANTHEM_TEST_RELEASE"))


@contextmanager
def docker_node(release: NodeRelease = DEFAULT_RELEASE) -> Iterator[str]:
    """Yield the URL of a new node in a container, and remove the container afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # testcontainers imports names that it deprecates
        from testcontainers.community.opensearch import OpenSearchContainer
    with OpenSearchContainer(f"{DOCKER_REPOSITORY}:{release.version}", security_enabled=False) as container:
        address = container.get_config()
        yield f"http://{address['host']}:{address['port']}"


@contextmanager
def cluster_for_tests() -> Iterator[str]:
    """Yield the URL of a cluster for tests: `ANTHEM_TEST_URL` if set, else Docker, else a temporary local node.

    Raises:
        NodeError: The local node is needed and cannot be started.
        ExtraError: The local node must be downloaded, and the extra `demo` is not installed.
    """
    with _choose_cluster(temporary_node) as url:
        yield url


@contextmanager
def cluster_for_demo() -> Iterator[str]:
    """Yield the URL of a cluster for the demo, chosen like `cluster_for_tests`; a local node keeps running afterwards.

    Raises:
        NodeError: The local node is needed and cannot be started.
        ExtraError: The local node must be downloaded, and the extra `demo` is not installed.
    """
    with _choose_cluster(_persistent_node) as url:
        yield url


@contextmanager
def _choose_cluster(run_local_node: Callable[..., AbstractContextManager[str]]) -> Iterator[str]:
    if url := os.environ.get("ANTHEM_TEST_URL"):
        yield url.rstrip("/")
        return
    release = find_test_release()
    with docker_node(release) if is_docker_available() else run_local_node(release=release) as url:
        yield url


@contextmanager
def _persistent_node(release: NodeRelease) -> Iterator[str]:
    yield str(start_node(release=release).url)
