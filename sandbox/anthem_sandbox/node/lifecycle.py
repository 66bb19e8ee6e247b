"""Starts, watches and stops a local node: the module that does things."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anthem_core.console import stderr
from anthem_core.errors import NodeError
from anthem_sandbox.node.artifact_cache import ensure_artifacts, explain_disk_errors
from anthem_sandbox.node.diagnosis import crash_report, read_log
from anthem_sandbox.node.java import find_java
from anthem_sandbox.node.layout import build_java_command, build_node_settings, lay_out_home
from anthem_sandbox.node.lock import load_lock
from anthem_sandbox.node.releases import DEFAULT_RELEASE
from anthem_sandbox.node.system import (
    change_owner,
    create_ephemeral_home,
    default_home,
    find_free_port,
    find_node_user,
    is_node_of_home,
    lock_home,
    prepare_home,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from anthem_sandbox.node.releases import NodeRelease

STATE_FILE = "node.json"
START_TIMEOUT_SECONDS = 180
STOP_TIMEOUT_SECONDS = 20

# In an index with `index.knn: true`, a knn_vector without an engine is built by Faiss, whose native library is not
# published: the node would die at the first refresh. With this threshold Faiss never builds and is searched exactly;
# the Lucene engine does not look at it. An old-style template gives way to every template of the user's own.
INDEX_TEMPLATE = {
    "index_patterns": ["*"],
    "order": -1,
    "settings": {"index.knn.advanced.approximate_threshold": -1},
}

# Ends the node when the process that started it is gone, however it went: its end of the pipe closes.
WATCHDOG_SCRIPT = """read _
kill "$1"; i=0
while [ $i -lt 100 ] && kill -0 "$1"; do sleep 0.1; i=$((i+1)); done
kill -9 "$1"; rm -rf "$2"
"""

# Children of this process: a child must be waited for, and a Popen that is dropped while it runs warns.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class NodeStatus:
    """Whether the node of a home runs, where, and if it died, why."""

    running: bool
    url: str | None
    pid: int | None
    version: str
    home: Path
    note: str = ""


def get_node_status(home: Path | None = None, release: NodeRelease = DEFAULT_RELEASE) -> NodeStatus:
    """Look whether the node of a home runs; one that died without being stopped is told with the cause."""
    home = (home or default_home(release)).absolute()
    state = _read_state(home)
    if state is None:
        return NodeStatus(False, None, None, release.version, home)
    pid, port, version = state
    if _is_running(home, pid):
        return NodeStatus(True, f"http://127.0.0.1:{port}", pid, version, home)
    return NodeStatus(
        False, None, None, version, home, f"it ended without being stopped: {crash_report(_read_node_log(home))}"
    )


def start_node(
    home: Path | None = None,
    *,
    http_port: int | None = None,
    heap: str = "1g",
    fresh: bool = False,
    settings: Mapping[str, str] | None = None,
    release: NodeRelease = DEFAULT_RELEASE,
) -> NodeStatus:
    """Start the node of a home, or find it running already.

    Args:
        home: Home of the node; the default one of a release keeps its data between starts.
        http_port: A loopback port, or None for any free one.
        heap: Java's heap, such as `512m`.
        fresh: Throw the data away first, and stop the node if it runs.
        settings: Added to `opensearch.yml`; `discovery.type: zen` with seed hosts makes several nodes a cluster.
        release: The release of OpenSearch to start.

    Raises:
        NodeError: The node cannot be had; the message says why and what to do.
    """
    home = prepare_home(home or default_home(release))
    with lock_home(home):
        now = get_node_status(home, release)
        if now.running and not fresh:
            return _check_release(now, release)
        _end_process(home)
        if fresh:
            shutil.rmtree(home / "data", ignore_errors=True)
        command, port = _prepare_start(home, http_port, heap, settings, release)
        _complete_start(home, _spawn(home, command), port, release)
        return get_node_status(home)


def _check_release(node: NodeStatus, release: NodeRelease) -> NodeStatus:
    if node.version != release.version:
        raise NodeError(
            f"OpenSearch {node.version} runs in {node.home}, {release.version} was wanted; "
            "stop it first (`anthem node stop --home`), or name another home"
        )
    return node


def stop_node(home: Path | None = None, release: NodeRelease = DEFAULT_RELEASE) -> bool:
    """Stop the node of a home, gently at first; its data stays. False when none was running."""
    home = (home or default_home(release)).absolute()
    if not home.is_dir():
        return False
    with lock_home(home):
        was_running = get_node_status(home).running
        _end_process(home)
        return was_running


@contextmanager
def temporary_node(
    *, heap: str = "1g", settings: Mapping[str, str] | None = None, release: NodeRelease = DEFAULT_RELEASE
) -> Iterator[str]:
    """Yield the URL of a new, empty node; process and data are gone afterwards, even when this process is killed.

    Raises:
        NodeError: The node cannot be had.
    """
    home = create_ephemeral_home()
    try:
        command, port = _prepare_start(home, None, heap, settings, release)
        process = _spawn(home, command)
        with watchdog(process.pid, home):
            try:
                _complete_start(home, process, port, release)
                yield f"http://127.0.0.1:{port}"
            finally:
                _end_process(home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _prepare_start(
    home: Path, port: int | None, heap: str, extra: Mapping[str, str] | None, release: NodeRelease = DEFAULT_RELEASE
) -> tuple[list[str], int]:
    """Lay the home out and build the command; what can be refused cheaply is refused before the download."""
    java = find_java(release=release)
    port = find_free_port(port)
    artifacts = load_lock(release.version)
    cache = ensure_artifacts(artifacts)
    with explain_disk_errors(home):
        lay_out_home(home, artifacts, cache, build_node_settings(port, find_free_port(), extra), release)
    change_owner(home, find_node_user())
    return build_java_command(java, home, heap, release), port


def _spawn(home: Path, command: list[str]) -> subprocess.Popen[bytes]:
    """Start the JVM in a session of its own: neither Ctrl-C nor a closed terminal reaches it."""
    user = find_node_user()
    as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    quiet = {name: value for name, value in os.environ.items() if name not in ("JAVA_TOOL_OPTIONS", "CLASSPATH")}
    with (home / "node.log").open("wb") as log:
        try:
            process = subprocess.Popen(  # type: ignore[call-overload]
                command,
                cwd=home,
                env=quiet,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **as_user,
            )
        except PermissionError as error:
            raise NodeError(
                f"{command[0]} cannot be run by the user `nobody`, as whom the node runs when root starts it; "
                "install a JDK where all may read it, such as /usr/lib/jvm"
            ) from error
    _children[process.pid] = process
    started: subprocess.Popen[bytes] = process
    return started


def _complete_start(
    home: Path, process: subprocess.Popen[bytes], port: int, release: NodeRelease = DEFAULT_RELEASE
) -> None:
    """Remember the process, wait until it answers, and guard it; whatever goes wrong, none is left behind."""
    try:
        (home / STATE_FILE).write_text(json.dumps({"pid": process.pid, "port": port, "release": release.version}))
        with stderr.status(f"Starting OpenSearch {release.version}"):
            _wait_until_healthy(home, process, port)
        _request_status(port, "PUT", "/_template/anthem-local-node", json.dumps(INDEX_TEMPLATE))
    except BaseException:
        _end_process(home)
        process.kill()
        process.wait()
        raise


def _wait_until_healthy(home: Path, process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until the node answers and its shards are back.

    Raises:
        NodeError: It died, or did not answer in time.
    """
    end = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise NodeError(f"OpenSearch died while starting: {crash_report(_read_node_log(home))}")
        # An index that stays red is no reason to call the node dead: 408 is an answer, too.
        if _request_status(port, "GET", "/_cluster/health?wait_for_status=yellow&timeout=15s") in (200, 408):
            return
        time.sleep(0.1)
    raise NodeError(f"OpenSearch did not answer within {START_TIMEOUT_SECONDS} s: {crash_report(_read_node_log(home))}")


def _request_status(port: int, method: str, path: str, body: str | None = None) -> int | None:
    """Status of one request to the node, or None where it does not answer; no proxy is ever asked."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, {"content-type": "application/json"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


@contextmanager
def watchdog(pid: int, home: Path) -> Iterator[None]:
    """Tie a process and its home to the life of this one."""
    command = ["/bin/sh", "-c", WATCHDOG_SCRIPT, "sh", str(pid), str(home)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, start_new_session=True) as dog:
        try:
            yield
        finally:
            dog.kill()


def _end_process(home: Path) -> None:
    """End the node of a home, if there is one, and forget it."""
    state = _read_state(home)
    if state is not None:
        pid = state[0]
        for number in (signal.SIGTERM, signal.SIGKILL):
            if _is_running(home, pid):
                os.kill(pid, number)
                _wait_until_gone(home, pid)
        if child := _children.pop(pid, None):
            child.wait()
    with contextlib.suppress(FileNotFoundError):
        (home / STATE_FILE).unlink()


def _wait_until_gone(home: Path, pid: int) -> None:
    end = time.monotonic() + STOP_TIMEOUT_SECONDS
    while _is_running(home, pid) and time.monotonic() < end:
        time.sleep(0.05)


def _is_running(home: Path, pid: int) -> bool:
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        return False
    return is_node_of_home(home, pid)


def _read_state(home: Path) -> tuple[int, int, str] | None:
    """Process number, port and release that the last start wrote down, or None."""
    try:
        state = json.loads((home / STATE_FILE).read_text())
        return int(state["pid"]), int(state["port"]), str(state.get("release", DEFAULT_RELEASE.version))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _read_node_log(home: Path) -> str:
    return read_log(home / "node.log")
