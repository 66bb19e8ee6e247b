"""Writes docs/reference/ from the code: commands, Python, HTTP and the bundle. `--check` only compares.

python docs/make_reference.py
python docs/make_reference.py --check
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import onnxruntime

from anthem_core.cli import main as anthem
from anthem_core.encoding import bundle as bundles
from anthem_core.encoding.encoder import Encoder
from anthem_plugin.service.app import create_app
from markdown_page import GENERATED_NOTE, escape_cell, escape_html, format_code_cell, format_markdown_table, join_page
from python_page import render_python

if TYPE_CHECKING:
    from collections.abc import Iterator

REFERENCE_FOLDER = Path(__file__).resolve().parent / "reference"
COMMANDS_INTRO = f"""# Commands

{GENERATED_NOTE}

Every command with its options, as `anthem COMMAND --help` shows them. [The command line](../command-line.md) explains
what all have in common: output, exit codes, files, log messages."""
HTTP_INTRO = f"""# HTTP endpoints

{GENERATED_NOTE}

Every endpoint and the fields of its request, from the OpenAPI schema that the running service returns at
`/openapi.json`. [The HTTP service](../http.md) has examples, keys, limits and errors."""
BUNDLE_INTRO = f"""# The bundle

{GENERATED_NOTE}

A bundle is a folder that `anthem export` writes and every other command reads. This is format {bundles.BUNDLE_FORMAT};
formats {" and ".join(map(str, bundles.READ_FORMATS))} can be read. A bundle needs ONNX Runtime alone, and contains no
code. A file that is damaged, missing or changed is refused, with exit code 3."""
MODEL_ID_NOTE = """The model id is a SHA-256 over graphs, vocabulary, text rules and `vector_step`. Fusion weights,
slack and window are not part of it: with other weights, values in the index stay valid."""
BUNDLE_FILE_PURPOSES = {
    bundles.MANIFEST_FILE: "what the bundle is: the values below, and the SHA-256 of every other file",
    bundles.QUERY_GRAPH: "queries to hyperboloids",
    bundles.PRODUCT_GRAPH: "titles to points",
    bundles.TRIGRAMS_FILE: "the known trigrams, one per line, in the order of their ids",
    bundles.WORDS_FILE: "the known words, one per line; their ids follow those of the trigrams",
    bundles.ATTENTION_TABLE_GRAPH: "queries to attention tables, which compute scores; without it, no attention",
    bundles.ATTENTION_GRAPH: "a query and titles to scores and grids, which explain scores",
    bundles.TRAINING_FILE: "what `anthem train --from` starts from; not needed to search",
    "README.md": "the model card, for people",
}


def iterate_commands(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below a group, with the words that call it."""
    if not isinstance(command, click.Group):
        yield words, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None  # noqa: S101 (its name was just listed)
        yield from iterate_commands(below, (*words, name))


def render_commands() -> str:
    """The page of all commands, from their help."""
    parts = [COMMANDS_INTRO]
    parts += ["## `anthem`", format_parameters(anthem, click.Context(anthem))]
    for words, command in iterate_commands(anthem, ("anthem",)):
        context = click.Context(command, info_name=" ".join(words))
        usage = " ".join([*words, *command.collect_usage_pieces(context)])
        description, _, example = inspect.cleandoc(command.help or "").replace("\b\n", "").partition("Example:")
        parts += [f"## `{' '.join(words)}`", f"```text\n{usage}\n```", escape_html(description.strip())]
        parts += [f"```sh\n{inspect.cleandoc(example)}\n```", format_parameters(command, context)]
    return join_page(parts)


def format_parameters(command: click.Command, context: click.Context) -> str:
    """Table of the options of a command."""
    options = [parameter for parameter in command.get_params(context) if isinstance(parameter, click.Option)]
    records = [option.get_help_record(context) for option in options if "--help" not in option.opts]
    rows = [(format_code_cell(name), escape_cell(text)) for name, text in filter(None, records)]
    return format_markdown_table(("Option", ""), rows)


def render_http() -> str:
    """The page of the endpoints and their fields, from the OpenAPI schema of the service."""
    schema = create_app(Encoder(bundles.load_bundle("general")), None).openapi()
    schemas = schema["components"]["schemas"]
    parts = [HTTP_INTRO]
    answers = [
        {(status, response["description"]) for status, response in operation["responses"].items()}
        for operations in schema["paths"].values()
        for operation in operations.values()
    ]
    common = set.intersection(*answers)
    parts.append("All of them may answer with " + _format_statuses(common))
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            parts += [f"## `{method.upper()} {path}`", escape_html(inspect.cleandoc(operation.get("description", "")))]
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content:
                bodies = content["schema"].get("anyOf") or content["schema"].get("oneOf") or [content["schema"]]
                parts += [_format_fields(schemas[body["$ref"].rpartition("/")[2]]) for body in bodies if "$ref" in body]
            own = {(status, response["description"]) for status, response in operation["responses"].items()} - common
            parts.append("It may also answer with " + _format_statuses(own) if own else "")
    return join_page(parts)


def _format_statuses(statuses: set[tuple[str, str]]) -> str:
    return "; ".join(f"{status}: {text.rstrip('.')}" for status, text in sorted(statuses)) + "."


def _format_fields(schema: dict[str, Any]) -> str:
    rows = []
    for name, field in schema["properties"].items():
        required = name in schema.get("required", ())
        default = "required" if required else f"`{json.dumps(field.get('default'))}`"
        rows.append((f"`{name}`", describe_schema(field), default, escape_cell(field.get("description", ""))))
    return format_markdown_table(("Field", "Type", "Default", ""), rows)


def describe_schema(field: dict[str, Any]) -> str:
    """The type of a JSON value in words, with its limits."""
    if "$ref" in field:
        return "object"
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(map(describe_schema, field["anyOf"])))
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    kind = str(field.get("type", "any value"))
    if kind == "array":
        kind = f"list of {describe_schema(field.get('items', {}))}"
    limits = {
        "minimum": "≥",
        "exclusiveMinimum": ">",
        "maximum": "≤",
        "minItems": "at least",
        "maxItems": "at most",
        "minLength": "at least",
    }
    return ", ".join([kind, *(f"{sign} {field[name]:g}" for name, sign in limits.items() if name in field)])


def render_bundle() -> str:
    """The page of the bundle's format: its files, graphs and manifest, with `general` as the example."""
    bundle = bundles.load_bundle("general")
    manifest = json.loads((bundle.path / bundles.MANIFEST_FILE).read_text(encoding="utf-8"))
    required = (bundles.MANIFEST_FILE, *bundles.REQUIRED_FILES)
    rows = [
        (f"`{name}`", "required" if name in required else "optional", purpose)
        for name, purpose in BUNDLE_FILE_PURPOSES.items()
    ]
    graphs = [name for name in bundles.list_bundle_files(bundle.path) if name.endswith(".onnx")]
    parts = [
        BUNDLE_INTRO,
        "## Files", format_markdown_table(("File", "", ""), rows),
        "## Graphs", "`B`, `N`, `T` and other letters are sizes that may change from call to call.",
        format_markdown_table(("Graph", "Inputs", "Outputs"), [_graph_row(bundle.path, name) for name in graphs]),
        "## Manifest", "The keys of `manifest.json`, with the values of `general`.",
        format_markdown_table(("Key", "Value", ""), _manifest_rows(manifest)),
        MODEL_ID_NOTE,
    ]  # fmt: skip
    return join_page(parts)


def _graph_row(folder: Path, name: str) -> tuple[str, ...]:
    session = onnxruntime.InferenceSession(folder / name, providers=["CPUExecutionProvider"])
    sides = (session.get_inputs(), session.get_outputs())
    cells = ("<br>".join(f"`{node.name}` ({', '.join(map(str, node.shape))})" for node in side) for side in sides)
    return (f"`{name}`", *cells)


def _manifest_rows(manifest: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Rows of the manifest's keys; their meanings are those of the attributes of `Bundle`."""
    entries = re.findall(
        r"^    (\w+): (.+?)(?=^    \w+: |\Z)", inspect.getdoc(bundles.Bundle) or "", re.MULTILINE | re.DOTALL
    )
    meanings = dict(entries) | {"format": "Version of this format.", "sha256": "SHA-256 of every file."}
    meanings |= {
        "model": meanings["model_id"],
        "text": "Rules by which texts become entities. " + meanings["vocabulary"],
    }
    names = [*manifest, *({field.name for field in dataclasses.fields(bundles.Bundle)} & {"window"} - manifest.keys())]
    for key in names:
        value = manifest.get(key, "")
        shown = (
            f"`{value}`"
            if isinstance(value, int | float | str) and value != ""
            else "an object"
            if isinstance(value, dict)
            else "a list"
            if value
            else "not set"
        )
        yield f"`{key}`", shown, escape_cell(meanings[key])


PAGE_RENDERERS = {
    "commands.md": render_commands,
    "python.md": render_python,
    "http.md": render_http,
    "bundle.md": render_bundle,
}


@click.command()
@click.option(
    "--check", "is_check", is_flag=True, help="Write nothing; exit with 1 if a page is not what would be written."
)
@click.option("--folder", default=REFERENCE_FOLDER, type=click.Path(path_type=Path), help="Folder of the pages.")
def make_reference(*, is_check: bool, folder: Path) -> None:
    """Write docs/reference/ from the code.

    Example: python docs/make_reference.py --check
    """
    for name, render in PAGE_RENDERERS.items():
        path = folder / name
        text, present = render(), path.read_text(encoding="utf-8") if path.is_file() else ""
        if not is_check:
            path.write_text(text, encoding="utf-8")
        elif text != present:
            changes = difflib.unified_diff(
                present.splitlines(), text.splitlines(), str(path), "what the code says", lineterm="", n=0
            )
            click.echo("\n".join(changes), err=True)
            click.echo(f"{path} is not up to date. Run: python docs/make_reference.py", err=True)
            sys.exit(1)


if __name__ == "__main__":
    make_reference()
