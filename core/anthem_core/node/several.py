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
from anthem_core.node.process import start, status, stop, tied
from anthem_core.node.releases import DEFAULT
from anthem_core.node.system import ephemeral_home, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from anthem_core.node.releases import NodeRelease

GONE_SECONDS = 20


@dataclass(frozen=True)
class Member:
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
class Several:
    """A cluster of nodes, numbered from 0; the node of number n is named `node-n`."""

    members: Sequence[Member]
    heap: str
    release: NodeRelease = DEFAULT

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
        pid = status(member.home).pid
        if pid is None:
            raise NodeError(f"node {number} does not run, so it cannot be killed; restart({number}) starts it")
        os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + GONE_SECONDS
        while status(member.home).running:
            if time.monotonic() > end:
                raise NodeError(f"node {number} (process {pid}) did not go within {GONE_SECONDS} s of SIGKILL")
            time.sleep(0.01)
        member.ties.close()

    def restart(self, number: int) -> None:
        """Start a node again, at its old address with its old data; one that runs is left alone.

        Raises:
            NodeError: It cannot be had.
        """
        member = self.members[number]
        there = start(
            member.home, http_port=member.port, heap=self.heap, settings=member.settings, release=self.release
        )
        member.ties.close()
        if there.pid is not None:
            member.ties.enter_context(tied(there.pid, member.home.parent))


@contextmanager
def local_cluster(size: int = 3, heap: str = "512m", release: NodeRelease = DEFAULT) -> Iterator[Several]:
    """Yield a cluster of new, empty nodes; all is gone afterwards, even when this process is killed.

    Raises:
        NodeError: A node cannot be had.
    """
    root = ephemeral_home()
    cluster = Several(members(root, size), heap, release)
    try:
        # At once: the first waits for a majority before it answers.
        with ThreadPoolExecutor(size) as threads:
            list(threads.map(cluster.restart, range(size)))
        yield cluster
    finally:
        for member in cluster.members:
            stop(member.home)
            member.ties.close()
        shutil.rmtree(root, ignore_errors=True)


def members(root: Path, size: int) -> list[Member]:
    """Homes below a folder, and settings by which their nodes find each other on the loopback address."""
    transports, ports = ([free_port() for _ in range(size)] for _ in range(2))
    together = {
        "cluster.name": root.name,
        "discovery.type": "zen",
        "discovery.seed_hosts": ",".join(f"127.0.0.1:{port}" for port in transports),
        "cluster.initial_cluster_manager_nodes": ",".join(f"node-{number}" for number in range(size)),
    }
    return [
        Member(
            root / f"node-{number}", port, together | {"node.name": f"node-{number}", "transport.port": str(transport)}
        )
        for number, (port, transport) in enumerate(zip(ports, transports, strict=True))
    ]
