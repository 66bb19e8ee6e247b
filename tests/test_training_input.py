"""`anthem train` with unusual folders, files and arguments."""

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

torch.set_num_threads(1)  # for tiny tensors, more threads are slower

TITLES = [f"{colour} {thing}" for colour in ("red", "blue", "green", "black") for thing in ("teapot", "kettle", "mug")]
PRODUCTS = {f"p{row}": Product(f"p{row}", title) for row, title in enumerate(TITLES)}
QRELS = {f"q{row}": {f"p{row}": 2} for row in range(len(TITLES))}
DATASET = Dataset(PRODUCTS, {f"q{row}": title for row, title in enumerate(TITLES)}, {"train": QRELS})


@pytest.fixture
def train(tmp_path):
    """A function that runs `anthem train` from nothing with two steps, by default into `x.pt`."""

    def run(*arguments, output=tmp_path / "x.pt"):
        command = ["train", *map(str, arguments), "--output", str(output), "--from", "nothing", "--steps", "2"]
        return CliRunner().invoke(main, [*command, "--json"])

    return run


@pytest.fixture
def folder(tmp_path):
    """Twelve products, each the only relevant one for its own title."""
    write_dataset(DATASET, tmp_path / "shop")
    return tmp_path / "shop"


def test_an_output_that_is_not_a_regular_file_is_not_changed(train, folder, tmp_path):
    """A pipe as output gives exit code 4 and remains; so does a link to an empty file if training fails."""
    os.mkfifo(tmp_path / "pipe")
    result = train(folder, output=tmp_path / "pipe")
    assert result.exit_code == 4
    assert "is not a regular file" in result.stderr
    (tmp_path / "empty").touch()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    assert train(tmp_path / "none", output=tmp_path / "link").exit_code == 4
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "link").is_symlink()


def test_folders_of_the_same_name_are_two_shops(train, folder, tmp_path):
    """Both folders appear in the validation and in the training data of the checkpoint."""
    write_dataset(DATASET, tmp_path / "other" / "shop")
    result = train(folder, tmp_path / "other" / "shop")
    assert set(json.loads(result.stdout)["validation"]) == {"shop", "shop (2)"}
    assert load_checkpoint(tmp_path / "x.pt").trained_on == ["shop", "shop (2)"]


def test_other_splits_are_not_read(train, folder):
    """Damaged judgments in `dev` do not matter."""
    (folder / "qrels" / "dev.tsv").write_text("nothing of the kind\n")
    assert train(folder).exit_code == 0


def test_too_few_judgments_for_validation(train, tmp_path):
    """A single judged query is used for training; calibration uses the titles alone, and reports no quality."""
    write_dataset(replace(DATASET, qrels={"train": {"q0": QRELS["q0"]}}), tmp_path / "one")
    result = train(tmp_path / "one")
    assert result.exit_code == 0
    assert "fusion weights are chosen without judgments" in result.stderr
    assert json.loads(result.stdout)["validation"] == {}


def test_missing_judgments_are_reported(train, tmp_path):
    """Queries without `qrels/train.tsv` are ignored, with a message."""
    write_dataset(replace(DATASET, qrels={"dev": QRELS}), tmp_path / "dev")
    result = train(tmp_path / "dev")
    assert result.exit_code == 0
    assert "training on its titles alone" in result.stderr


def test_a_query_without_a_relevant_product_is_reported_with_its_line(tmp_path):
    """Each is reported with the line of its first judgment; more than one in a hundred is an error."""
    queries = {f"q{number}": "red mug" for number in range(200)}
    qrels = {query: {"p0": 1, "p1": 0} for query in queries} | {"q7": {"p0": 0, "p1": 0}}
    write_dataset(Dataset(PRODUCTS, queries, {"train": qrels}), tmp_path / "few")
    dataset = read_dataset(tmp_path / "few")
    lines = (tmp_path / "few" / "qrels" / "train.tsv").read_text().splitlines()
    (skipped,) = find_unanswered_queries(tmp_path / "few", dataset, "train")
    assert lines[skipped.line - 1].startswith("q7\t")
    assert str(skipped) == f"qrels/train.tsv:{skipped.line}: 'q7' has no relevant product"
    assert find_unanswered_queries(tmp_path / "few", dataset, "dev") == []
    qrels |= {f"q{number}": {"p0": 0} for number in range(3)}
    write_dataset(Dataset(PRODUCTS, queries, {"train": qrels}), tmp_path / "many")
    with pytest.raises(DataError, match=r"4 of 200 queries .* have no relevant product"):
        find_unanswered_queries(tmp_path / "many", read_dataset(tmp_path / "many"), "train")


@pytest.mark.parametrize("arguments", [("--seed", 2**64), ("--seed", -1), ("--threads", 100_000)])
def test_arguments_out_of_range_are_refused(train, folder, arguments):
    """A seed or a number of threads out of range is a usage error, exit code 2."""
    assert train(folder, *arguments).exit_code == 2


@pytest.mark.parametrize("state", [[], {}, {"of": 1}, {"format": 2, "fingerprint": 1}])
def test_a_foreign_state_is_ignored(train, folder, tmp_path, state):
    """A state file that does not belong to this training is ignored with a message, whatever it contains."""
    (tmp_path / "x.pt.work").mkdir()
    torch.save(state, tmp_path / "x.pt.work" / "state.pt")
    result = train(folder)
    assert result.exit_code == 0
    assert "training starts from the beginning" in result.stderr
