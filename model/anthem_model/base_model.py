"""The base, the model that a training starts from: a checkpoint, or a bundle with `training.npz`, its parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from anthem_core.encoding.bundle import TRAINING_FILE, Bundle, load_bundle
from anthem_core.errors import DataError
from anthem_model.calibration import Calibration
from anthem_model.checkpoint import Checkpoint, load_checkpoint
from anthem_model.initialisation.coordinates import TeacherCoordinates
from anthem_model.nn.byte_tables import ByteTable, encode_table
from anthem_model.nn.layers import ModelShape
from anthem_model.nn.network import Anthem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

Arrays: TypeAlias = dict[str, npt.NDArray[Any]]

ENTITIES = "entities.points"
BYTE_TABLES = (ENTITIES, "grid.tangents.weight")
HALF_TABLES = ("entities.salience.weight", "query.limits.weight", "query.extent.weight", "grid.salience.weight")
SHARED_PREFIXES = ("query.entities.", "product.entities.")  # the same parameters as `entities.`


def load_base(name_or_path: str | Path) -> Checkpoint:
    """The model of a checkpoint file, or of a bundle: its folder, or the name of a shipped one such as `general`.

    Raises:
        DataError: The file is not a checkpoint, or the bundle has no `training.npz` that fits it.
        BundleError: The bundle is not found or damaged.
    """
    path = Path(name_or_path)
    return load_checkpoint(path) if path.is_file() else read_bundle_model(load_bundle(name_or_path))


def write_training_file(checkpoint: Checkpoint, folder: Path) -> None:
    """Write the parameters of a model with rounded tables into the folder of its bundle, as `training.npz`."""
    model = checkpoint.model
    arrays: Arrays = {}
    for name, value in model.state_dict().items():
        if not name.startswith(SHARED_PREFIXES):
            arrays |= _pack_parameter(name, model.shape.space.logmap0(value) if name == ENTITIES else value)
    coordinates = checkpoint.coordinates
    if coordinates is not None:
        arrays |= {"teacher.mean": coordinates.mean, "teacher.axes": coordinates.axes.astype(np.float16)}
    description = {"shape": model.shape.to_dict(), "teacher": coordinates and coordinates.identity}
    arrays["description"] = np.frombuffer(json.dumps(description).encode(), np.uint8)
    np.savez_compressed(folder / TRAINING_FILE, allow_pickle=False, **arrays)


def read_bundle_model(bundle: Bundle) -> Checkpoint:
    """Read the model of a bundle back, with the bundle's vocabulary and calibration.

    Raises:
        DataError: The bundle has no `training.npz`, or it does not fit the bundle's vocabulary.
    """
    path = bundle.path / TRAINING_FILE
    if not path.is_file():
        raise DataError(
            f"{bundle.path} has no {TRAINING_FILE}, so no training can start from it; bundles of earlier versions "
            "lack this file. Name a newer bundle or a checkpoint."
        )
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:  # numpy leaves a damaged file open
            model, coordinates = _read_model(file, bundle)
    except DataError:
        raise
    except Exception as error:  # numpy, zipfile, json and torch share no base class
        raise DataError(
            f"{path} is not a complete file of parameters ({type(error).__name__} while reading it). "
            "Copy the bundle again."
        ) from error
    calibration = Calibration(bundle.slack, bundle.fusion)
    return Checkpoint(model, bundle.vocabulary, calibration, bundle.trained_on, bundle.quality, coordinates)


def _pack_parameter(name: str, value: Tensor) -> Arrays:
    if name in BYTE_TABLES:
        table = encode_table(value)
        return {f"{name}.codes": table.codes.numpy(), f"{name}.scales": table.scales.numpy()}
    return {name: value.half().numpy() if name in HALF_TABLES else value.numpy()}


def _read_model(arrays: Mapping[str, npt.NDArray[Any]], bundle: Bundle) -> tuple[Anthem, TeacherCoordinates | None]:
    description = json.loads(arrays["description"].tobytes())
    model = Anthem(_check_shape(ModelShape(**description["shape"]), bundle))
    state = {
        name: _unpack_parameter(name, arrays) for name in model.state_dict() if not name.startswith(SHARED_PREFIXES)
    }
    if not all(value.isfinite().all() for value in state.values()):
        raise ValueError("a parameter is not finite")
    state[ENTITIES] = model.shape.space.expmap0(state[ENTITIES])
    shared = {
        f"{prefix}{name.partition('.')[2]}": value
        for prefix in SHARED_PREFIXES
        for name, value in state.items()
        if name.startswith("entities.")
    }
    model.load_state_dict(state | shared)
    model.eval()
    return model, _read_coordinates(description["teacher"], arrays, bundle.dimension)


def _check_shape(shape: ModelShape, bundle: Bundle) -> ModelShape:
    """The shape, if it is that of the bundle; checked before a model of any size is built."""
    expected = {
        "ids": len(bundle.vocabulary),
        "places": bundle.vocabulary.title_limit,
        **{name: getattr(bundle, name) for name in ("dimension", "hyperboloids", "radius", "gamma")},
    }
    different = {name: getattr(shape, name) for name, value in expected.items() if getattr(shape, name) != value}
    if different:
        raise DataError(
            f"{bundle.path / TRAINING_FILE} is of a model with {different}; the bundle has "
            f"{ {name: expected[name] for name in different} }. Copy the bundle again."
        )
    return shape


def _read_coordinates(
    identity: str | None, arrays: Mapping[str, npt.NDArray[Any]], dimension: int
) -> TeacherCoordinates | None:
    if identity is None:
        return None
    mean, axes = arrays["teacher.mean"].astype(np.float32), arrays["teacher.axes"].astype(np.float32)
    if axes.shape != (*mean.shape, dimension) or not (np.isfinite(mean).all() and np.isfinite(axes).all()):
        raise ValueError("the teacher's axes do not fit")
    return TeacherCoordinates(str(identity), mean, axes)


def _unpack_parameter(name: str, arrays: Mapping[str, npt.NDArray[Any]]) -> Tensor:
    if name not in BYTE_TABLES:
        return torch.from_numpy(arrays[name].astype(np.float32))
    codes, scales = (torch.from_numpy(arrays[f"{name}.{part}"]) for part in ("codes", "scales"))
    if codes.dtype != torch.int8 or scales.shape != (len(codes), 1):
        raise ValueError("a table does not consist of bytes with a scale for each row")
    return ByteTable(codes, scales).decode()
