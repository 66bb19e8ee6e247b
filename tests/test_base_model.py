"""The model to start from: a checkpoint, or a bundle whose parameters are read back from `training.npz`."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anthem_core.encoding.bundle import (
    TRAINING_FILE,
    load_bundle,
    save_manifest,
)
from anthem_core.encoding.text_rules import RULES_1
from anthem_core.errors import BundleError, DataError

pytestmark = pytest.mark.train
torch = pytest.importorskip("torch", reason="the extra `train` is not installed")

from base_bundle import COORDINATES, VOCABULARY, build_base, write_bundle

from anthem_model.base_model import load_base, read_bundle_model, write_training_file
from anthem_model.checkpoint import save_checkpoint

torch.set_num_threads(1)  # for tiny tensors, more threads are slower

few_examples = settings(max_examples=15)


def are_equal(left, right):
    """Whether two networks have the same shape and the same parameters, bit for bit."""
    values, others = left.state_dict(), right.state_dict()
    return (
        left.shape == right.shape
        and values.keys() == others.keys()
        and all(torch.equal(value, others[name]) for name, value in values.items())
    )


@pytest.fixture
def bundle_folder(tmp_path):
    """Folder of a bundle that a test may damage."""
    return write_bundle(build_base(), tmp_path / "bundle")


@few_examples
@given(st.integers(0, 2**31), st.sampled_from(["lorentz", "euclid"]), st.integers(1, 2), st.booleans())
def test_a_bundle_has_the_parameters_of_its_model(tmp_path_factory, seed, geometry, hyperboloids, has_teacher):
    """A rounded model is read back bit for bit, in inference mode, with vocabulary, calibration and notes."""
    coordinates = COORDINATES if has_teacher else None
    checkpoint = build_base(seed, geometry, coordinates=coordinates, hyperboloids=hyperboloids)
    read = load_base(write_bundle(checkpoint, tmp_path_factory.mktemp("base")))
    assert are_equal(read.model, checkpoint.model)
    assert not read.model.training
    assert read.model.query.entities is read.model.product.entities is read.model.entities
    assert replace(read, model=None, coordinates=None) == replace(checkpoint, model=None, coordinates=None)
    assert (read.coordinates is not None) == has_teacher


def test_a_bundle_has_the_coordinates_of_the_teacher(bundle_folder):
    """Name and mean of the teacher are read back unchanged, the axes in float16."""
    read = load_base(bundle_folder).coordinates
    assert read.identity == COORDINATES.identity
    np.testing.assert_array_equal(read.mean, COORDINATES.mean)
    np.testing.assert_array_equal(read.axes, COORDINATES.axes.astype(np.float16).astype(np.float32))


def test_a_model_that_was_read_gives_the_same_file(bundle_folder, tmp_path):
    """Written again, the model of a bundle gives a `training.npz` of the same bytes."""
    write_training_file(load_base(bundle_folder), tmp_path)
    assert (tmp_path / TRAINING_FILE).read_bytes() == (bundle_folder / TRAINING_FILE).read_bytes()


@pytest.mark.parametrize("vocabulary", [replace(VOCABULARY, words=()), replace(VOCABULARY, text_rules=RULES_1)])
def test_the_vocabulary_is_that_of_the_bundle(tmp_path, vocabulary):
    """Words and text rules come from the bundle, also if it has no words or older rules."""
    assert load_base(write_bundle(build_base(vocabulary=vocabulary), tmp_path / "x")).vocabulary == vocabulary


def test_the_model_id_does_not_depend_on_the_training_file(bundle_folder, tmp_path):
    """Bundles with `training.npz`, with another one and without have the same model id: they score the same."""
    ids = {load_bundle(bundle_folder).model_id}
    ids.add(load_bundle(write_bundle(build_base(seed=1), tmp_path / "other")).model_id)
    ids.add(load_bundle(write_bundle(build_base(), tmp_path / "none", has_training_file=False)).model_id)
    assert len(ids) == 1


def test_a_checkpoint_is_a_base_too(tmp_path):
    """A file is read as a checkpoint; any other file is refused."""
    checkpoint = build_base()
    save_checkpoint(checkpoint, tmp_path / "x.pt")
    assert are_equal(load_base(tmp_path / "x.pt").model, checkpoint.model)
    (tmp_path / "x.txt").write_text("no checkpoint")
    with pytest.raises(DataError, match=r"x\.txt is not a complete checkpoint"):
        load_base(str(tmp_path / "x.txt"))


def test_an_unknown_base_is_refused(tmp_path):
    """A name that is not a bundle's is a BundleError that lists the shipped ones."""
    with pytest.raises(BundleError, match=r"none' not found\. .*\(general\)"):
        load_base(tmp_path / "none")


def test_a_bundle_without_parameters_is_refused(tmp_path):
    """A bundle that never had `training.npz` can rank, but no training can start from it; the message says why."""
    folder = write_bundle(build_base(), tmp_path / "bundle", has_training_file=False)
    load_bundle(folder)
    with pytest.raises(DataError, match=r"bundle has no training\.npz, .*Name a newer bundle or a checkpoint\."):
        load_base(folder)


def test_a_missing_or_changed_training_file_is_refused(bundle_folder):
    """The manifest names the file and its checksum; both faults are BundleErrors."""
    path = bundle_folder / TRAINING_FILE
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(BundleError, match=r"training\.npz has SHA-256"):
        load_base(bundle_folder)
    path.unlink()
    with pytest.raises(BundleError, match=r"training\.npz is missing\."):
        load_base(bundle_folder)


def change_arrays(path, **changes):
    """Replace some arrays of a training file, or remove those that are None."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files} | changes
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:200]),
        lambda path: path.write_text("no archive"),
        lambda path: change_arrays(path, description=None),
        lambda path: change_arrays(path, description=np.frombuffer(b"{}", np.uint8)),
        lambda path: change_arrays(path, share=None),
        lambda path: change_arrays(path, **{"entities.points.codes": np.zeros((3, 8), np.int8)}),
        lambda path: change_arrays(path, share=np.array("text")),
        lambda path: change_arrays(path, share=np.array([{}], object)),
        lambda path: change_arrays(path, share=np.array(np.nan, np.float32)),
        lambda path: change_arrays(path, **{"entities.points.codes": np.zeros((30, 8))}),
        lambda path: change_arrays(path, **{"entities.points.scales": np.ones((1, 1), np.float16)}),
        lambda path: change_arrays(path, **{"entities.points.scales": np.full((30, 1), np.inf, np.float16)}),
        lambda path: change_arrays(path, **{"teacher.axes": np.zeros((2, 3), np.float16)}),
        lambda path: change_arrays(path, **{"teacher.mean": np.zeros(77, np.float32)}),
    ],
    ids=[
        *("empty", "truncated", "text", "no description", "no shape", "no parameter", "short", "letters", "object"),
        *("not a number", "codes that are no bytes", "one scale", "infinite scales", "wrong axes", "wrong mean"),
    ],
)
def test_a_damaged_training_file_is_refused(bundle_folder, damage):
    """A file that does not contain all parameters is a DataError with its path and the remedy; no code is run."""
    damage(bundle_folder / TRAINING_FILE)
    save_manifest(load_bundle_values(bundle_folder))
    with pytest.raises(DataError, match=r"training\.npz is not a complete file of param.* Copy the bundle again\."):
        load_base(bundle_folder)


def load_bundle_values(folder):
    """The values in the bundle's manifest, not those in its training file."""
    damaged = (folder / TRAINING_FILE).read_bytes()
    write_training_file(build_base(), folder)
    bundle = load_bundle(folder)
    (folder / TRAINING_FILE).write_bytes(damaged)
    return bundle


def test_the_parameters_of_another_vocabulary_are_refused(bundle_folder):
    """A file with another number of ids than the bundle's vocabulary is a DataError with both numbers."""
    bundle = load_bundle(bundle_folder)
    write_training_file(build_base(vocabulary=replace(VOCABULARY, buckets=99)), bundle_folder)
    with pytest.raises(DataError, match=r"training\.npz is of a model with .* 105\}; the bundle has .* 30\}\."):
        read_bundle_model(bundle)


def test_the_parameters_of_another_model_are_refused_before_it_is_built(bundle_folder):
    """A description of a model with billions of ids, or with another radius, is a DataError at once."""
    bundle = load_bundle(bundle_folder)
    path = bundle_folder / TRAINING_FILE
    with np.load(path) as file:
        description = json.loads(file["description"].tobytes())
    for change in ({"ids": 10**12}, {"radius": 1.0}, {"dimension": 10**6}):
        changed = json.dumps(description | {"shape": description["shape"] | change}).encode()
        change_arrays(path, description=np.frombuffer(changed, np.uint8))
        with pytest.raises(DataError, match=r"training\.npz is of a model with "):
            read_bundle_model(bundle)
