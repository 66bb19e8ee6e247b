"""What the local node needs of the operating system: homes, users, ports, processes."""

from __future__ import annotations

import fcntl
import os
import pwd
import socket
import stat
import subprocess
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from anthem_core.errors import NodeError
from anthem_sandbox.node.artifact_cache import cache_folder, explain_disk_errors
from anthem_sandbox.node.layout import WRITABLE_FOLDERS, home_argument
from anthem_sandbox.node.releases import DEFAULT_RELEASE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anthem_sandbox.node.releases import NodeRelease


def find_node_user() -> pwd.struct_passwd | None:
    """The user the node runs as: OpenSearch refuses root, so for root it is `nobody`; None means yourself.

    Raises:
        NodeError: Root asks, and there is no `nobody`.
    """
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        raise NodeError(
            "OpenSearch refuses to run as root, and this system has no user `nobody` to run it as; "
            "start the node as an ordinary user"
        ) from None


def homes_folder() -> Path:
    """Where homes of nodes lie: in the user's cache, for root where `nobody` reaches them and others cannot write."""
    return Path("/var/lib/anthem-search") if os.geteuid() == 0 else cache_folder() / "homes"


def default_home(release: NodeRelease = DEFAULT_RELEASE) -> Path:
    """Home of the node that `anthem node start` starts, one for each release; its data outlives a stop."""
    return homes_folder() / ("node" if release == DEFAULT_RELEASE else f"node-{release.version}")


def create_ephemeral_home() -> Path:
    """A new, empty home that no other process knows the name of."""
    folder = prepare_home(homes_folder())
    with explain_disk_errors(folder):
        return prepare_home(Path(mkdtemp(prefix="run-", dir=folder)))


def prepare_home(home: Path) -> Path:
    """Make a home where there is none, and refuse one that others could tamper with or the node's user cannot reach.

    Raises:
        NodeError: It belongs to somebody else, others may write into it, or a folder above it is closed.
    """
    home = home.absolute()
    if home.parent == homes_folder():
        prepare_home(home.parent)
    with explain_disk_errors(home.parent):
        home.mkdir(mode=0o755, parents=True, exist_ok=True)
    there = home.lstat()
    if not stat.S_ISDIR(there.st_mode) or there.st_uid != os.geteuid() or there.st_mode & 0o022:
        raise NodeError(
            f"{home} is not a folder that only you can write (owner {there.st_uid}, "
            f"{stat.filemode(there.st_mode)}); name another home"
        )
    if find_node_user():
        home.chmod(0o755)
        closed = next((folder for folder in home.parents if not folder.stat().st_mode & stat.S_IXOTH), None)
        if closed:
            raise NodeError(
                f"{closed} is closed to the user `nobody`, as whom the node runs when root starts it; "
                "name a home below a folder that all may enter, such as /var/lib"
            )
    return home


def change_owner(home: Path, user: pwd.struct_passwd | None) -> None:
    """Give the folders that the node writes, and all in them, to the user it runs as."""
    if user is None:
        return
    for name in WRITABLE_FOLDERS:
        for path in (home / name, *(home / name).rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


@contextmanager
def lock_home(home: Path) -> Iterator[None]:
    """Let one process at a time start or stop the node of a home; the next one waits."""
    with (home / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def find_free_port(wanted: int | None = None) -> int:
    """The wanted loopback port, or any free one.

    Raises:
        NodeError: The wanted port is in use.
    """
    with socket.socket() as probe:
        # As the JVM does: a port whose last connections are just being closed is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted or 0))
        except OSError as error:
            raise NodeError(
                f"port {wanted} cannot be had ({error.strerror}); stop what uses it, name another with --port, "
                "or leave --port out and any free one is taken"
            ) from error
        port: int = probe.getsockname()[1]
        return port


def _read_command_line(pid: int) -> str:
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b"\n").decode("utf-8", "replace")
        except OSError:
            return ""
    told = subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)],  # noqa: S607 (its folder differs between systems)
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.replace(" ", "\n")


def is_node_of_home(home: Path, pid: int) -> bool:
    """Whether a process lives and is the node of this home, not another program with a number used again."""
    return home_argument(home) in _read_command_line(pid).splitlines()
