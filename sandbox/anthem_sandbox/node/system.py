"""Operating-system support for local nodes: homes, users, ports and locks."""

from __future__ import annotations

import fcntl
import os
import pwd
import socket
import stat
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from anthem_core.artifact_cache import explain_disk_errors
from anthem_core.errors import NodeError
from anthem_core.opensearch.local_node import default_home, homes_folder
from anthem_sandbox.node.layout import WRITABLE_FOLDERS
from anthem_sandbox.node.releases import DEFAULT_RELEASE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anthem_sandbox.node.releases import NodeRelease


def find_node_user() -> pwd.struct_passwd | None:
    """The user that runs the node: `nobody` for root, because OpenSearch refuses root; None for the current user.

    Raises:
        NodeError: The current user is root, and the user `nobody` does not exist.
    """
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        raise NodeError(
            "OpenSearch refuses to run as root, and this system has no user `nobody` to run it instead. "
            "Start the node as an ordinary user."
        ) from None


def release_home(release: NodeRelease = DEFAULT_RELEASE) -> Path:
    """Home of the node that `anthem node start` starts, one per release. Its data is kept when the node stops."""
    home = default_home()
    return home if release == DEFAULT_RELEASE else home.with_name(f"{home.name}-{release.version}")


def create_ephemeral_home() -> Path:
    """Create a new, empty home with a unique name."""
    folder = prepare_home(homes_folder())
    with explain_disk_errors(folder):
        return prepare_home(Path(mkdtemp(prefix="run-", dir=folder)))


def prepare_home(home: Path) -> Path:
    """Create a home if it is missing, and refuse one that others can modify or that the node's user cannot reach.

    Raises:
        NodeError: The home belongs to another user, others can write to it, or a folder above it is not accessible.
    """
    home = home.absolute()
    if home.parent == homes_folder():
        prepare_home(home.parent)
    with explain_disk_errors(home.parent):
        home.mkdir(mode=0o755, parents=True, exist_ok=True)
    attributes = home.lstat()
    if not stat.S_ISDIR(attributes.st_mode) or attributes.st_uid != os.geteuid() or attributes.st_mode & 0o022:
        raise NodeError(
            f"{home} must be a folder that only you can write to (found: owner {attributes.st_uid}, "
            f"{stat.filemode(attributes.st_mode)}). Choose another home."
        )
    if find_node_user():
        home.chmod(0o755)
        closed = next((folder for folder in home.parents if not folder.stat().st_mode & stat.S_IXOTH), None)
        if closed:
            raise NodeError(
                f"{closed} is not accessible to the user `nobody`, who runs the node when root starts it. "
                "Choose a home in a folder that every user can enter, such as /var/lib."
            )
    return home


def change_owner(home: Path, user: pwd.struct_passwd | None) -> None:
    """Give the writable folders of a home, with their content, to the user that runs the node."""
    if user is None:
        return
    for name in WRITABLE_FOLDERS:
        for path in (home / name, *(home / name).rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)


@contextmanager
def lock_home(home: Path) -> Iterator[None]:
    """Hold the lock of a home, so that only one process at a time starts or stops its node; others wait."""
    with (home / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def find_free_port(requested: int | None = None) -> int:
    """The requested loopback port, or any free one.

    Raises:
        NodeError: The requested port is in use.
    """
    with socket.socket() as probe:
        # Like the JVM, accept a port whose last connections are still being closed.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", requested or 0))
        except OSError as error:
            raise NodeError(
                f"Port {requested} is not available ({error.strerror}). Stop the program that uses it, choose another "
                "with --port, or omit --port to use any free port."
            ) from error
        port: int = probe.getsockname()[1]
        return port
