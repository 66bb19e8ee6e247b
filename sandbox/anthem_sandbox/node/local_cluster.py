"""Several real nodes on this machine that form one cluster, to see what is lost when one of them is killed."""

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
    """One node of a cluster: its home, its port for HTTP, its settings, and what ties it to this process."""

    home: Path
    port: int
    settings: dict[str, str]
    ties: ExitStack = field(default_factory=ExitStack)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True)
class LocalCluster:
    """A cluster of nodes, numbered from 0; the node of number n is named `node-n`."""

    members: Sequence[ClusterNode]
    heap: str
    release: NodeRelease = DEFAULT_RELEASE

    @property
    def urls(self) -> list[str]:
        """Addresses of all nodes, also of those that were killed."""
        return [member.url for member in self.members]

    def kill(self, number: int) -> None:
        """Kill a node at once, as a power cut would (SIGKILL); its data stays.

        Raises:
            NodeError: It does not run, or it does not go.
        """
        member = self.members[number]
        pid = get_node_status(member.home).pid
        if pid is None:
            raise NodeError(f"node {number} does not run, so it cannot be killed; restart({number}) starts it")
        os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + KILL_TIMEOUT_SECONDS
        while get_node_status(member.home).running:
            if time.monotonic() > end:
                raise NodeError(f"node {number} (process {pid}) did not go within {KILL_TIMEOUT_SECONDS} s of SIGKILL")
            time.sleep(0.01)
        member.ties.close()

    def restart(self, number: int) -> None:
        """Start a node again, at its old address with its old data; one that runs is left alone.

        Raises:
            NodeError: It cannot be had.
        """
        member = self.members[number]
        there = start_node(
            member.home, http_port=member.port, heap=self.heap, settings=member.settings, release=self.release
        )
        member.ties.close()
        if there.pid is not None:
            member.ties.enter_context(watchdog(there.pid, member.home.parent))


@contextmanager
def local_cluster(size: int = 3, heap: str = "512m", release: NodeRelease = DEFAULT_RELEASE) -> Iterator[LocalCluster]:
    """Yield a cluster of new, empty nodes; all is gone afterwards, even when this process is killed.

    Raises:
        NodeError: A node cannot be had.
    """
    root = create_ephemeral_home()
    cluster = LocalCluster(plan_cluster_nodes(root, size), heap, release)
    try:
        # At once: the first waits for a majority before it answers.
        with ThreadPoolExecutor(size) as threads:
            list(threads.map(cluster.restart, range(size)))
        yield cluster
    finally:
        for member in cluster.members:
            stop_node(member.home)
            member.ties.close()
        shutil.rmtree(root, ignore_errors=True)


def plan_cluster_nodes(root: Path, size: int) -> list[ClusterNode]:
    """Homes below a folder, and settings by which their nodes find each other on the loopback address."""
    transports, ports = ([find_free_port() for _ in range(size)] for _ in range(2))
    together = {
        "cluster.name": root.name,
        "discovery.type": "zen",
        "discovery.seed_hosts": ",".join(f"127.0.0.1:{port}" for port in transports),
        "cluster.initial_cluster_manager_nodes": ",".join(f"node-{number}" for number in range(size)),
    }
    return [
        ClusterNode(
            root / f"node-{number}", port, together | {"node.name": f"node-{number}", "transport.port": str(transport)}
        )
        for number, (port, transport) in enumerate(zip(ports, transports, strict=True))
    ]
