"""The `anthem` command: entry points, printing results, and exit codes by kind of error."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

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
    assert re.findall(r"^  ([\w-]+)  ", result.stdout.split("Commands:")[1], re.MULTILINE) == shown


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


def run_anthem(*words, **variables):
    """Result of the command as a process of its own."""
    command = [sys.executable, "-m", "anthem_search", *words]
    return subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)


def test_the_page_of_the_command_line_has_every_exit_code():
    """docs/command-line.md lists 0, click's 2 and the code of each class of errors, once each."""
    page = (Path(__file__).parent.parent / "docs" / "command-line.md").read_text(encoding="utf-8")
    listed = list(map(int, re.findall(r"^\| (\d) \|", page, re.MULTILINE)))
    assert listed == sorted({0, 2, *(kind.exit_code for kind in ERROR_CLASSES)})


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_documented_as_it_works(shell):
    """The variable that docs/command-line.md names for a shell makes the command print its completion."""
    page = (Path(__file__).parent.parent / "docs" / "command-line.md").read_text(encoding="utf-8")
    assert f"_ANTHEM_COMPLETE={shell}_source anthem" in page
    done = run_anthem(_ANTHEM_COMPLETE=f"{shell}_source")
    assert f"_ANTHEM_COMPLETE={shell}_complete" in done.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [("anthem se", {"search", "serve"}), ("anthem uninst", {"uninstall-data"}), ("anthem ingest --sl", {"--slices"}),
     ("anthem search --rerank cl", {"client", "cluster"}), ("anthem --log-level w", {"warning"})],
)  # fmt: skip
def test_commands_options_and_choices_are_completed(runner, words, expected):
    """Completion offers commands, options and the values of an option."""
    variables = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1), "_ANTHEM_COMPLETE": "bash_complete"}
    result = runner.invoke(main, [], env=variables, prog_name="anthem")
    assert {line.partition(",")[2] for line in result.stdout.splitlines()} == expected


@pytest.mark.parametrize(
    ("words", "variables", "levels"),
    [
        ([], {}, set()),
        (["--log-level", "warning"], {}, {"WARNING"}),
        ([], {"ANTHEM_LOG_LEVEL": "warning"}, {"WARNING"}),
        (["--log-level", "error"], {"ANTHEM_LOG_LEVEL": "debug"}, set()),
        (["--log-level", "INFO"], {}, {"WARNING", "INFO"}),
    ],
)
def test_the_log_level_decides_what_is_logged(words, variables, levels):
    """Messages of the level and above go to standard error, the option before the variable; none by default."""
    words = [*words, "search", "products", "lamp", "--url", "http://127.0.0.1:9", "--json"]
    done = run_anthem(*words, **variables)
    assert done.returncode == 6
    assert done.stdout == ""
    found = set(re.findall(r"^[\d-]+ [\d:,]+ ([A-Z]+) ", done.stderr, re.MULTILINE))
    assert found == levels
    assert json.loads(done.stderr.splitlines()[-1])["exit_code"] == 6
