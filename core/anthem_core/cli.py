"""The `anthem` command: finds its subcommands by entry point and loads each one when it is used."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points, version

import click

COMMAND_ORDER = ("demo", "node", "train", "export", "ingest", "remove", "search", "doctor", "rerank", "serve")


def _find_commands() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group="anthem.commands")}


class EntryPointGroup(click.Group):
    """A click group whose commands are the entry points of the group `anthem.commands`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        """Names of all commands: the known ones in `COMMAND_ORDER`, then all others by name."""
        known = {name: position for position, name in enumerate(COMMAND_ORDER)}
        return sorted(_find_commands(), key=lambda name: (known.get(name, len(known)), name))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 (click's signature)
        """Load a command by name; None if it does not exist."""
        entry = _find_commands().get(cmd_name)
        if entry is None:
            return None
        command: click.Command = entry.load()
        return command


@click.group(cls=EntryPointGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("anthem-search"), prog_name="anthem")
def main() -> None:
    """Rerank product search in the OpenSearch cluster that you already run.

    Example: anthem demo
    """
