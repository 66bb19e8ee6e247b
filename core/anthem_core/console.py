"""Shared by all commands: printing results, a progress bar, and turning errors into exit codes."""

from __future__ import annotations

import functools
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from anthem_core.errors import AnthemError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

P = ParamSpec("P")
T = TypeVar("T")

MAX_PRINTED_SKIPS = 10

# Results go to standard output, everything else to standard error: `--json | jq` must work.
stderr = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

bundle_option = click.option(
    "--bundle",
    "bundle_name",
    default="general",
    show_default=True,
    help="Folder of a bundle, or name of a shipped one.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")


def print_skipped(lines: Sequence[object]) -> None:
    """Print the first skipped lines to standard error, and their total number if there are more."""
    for line in lines[:MAX_PRINTED_SKIPS]:
        stderr.print(f"skipped {line}")
    if len(lines) > MAX_PRINTED_SKIPS:
        stderr.print(f"skipped {len(lines)} lines in all")


def print_result(value: dict[str, Any], text: str, *, as_json: bool) -> None:
    """Print a result: `value` as one line of JSON for machines, or `text` for people.

    A lone surrogate, which an index may hold but UTF-8 cannot encode, is printed as a question mark.
    """
    line = json.dumps(value, ensure_ascii=False, allow_nan=False) if as_json else text
    click.echo(line.encode("utf-8", "replace").decode("utf-8"))


def printable(text: str) -> str:
    """Untrusted text on one line, without the control characters that a terminal obeys and without lone surrogates."""
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())


class Advance(Protocol):
    """Function that advances a progress bar."""

    def __call__(self, steps: int, status: str = "") -> None:
        """Advance by a number of steps and show a status."""


@contextmanager
def progress(description: str, total: int | None = None) -> Iterator[Advance]:
    """Show a progress bar on standard error; the yielded function advances it and may show a status."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=stderr, disable=not stderr.is_terminal) as bars:
        task = bars.add_task(description, total=total)
        yield lambda steps, status="": bars.update(task, advance=steps, description=f"{description} {status}".rstrip())


class _AnthemClickException(click.ClickException):
    """An `AnthemError` as a click exception, with the exit code of its class."""

    def __init__(self, error: AnthemError) -> None:
        super().__init__(str(error))
        self.exit_code = error.exit_code  # type: ignore[misc]  # click declares it for the class, reads it from the instance


def handle_errors(command: Callable[P, T]) -> Callable[P, T]:
    """Decorate a command so that an `AnthemError` ends it with a message on standard error and its exit code."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except AnthemError as error:
            raise _AnthemClickException(error) from error

    return wrapped
