"""Checkpoint files: saved and loaded, and refused when damaged."""

from dataclasses import replace

import numpy as np
import pytest

from anthem_core.encoding.bundle import ALL_SIGNALS, LEXICAL_CONTAINMENT
from anthem_core.encoding.text_rules import RULES_1
from anthem_core.encoding.tokenizer import Vocabulary
from anthem_core.errors import DataError
from anthem_core.fusion import FusionWeights

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from anthem_model.calibration import Calibration
from anthem_model.checkpoint import Checkpoint, fingerprint, load_checkpoint, save_checkpoint
from anthem_model.initialisation.coordinates import TeacherCoordinates
from anthem_model.nn.layers import ModelShape
from anthem_model.nn.network import Anthem

torch.set_num_threads(1)  # for tiny tensors, more threads are slower

IDS = 50
CALIBRATION = Calibration(0.0, {LEXICAL_CONTAINMENT: FusionWeights(1.0)})


@pytest.fixture(scope="module", params=["lorentz", "euclid"])
def model(request):
    """A tiny model with random weights."""
    torch.manual_seed(0)
    return Anthem(ModelShape(ids=IDS, dimension=8, grid=8, places=20, geometry=request.param)).eval()


def test_a_loaded_checkpoint_equals_the_saved_one(model, tmp_path):
    """Loading gives the saved weights, vocabulary, calibration and notes, and a model in inference mode."""
    path = tmp_path / "model.pt"
    fusion = {LEXICAL_CONTAINMENT: FusionWeights(1.0, 2.0, 3.0), ALL_SIGNALS: FusionWeights(1.0, 2.0, 3.0, 4.0, -5.0)}
    calibration = Calibration(0.25, fusion)
    vocabulary = Vocabulary(("#re", "red", "आपक"), IDS - 6, query_limit=9, title_limit=17, words=("mug", "चाय"))
    coordinates = TeacherCoordinates("letters", np.ones(3, np.float32), np.eye(3, 8, dtype=np.float32))
    checkpoint = Checkpoint(model, vocabulary, calibration, ["shop"], {"ndcg": 0.5}, coordinates)
    save_checkpoint(checkpoint, path)
    loaded = load_checkpoint(path)
    assert replace(loaded, model=model, coordinates=coordinates) == checkpoint
    assert loaded.coordinates.identity == "letters"
    np.testing.assert_array_equal(loaded.coordinates.mean, coordinates.mean)
    np.testing.assert_array_equal(loaded.coordinates.axes, coordinates.axes)
    assert loaded.model.shape == model.shape
    assert not loaded.model.training
    state = model.state_dict()
    assert loaded.model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in loaded.model.state_dict().items())


def test_a_checkpoint_without_a_teacher_and_with_older_rules(model, tmp_path):
    """A model without a teacher has no coordinates, and the text rules are those that it was trained with."""
    vocabulary = Vocabulary(("#re",), IDS - 2, text_rules=RULES_1)
    save_checkpoint(Checkpoint(model, vocabulary, CALIBRATION), tmp_path / "x")
    loaded = load_checkpoint(tmp_path / "x")
    assert loaded.coordinates is None
    assert loaded.vocabulary == vocabulary
    assert loaded.vocabulary.text_rules is RULES_1


def test_the_fingerprint_depends_on_parameters_and_vocabulary(model, tmp_path):
    """A saved copy has the same fingerprint, whatever its notes; a changed parameter or vocabulary gives another."""
    checkpoint = Checkpoint(model, Vocabulary(("#re",), IDS - 2), CALIBRATION)
    save_checkpoint(replace(checkpoint, trained_on=["other"]), tmp_path / "x")
    assert fingerprint(load_checkpoint(tmp_path / "x")) == fingerprint(checkpoint)
    changed = load_checkpoint(tmp_path / "x")
    with torch.no_grad():
        changed.model.share.add_(1e-3)
    other = replace(checkpoint, vocabulary=Vocabulary(("red",), IDS - 2))
    assert len({fingerprint(value) for value in (checkpoint, changed, other)}) == 3


def test_the_keys_of_a_checkpoint(model, tmp_path):
    """The keys of the file are its format: they change only together with the format number."""
    save_checkpoint(Checkpoint(model, Vocabulary(("#re",), IDS - 2), CALIBRATION), tmp_path / "x")
    values = torch.load(tmp_path / "x", weights_only=True)
    assert values["anthem_checkpoint"] == 5
    keys = "anthem_checkpoint shape state trigrams words text text_rules slack fusion trained_on quality teacher"
    shape_keys = "ids dimension hyperboloids context grid places neighbours radius gamma geometry"
    assert list(values) == keys.split()
    assert list(values["shape"]) == shape_keys.split()


def truncate(path):
    """Cut a file off."""
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("no checkpoint"),
        lambda path: torch.save({"weights": torch.zeros(3)}, path),
        lambda path: torch.save([1, 2], path),
        lambda path: torch.save(torch.load(path, weights_only=True) | {"anthem_checkpoint": 99}, path),
        lambda path: torch.save(torch.load(path, weights_only=True) | {"shape": {"ids": 7}}, path),
        lambda path: torch.save(torch.load(path, weights_only=True) | {"fusion": None}, path),
        lambda path: torch.save(torch.load(path, weights_only=True) | {"fusion": {ALL_SIGNALS: {"bias": 0.0}}}, path),
        lambda path: torch.save(torch.load(path, weights_only=True) | {"anthem_checkpoint": 4}, path),
        lambda path: torch.save(torch.load(path, weights_only=True) | {"text_rules": 99}, path),
        lambda path: torch.save(torch.load(path, weights_only=True) | {"teacher": {"identity": "letters"}}, path),
    ],
    ids=[
        "truncated",
        "empty",
        "text",
        "foreign",
        "list",
        "newer",
        "shape",
        "fusion",
        "weights",
        "older",
        "rules",
        "teacher",
    ],
)
def test_a_damaged_checkpoint_is_refused(model, tmp_path, damage):
    """A file that is not a complete checkpoint of this format is a DataError with the path and the remedy."""
    path = tmp_path / "model.pt"
    save_checkpoint(Checkpoint(model, Vocabulary(("#re",), IDS - 2), CALIBRATION), path)
    damage(path)
    with pytest.raises(DataError, match=r"(?s)model\.pt is not a complete checkpoint of format 5 .*anthem train"):
        load_checkpoint(path)


def test_a_missing_checkpoint_is_refused(tmp_path):
    """A missing file is a DataError that says how to create one."""
    with pytest.raises(DataError, match=r"none\.pt not found\. .*anthem train"):
        load_checkpoint(tmp_path / "none.pt")
