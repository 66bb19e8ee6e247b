"""A cluster of several real nodes on this machine, to test what happens when one of them is killed."""

from __future__ import annotations

import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from anthem_core.errors import NodeError
from anthem_sandbox.node.lifecycle import get_node_status, start_node, stop_node, watchdog
from anthem_sandbox.node.releases import DEFAULT_RELEASE
from anthem_sandbox.node.system import create_ephemeral_home, find_free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from anthem_sandbox.node.releases import NodeRelease

KILL_TIMEOUT_SECONDS = 20


@dataclass(frozen=True)
class ClusterNode:
    """One node of a local cluster: its home, its HTTP port, its settings and its watchdog."""

    home: Path
    port: int
    settings: dict[str, str]
    watchdogs: ExitStack = field(default_factory=ExitStack)

    @property
    def url(self) -> str:
        """URL at which the node answers."""
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True)
class LocalCluster:
    """A cluster of nodes, numbered from 0; node n is named `node-n`."""

    nodes: Sequence[ClusterNode]
    heap: str
    release: NodeRelease = DEFAULT_RELEASE

    @property
    def urls(self) -> list[str]:
        """URLs of all nodes, including killed ones."""
        return [node.url for node in self.nodes]

    def kill(self, number: int) -> None:
        """Kill a node with SIGKILL, which has the effect of a power failure; its data is kept.

        Raises:
            NodeError: The node does not run, or its process does not end.
        """
        node = self.nodes[number]
        pid = get_node_status(node.home).pid
        if pid is None:
            raise NodeError(f"Node {number} cannot be killed, because it does not run; restart({number}) starts it.")
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + KILL_TIMEOUT_SECONDS
        while get_node_status(node.home).running:
            if time.monotonic() > deadline:
                raise NodeError(
                    f"Node {number} (process {pid}) did not end within {KILL_TIMEOUT_SECONDS} s of SIGKILL."
                )
            time.sleep(0.01)
        node.watchdogs.close()

    def restart(self, number: int) -> None:
        """Start a node at its old address with its old data; a node that already runs is not changed.

        Raises:
            NodeError: The node cannot be started.
        """
        node = self.nodes[number]
        status = start_node(
            node.home, http_port=node.port, heap=self.heap, settings=node.settings, release=self.release
        )
        node.watchdogs.close()
        if status.pid is not None:
            node.watchdogs.enter_context(watchdog(status.pid, node.home.parent))


@contextmanager
def local_cluster(size: int = 3, heap: str = "512m", release: NodeRelease = DEFAULT_RELEASE) -> Iterator[LocalCluster]:
    """Yield a cluster of new, empty nodes. Processes and data are removed, even if this process is killed.

    Raises:
        NodeError: A node cannot be started.
    """
    root = create_ephemeral_home()
    cluster = LocalCluster(plan_cluster_nodes(root, size), heap, release)
    try:
        # In parallel, because the first node only answers once a majority of the nodes has joined.
        with ThreadPoolExecutor(size) as threads:
            list(threads.map(cluster.restart, range(size)))
        yield cluster
    finally:
        for node in cluster.nodes:
            stop_node(node.home)
            node.watchdogs.close()
        shutil.rmtree(root, ignore_errors=True)


def plan_cluster_nodes(root: Path, size: int) -> list[ClusterNode]:
    """Homes in `root`, ports, and the settings with which the nodes discover each other on the loopback address."""
    transport_ports, http_ports = ([find_free_port() for _ in range(size)] for _ in range(2))
    shared_settings = {
        "cluster.name": root.name,
        "discovery.type": "zen",
        "discovery.seed_hosts": ",".join(f"127.0.0.1:{port}" for port in transport_ports),
        "cluster.initial_cluster_manager_nodes": ",".join(f"node-{number}" for number in range(size)),
    }
    nodes = []
    for number, (http_port, transport_port) in enumerate(zip(http_ports, transport_ports, strict=True)):
        name = f"node-{number}"
        settings = shared_settings | {"node.name": name, "transport.port": str(transport_port)}
        nodes.append(ClusterNode(root / name, http_port, settings))
    return nodes
