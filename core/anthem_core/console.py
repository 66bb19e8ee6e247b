"""Shared by all commands: printing results, a progress bar, and turning errors into exit codes."""

from __future__ import annotations

import errno
import functools
import json
import math
import sys
from contextlib import contextmanager, nullcontext
from typing import IO, TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from anthem_core.errors import AnthemError, DataError
from anthem_core.files import discard_standard_output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

P = ParamSpec("P")
T = TypeVar("T")

MAX_PRINTED_SKIPS = 10
MAX_NAMED = 3  # names in a message; the rest are counted
STORAGE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # full disk, quota, file too large, read-only
INTERRUPTED_EXIT_CODE = 130  # of a program that Ctrl-C ended, by the convention of shells

# Results go to standard output, everything else to standard error: `--json | jq` must work.
stderr = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

bundle_option = click.option(
    "--bundle",
    "bundle_name",
    default="general",
    show_default=True,
    help="Folder of a bundle, or name of a shipped one.",
)
url_option = click.option("--url", help="URL of the cluster; defaults to OPENSEARCH_URL, then to the local node.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")


class FiniteFloatRange(click.FloatRange):
    """Range of floats without NaN, which compares with no limit, and without infinity."""

    def convert(self, value: float | str, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; a usage error if it is outside the range or not finite."""
        number = float(super().convert(value, param, ctx))  # type: ignore[arg-type]  # click is wrong: it takes text
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class NonEmptyText(click.types.StringParamType):
    """Text that is neither empty nor blank, as a shell passes it for a variable that is not set."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The text; a usage error if it is empty."""
        text = str(super().convert(value, param, ctx))
        if not text.strip():
            self.fail("The value is empty.", param, ctx)
        return text


NON_EMPTY_TEXT = NonEmptyText()


def without_repeats(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """The values of a repeatable option, each once, in their order."""
    return tuple(dict.fromkeys(values))


def print_skipped(lines: Sequence[object]) -> None:
    """Print the first skipped lines to standard error, and their total number if there are more."""
    for line in lines[:MAX_PRINTED_SKIPS]:
        stderr.print(f"skipped {line}")
    if len(lines) > MAX_PRINTED_SKIPS:
        stderr.print(f"skipped {len(lines)} lines in all")


def print_result(value: dict[str, Any], text: str, *, as_json: bool, to_stderr: bool = False) -> None:
    """Print a result: `value` as one line of JSON for machines, or `text` for people.

    A lone surrogate, which an index may hold but UTF-8 cannot encode, is printed as a question mark. `to_stderr` is for
    commands that write a file to standard output.
    """
    line = json.dumps(value, ensure_ascii=False, allow_nan=False) if as_json else text
    try:
        click.echo(line.encode("utf-8", "replace").decode("utf-8"), err=to_stderr)
    except BrokenPipeError:  # the reader has read enough; click ends the command
        raise
    except OSError as error:
        discard_standard_output()
        raise DataError(
            f"The result could not be written to standard output ({error.strerror}). Is the disk full?"
        ) from error


def printable(text: str) -> str:
    """Untrusted text on one line, without the control characters that a terminal obeys and without lone surrogates."""
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())


def count_of(number: int, noun: str = "product") -> str:
    """A number with its noun, in the plural where needed."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def name_some(names: Sequence[str], limit: int = MAX_NAMED) -> str:
    """The first names up to a limit, and the number of the others."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"{', '.join(names[:limit])}{more}"


def format_bytes(size: int) -> str:
    """A size for people, such as `734 bytes`, `7.3 kB` or `2.1 MB`."""
    if size < 1000:
        return f"{size} bytes"
    return f"{size / 1000:.1f} kB" if size < 10**6 else f"{size / 10**6:.1f} MB"


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


def confirm(question: str, *, yes: bool, as_json: bool) -> None:
    """Ask a question on standard error, where `click.confirm` would print a part of it on standard output.

    `yes` is the answer of an option. With `as_json` nobody is there to be asked, so the option has to be set.

    Raises:
        CommandError: The answer is not a yes.
    """
    if yes:
        return
    if as_json:
        raise CommandError(
            f"{question} Nothing was changed: with --json, confirm with --yes.", 1, "Abort", as_json=True
        )
    click.echo(f"{question} [y/N]: ", nl=False, err=True)
    answer = sys.stdin.readline() if sys.stdin else ""
    if not answer:
        click.echo(err=True)  # the question has no line end
    if answer.strip().lower() not in ("y", "yes"):
        raise CommandError("Not confirmed; nothing was changed. --yes skips the question.", 1, "Abort", as_json=False)


class CommandError(click.ClickException):
    """An error that ends a command: a message on standard error, or one line of JSON there, and an exit code."""

    def __init__(self, message: str, exit_code: int, kind: str, *, as_json: bool) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click declares it for the class, reads it from the instance
        self.kind = kind
        self.as_json = as_json

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the error."""
        if not self.as_json:
            super().show(file)
            return
        value = {"error": self.message, "kind": self.kind, "exit_code": self.exit_code}
        click.echo(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode("utf-8"), err=True)


def handle_errors(command: Callable[P, T]) -> Callable[P, T]:
    """Decorate a command so that an `AnthemError`, a full disk or Ctrl-C ends it with a message and its exit code.

    With `--json`, the message and those of usage errors are JSON.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        as_json = bool(kwargs.get("as_json"))
        with errors_as_json() if as_json else nullcontext():
            try:
                return command(*args, **kwargs)
            except AnthemError as error:
                raise CommandError(str(error), error.exit_code, type(error).__name__, as_json=as_json) from error
            except OSError as error:
                if error.errno not in STORAGE_ERRORS:
                    raise
                message = f"{error.filename or 'A file'} could not be written ({error.strerror}). Is the disk full?"
                raise CommandError(message, DataError.exit_code, DataError.__name__, as_json=as_json) from error
            except KeyboardInterrupt:
                raise CommandError("Interrupted.", INTERRUPTED_EXIT_CODE, "Interrupted", as_json=as_json) from None

    return wrapped


@contextmanager
def errors_as_json() -> Iterator[None]:
    """Make click print its own errors, such as a wrong option, as JSON."""
    try:
        yield
    except CommandError as error:
        error.as_json = True
        raise
    except click.ClickException as error:
        raise CommandError(error.format_message(), error.exit_code, type(error).__name__, as_json=True) from error
    except click.Abort as error:
        click.echo(err=True)  # the question may have no line end
        raise CommandError("Not confirmed; nothing was changed.", 1, "Abort", as_json=True) from error
