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

from anthem_core.node.process import local_node, start
from anthem_core.node.releases import DEFAULT, node_release

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from anthem_core.node.releases import NodeRelease

REPOSITORY = "opensearchproject/opensearch"
IMAGE = f"{REPOSITORY}:{DEFAULT.version}"


def docker_answers() -> bool:
    """Whether testcontainers is installed and a Docker daemon answers; a client alone does not count."""
    docker = shutil.which("docker")
    if docker is None or find_spec("testcontainers") is None:
        return False
    try:
        return subprocess.run([docker, "version"], capture_output=True, timeout=10, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def chosen_release() -> NodeRelease:
    """The release that `ANTHEM_TEST_RELEASE` names, else the default one.

    Raises:
        NodeError: There is no node of that release.
    """
    return node_release(os.environ.get("ANTHEM_TEST_RELEASE"))


@contextmanager
def docker_node(release: NodeRelease = DEFAULT) -> Iterator[str]:
    """Yield the URL of a node in a container, which is gone afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # testcontainers uses what itself deprecates
        from testcontainers.community.opensearch import OpenSearchContainer
    with OpenSearchContainer(f"{REPOSITORY}:{release.version}", security_enabled=False) as container:
        there = container.get_config()
        yield f"http://{there['host']}:{there['port']}"


@contextmanager
def test_cluster() -> Iterator[str]:
    """Yield the URL of a cluster to try things on: `ANTHEM_TEST_URL`, else Docker, else the local node.

    Raises:
        NodeError: None of the three can be had.
    """
    with _chosen(local_node) as url:
        yield url


@contextmanager
def demo_cluster() -> Iterator[str]:
    """Yield the URL of the same choice for the demo, which leaves the local node running for a look around.

    Raises:
        NodeError: None of the three can be had.
    """
    with _chosen(_lasting_node) as url:
        yield url


@contextmanager
def _chosen(local: Callable[..., AbstractContextManager[str]]) -> Iterator[str]:
    if url := os.environ.get("ANTHEM_TEST_URL"):
        yield url.rstrip("/")
        return
    release = chosen_release()
    with docker_node(release) if docker_answers() else local(release=release) as url:
        yield url


@contextmanager
def _lasting_node(release: NodeRelease) -> Iterator[str]:
    yield str(start(release=release).url)


# pytest would take it for a test wherever it is imported.
test_cluster.__test__ = False  # type: ignore[attr-defined]
