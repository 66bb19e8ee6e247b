"""The architecture: layers, sizes, docstrings, help texts, and a base install without torch."""

import ast
import json
import os
import re
import subprocess
import sys
import venv
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest

from anthem_core.cli import main

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("core", "sandbox", "ingest", "plugin", "doctor", "evaluation", "model", "exporter")
PACKAGES = [
    ROOT / "front" / "anthem_search",
    *(ROOT / folder / f"anthem_{folder}" for folder in FOLDERS),
    ROOT / "bench" / "rankers",
]
FILES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))
HEAVY = {"torch", "geoopt", "onnx", "onnxscript"}
NAMES = sorted(entry.name for entry in entry_points(group="anthem.commands"))

files = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))


def commands(command=main, words=()):
    """Every command and group of `anthem`, with the words that call it."""
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
    """Output of some code in a new Python process."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_all_packages_are_checked():
    """The list of files covers every package."""
    assert {path.parts[len(ROOT.parts)] for path in FILES} == {package.parent.name for package in PACKAGES}


@files
def test_modules_are_documented_and_small(path):
    """Every module has a docstring, at most 350 lines, and no function of more than 50 lines."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    assert ast.get_docstring(tree)
    assert source.count("\n") <= 350
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [node.name for node in functions if node.end_lineno - node.lineno + 1 > 50] == []


@files
def test_torch_stays_in_model_and_exporter(path):
    """No other package imports torch or its companions, not even inside a function."""
    if path.relative_to(ROOT).parts[0] in ("model", "exporter", "bench"):
        return
    assert HEAVY.isdisjoint(imported(ast.parse(path.read_text(encoding="utf-8"))))


def test_layers_are_kept():
    """Import-linter finds no broken contract."""
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def test_the_architecture_page_lists_the_imports():
    """The table of packages in docs/architecture.md names, for each package, the packages that it imports."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)/` \| `(anthem_\w+)` \| ([\w, ]*)\|", page, re.MULTILINE)
    listed = {package: {f"anthem_{name}" for name in names.split(", ") if name.strip()} for _, package, names in rows}
    actual = {}
    for package in {package for _, package, _ in rows}:
        modules = [ast.parse(path.read_text(encoding="utf-8")) for path in FILES if package in path.parts]
        actual[package] = {name for tree in modules for name in imported(tree) if name.startswith("anthem_")} - {
            package
        }
    assert {package: {name.strip() for name in names} for package, names in listed.items()} == actual
    assert {package.name for package in PACKAGES} == {*listed, "rankers"}


def test_the_architecture_page_names_what_exists():
    """Every file that docs/architecture.md names exists, and every function listed with a file is defined in it."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    page = re.sub(r"\b(\w+)/…/", r"\1/anthem_\1/", page)
    paths = re.findall(r"\b(?:core|plugin|ingest|doctor|evaluation|model|exporter)/anthem_\w+/[\w/]+\.py", page)
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / path).is_file()] == []
    defined = re.findall(r"(?:└|├) ([a-z]+_\w+|[A-Z]\w+\.\w+) +(\S+\.py)", page)
    assert len(defined) > 10
    for name, path in defined:
        assert f"def {name.split('.')[-1]}(" in (ROOT / path).read_text(encoding="utf-8"), name


def test_every_command_has_a_help_with_an_example():
    """Each command and option has a help text, each command an example, and each command but groups has `--json`."""
    by_words = {" ".join(words): command for command, words in commands()}
    assert {"node start", "train", "export", "ingest", "search"} <= by_words.keys()
    for words, command in by_words.items():
        assert "Example:" in command.help, words
        assert f"anthem {words}".strip() in command.help.split("Example:")[1], words
        options = {option for parameter in command.params for option in parameter.opts}
        assert isinstance(command, click.Group) or "--json" in options, words
        assert all(parameter.help for parameter in command.params if isinstance(parameter, click.Option)), words


@pytest.mark.parametrize("words", [["--help"], ["search", "--help"], ["export", "--help"], ["train", "--help"]])
def test_help_does_not_import_torch(words):
    """Help is shown without importing torch or ONNX."""
    code = f"""
import sys
from anthem_core.cli import main
main({words!r}, standalone_mode=False)
print(sorted(set(sys.modules) & {{'torch', 'geoopt', 'onnx', 'onnxscript'}}))
"""
    assert python(code).endswith("[]\n")


@pytest.mark.train
def test_the_extra_train_is_enough_for_model_and_exporter():
    """With the extra `train`, every module of model and exporter can be imported."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts[1:]).removesuffix(".__init__")
        for path in FILES
        if path.relative_to(ROOT).parts[0] in ("model", "exporter")
    ]
    assert "anthem_exporter.export" in modules
    listed = ", ".join(modules)
    assert python(f"import warnings; warnings.simplefilter('ignore'); import {listed}; print('fine')") == "fine\n"


@pytest.mark.parametrize("tool", ["ruff", "mypy", "lint-imports", "pytest", "hatchling"])
def test_the_extra_dev_installs_the_tools(tool):
    """With the extra `dev`, every tool that `make lint` and `make test` call is installed."""
    program = Path(sys.executable).with_name(tool)
    assert subprocess.run([program, "--help"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """Folder of commands of a new environment that contains only the wheel, without extras."""
    folder = tmp_path_factory.mktemp("bare")
    wheels = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(wheels, check=True)
    venv.create(folder / "venv", with_pip=True)
    scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    (wheel,) = folder.glob("*.whl")
    subprocess.run([scripts / "python", "-m", "pip", "install", "--quiet", str(wheel)], check=True)
    return scripts


def in_bare(bare, *words, cwd):
    """Run a command of the bare environment in another folder, without paths or cluster of this one."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "OPENSEARCH"))}
    return subprocess.run(
        [bare / words[0], *words[1:]], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.install
def test_a_bare_environment_has_no_torch(bare, tmp_path):
    """The distribution without extras installs no package that only training needs."""
    listed = in_bare(bare, "python", "-m", "pip", "list", "--format", "json", cwd=tmp_path)
    assert HEAVY.isdisjoint(entry["name"] for entry in json.loads(listed.stdout))


@pytest.mark.install
def test_a_bare_environment_shows_every_help(bare, tmp_path):
    """The version and every help text are shown without any extra."""
    assert in_bare(bare, "anthem", "--version", cwd=tmp_path).stdout.startswith("anthem, version ")
    for name in [[], *([name] for name in NAMES)]:
        shown = in_bare(bare, "anthem", *name, "--help", cwd=tmp_path)
        assert shown.returncode == 0, shown.stderr
        assert "Example:" in shown.stdout


@pytest.mark.install
def test_a_bare_environment_encodes(bare, tmp_path):
    """The bundle in the wheel is found by name, from another folder, and encodes a query and a product."""
    code = (
        "from anthem_search import Encoder, load_bundle; e = Encoder(load_bundle('general')); "
        "query, points = e.encode_query('fire tv'), e.encode_products(['fire tv stick']); "
        "print(float(query.distance(points, e.bundle.gamma)[0]) >= 0)"
    )
    done = in_bare(bare, "python", "-c", code, cwd=tmp_path)
    assert done.stdout == "True\n", done.stderr


@pytest.mark.install
def test_a_bare_environment_is_light(bare, tmp_path):
    """The distribution without extras installs none of the packages of the extras."""
    listed = in_bare(bare, "python", "-m", "pip", "list", "--format", "json", cwd=tmp_path)
    installed = {entry["name"].lower() for entry in json.loads(listed.stdout)}
    extras = {
        "fastapi",
        "uvicorn",
        "prometheus-client",
        "jinja2",
        "ir-measures",
        "jgo",
        "scipy",
        "testcontainers",
        "boto3",
    }
    assert extras.isdisjoint(installed)


@pytest.mark.install
def test_a_bare_environment_has_the_page(bare, tmp_path):
    """The wheel contains every file of the page of `anthem serve --ui`."""
    static = ROOT / "plugin" / "anthem_plugin" / "service" / "ui" / "static"
    code = "from anthem_plugin.service.ui.page_files import read_page_files; print(len(read_page_files()))"
    assert in_bare(bare, "python", "-c", code, cwd=tmp_path).stdout == f"{len([*static.iterdir()])}\n"


@pytest.mark.install
def test_a_bare_environment_reranks_a_run(bare, tmp_path):
    """`anthem rerank` needs no extra: it keeps every document of the run and ranks the title that matches first."""
    products = [("p1", "Yoga Mat"), ("p2", "Makita Cordless Drill 18V"), ("p3", "Desk Lamp")]
    corpus = "".join(json.dumps({"_id": name, "title": title}) + "\n" for name, title in products)
    (tmp_path / "corpus.jsonl").write_text(corpus)
    (tmp_path / "queries.jsonl").write_text(json.dumps({"_id": "q1", "text": "cordless dril"}) + "\n")
    run = "".join(f"q1 Q0 {name} {rank} 1.0 bm25\n" for rank, (name, _) in enumerate(products, start=1))
    (tmp_path / "bm25.trec").write_text(run)
    files = ["--corpus", "corpus.jsonl", "--queries", "queries.jsonl", "--run", "bm25.trec", "--output", "out.trec"]
    done = in_bare(bare, "anthem", "rerank", *files, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ranked = [line.split()[2] for line in (tmp_path / "out.trec").read_text().splitlines()]
    assert (ranked[0], sorted(ranked)) == ("p2", ["p1", "p2", "p3"])


@pytest.mark.install
@pytest.mark.parametrize(
    ("words", "extra", "package"),
    [
        (["export", "x", "y"], "train", "torch"),
        (["train", "x", "--output", "y"], "train", "torch"),
        (["serve"], "serve", "fastapi"),
        (["demo"], "demo", "jinja2"),
    ],
)
def test_a_bare_environment_names_the_extra(bare, tmp_path, words, extra, package):
    """A command whose extra is missing exits 9, and names the missing package and the command that installs it."""
    done = in_bare(bare, "anthem", *words, cwd=tmp_path)
    assert done.returncode == 9, done.stderr
    assert f"pip install '.[{extra}]'" in done.stderr
    assert package in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "package", sorted({path.parent for path in FILES}), ids=lambda path: str(path.relative_to(ROOT))
)
def test_every_package_says_what_belongs_in_it(package):
    """The docstring of every package starts with a one-line sentence on what belongs in the package."""
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8")))
    assert docstring
    assert docstring.splitlines()[0].endswith(".")


def test_no_message_installs_from_an_index():
    """No text tells the user to install the distribution by its name, because it is not published."""
    texts = [*FILES, *ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
    assert [
        str(path) for path in texts if " install anthem-search" in path.read_text(encoding="utf-8").replace("'", "")
    ] == []
