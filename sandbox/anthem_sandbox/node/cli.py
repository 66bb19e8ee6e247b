"""`anthem node`: a real OpenSearch on this machine, without Docker."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from anthem_core.console import handle_errors, json_option, print_result, stderr
from anthem_core.errors import NodeError
from anthem_sandbox.node import lifecycle
from anthem_sandbox.node.lock import DEFAULT_VERSION, format_lock
from anthem_sandbox.node.releases import NODE_RELEASES, find_node_release

if TYPE_CHECKING:
    from anthem_sandbox.node.lifecycle import NodeStatus

home_option = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the node, if not the usual one; for root below one that all may enter.",
)

release_option = click.option(
    "--release",
    type=click.Choice(list(NODE_RELEASES)),
    default=DEFAULT_VERSION,
    show_default=True,
    help="Release of OpenSearch.",
)


def status_as_json(node: NodeStatus) -> dict[str, Any]:
    """A node's status with names and values JSON knows."""
    return {**asdict(node), "home": str(node.home)}


def status_as_text(node: NodeStatus) -> str:
    """A node's status in a sentence."""
    if node.running:
        return f"OpenSearch {node.version} runs at {node.url} (process {node.pid}, home {node.home})"
    return f"OpenSearch does not run{'; ' + node.note if node.note else ''}"


@click.group()
def node() -> None:
    """A real OpenSearch node on this machine, without Docker.

    Example: anthem node start
    """


@node.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Loopback port; any free one if left out.")
@click.option("--heap", default="1g", show_default=True, metavar="SIZE", help="Java heap, such as 512m.")
@click.option("--fresh", is_flag=True, help="Throw the node's data away first.")
@home_option
@release_option
@json_option
@handle_errors
def start(port: int | None, heap: str, fresh: bool, home: Path | None, release: str, as_json: bool) -> None:
    """Start the node, or say where it runs already; its data outlives a stop.

    The first start downloads about 90 MB. Each release has a home of its own, so two run side by side.
    OpenSearch 3.6.0 needs Java 21 or newer, 2.19.1 Java 17 to 23. Exit codes: 0 it runs, 5 it cannot be had.

    \b
    Example:
      anthem node start
      anthem node start --port 9200 --heap 512m
      anthem node start --fresh
      anthem node start --release 2.19.1
    """
    stderr.print(f"OpenSearch {release} takes up to a minute to answer")
    there = lifecycle.start_node(home, http_port=port, heap=heap, fresh=fresh, release=find_node_release(release))
    if port is not None and there.url != f"http://127.0.0.1:{port}":
        raise NodeError(f"the node runs already, at {there.url}; `anthem node stop` first to give it another port")
    print_result(status_as_json(there), status_as_text(there), as_json=as_json)


@node.command()
@home_option
@release_option
@json_option
@handle_errors
def stop(home: Path | None, release: str, as_json: bool) -> None:
    """Stop the node; its data stays.

    Exit code 0 whether it ran or not.

    Example: anthem node stop
    """
    stopped = lifecycle.stop_node(home, find_node_release(release))
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
    """Say whether the node runs, and where.

    Exit codes: 0 it runs, 1 it does not.

    Example: anthem node status --json
    """
    there = lifecycle.get_node_status(home, find_node_release(release))
    print_result(status_as_json(there), status_as_text(there), as_json=as_json)
    if not there.running:
        ctx.exit(1)


@node.command(hidden=True)
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
@release_option
@json_option
@handle_errors
def lock(output: Path, release: str, as_json: bool) -> None:
    """For maintainers: resolve the node of a release afresh and write its lock file.

    Example: anthem node lock core/anthem_core/node/locks/2.19.1.json --release 2.19.1
    """
    from anthem_sandbox.node.lock_resolver import resolve_lock

    with TemporaryDirectory() as cache, stderr.status("Resolving and downloading every artifact"):
        artifacts = resolve_lock(Path(cache), find_node_release(release))
    output.write_text(format_lock(artifacts, release), encoding="utf-8")
    megabytes = sum(one.size for one in artifacts) / 1e6
    value = {"opensearch": release, "artifacts": len(artifacts), "megabytes": round(megabytes, 1)}
    print_result(value, f"{len(artifacts)} artifacts, {megabytes:.1f} MB, in {output}", as_json=as_json)
