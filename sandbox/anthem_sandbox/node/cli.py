"""The command `anthem node`: starts and stops a real OpenSearch node on this machine, without Docker."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from anthem_core.console import handle_errors, json_option, print_result, stderr
from anthem_core.errors import NodeError
from anthem_core.files import write_text
from anthem_sandbox.node.lifecycle import get_node_status, start_node, stop_node
from anthem_sandbox.node.lock import DEFAULT_VERSION, format_lock
from anthem_sandbox.node.releases import NODE_RELEASES, find_node_release

if TYPE_CHECKING:
    from anthem_sandbox.node.lifecycle import NodeStatus

home_option = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    help="Home folder of the node; defaults to one folder per release. If root starts the node, every user must be "
    "able to enter the folders above it.",
)

release_option = click.option(
    "--release",
    type=click.Choice(list(NODE_RELEASES)),
    default=DEFAULT_VERSION,
    show_default=True,
    help="Release of OpenSearch.",
)


def status_as_json(status: NodeStatus) -> dict[str, Any]:
    """A node's status as a JSON object."""
    return {**asdict(status), "home": str(status.home)}


def status_as_text(status: NodeStatus) -> str:
    """A node's status as a sentence."""
    if status.running:
        return f"OpenSearch {status.version} runs at {status.url} (process {status.pid}, home {status.home})"
    return f"OpenSearch does not run{'; ' + status.note if status.note else ''}"


@click.group()
def node() -> None:
    """Run a real OpenSearch node on this machine, without Docker.

    Example: anthem node start
    """


@node.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Port on the loopback address; defaults to any free port.")
@click.option("--heap", default="1g", show_default=True, metavar="SIZE", help="Java heap size, such as 512m.")
@click.option("--fresh", is_flag=True, help="Delete the node's data first.")
@home_option
@release_option
@json_option
@handle_errors
def start(port: int | None, heap: str, fresh: bool, home: Path | None, release: str, as_json: bool) -> None:
    """Start the node, or print its address if it already runs. Its data is kept when it stops.

    The first start downloads about 90 MB. Each release has its own home, so two releases can run at the same time.
    OpenSearch 3.6.0 needs Java 21 or newer, 2.19.1 needs Java 17 to 23. Exit codes: 0 the node runs, 5 it cannot be
    started, 9 the extra `demo` is missing.

    \b
    Example:
      anthem node start
      anthem node start --port 9200 --heap 512m
      anthem node start --fresh
      anthem node start --release 2.19.1
    """
    if not get_node_status(home, find_node_release(release)).running:
        stderr.print(f"Starting OpenSearch {release}: one or two minutes, and a download of 90 MB the first time")
    node_status = start_node(home, http_port=port, heap=heap, fresh=fresh, release=find_node_release(release))
    if port is not None and node_status.url != f"http://127.0.0.1:{port}":
        raise NodeError(
            f"The node already runs at {node_status.url}. To change its port, run `anthem node stop` first."
        )
    print_result(status_as_json(node_status), status_as_text(node_status), as_json=as_json)


@node.command()
@home_option
@release_option
@json_option
@handle_errors
def stop(home: Path | None, release: str, as_json: bool) -> None:
    """Stop the node; its data is kept.

    Exit code 0, whether the node ran or not.

    Example: anthem node stop
    """
    stopped = stop_node(home, find_node_release(release))
    print_result(
        {"stopped": stopped}, "OpenSearch is stopped" if stopped else "OpenSearch was not running", as_json=as_json
    )


@node.command()
@home_option
@release_option
@json_option
@click.pass_context
@handle_errors
def status(ctx: click.Context, home: Path | None, release: str, as_json: bool) -> None:
    """Print whether the node runs, and its address.

    Exit codes: 0 it runs, 1 it does not.

    Example: anthem node status --json
    """
    node_status = get_node_status(home, find_node_release(release))
    print_result(status_as_json(node_status), status_as_text(node_status), as_json=as_json)
    if not node_status.running:
        ctx.exit(1)


@node.command(hidden=True)
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@release_option
@json_option
@handle_errors
def lock(output: Path, release: str, as_json: bool) -> None:
    """For maintainers: resolve the artifacts of a release again and write its lock file.

    Example: anthem node lock sandbox/anthem_sandbox/node/locks/2.19.1.json --release 2.19.1
    """
    from anthem_sandbox.node.lock_resolver import resolve_lock

    with TemporaryDirectory() as cache, stderr.status("Resolving and downloading every artifact"):
        artifacts = resolve_lock(Path(cache), find_node_release(release))
    write_text(output, format_lock(artifacts, release))
    megabytes = sum(artifact.size for artifact in artifacts) / 1e6
    counts = {"opensearch": release, "artifacts": len(artifacts), "megabytes": round(megabytes, 1)}
    print_result(counts, f"Wrote {len(artifacts)} artifacts, {megabytes:.1f} MB, to {output}", as_json=as_json)
