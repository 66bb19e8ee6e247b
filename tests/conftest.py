"""Fixtures of the whole suite: the bundle that ships, and one real OpenSearch for all that needs it."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import HealthCheck, settings

from anthem_core.bundle import load
from anthem_core.encoder import Encoder

# The machines this runs on are shared: a slow example is no failure, and a failure must repeat.
settings.register_profile("suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


@pytest.fixture(scope="session")
def bundle():
    """The bundle in the repository."""
    return load("general")


@pytest.fixture(scope="session")
def encoder(bundle):
    """Both encoders of the bundle in the repository."""
    return Encoder(bundle)


@pytest.fixture(scope="session")
def cluster():
    """URL of a real OpenSearch: ANTHEM_TEST_URL, then Docker, then the local node."""
    from anthem_core.node import test_cluster

    with test_cluster() as url:
        yield url


@pytest.fixture(scope="session")
def client(cluster):
    """Client of the real OpenSearch."""
    from anthem_core.cluster import connect

    with connect(cluster) as opensearch:
        yield opensearch


@pytest.fixture
def index(client):
    """Name of an index of this test's own, deleted afterwards."""
    name = f"test-{uuid.uuid4().hex}"
    yield name
    client.indices.delete(index=f"{name}*", ignore_unavailable=True)
