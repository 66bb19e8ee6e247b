"""The choice of the cluster for tests and the demo."""

import re

import pytest

from anthem_core.errors import NodeError
from anthem_sandbox.node import cluster_choice
from anthem_sandbox.node.cluster_choice import DOCKER_IMAGE, docker_node, is_docker_available
from anthem_sandbox.node.releases import DEFAULT_RELEASE, NODE_RELEASES


def test_named_url_comes_first(monkeypatch):
    """If `ANTHEM_TEST_URL` is set, it is used, and nothing is started."""
    monkeypatch.setenv("ANTHEM_TEST_URL", "http://127.0.0.1:1/")
    with cluster_choice.cluster_for_tests() as url:
        assert url == "http://127.0.0.1:1"


def test_live_cluster_is_never_touched(monkeypatch):
    """`OPENSEARCH_URL` is ignored: without `ANTHEM_TEST_URL` and Docker, the choice is the local node, or an error."""
    monkeypatch.delenv("ANTHEM_TEST_URL", raising=False)
    monkeypatch.setenv("OPENSEARCH_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("ANTHEM_CACHE", "/dev/null")  # so that the local node cannot start
    with pytest.raises(NodeError), cluster_choice.cluster_for_tests():
        pytest.fail("a cluster was chosen although none is available")


@pytest.mark.parametrize(("status", "available"), [(0, True), (1, False)])
def test_docker_is_available_if_its_daemon_answers(tmp_path, monkeypatch, status, available):
    """A Docker client alone is not enough; its daemon must answer."""
    pytest.importorskip("testcontainers")
    (tmp_path / "docker").write_text(f"#!/bin/sh\nexit {status}\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert is_docker_available() is available


def test_docker_is_not_available_without_a_client(monkeypatch):
    """Without a Docker client, Docker is not available."""
    monkeypatch.setenv("PATH", "")
    assert is_docker_available() is False


def test_the_image_is_pinned():
    """The container runs the same release as the local node, not the latest one."""
    assert re.fullmatch(r"opensearchproject/opensearch:\d+\.\d+\.\d+", DOCKER_IMAGE)
    assert DOCKER_IMAGE.endswith(f":{DEFAULT_RELEASE.version}")


def test_the_container_needs_a_docker_engine(monkeypatch):
    """With testcontainers installed, only the connection to the Docker engine fails."""
    errors = pytest.importorskip("docker.errors")
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    with pytest.raises(errors.DockerException, match=r"127\.0\.0\.1|refused"), docker_node():
        pytest.fail("a container runs although no engine is available")


@pytest.mark.parametrize("version", NODE_RELEASES)
def test_the_release_can_be_chosen(monkeypatch, version):
    """`ANTHEM_TEST_RELEASE` selects the release to start; if it is empty, the default release is started."""
    monkeypatch.setenv("ANTHEM_TEST_RELEASE", version)
    assert cluster_choice.find_test_release().version == version
    monkeypatch.setenv("ANTHEM_TEST_RELEASE", "")
    assert cluster_choice.find_test_release() is DEFAULT_RELEASE


def test_an_unknown_release_starts_nothing(monkeypatch):
    """An unknown release is refused before anything is started."""
    monkeypatch.delenv("ANTHEM_TEST_URL", raising=False)
    monkeypatch.setenv("ANTHEM_TEST_RELEASE", "9.9.9")
    monkeypatch.setenv("PATH", "")
    with (
        pytest.raises(NodeError, match=r"9\.9\.9 is not available as a local node; expected one of 3\.6\.0, 2\.19\.1"),
        cluster_choice.cluster_for_tests(),
    ):
        pytest.fail("a cluster was chosen although this release is not available")
