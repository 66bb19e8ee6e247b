"""`anthem train --teacher --texts` with tiny teachers in ONNX."""

import json
import shutil
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner
from training_dataset import build_dataset

from anthem_core.beir import write_dataset
from anthem_core.cli import main

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from onnx_teachers import token_table, write_teacher

torch.set_num_threads(1)  # for tiny tensors, more threads are slower


@pytest.fixture
def command(tmp_path):
    """Function that builds the arguments of a training from nothing with the teachers `first`, `second` or both."""
    write_dataset(build_dataset(), tmp_path / "shop")
    write_teacher(tmp_path / "first")
    write_teacher(tmp_path / "second", table=token_table(1), settings={"prefix": "query: "})

    def build(output, *teachers, options=()):
        named = [argument for teacher in teachers for argument in ("--teacher", str(tmp_path / teacher))]
        return [
            "train",
            str(tmp_path / "shop"),
            "--output",
            str(tmp_path / output),
            "--from",
            "nothing",
            "--json",
            *named,
            *options,
        ]

    return build


def test_several_teachers_and_texts(command, tmp_path):
    """`--teacher` and `--texts` may be repeated; every teacher and its pooling are printed."""
    files = [tmp_path / "queries.txt", tmp_path / "words.txt"]
    for path in files:
        path.write_text("red mug\nblue lamp\n")
    options = ["--steps", "2", *(argument for path in files for argument in ("--texts", str(path)))]
    result = CliRunner().invoke(main, command("x.pt", "first", "second", options=options))
    assert result.exit_code == 0, result.stderr
    assert "teacher first: model.onnx, mean pooling, from the default" in result.stderr
    assert "teacher second: model.onnx, mean pooling, prefix 'query: ', from anthem_teacher.json" in result.stderr
    assert json.loads(result.stdout)["checkpoint"] == str(tmp_path / "x.pt")


def test_texts_need_a_teacher(command, tmp_path):
    """--texts without --teacher is a usage error, before anything is read or written."""
    result = CliRunner().invoke(main, command("x.pt", options=["--texts", "none.txt"]))
    assert result.exit_code == 2
    assert "--texts without --teacher" in result.stderr
    assert not (tmp_path / "x.pt.work").exists()


def test_bad_texts_exit_4_with_file_and_line(command, tmp_path):
    """A byte that is not UTF-8 gives exit code 4, with file and line."""
    (tmp_path / "texts.txt").write_bytes(b"red mug\n\xff\n")
    result = CliRunner().invoke(main, command("x.pt", "first", options=["--texts", str(tmp_path / "texts.txt")]))
    assert result.exit_code == 4
    assert "texts.txt:2: byte 1 is not UTF-8" in result.stderr


def test_a_killed_training_resumes_only_with_the_same_teachers(command, tmp_path):
    """A training with two teachers resumes only with the same two, in the same order."""
    folder, copy = tmp_path / "x.pt.work", tmp_path / "copy"
    options = ["--steps", "16"]
    killed = command("x.pt", "first", "second", options=options)
    program = [sys.executable, "-c", "from anthem_core.cli import main; main()"]
    with subprocess.Popen([*program, *killed], stderr=subprocess.DEVNULL) as process:
        while not (folder / "state.pt").exists() and process.poll() is None:
            time.sleep(0.01)
        process.kill()
    folder.rename(copy)
    for teachers, message in (
        (["first"], "belongs to another training"),
        (["second", "first"], "belongs to another training"),
        (["first", "second"], "resuming after step"),
    ):
        shutil.copytree(copy, folder)
        result = CliRunner().invoke(main, command("x.pt", *teachers, options=options))
        assert result.exit_code == 0, result.stderr
        assert message in result.stderr
