"""The promises of the whole: layers, sizes, docstrings, helps, and that all but training runs where torch is not."""

import ast
import json
import os
import subprocess
import sys
import venv
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest

from anthem_core.cli import main

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = [ROOT / part / f"anthem_{part}" for part in ("core", "model", "exporter", "ingest", "plugin", "evaluation")]
FILES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))
HEAVY = {"torch", "geoopt", "onnx", "onnxscript"}
NAMES = sorted(entry.name for entry in entry_points(group="anthem.commands"))

files = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))


def commands(command=main, words=()):
    """Every command and group beneath `anthem`, with the words that call it."""
    yield command, words
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            yield from commands(command.get_command(click.Context(command), name), (*words, name))


def imported(tree):
    """Top-level names of what a module imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


def python(code):
    """What a new Python process prints for a piece of code."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_there_is_something_to_check():
    """All six packages are seen."""
    assert {path.parts[len(ROOT.parts)] for path in FILES} == {package.parent.name for package in PACKAGES}


@files
def test_modules_are_documented_and_small(path):
    """Every module says what it is in a docstring, has at most 350 lines, and no function of more than 50."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    assert ast.get_docstring(tree)
    assert source.count("\n") <= 350
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [node.name for node in functions if node.end_lineno - node.lineno + 1 > 50] == []


@files
def test_torch_stays_in_model_and_exporter(path):
    """No other package names torch or what comes with it, not even inside a function."""
    if path.relative_to(ROOT).parts[0] in ("model", "exporter"):
        return
    assert HEAVY.isdisjoint(imported(ast.parse(path.read_text(encoding="utf-8"))))


def test_layers_are_kept():
    """Import-linter finds every contract kept."""
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def test_every_command_has_a_help_with_an_example():
    """Each command explains itself and shows a call of itself; each that is no group prints JSON on demand."""
    found = {" ".join(words): command for command, words in commands()}
    assert {"node start", "train", "export", "ingest", "search"} <= found.keys()
    for words, command in found.items():
        assert "Example:" in command.help, words
        assert f"anthem {words}".strip() in command.help.split("Example:")[1], words
        options = {option for parameter in command.params for option in parameter.opts}
        assert isinstance(command, click.Group) or "--json" in options, words
        assert all(parameter.help for parameter in command.params if isinstance(parameter, click.Option)), words


@pytest.mark.parametrize("words", [["--help"], ["search", "--help"], ["export", "--help"], ["train", "--help"]])
def test_help_does_not_import_torch(words):
    """Help is shown without torch, ONNX or a bundle being loaded."""
    code = f"""
import sys
from anthem_core.cli import main
main({words!r}, standalone_mode=False)
print(sorted(set(sys.modules) & {{'torch', 'geoopt', 'onnx', 'onnxscript'}}))
"""
    assert python(code).endswith("[]\n")


@pytest.mark.train
def test_the_extra_train_is_enough_for_model_and_exporter():
    """Where `train` is installed every module of model and exporter can be imported."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts[1:]).removesuffix(".__init__")
        for path in FILES
        if path.relative_to(ROOT).parts[0] in ("model", "exporter")
    ]
    assert "anthem_exporter.export" in modules
    listed = ", ".join(modules)
    assert python(f"import warnings; warnings.simplefilter('ignore'); import {listed}; print('fine')") == "fine\n"


@pytest.mark.parametrize("tool", ["ruff", "mypy", "lint-imports", "pytest", "hatchling"])
def test_the_extra_dev_brings_the_tools(tool):
    """Where `dev` is installed every tool that `make lint` and `make test` call answers."""
    found = Path(sys.executable).with_name(tool)
    assert subprocess.run([found, "--help"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """Folder of commands of a new environment with the wheel alone in it, no extra."""
    place = tmp_path_factory.mktemp("bare")
    wheels = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(place), str(ROOT)]
    subprocess.run(wheels, check=True)
    venv.create(place / "venv", with_pip=True)
    scripts = place / "venv" / ("Scripts" if os.name == "nt" else "bin")
    (wheel,) = place.glob("*.whl")
    subprocess.run([scripts / "python", "-m", "pip", "install", "--quiet", str(wheel)], check=True)
    return scripts


def in_bare(bare, *words, cwd):
    """Run a command of the bare environment in another folder, without this one's paths."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "OPENSEARCH"))}
    return subprocess.run(
        [bare / words[0], *words[1:]], cwd=cwd, env=clean, capture_output=True, text=True, check=False
    )


@pytest.mark.install
def test_a_bare_environment_has_no_torch(bare, tmp_path):
    """The distribution without extras brings nothing that is only for training."""
    listed = in_bare(bare, "python", "-m", "pip", "list", "--format", "json", cwd=tmp_path)
    assert HEAVY.isdisjoint(entry["name"] for entry in json.loads(listed.stdout))


@pytest.mark.install
def test_a_bare_environment_shows_every_help(bare, tmp_path):
    """Version and every help are shown without any extra."""
    assert in_bare(bare, "anthem", "--version", cwd=tmp_path).stdout.startswith("anthem, version ")
    for name in [[], *([name] for name in NAMES)]:
        shown = in_bare(bare, "anthem", *name, "--help", cwd=tmp_path)
        assert shown.returncode == 0, shown.stderr
        assert "Example:" in shown.stdout


@pytest.mark.install
def test_a_bare_environment_encodes(bare, tmp_path):
    """The bundle in the wheel is found by name, from another folder, and encodes a query and a product."""
    code = (
        "from anthem_core.encoding.bundle import load_bundle as load; from anthem_core.encoding.encoder import Encoder; "
        "from anthem_core.geometry.regions import query_distance as far; e = Encoder(load('general')); "
        "print(float(far(e.query('fire tv'), e.products(['fire tv stick']), e.bundle.gamma)[0]) >= 0)"
    )
    done = in_bare(bare, "python", "-c", code, cwd=tmp_path)
    assert done.stdout == "True\n", done.stderr


@pytest.mark.install
@pytest.mark.parametrize("words", [["export", "x", "y"], ["train", "x", "--output", "y"]])
def test_a_bare_environment_names_the_extra(bare, tmp_path, words):
    """What needs the extra `train` exits 9 and says how to get it."""
    done = in_bare(bare, "anthem", *words, cwd=tmp_path)
    assert done.returncode == 9
    assert "pip install 'anthem-search[train]'" in done.stderr
    assert "Traceback" not in done.stderr
