"""Starts, watches and stops local nodes. All code with side effects on node processes belongs here."""

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

from anthem_core.artifact_cache import ensure_artifacts, explain_disk_errors
from anthem_core.console import stderr
from anthem_core.errors import NodeError
from anthem_core.files import write_text
from anthem_core.opensearch.local_node import STATE_FILE, is_node_of_home, read_state
from anthem_sandbox.node.diagnosis import crash_report, read_log
from anthem_sandbox.node.java import find_java
from anthem_sandbox.node.layout import build_java_command, build_node_settings, lay_out_home
from anthem_sandbox.node.lock import load_lock
from anthem_sandbox.node.releases import DEFAULT_RELEASE
from anthem_sandbox.node.system import (
    change_owner,
    create_ephemeral_home,
    find_free_port,
    find_node_user,
    lock_home,
    prepare_home,
    release_home,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from anthem_sandbox.node.releases import NodeRelease

LOG_FILE = "node.log"
START_TIMEOUT_SECONDS = 180
STOP_TIMEOUT_SECONDS = 20

# With `index.knn: true`, Faiss builds a knn_vector field that names no engine. The native library of Faiss is not
# published, so the node would crash at the first refresh. With this threshold Faiss builds no graph and searches
# exactly; the Lucene engine ignores it. Every template of the user overrides this one (legacy format, order -1).
INDEX_TEMPLATE = {
    "index_patterns": ["*"],
    "order": -1,
    "settings": {"index.knn.advanced.approximate_threshold": -1},
}

# Stops the node when the process that started it ends for any reason, because that closes its end of the pipe.
WATCHDOG_SCRIPT = """read _
kill "$1"; i=0
while [ $i -lt 100 ] && kill -0 "$1"; do sleep 0.1; i=$((i+1)); done
kill -9 "$1"; rm -rf "$2"
"""

# Child processes by pid. Each must be waited for, and Python warns about a running Popen that is garbage-collected.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class NodeStatus:
    """Whether the node of a home runs, its address, and the cause if it crashed. `anthem node --json` prints it."""

    running: bool
    url: str | None
    pid: int | None
    version: str
    home: Path
    note: str = ""


def get_node_status(home: Path | None = None, release: NodeRelease = DEFAULT_RELEASE) -> NodeStatus:
    """Check whether the node of a home runs. If it ended without being stopped, `note` gives the cause."""
    home = (home or release_home(release)).absolute()
    state = read_state(home)
    if state is None:
        return NodeStatus(False, None, None, release.version, home)
    version = state.release or DEFAULT_RELEASE.version
    if _is_running(home, state.pid):
        return NodeStatus(True, state.url, state.pid, version, home)
    return NodeStatus(False, None, None, version, home, f"it ended without being stopped: {_report_crash(home)}")


def start_node(
    home: Path | None = None,
    *,
    http_port: int | None = None,
    heap: str = "1g",
    fresh: bool = False,
    settings: Mapping[str, str] | None = None,
    release: NodeRelease = DEFAULT_RELEASE,
) -> NodeStatus:
    """Start the node of a home; if it already runs, return its status.

    Args:
        home: Home of the node. Defaults to the home of the release, which keeps its data between starts.
        http_port: A loopback port, or None for any free one.
        heap: Java heap size, such as `512m`.
        fresh: Stop the node if it runs, and delete its data first.
        settings: Added to `opensearch.yml`; `discovery.type: zen` with seed hosts forms a cluster of several nodes.
        release: The release of OpenSearch to start.

    Raises:
        NodeError: The node cannot be started; the message says why and what to do.
        ExtraError: Artifacts must be downloaded, and the extra `demo` is not installed.
    """
    home = prepare_home(home or release_home(release))
    with lock_home(home):
        status = get_node_status(home, release)
        if status.running and not fresh:
            return _check_release(status, release)
        _end_process(home)
        if fresh:
            shutil.rmtree(home / "data", ignore_errors=True)
        command, port = _prepare_start(home, http_port, heap, settings, release)
        _complete_start(home, _spawn(home, command), port, release)
        return get_node_status(home)


def _check_release(status: NodeStatus, release: NodeRelease) -> NodeStatus:
    if status.version != release.version:
        raise NodeError(
            f"OpenSearch {status.version} already runs in {status.home}; expected {release.version}. "
            f"Stop it first (`anthem node stop --home {status.home}`), or choose another home."
        )
    return status


def stop_node(home: Path | None = None, release: NodeRelease = DEFAULT_RELEASE) -> bool:
    """Stop the node of a home, by SIGTERM first; its data is kept. Returns whether it was running."""
    home = (home or release_home(release)).absolute()
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
    """Yield the URL of a new, empty node. Its process and data are removed, even if this process is killed.

    Raises:
        NodeError: The node cannot be started.
        ExtraError: Artifacts must be downloaded, and the extra `demo` is not installed.
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
    """Lay out the home and build the command line. Cheap checks come before the download."""
    java = find_java(release=release)
    port = find_free_port(port)
    artifacts = load_lock(release.version)
    cache = ensure_artifacts(artifacts)
    with explain_disk_errors(home):
        lay_out_home(home, artifacts, cache, build_node_settings(port, find_free_port(), extra), release)
    change_owner(home, find_node_user())
    return build_java_command(java, home, heap, release), port


def _spawn(home: Path, command: list[str]) -> subprocess.Popen[bytes]:
    """Start the JVM in a new session, so that it survives Ctrl-C and the end of the terminal."""
    user = find_node_user()
    run_as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    environment = {name: value for name, value in os.environ.items() if name not in ("JAVA_TOOL_OPTIONS", "CLASSPATH")}
    with (home / LOG_FILE).open("wb") as log:
        try:
            process: subprocess.Popen[bytes] = subprocess.Popen(  # type: ignore[call-overload]
                command,
                cwd=home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **run_as,
            )
        except PermissionError as error:
            raise NodeError(
                f"The user `nobody`, who runs the node when root starts it, cannot execute {command[0]}. "
                "Install a JDK in a folder that every user can read, such as /usr/lib/jvm."
            ) from error
    _children[process.pid] = process
    return process


def _complete_start(
    home: Path, process: subprocess.Popen[bytes], port: int, release: NodeRelease = DEFAULT_RELEASE
) -> None:
    """Write the state file, wait until the node is healthy and install the template; on failure, end the process."""
    try:
        state = {"pid": process.pid, "port": port, "release": release.version}
        write_text(home / STATE_FILE, json.dumps(state))
        with stderr.status(f"Starting OpenSearch {release.version}"):
            _wait_until_healthy(home, process, port)
        _request_status(port, "PUT", "/_template/anthem-local-node", json.dumps(INDEX_TEMPLATE))
    except BaseException:
        _end_process(home)
        process.kill()
        process.wait()
        raise


def _wait_until_healthy(home: Path, process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until the node answers and its shards are active.

    Raises:
        NodeError: The process ended, or the node did not answer in time.
    """
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise NodeError(f"OpenSearch ended while starting: {_report_crash(home)}")
        # 408 means that an index is still red; the node itself is up.
        if _request_status(port, "GET", "/_cluster/health?wait_for_status=yellow&timeout=15s") in (200, 408):
            return
        time.sleep(0.1)
    raise NodeError(f"OpenSearch did not answer within {START_TIMEOUT_SECONDS} s: {_report_crash(home)}")


def _request_status(port: int, method: str, path: str, body: str | None = None) -> int | None:
    """HTTP status of one request to the node, or None if it does not answer. No proxy is used."""
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
    """Guard a node: if this process ends inside the `with` block, a shell ends the node and deletes its home."""
    command = ["/bin/sh", "-c", WATCHDOG_SCRIPT, "sh", str(pid), str(home)]
    devnull = subprocess.DEVNULL
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=devnull, stderr=devnull, start_new_session=True
    ) as shell:
        try:
            yield
        finally:
            shell.kill()


def _end_process(home: Path) -> None:
    """End the node of a home if it runs, by SIGTERM and then SIGKILL, and delete its state file."""
    state = read_state(home)
    if state is not None:
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            if _is_running(home, state.pid):
                os.kill(state.pid, signal_number)
                _wait_until_gone(home, state.pid)
        if child := _children.pop(state.pid, None):
            child.wait()
    with contextlib.suppress(FileNotFoundError):
        (home / STATE_FILE).unlink()


def _wait_until_gone(home: Path, pid: int) -> None:
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    while _is_running(home, pid) and time.monotonic() < deadline:
        time.sleep(0.05)


def _is_running(home: Path, pid: int) -> bool:
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        return False
    return is_node_of_home(home, pid)


def _report_crash(home: Path) -> str:
    return crash_report(read_log(home / LOG_FILE))
