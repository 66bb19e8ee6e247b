"""The reference in docs/reference/ is what the code says: commands, Python, HTTP and the bundle."""

import shlex
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import click
import pytest
from doc_blocks import read_blocks, read_commands

import anthem_search
from anthem_core.cli import main
from anthem_core.encoding.bundle import list_bundle_files, load_bundle

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"


def make_reference(*arguments):
    """The finished process of docs/make_reference.py."""
    command = [sys.executable, str(ROOT / "docs" / "make_reference.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_reference_is_up_to_date():
    """`--check` finds no page that differs from what the code says now."""
    done = make_reference("--check")
    assert done.returncode == 0, done.stderr


def test_a_page_that_is_not_up_to_date_is_found(tmp_path):
    """`--check` names the page and the difference, and changes nothing."""
    folder = shutil.copytree(REFERENCE, tmp_path / "reference")
    page = folder / "commands.md"
    page.write_text(page.read_text(encoding="utf-8").replace("Port; 0 chooses", "Port; 7 chooses"), encoding="utf-8")
    done = make_reference("--check", "--folder", folder)
    assert done.returncode == 1
    assert "Port; 7 chooses" in done.stderr
    assert str(page) in done.stderr
    assert "Port; 7 chooses" in page.read_text(encoding="utf-8")


def find_command(words):
    """The command that words call, and the words that are left."""
    command = main
    while isinstance(command, click.Group):
        command = command.get_command(click.Context(command), words[0])
        assert command is not None, words
        words = words[1:]
    return command, words


def test_the_examples_use_options_that_exist():
    """Each example on the page of commands calls a command that exists, with options and choices that it has."""
    examples = [command for block in read_blocks(REFERENCE / "commands.md") if block.tag == "sh"
                for command in read_commands(block.text) if command.startswith("anthem ")]  # fmt: skip
    assert len(examples) > 30
    for example in examples:
        command, words = find_command(shlex.split(example, comments=True)[1:])
        options = {name: option for option in command.params for name in option.opts}
        for word, value in pairwise([*words, None]):
            assert not word.startswith("--") or word in options, example
            kind = options[word].type if word in options else None
            assert not isinstance(kind, click.Choice) or value in kind.choices, example


def test_everything_that_is_exported_is_on_the_page():
    """docs/reference/python.md names all that `anthem_search` exports, and docs/reference/bundle.md every file."""
    python = (REFERENCE / "python.md").read_text(encoding="utf-8")
    assert [name for name in anthem_search.__all__ if f"`{name}`" not in python] == ["__version__"]
    bundle = (REFERENCE / "bundle.md").read_text(encoding="utf-8")
    assert [name for name in list_bundle_files(load_bundle("general").path) if f"| `{name}` |" not in bundle] == []
