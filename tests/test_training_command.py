"""`anthem train` on a folder of twenty products: results, errors, and resuming after a kill."""

import json
import math
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from click.testing import CliRunner
from training_dataset import build_dataset

from anthem_core.beir import write_dataset
from anthem_core.cli import main

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_model.checkpoint import load_checkpoint

torch.set_num_threads(1)  # for tiny tensors, more threads are slower


@pytest.fixture
def folder(tmp_path):
    """The dataset as a BEIR folder."""
    write_dataset(build_dataset(), tmp_path / "shop")
    return tmp_path / "shop"


def build_command(folder, output, *options, steps=16):
    """Arguments of `anthem train` for a short training from nothing."""
    return [
        "train",
        str(folder),
        "--output",
        str(output),
        "--steps",
        str(steps),
        "--from",
        "nothing",
        "--json",
        *options,
    ]


def are_equal(left, right):
    """Whether two state dictionaries are equal, bit for bit."""
    return left.keys() == right.keys() and all(torch.equal(value, right[name]) for name, value in left.items())


def test_a_killed_training_resumes_to_the_same_checkpoint(folder, tmp_path):
    """Killed by SIGKILL and started again, `anthem train` writes the uninterrupted result and deletes its state."""
    killed, uninterrupted = tmp_path / "killed.pt", tmp_path / "uninterrupted.pt"
    state = tmp_path / "killed.pt.work" / "state.pt"
    command = [sys.executable, "-c", "from anthem_core.cli import main; main()", *build_command(folder, killed)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while not state.exists() and process.poll() is None:
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not killed.exists()
    results = [CliRunner().invoke(main, build_command(folder, output)) for output in (killed, uninterrupted)]
    assert [result.exit_code for result in results] == [0, 0], results[0].output
    assert "resuming after step" in results[0].stderr
    assert "resuming after step" not in results[1].stderr
    left, right = load_checkpoint(killed), load_checkpoint(uninterrupted)
    assert are_equal(left.model.state_dict(), right.model.state_dict())
    assert replace(left.calibration, quality={}) == replace(right.calibration, quality={})
    assert left.vocabulary == right.vocabulary
    assert left.quality == right.quality
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed.pt", "shop", "uninterrupted.pt"]


def test_help_has_examples():
    """`anthem train --help` has examples and lists every option."""
    help_text = CliRunner().invoke(main, ["train", "--help"]).output
    assert "Example:" in help_text
    assert "anthem train shop/ --from nothing" in help_text
    assert "--teacher bge-small-en-v1.5" in help_text
    for option in ("output", "seed", "steps", "minutes", "threads", "teacher", "texts", "from", "share", "json"):
        assert f"--{option}" in help_text


def test_a_teacher_that_is_not_a_model_exits_4(folder, tmp_path):
    """A --teacher that is neither a folder nor known gives exit code 4, is named, and leaves no files behind."""
    result = CliRunner().invoke(main, build_command(folder, tmp_path / "x.pt", "--teacher", str(tmp_path / "none")))
    assert result.exit_code == 4
    assert f"{tmp_path / 'none'} is not a folder. Expected the folder of a" in result.stderr
    assert result.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["shop"]


def test_the_number_of_shares_must_match_the_folders(folder, tmp_path):
    """Another number of --share options than of folders is a usage error."""
    result = CliRunner().invoke(main, build_command(folder, tmp_path / "x.pt", "--share", "1", "--share", "2"))
    assert result.exit_code == 2
    assert "2 --share options for 1 folders" in result.stderr


@pytest.mark.parametrize("file", ["queries.jsonl", "qrels/train.tsv"])
def test_bad_lines_exit_4_with_file_and_line(folder, tmp_path, file):
    """One bad line in twenty is too many: exit code 4, with file and line."""
    lines = (folder / file).read_text().splitlines()
    lines[4] = "no such thing"
    (folder / file).write_text("\n".join(lines) + "\n")
    result = CliRunner().invoke(main, build_command(folder, tmp_path / "x.pt"))
    assert result.exit_code == 4
    assert f"{file.split('/')[-1]}:5" in result.stderr
    assert result.stdout == ""


def test_few_judgments_give_finite_weights(tmp_path):
    """With three judged queries, one of them for validation, all fusion weights are finite."""
    qrels = {f"q{number}": {f"p{number}": 1} for number in range(3)}
    write_dataset(replace(build_dataset(), qrels={"train": qrels}), tmp_path / "few")
    result = CliRunner().invoke(main, build_command(tmp_path / "few", tmp_path / "x.pt", steps=2))
    assert result.exit_code == 0, result.output
    calibration = load_checkpoint(tmp_path / "x.pt").calibration
    for fusion in calibration.fusion.values():
        assert all(math.isfinite(value) for value in [calibration.slack, *fusion.to_dict().values()])


def test_json_output_is_one_object(folder, tmp_path):
    """With --json, standard output is one object with the checkpoint and its quality."""
    result = CliRunner().invoke(main, build_command(folder, tmp_path / "x.pt", steps=2))
    value = json.loads(result.stdout)
    assert value["checkpoint"] == str(tmp_path / "x.pt")
    assert set(value["validation_ndcg_10"]) == set(value["validation"]) == {"shop"}
