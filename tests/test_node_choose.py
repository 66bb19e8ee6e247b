"""Which cluster tests and the demo use."""

import re

import pytest

from anthem_core.errors import NodeError
from anthem_sandbox.node import cluster_choice
from anthem_sandbox.node.cluster_choice import DOCKER_IMAGE, docker_node, is_docker_available
from anthem_sandbox.node.releases import DEFAULT_RELEASE, NODE_RELEASES


def test_named_url_goes_first(monkeypatch):
    """`ANTHEM_TEST_URL` is used as it stands, and nothing is started."""
    monkeypatch.setenv("ANTHEM_TEST_URL", "http://127.0.0.1:1/")
    with cluster_choice.cluster_for_tests() as url:
        assert url == "http://127.0.0.1:1"


def test_live_cluster_is_never_touched(monkeypatch):
    """`OPENSEARCH_URL` plays no part: without `ANTHEM_TEST_URL` and Docker it is the local node, or an error."""
    monkeypatch.delenv("ANTHEM_TEST_URL", raising=False)
    monkeypatch.setenv("OPENSEARCH_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("ANTHEM_CACHE", "/dev/null")  # so that the local node cannot be had
    with pytest.raises(NodeError), cluster_choice.cluster_for_tests():
        pytest.fail("a cluster was chosen although there is none")


@pytest.mark.parametrize(("status", "answers"), [(0, True), (1, False)])
def test_docker_counts_when_its_daemon_answers(tmp_path, monkeypatch, status, answers):
    """A Docker client alone does not count: the daemon decides."""
    pytest.importorskip("testcontainers")
    (tmp_path / "docker").write_text(f"#!/bin/sh\nexit {status}\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert is_docker_available() is answers


def test_no_docker_no_answer(monkeypatch):
    """Without a Docker client nothing answers."""
    monkeypatch.setenv("PATH", "")
    assert is_docker_available() is False


def test_the_image_is_pinned():
    """The container runs the very release that the local node runs, not whatever is the latest."""
    assert re.fullmatch(r"opensearchproject/opensearch:\d+\.\d+\.\d+", DOCKER_IMAGE)
    assert DOCKER_IMAGE.endswith(f":{DEFAULT_RELEASE.version}")


def test_the_container_is_asked_of_docker(monkeypatch):
    """Testcontainers has what the container is made of: without an engine it gets as far as asking for one."""
    errors = pytest.importorskip("docker.errors")
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    with pytest.raises(errors.DockerException, match=r"127\.0\.0\.1|refused"), docker_node():
        pytest.fail("a container runs although there is no engine")


@pytest.mark.parametrize("version", NODE_RELEASES)
def test_a_release_may_be_named(monkeypatch, version):
    """`ANTHEM_TEST_RELEASE` says which release is started; without it, or empty, it is the default one."""
    monkeypatch.setenv("ANTHEM_TEST_RELEASE", version)
    assert cluster_choice.find_test_release().version == version
    monkeypatch.setenv("ANTHEM_TEST_RELEASE", "")
    assert cluster_choice.find_test_release() is DEFAULT_RELEASE


def test_an_unknown_release_starts_nothing(monkeypatch):
    """A release that no node is known of is refused before anything is started."""
    monkeypatch.delenv("ANTHEM_TEST_URL", raising=False)
    monkeypatch.setenv("ANTHEM_TEST_RELEASE", "9.9.9")
    monkeypatch.setenv("PATH", "")
    with (
        pytest.raises(NodeError, match=r"9\.9\.9; there is one of 3\.6\.0, 2\.19\.1"),
        cluster_choice.cluster_for_tests(),
    ):
        pytest.fail("a cluster was chosen although there is none of this release")
