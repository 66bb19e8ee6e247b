"""The `anthem` command: entry points, printing results, and exit codes by kind of error."""

import json
import re
from importlib.metadata import version

import click
import pytest
from click.testing import CliRunner

from anthem_core import errors
from anthem_core.cli import COMMAND_ORDER, main
from anthem_core.console import handle_errors, json_option, print_result, progress
from anthem_core.errors import AnthemError, ExtraError, require_extra

ERROR_CLASSES = [AnthemError, *AnthemError.__subclasses__()]


@pytest.fixture
def runner():
    """Runs commands in this process."""
    return CliRunner()


def test_the_version_is_the_installed_one(runner):
    """`anthem --version` prints the version of the installed distribution."""
    assert runner.invoke(main, ["--version"]).stdout == f"anthem, version {version('anthem-search')}\n"


def test_help_lists_the_commands_in_the_order_of_use(runner):
    """The known commands come in the order of use, all others after them by name."""
    shown = main.list_commands(click.Context(main))
    known = [name for name in shown if name in COMMAND_ORDER]
    assert known == [name for name in COMMAND_ORDER if name in shown]
    assert shown == known + sorted(set(shown) - set(COMMAND_ORDER))
    assert {"node", "train", "export", "ingest", "search"} <= set(shown)
    result = runner.invoke(main, ["--help"])
    assert result.exit_code == 0
    assert re.findall(r"^  (\w+)  ", result.stdout.split("Commands:")[1], re.MULTILINE) == shown


@pytest.mark.parametrize("words", [["no-such-command"], ["search"], ["search", "--no-such-option"]])
def test_a_wrong_command_line_exits_2(runner, words):
    """A usage error ends with exit code 2 and nothing on standard output."""
    result = runner.invoke(main, words)
    assert result.exit_code == 2
    assert result.stdout == ""


@pytest.mark.parametrize("kind", ERROR_CLASSES)
def test_every_error_has_its_exit_code(runner, kind):
    """An AnthemError ends a command with its message on standard error and the exit code of its class."""

    @click.command()
    @handle_errors
    def failing():
        raise kind("found this, expected that, do so")

    result = runner.invoke(failing)
    assert result.exit_code == kind.exit_code
    assert result.stderr == "Error: found this, expected that, do so\n"
    assert result.stdout == ""


def test_other_errors_are_not_hidden(runner):
    """Any other exception is a bug and keeps its traceback."""

    @click.command()
    @handle_errors
    def failing():
        raise ZeroDivisionError

    assert isinstance(runner.invoke(failing).exception, ZeroDivisionError)


def test_exit_codes_are_documented():
    """The tree in the module's docstring gives every class its exit code; no code is used twice, and 2 is click's."""
    documented = dict(re.findall(r"(\w+Error) +exit (\d)", errors.__doc__))
    assert documented == {kind.__name__: str(kind.exit_code) for kind in ERROR_CLASSES}
    codes = [kind.exit_code for kind in ERROR_CLASSES]
    assert len(set(codes)) == len(codes)
    assert 2 not in codes


def test_json_is_one_object_on_standard_output(runner):
    """With --json a command prints one line of JSON and nothing else, without escaped letters; otherwise text."""

    @click.command()
    @json_option
    def command(as_json):
        with progress("working", 3) as advance:
            advance(3)
        print_result({"query": "Kühlschrank", "hits": 3}, "3 hits", as_json=as_json)

    result = runner.invoke(command, ["--json"])
    assert json.loads(result.stdout) == {"query": "Kühlschrank", "hits": 3}
    assert "ü" in result.stdout
    assert result.stdout.count("\n") == 1
    assert runner.invoke(command).stdout == "3 hits\n"


def test_json_holds_no_nan():
    """A value that JSON cannot represent is a bug and is never printed."""
    with pytest.raises(ValueError, match="JSON"):
        print_result({"value": float("nan")}, "", as_json=True)


def test_a_missing_extra_is_reported():
    """If a module is not installed, the ExtraError names the module, the extra and how to install it."""
    require_extra("train", "json")
    with pytest.raises(ExtraError, match=r"no_such_module not found.*'train'.*pip install '\.\[train\]'"):
        require_extra("train", "json", "no_such_module")
