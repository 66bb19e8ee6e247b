"""The local node as production code and the sandbox both see it: its home folder, state file, process and URL."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from anthem_core.errors import NodeError

STATE_FILE = "node.json"
HISTORY_FILE = "doctor.jsonl"  # of the coverage, in `state_folder`


@dataclass(frozen=True)
class LocalNodeState:
    """Content of a state file, written by the last start of a node. The file of an old version has no `release`."""

    pid: int
    port: int
    release: str | None

    @property
    def url(self) -> str:
        """URL at which the node answers while it runs."""
        return f"http://127.0.0.1:{self.port}"


def cache_folder() -> Path:
    """Folder for downloads and homes: `anthem-search` in `ANTHEM_CACHE`, `XDG_CACHE_HOME` or `~/.cache`.

    Raises:
        NodeError: None of these variables is set, and the user has no home folder.
    """
    base = os.environ.get("ANTHEM_CACHE") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(base).expanduser().absolute() / "anthem-search"
    except RuntimeError as error:
        raise NodeError(
            f"{base} cannot be resolved: user {os.geteuid()} has no home folder. Set ANTHEM_CACHE to a folder you own."
        ) from error


def state_folder() -> Path:
    """Folder for what is recorded from run to run: `anthem` in `XDG_STATE_HOME` or `~/.local/state`."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "anthem"


def homes_folder() -> Path:
    """Folder that holds the homes of local nodes.

    It is in the user's cache. For root it is a folder that only root can write to, but that the user `nobody`, which
    then runs the node, can read.
    """
    return Path("/var/lib/anthem-search") if os.geteuid() == 0 else cache_folder() / "homes"


def default_home() -> Path:
    """Home of the node that `anthem node start` starts when neither `--home` nor `--release` is given."""
    return homes_folder() / "node"


def read_state(home: Path) -> LocalNodeState | None:
    """Read the state file of a home; None if it is missing or unreadable."""
    try:
        state = json.loads((home / STATE_FILE).read_text())
        release = state.get("release")
        return LocalNodeState(int(state["pid"]), int(state["port"]), None if release is None else str(release))
    except (AttributeError, FileNotFoundError, KeyError, TypeError, ValueError):
        return None


def home_argument(home: Path) -> str:
    """The command-line argument that identifies the process of a home."""
    return f"-Dopensearch.path.home={home}"


def is_node_of_home(home: Path, pid: int) -> bool:
    """Whether the process runs and is the node of this home, not another program that reuses its number."""
    return home_argument(home) in _read_command_line(pid).splitlines()


def local_node_url() -> str | None:
    """URL of the node in the default home, or None if it does not run.

    Raises:
        NodeError: The default home cannot be determined.
    """
    home = default_home()
    state = read_state(home)
    return state.url if state is not None and is_node_of_home(home, state.pid) else None


def _read_command_line(pid: int) -> str:
    """Arguments of a process, one per line; empty if it does not run."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b"\n").decode("utf-8", "replace")
        except OSError:
            return ""
    process = subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)],  # noqa: S607 (its folder differs between systems)
        capture_output=True,
        text=True,
        check=False,
    )
    return process.stdout.replace(" ", "\n")
