"""What `anthem train` makes of folders and files that are not as they should be."""

import json
import os
from dataclasses import replace

import pytest
from click.testing import CliRunner

from anthem_core.beir import Dataset, Product, find_unanswered_queries, read_dataset, write_dataset
from anthem_core.cli import main
from anthem_core.errors import DataError

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_model.checkpoint import load_checkpoint

torch.set_num_threads(1)  # tiny tensors: threads only wait for each other

TITLES = [f"{colour} {thing}" for colour in ("red", "blue", "green", "black") for thing in ("teapot", "kettle", "mug")]
PRODUCTS = {f"p{row}": Product(f"p{row}", title) for row, title in enumerate(TITLES)}
QRELS = {f"q{row}": {f"p{row}": 2} for row in range(len(TITLES))}
WHOLE = Dataset(PRODUCTS, {f"q{row}": title for row, title in enumerate(TITLES)}, {"train": QRELS})


@pytest.fixture
def train(tmp_path):
    """A call of `anthem train` with two steps, into `x.pt` unless it says otherwise."""

    def call(*words, output=tmp_path / "x.pt"):
        return CliRunner().invoke(main, ["train", *map(str, words), "--output", str(output), "--steps", "2", "--json"])

    return call


@pytest.fixture
def folder(tmp_path):
    """Twelve products, each the one answer to its own title."""
    write_dataset(WHOLE, tmp_path / "shop")
    return tmp_path / "shop"


def test_what_is_no_file_is_neither_written_nor_removed(train, folder, tmp_path):
    """A pipe as output is exit code 4, and stays; so does a link to an empty file where the training fails."""
    os.mkfifo(tmp_path / "pipe")
    result = train(folder, output=tmp_path / "pipe")
    assert result.exit_code == 4
    assert "is no plain file" in result.stderr
    (tmp_path / "empty").touch()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    assert train(tmp_path / "none", output=tmp_path / "link").exit_code == 4
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "link").is_symlink()


def test_folders_of_one_name_are_two_shops(train, folder, tmp_path):
    """Both folders count, in validation and in what the checkpoint was trained on."""
    write_dataset(WHOLE, tmp_path / "other" / "shop")
    result = train(folder, tmp_path / "other" / "shop")
    assert set(json.loads(result.stdout)["validation"]) == {"shop", "shop (2)"}
    assert load_checkpoint(tmp_path / "x.pt").trained_on == ["shop", "shop (2)"]


def test_other_splits_are_not_read(train, folder):
    """A broken `dev` is no reason not to train."""
    (folder / "qrels" / "dev.tsv").write_text("nothing of the kind\n")
    assert train(folder).exit_code == 0


def test_too_few_judgments_to_validate_choose_nothing(train, tmp_path):
    """One judged query is learned from; slack and fusion are those of the titles alone, and no quality is claimed."""
    write_dataset(replace(WHOLE, qrels={"train": {"q0": QRELS["q0"]}}), tmp_path / "one")
    result = train(tmp_path / "one")
    assert result.exit_code == 0
    assert "chosen as without judgments" in result.stderr
    assert json.loads(result.stdout)["validation"] == {}


def test_judgments_that_are_not_there_are_missed_aloud(train, tmp_path):
    """Queries without `qrels/train.tsv` are trained on as titles alone, and it is said."""
    write_dataset(replace(WHOLE, qrels={"dev": QRELS}), tmp_path / "dev")
    result = train(tmp_path / "dev")
    assert result.exit_code == 0
    assert "learning from its titles alone" in result.stderr


def test_a_query_without_a_relevant_product_is_named_with_its_line(tmp_path):
    """Each is told where its first judgment stands; more than one in a hundred is an error."""
    queries = {f"q{number}": "red mug" for number in range(200)}
    qrels = {query: {"p0": 1, "p1": 0} for query in queries} | {"q7": {"p0": 0, "p1": 0}}
    write_dataset(Dataset(PRODUCTS, queries, {"train": qrels}), tmp_path / "few")
    dataset = read_dataset(tmp_path / "few")
    lines = (tmp_path / "few" / "qrels" / "train.tsv").read_text().splitlines()
    (found,) = find_unanswered_queries(tmp_path / "few", dataset, "train")
    assert lines[found.line - 1].startswith("q7\t")
    assert str(found) == f"qrels/train.tsv:{found.line}: 'q7' has no relevant product"
    assert find_unanswered_queries(tmp_path / "few", dataset, "dev") == []
    qrels |= {f"q{number}": {"p0": 0} for number in range(3)}
    write_dataset(Dataset(PRODUCTS, queries, {"train": qrels}), tmp_path / "many")
    with pytest.raises(DataError, match=r"4 of 200 queries .* have no relevant product"):
        find_unanswered_queries(tmp_path / "many", read_dataset(tmp_path / "many"), "train")


@pytest.mark.parametrize("words", [("--seed", 2**64), ("--seed", -1), ("--threads", 100_000)])
def test_numbers_out_of_reach_are_refused(train, folder, words):
    """A seed or a number of threads that no machine takes is a mistake on the command line, exit code 2."""
    assert train(folder, *words).exit_code == 2


@pytest.mark.parametrize("state", [[], {}, {"of": 1}])
def test_a_state_of_something_else_starts_anew(train, folder, tmp_path, state):
    """A file where a killed training would have left its state is put away with a word, whatever is in it."""
    (tmp_path / "x.pt.work").mkdir()
    torch.save(state, tmp_path / "x.pt.work" / "state.pt")
    result = train(folder)
    assert result.exit_code == 0
    assert "starts anew" in result.stderr
