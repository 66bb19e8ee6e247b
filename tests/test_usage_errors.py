"""Values that no command can use end with exit code 2 and one line, before anything is read or sent."""

import uuid

import click
import pytest
from click.testing import CliRunner

from anthem_core.cli import main
from anthem_core.console import FiniteFloatRange

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
