"""Keeps the script that rewritten searches call in the cluster: it may be deleted, or missing after a restore.

The service learns of neither, because it sends no search itself.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from threading import Event, Thread
from typing import TYPE_CHECKING, Self

import click

from anthem_core.errors import AnthemError

if TYPE_CHECKING:
    from types import TracebackType

STORE_INTERVAL_SECONDS = 300.0  # a client tries again after as long
# A process of its own, because the OpenSearch client would keep up to 18 MB of the service's memory.
STORE_SCRIPT_COMMAND = (
    sys.executable, "-P", "-c",
    "import sys; from anthem_plugin.service.script_storage import store_script; store_script(*sys.argv[1:])",
)  # fmt: skip


class ScriptKeeper:
    """Stores the script when it is entered, and again every five minutes until it is left.

    A warning is printed only if it differs from the one before.

    Args:
        url: URL of the cluster; by default the one that the environment names.
        interval: Seconds between two times.
    """

    def __init__(self, url: str | None = None, interval: float = STORE_INTERVAL_SECONDS) -> None:
        self._command = [*STORE_SCRIPT_COMMAND, *([url] if url else [])]
        self._interval = interval
        self._tried, self._stopped = Event(), Event()
        self._process: subprocess.Popen[str] | None = None
        self._thread = Thread(target=self._keep, daemon=True)

    def __enter__(self) -> Self:
        """Start; what is done meanwhile takes no longer than without."""
        self._thread.start()
        return self

    def wait(self) -> None:
        """Wait until the script was stored for the first time, or its warning printed."""
        self._tried.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop at once."""
        self._stopped.set()
        if process := self._process:
            process.terminate()
        self._thread.join()

    def _keep(self) -> None:
        known = ""
        while not self._stopped.is_set():
            warning = self._store()
            if warning != known and not self._stopped.is_set():
                click.echo(warning or "The script that rewritten searches call is stored.", err=True)
            known = warning
            self._tried.set()
            self._stopped.wait(self._interval)

    def _store(self) -> str:
        """Store the script; returns what the process printed, nothing if it stored it."""
        # In a session of its own, Ctrl-C does not reach it, which would print a traceback.
        with subprocess.Popen(
            self._command, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True
        ) as process:
            self._process = process
            if self._stopped.is_set():  # meanwhile
                process.terminate()
            _, printed = process.communicate()
        self._process = None
        return printed.strip()


def store_script(url: str | None = None) -> None:
    """Store the script that rewritten searches call in the cluster at `url`, or the one that the environment names.

    If the cluster cannot be reached or refuses, a warning is printed.
    """
    from anthem_core.opensearch.connection import cluster_errors, connect
    from anthem_plugin.scoring.painless import SCRIPT_CONTEXT, build_put_script_body, script_id

    try:
        with closing(connect(url, timeout=5, credentials=True)) as cluster, cluster_errors():
            cluster.put_script(id=script_id(), body=build_put_script_body(), context=SCRIPT_CONTEXT)
    except AnthemError as error:
        click.echo(
            f"Warning: the script {script_id()}, which rewritten searches call, was not stored: {error}", err=True
        )
