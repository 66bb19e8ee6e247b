"""`anthem train --from`: a training that starts from a bundle, a checkpoint or nothing."""

import json
import math
from dataclasses import replace

import pytest
from click.testing import CliRunner
from training_dataset import build_dataset

from anthem_core.beir import write_dataset
from anthem_core.cli import main
from anthem_core.encoding.bundle import load_bundle

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from base_bundle import FUSION, VOCABULARY, build_base, write_bundle
from onnx_teachers import write_teacher

from anthem_model.checkpoint import load_checkpoint, save_checkpoint

torch.set_num_threads(1)  # for tiny tensors, more threads are slower


@pytest.fixture
def train(tmp_path):
    """A function that runs `anthem train` in four steps on a `shop`, or on a `catalogue` without judgments."""
    write_dataset(build_dataset(), tmp_path / "shop")
    write_dataset(build_dataset(judged=False), tmp_path / "catalogue")
    write_bundle(build_base(), tmp_path / "base")
    write_teacher(tmp_path / "teacher")

    def run(folder, *options, output="x.pt"):
        command = ["train", str(tmp_path / folder), "--output", str(tmp_path / output), "--steps", "4", "--json"]
        return CliRunner().invoke(main, [*command, *map(str, options)])

    return run


def test_a_catalogue_alone_teaches_a_base_nothing(train, tmp_path):
    """Without judgments or a teacher, a training from a base fails with exit code 4 and says what to add."""
    result = train("catalogue", "--from", tmp_path / "base")
    assert result.exit_code == 4
    assert "There is nothing to learn" in result.stderr
    assert (
        "Add --teacher bge-small-en-v1.5 or qrels/train.tsv, or train a new model with --from nothing" in result.stderr
    )
    assert not list(tmp_path.glob("x.pt*"))


def test_a_teacher_adapts_a_base_to_a_catalogue(train, tmp_path):
    """With a teacher, the base's model, vocabulary and calibration are adapted to a catalogue, without any step."""
    result = train("catalogue", "--from", tmp_path / "base", "--teacher", tmp_path / "teacher")
    assert result.exit_code == 0, result.stderr
    value = json.loads(result.stdout)
    assert (value["steps"], value["validation"], value["validation_ndcg_10"]) == (0, {}, {})
    adapted, base = load_checkpoint(tmp_path / "x.pt"), build_base()
    assert adapted.vocabulary == VOCABULARY
    assert adapted.trained_on == ["tiny", "catalogue", "teacher teacher"]
    assert adapted.coordinates.identity != base.coordinates.identity
    assert not torch.equal(adapted.model.entities.points, base.model.entities.points)
    assert torch.equal(adapted.model.grid.tangents.weight, base.model.grid.tangents.weight)
    assert adapted.calibration.fusion.keys() == FUSION.keys()
    for name, weights in adapted.calibration.fusion.items():
        assert weights.lexical_offset == FUSION[name].lexical_offset
        assert all(math.isfinite(number) for number in [adapted.calibration.slack, *weights.to_dict().values()])
    assert sorted(path.name for path in tmp_path.glob("x.pt*")) == ["x.pt"]


def test_judgments_train_a_base(train, tmp_path):
    """With judgments the base is trained and calibrated on them; a checkpoint serves as a base, as its bundle does."""
    save_checkpoint(build_base(), tmp_path / "base.pt")
    for base, output in (("base", "x.pt"), ("base.pt", "y.pt")):
        result = train("shop", "--from", tmp_path / base, output=output)
        assert result.exit_code == 0, result.stderr
        value = json.loads(result.stdout)
        assert 1 <= value["steps"] <= 4
        assert set(value["validation"]) == {"shop"}
    trained, other = load_checkpoint(tmp_path / "x.pt"), load_checkpoint(tmp_path / "y.pt")
    assert trained.vocabulary == VOCABULARY
    assert trained.trained_on == ["tiny", "shop"]
    assert not torch.equal(trained.model.grid.tangents.weight, build_base().model.grid.tangents.weight)
    assert replace(trained, model=None, coordinates=None) == replace(other, model=None, coordinates=None)


def test_a_new_model_starts_from_nothing(train, tmp_path):
    """`--from nothing` builds a vocabulary and a model of the catalogue's own."""
    assert train("catalogue", "--from", "nothing").exit_code == 0
    checkpoint = load_checkpoint(tmp_path / "x.pt")
    assert checkpoint.trained_on == ["catalogue"]
    assert checkpoint.coordinates is None
    assert {"teapot", "kettle"} <= set(checkpoint.vocabulary.words)


def test_an_unknown_base_exits_with_its_name(train, tmp_path):
    """A base that is neither a file nor a bundle is an error that lists the shipped bundles, and nothing is written."""
    result = train("shop", "--from", "no-such-bundle")
    assert result.exit_code == 3
    assert "Bundle 'no-such-bundle' not found" in result.stderr
    assert "general" in result.stderr
    assert not list(tmp_path.glob("x.pt*"))


def test_a_bundle_of_an_earlier_version_is_no_base(train, tmp_path):
    """A bundle without `training.npz` gives exit code 4, and the message says what to name instead."""
    write_bundle(build_base(), tmp_path / "old", has_training_file=False)
    result = train("shop", "--from", tmp_path / "old")
    assert result.exit_code == 4
    assert "old has no training.npz" in result.stderr
    assert "Name a newer bundle or a checkpoint" in result.stderr


def test_the_shipped_bundle_is_the_base_by_default(train, tmp_path):
    """Without --from, the shipped bundle is adapted to a catalogue, and the checkpoint has its vocabulary."""
    result = train("catalogue", "--teacher", tmp_path / "teacher")
    assert result.exit_code == 0, result.stderr
    adapted, bundle = load_checkpoint(tmp_path / "x.pt"), load_bundle("general")
    assert adapted.vocabulary == bundle.vocabulary
    assert adapted.trained_on == [*bundle.trained_on, "teacher teacher"]  # `catalogue` is among them already
