"""The `anthem` command: finds its subcommands by entry point and loads each when it is used."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points, version

import click

COMMAND_ORDER = ("demo", "node", "train", "export", "ingest", "remove", "search", "doctor", "rerank", "serve")


def _find_commands() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group="anthem.commands")}


class EntryPointGroup(click.Group):
    """A click group whose commands are the entry points of the group `anthem.commands`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        """Names of all commands, in the order in which they are met."""
        return sorted(
            _find_commands(),
            key=lambda name: (COMMAND_ORDER.index(name) if name in COMMAND_ORDER else len(COMMAND_ORDER), name),
        )

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Load one command, or None where there is none of this name."""
        entry = _find_commands().get(cmd_name)
        if entry is None:
            return None
        command: click.Command = entry.load()
        return command


@click.group(cls=EntryPointGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("anthem-search"), prog_name="anthem")
def main() -> None:
    """Hyperbolic reranking of product search for an OpenSearch cluster that already works.

    Example: anthem demo
    """
