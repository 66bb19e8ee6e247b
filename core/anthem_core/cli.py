"""The `anthem` command: finds its subcommands by entry point and loads each one when it is used."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from importlib.metadata import EntryPoint, entry_points, version

import click

from anthem_core.console import errors_as_json

COMMAND_ORDER = (
    "demo",
    "node",
    "train",
    "export",
    "ingest",
    "remove",
    "search",
    "explain",
    "evaluate",
    "tune",
    "doctor",
    "rerank",
    "serve",
    "uninstall-data",
)
LOG_LEVELS = ("debug", "info", "warning", "error")
JSON_ERRORS = "anthem_core.json_errors"  # key in click's `Context.meta`


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

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options before the command; note whether errors are to be JSON."""
        ctx.meta[JSON_ERRORS] = "--json" in args
        with errors_as_json() if ctx.meta[JSON_ERRORS] else nullcontext():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Parse and run the command."""
        with errors_as_json() if ctx.meta[JSON_ERRORS] else nullcontext():
            return super().invoke(ctx)


@click.group(cls=EntryPointGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("anthem-search"), prog_name="anthem")
@click.option(
    "--log-level",
    type=click.Choice(LOG_LEVELS, case_sensitive=False),
    envvar="ANTHEM_LOG_LEVEL",
    show_envvar=True,
    help="Write log messages of this level and above to standard error. info shows each request to the cluster, debug "
    "its body too.",
)
def main(log_level: str | None) -> None:
    """Rerank product search in the OpenSearch cluster that you already run.

    Example: anthem demo
    """
    if log_level:
        logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
