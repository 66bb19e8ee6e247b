"""`anthem uninstall-data`: removes what the commands keep on this machine, apart from files that users named."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from anthem_core.console import confirm, format_bytes, handle_errors, json_option, print_result
from anthem_core.errors import NodeError
from anthem_core.opensearch.local_node import (
    HISTORY_FILE,
    STATE_FILE,
    cache_folder,
    homes_folder,
    is_node_of_home,
    read_state,
    state_folder,
)

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class KeptData:
    """A folder or file that commands keep, what it holds and its size in bytes."""

    path: Path
    content: str
    size: int

    def to_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"path": str(self.path), "content": self.content, "bytes": self.size}

    def __str__(self) -> str:
        return f"{self.path}: {self.content}, {format_bytes(self.size)}"


def find_kept_data() -> list[KeptData]:
    """What commands have left on this machine: the homes of local nodes, the cache, and the history of the doctor."""
    homes, cache, history = homes_folder(), cache_folder(), state_folder() / HISTORY_FILE
    places = {
        homes: "local nodes with their indices",
        cache: "downloads and teachers" + (", local nodes" if homes.is_relative_to(cache) else ""),
        history: "history of anthem doctor",
    }
    if homes.is_relative_to(cache):
        del places[homes]
    return [KeptData(path, content, measure_size(path)) for path, content in places.items() if path.exists()]


def measure_size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; a file with several names counts once, links count nothing."""
    files = {}
    for entry in (path, *path.rglob("*")):
        with suppress(OSError):  # a file may vanish meanwhile
            attributes = entry.lstat()
            if entry.is_file() and not entry.is_symlink():
                files[attributes.st_dev, attributes.st_ino] = attributes.st_size
    return sum(files.values())


def find_running_homes() -> list[Path]:
    """Homes of local nodes that run, of the demo and of tests too."""
    states = [path for pattern in ("*", "*/*") for path in homes_folder().glob(f"{pattern}/{STATE_FILE}")]
    homes = [(path.parent, read_state(path.parent)) for path in states]
    return sorted(home for home, state in homes if state and is_node_of_home(home, state.pid))


def remove_kept_data(kept: KeptData) -> None:
    """Remove a folder with everything in it, or a file, and the folder of the file if nothing else is in it.

    Raises:
        NodeError: The folder is a symbolic link, or it cannot be removed.
    """
    path = kept.path
    try:
        if path.is_symlink() or path.is_file():
            if not path.is_file():
                raise NodeError(
                    f"{path} is a symbolic link to {path.resolve()}. Remove that folder and the link by hand."
                )
            path.unlink()
            with suppress(OSError):  # it holds something else
                path.parent.rmdir()
        else:
            shutil.rmtree(path)
    except OSError as error:
        raise NodeError(
            f"{error.filename or path} could not be removed ({error.strerror}). Run this as the owner of {path}."
        ) from error


@click.command("uninstall-data")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
@handle_errors
def uninstall_data(*, yes: bool, as_json: bool) -> None:
    """List the folders that the commands keep on this machine (cache, state, local nodes), and remove them.

    Files that you named (reports, runs, checkpoints, bundles, dead letters) and clusters stay untouched; `anthem
    remove INDEX` cleans an index. Exit codes: 0 removed or nothing there, 1 not confirmed, 5 a local node runs, or a
    folder cannot be removed.

    \b
    Example:
      anthem uninstall-data
      anthem uninstall-data --yes
    """
    kept = find_kept_data()
    for each in kept:
        click.echo(each, err=True)
    running = find_running_homes()
    if running:
        homes = ", ".join(map(str, running))
        raise NodeError(f"A local node runs in {homes}. Stop it first: anthem node stop --home {running[0]}")
    confirm("Remove all of this?", yes=yes or not kept, as_json=as_json)
    for each in kept:
        remove_kept_data(each)
    total = sum(each.size for each in kept)
    text = f"Removed {format_bytes(total)}." if kept else "There is nothing to remove."
    print_result({"removed": [each.to_dict() for each in kept], "bytes": total}, text, as_json=as_json)
