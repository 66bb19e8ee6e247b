"""Which cluster tests and the demo use; never `OPENSEARCH_URL`, which may be somebody's live cluster.

`ANTHEM_TEST_URL` names one, `ANTHEM_TEST_RELEASE` the release of one to start.
"""

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
    """Whether testcontainers is installed and a Docker daemon answers; a client alone does not count."""
    docker = shutil.which("docker")
    if docker is None or find_spec("testcontainers") is None:
        return False
    try:
        return subprocess.run([docker, "version"], capture_output=True, timeout=10, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def find_test_release() -> NodeRelease:
    """The release that `ANTHEM_TEST_RELEASE` names, else the default one.

    Raises:
        NodeError: There is no node of that release.
    """
    return find_node_release(os.environ.get("ANTHEM_TEST_RELEASE"))


@contextmanager
def docker_node(release: NodeRelease = DEFAULT_RELEASE) -> Iterator[str]:
    """Yield the URL of a node in a container, which is gone afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # testcontainers uses what itself deprecates
        from testcontainers.community.opensearch import OpenSearchContainer
    with OpenSearchContainer(f"{DOCKER_REPOSITORY}:{release.version}", security_enabled=False) as container:
        there = container.get_config()
        yield f"http://{there['host']}:{there['port']}"


@contextmanager
def cluster_for_tests() -> Iterator[str]:
    """Yield the URL of a cluster to try things on: `ANTHEM_TEST_URL`, else Docker, else the local node.

    Raises:
        NodeError: None of the three can be had.
    """
    with _choose_cluster(temporary_node) as url:
        yield url


@contextmanager
def cluster_for_demo() -> Iterator[str]:
    """Yield the URL of the same choice for the demo, which leaves the local node running for a look around.

    Raises:
        NodeError: None of the three can be had.
    """
    with _choose_cluster(_persistent_node) as url:
        yield url


@contextmanager
def _choose_cluster(local: Callable[..., AbstractContextManager[str]]) -> Iterator[str]:
    if url := os.environ.get("ANTHEM_TEST_URL"):
        yield url.rstrip("/")
        return
    release = find_test_release()
    with docker_node(release) if is_docker_available() else local(release=release) as url:
        yield url


@contextmanager
def _persistent_node(release: NodeRelease) -> Iterator[str]:
    yield str(start_node(release=release).url)


# pytest would take it for a test wherever it is imported.
cluster_for_tests.__test__ = False  # type: ignore[attr-defined]
