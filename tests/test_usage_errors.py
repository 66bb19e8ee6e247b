"""Values that no command can use end with exit code 2 and one line, before anything is read or sent."""

import re
import shlex
import subprocess
import sys
import uuid
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from anthem_core.cli import main
from anthem_core.console import FiniteFloatRange
from anthem_core.output_files import check_output_files

NUMBERS = ("nan", "NaN", "-nan", "inf", "-inf", "Infinity", "1e999", "ten", "")
FLOAT_OPTIONS = [
    ("ingest products", "--rate"),
    ("ingest products --follow", "--interval"),
    ("remove products", "--rate"),
    ("train shop --output shop.pt", "--minutes"),
    ("serve", "--timeout"),
    ("search products sofa --rerank filter", "--slack"),
    ("explain sofa couch", "--lexical"),
]
# A command line with {} for a file that one option names as an output and another as an input.
OVERWRITES = [
    ("ingest shop --corpus corpus.jsonl --dead-letter {}", "--dead-letter", "--corpus", "corpus.jsonl"),
    ("ingest shop --corpus . --dead-letter {}", "--dead-letter", "--corpus", "corpus.jsonl"),
    ("ingest shop --bundle bundle --dead-letter {}", "--dead-letter", "--bundle", "bundle/manifest.json"),
    *(
        (f"rerank --corpus {corpus} --queries q --run run.trec --bundle bundle --output {{}}", "--output", source, file)
        for corpus, source, file in (
            ("c", "--corpus", "c"), (".", "--corpus", "corpus.jsonl"), (".", "--queries", "q"),
            (".", "--run", "run.trec"), (".", "--bundle", "bundle/manifest.json"),
        )
    ),
    *(
        (f"{command} --judgments {judged} --queries q --body body.json --bundle bundle {output} {{}}", *rest)
        for command, output in (("evaluate shop", "--output"), ("tune shop", "--png"), ("tune shop", "--svg"))
        for judged, *rest in (
            ("j", output, "--judgments", "j"), (".", output, "--judgments", "qrels/test.tsv"),
            ("ubi", output, "--judgments", "ubi/ubi_queries.ndjson"), ("j", output, "--queries", "q"),
            ("j", output, "--body", "body.json"), ("j", output, "--bundle", "bundle/manifest.json"),
        )
    ),
    ("evaluate shop --judgments {} --files .", "--files", "--judgments", "qrels.txt"),
    ("evaluate shop --judgments j --queries {} --files .", "--files", "--queries", "queries.tsv"),
    ("evaluate shop --judgments {} --rerank client --files .", "--files", "--judgments", "client.trec"),
    *(
        (f"explain sofa couch --bundle bundle {option} {{}}", option, "--bundle", "bundle/manifest.json")
        for option in ("--png", "--svg", "--map", "--html")
    ),
    ("demo --data . --output {}", "--output", "--data", "corpus.jsonl"),
    ("demo --bundle bundle --output {}", "--output", "--bundle", "bundle/manifest.json"),
    ("train . --output {}", "--output", "DATA", "qrels/test.tsv"),
    ("train . --teacher bundle --output {}", "--output", "--teacher", "bundle/query.onnx"),
    ("train . --teacher bundle --texts t --output {}", "--output", "--texts", "t"),
    ("train . --from base.pt --output {}", "--output", "--from", "base.pt"),
    ("export {} bundle", "BUNDLE", "CHECKPOINT", "bundle/training.npz"),
    ("export base.pt bundle --corpus {}", "BUNDLE", "--corpus", "bundle/training.npz"),
]  # fmt: skip
# Paths that are neither: what they name is appended to, has to be empty, or is not a file.
OTHER_PATHS = {
    ("doctor", "--history"), ("node", "--home"), ("serve", "--api-keys"), ("serve", "--certificate"),
    ("serve", "--private-key"), ("remove", "--dead-letter"), ("tune", "--output"),
}  # fmt: skip


def options_of(command, words=()):
    """Every option of a command and of the commands below it, with the words that call it."""
    for option in command.params:
        if isinstance(option, click.Option):
            yield " ".join(words), option
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            yield from options_of(command.get_command(click.Context(command), name), (*words, name))


def refuse(words):
    """Message of a command line that is refused."""
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert not result.stdout
    return result.stderr


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(("words", "option"), FLOAT_OPTIONS)
def test_a_number_that_is_not_finite_is_a_usage_error(words, option, number):
    """NaN and infinity are refused like any text that is no number, and the option is named."""
    assert option in refuse([*words.split(), f"{option}={number}"])


def test_every_option_with_a_float_is_checked():
    """No command has an option with a float that the test above does not know."""
    floats = {
        (words.split()[0], option.opts[0])
        for words, option in options_of(main)
        if isinstance(option.type, click.FloatRange | click.types.FloatParamType)
    }
    assert floats == {(words.split()[0], option) for words, option in FLOAT_OPTIONS}
    assert all(
        isinstance(option.type, FiniteFloatRange)
        for _, option in options_of(main)
        if isinstance(option.type, click.FloatRange)
    )


@pytest.mark.parametrize("blank", ["", " ", "\t"])
@pytest.mark.parametrize(
    "words", [["ingest"], ["remove"], ["doctor"], ["search", None, "sofa"], ["ingest", "products", "--field"],
              ["ingest", "products", "--id"], ["ingest", "products", "--corpus"]]
)  # fmt: skip
def test_an_empty_name_is_a_usage_error(words, blank):
    """An index, a field or a file without a name, such as a variable that is not set, is refused."""
    filled = [blank if word is None else word for word in words]
    assert refuse(filled if None in words else [*filled, blank])


@pytest.mark.parametrize("delimiter", ["", "ab", '"', "\n", "tabs"])
def test_a_delimiter_is_one_character(delimiter):
    """Nothing else can separate cells."""
    assert "one character" in refuse(["ingest", "products", f"--delimiter={delimiter}"])


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """The working folder, with every file that a line of `OVERWRITES` names."""
    folder = tmp_path / "inputs"
    others = ("c", "q", "j", "t", "run.trec", "body.json", "base.pt", "corpus.jsonl", "bundle/query.onnx")
    for name in {*others, "bundle/manifest.json", *(file for *_, file in OVERWRITES)}:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name, encoding="utf-8")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("name", ["{}", "./{}", "../symbolic", "../hard"])
@pytest.mark.parametrize(("line", "option", "source", "file"), OVERWRITES)
def test_no_output_is_an_input(inputs, line, option, source, file, name):
    """No command overwrites what it reads, under any name of the file, or in a folder that it reads."""
    if line.split()[0] in ("evaluate", "tune", "demo"):
        pytest.importorskip("ir_measures", reason="the extra `demo` is not installed")
    (inputs.parent / "symbolic").symlink_to(inputs / file)
    (inputs.parent / "hard").hardlink_to(inputs / file)
    message = refuse(shlex.split(line.format(name.format(file))))
    lost = rf"{option} (names|would overwrite) (a|the) file of {source}( and would overwrite it)?:"
    assert re.search(lost, message), message
    found = {str(path.relative_to(inputs)): path.read_text() for path in inputs.rglob("*") if path.is_file()}
    assert found.items() == {(name, name) for name in found}
    assert file in found


def test_standard_input_is_an_input(inputs):
    """A file that is read from standard input is not overwritten either."""
    words = ["ingest", "shop", "--corpus", "-", "--dead-letter", "c"]
    with (inputs / "c").open() as file:
        done = subprocess.run(
            [sys.executable, "-m", "anthem_search", *words], stdin=file, capture_output=True, check=False
        )
    assert done.returncode == 2
    assert b"names the file of --corpus" in done.stderr


def test_the_folder_of_a_training_is_not_its_data(inputs):
    """A training deletes `OUTPUT.work` at its end, so nothing that it reads may lie there."""
    (inputs / "shop.work").mkdir()
    (inputs / "shop.work" / "corpus.jsonl").touch()
    for words in (["train", "shop.work"], ["train", ".", "--teacher", "bundle", "--texts", "shop.work/corpus.jsonl"]):
        assert "--output would delete a file of" in refuse([*words, "--output", "shop"])


@pytest.mark.usefixtures("inputs")
def test_two_outputs_are_two_files():
    """Two options that name the same file are refused, as one would overwrite the other."""
    pytest.importorskip("ir_measures", reason="the extra `demo` is not installed")
    assert "both name" in refuse(["tune", "shop", "--judgments", "j", "--png", "x", "--svg", "./x"])
    words = ["evaluate", "shop", "--judgments", "j", "--files", "new", "--output", "new/lexical.trec"]
    assert "both name" in refuse(words)


def test_other_files_in_a_folder_of_inputs_are_written(inputs):
    """A run, a report or a model may lie beside the data, and is replaced when the command runs again."""
    for name in ("anthem.trec", "report.html", "shop.pt", "corpus.jsonl.rejected", "queries.jsonl.html"):
        (inputs / name).touch()
        check_output_files({"--output": inputs / name}, {"--corpus": inputs, "--judgments": inputs})
    check_output_files({"--output": Path("/dev/null")}, {"--corpus": Path("/dev/null")})


def test_every_option_with_a_path_is_checked():
    """No command has an option with a path that the tests above do not know."""
    named = {
        (words.split()[0], option.opts[0]) for words, option in options_of(main) if isinstance(option.type, click.Path)
    }
    tested = {(line.split()[0], option) for line, *options, _ in OVERWRITES for option in options}
    assert named <= tested | OTHER_PATHS


def test_a_field_that_is_named_twice_counts_once():
    """Every repeatable `--field` keeps the first of equal names, in their order."""
    fields = {words: option for words, option in options_of(main) if option.multiple and "--field" in option.opts}
    assert fields.keys() == {"ingest", "doctor", "rerank"}
    for option in fields.values():
        value = option.process_value(click.Context(main), ("title", "brand", "title"))
        assert value == ("title", "brand")


def test_the_dead_letters_are_not_the_corpus(tmp_path, monkeypatch):
    """A file of products that is named for the dead letters too, or has their default name, is not overwritten."""
    monkeypatch.chdir(tmp_path)
    corpus = tmp_path / "shop.dead-letter.jsonl"
    corpus.write_text('{"_id": "1", "title": "tv"}\n', encoding="utf-8")
    for arguments in (["other", "--dead-letter", str(corpus)], ["shop"]):
        result = CliRunner().invoke(
            main, ["ingest", *arguments, "--corpus", str(corpus), "--url", "http://127.0.0.1:1"]
        )
        assert result.exit_code == 2, result.output
        assert "--dead-letter names the file of --corpus" in result.stderr
    assert "tv" in corpus.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "option", ["--id=sku", "--format=csv", "--delimiter=;", "--on-duplicate=last", "--partial"]
)  # fmt: skip
def test_an_option_of_files_needs_a_file(option):
    """An option that says how to read a file is refused without one, instead of being ignored."""
    message = refuse(["ingest", "products", option])
    assert option.partition("=")[0] in message
    assert "--corpus" in message


@pytest.mark.node
@pytest.mark.parametrize("words", [["ingest", "products"], ["remove", "products", "--yes"]])
def test_dead_letters_that_cannot_be_written(cluster, client, words, tmp_path):
    """A file for failures that cannot be written ends the command before anything is written, with the option."""
    name = f"test-{uuid.uuid4().hex}"
    client.index(index=name, id="1", body={"title": "red shoe"}, refresh=True)
    (tmp_path / "file").touch()
    try:
        command = [words[0], name, *words[2:], "--url", cluster, "--dead-letter", str(tmp_path / "file" / "dead")]
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 4
        assert "--dead-letter" in result.stderr
        assert client.get(index=name, id="1")["_version"] == 1
    finally:
        client.indices.delete(index=name)


def test_a_load_keeps_no_values_of_another_model():
    """`--beside` with `--corpus` is refused, with the two commands that do it."""
    message = refuse(["ingest", "products", "--corpus", __file__, "--beside"])
    assert "Load the file without --beside" in message
