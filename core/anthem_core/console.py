"""What every command shares: one way to print a result, one progress bar, one way to end in an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


import functools
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from anthem_core.errors import AnthemError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

P = ParamSpec("P")
T = TypeVar("T")

MAX_PRINTED_SKIPS = 10  # skipped lines

# Results go to standard output, everything said on the way to standard error: `--json | jq` must work.
stderr = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")


def print_skipped(problems: Sequence[object]) -> None:
    """Name the first lines that were skipped, and count all where there are more, on standard error."""
    for problem in problems[:MAX_PRINTED_SKIPS]:
        stderr.print(f"skipped {problem}")
    if len(problems) > MAX_PRINTED_SKIPS:
        stderr.print(f"skipped {len(problems)} lines in all")


def print_result(value: dict[str, Any], text: str, *, as_json: bool) -> None:
    """Print a result: `value` as one line of JSON for machines, or `text` for people.

    Half a character (a lone surrogate), which an index may hold and UTF-8 cannot, is printed as a question mark.
    """
    line = json.dumps(value, ensure_ascii=False, allow_nan=False) if as_json else text
    click.echo(line.encode("utf-8", "replace").decode("utf-8"))


class Advance(Protocol):
    """Advances a bar."""

    def __call__(self, steps: int, said: str = "") -> None:
        """By so many steps, with a word on how it goes."""


@contextmanager
def progress(description: str, total: int | None = None) -> Iterator[Advance]:
    """Show a bar on standard error; the yielded function advances it by a number of steps, and may say how it goes."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=stderr, disable=not stderr.is_terminal) as bars:
        task = bars.add_task(description, total=total)
        yield lambda steps, said="": bars.update(task, advance=steps, description=f"{description} {said}".rstrip())


class _AnthemClickException(click.ClickException):
    """An `AnthemError` as click shows it, with the exit code of its class."""

    def __init__(self, error: AnthemError) -> None:
        super().__init__(str(error))
        self.exit_code = error.exit_code  # type: ignore[misc]  # click declares it for the class, reads it from the instance


def handle_errors(command: Callable[P, T]) -> Callable[P, T]:
    """Turn an `AnthemError` of a command into its message on standard error and its exit code."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except AnthemError as error:
            raise _AnthemClickException(error) from error

    return wrapped


def printable(text: str) -> str:
    """Foreign text on one line without control characters, which a terminal would obey, and without half characters."""
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())
