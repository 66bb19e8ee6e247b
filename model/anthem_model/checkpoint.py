"""Checkpoints: one file with everything that an export needs; reading it runs no code."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from anthem_core.encoding.text_rules import TEXT_RULES
from anthem_core.encoding.tokenizer import Vocabulary
from anthem_core.errors import DataError
from anthem_core.files import atomic_write
from anthem_core.fusion import FusionWeights
from anthem_model.calibration import Calibration
from anthem_model.initialisation.coordinates import TeacherCoordinates
from anthem_model.nn.layers import ModelShape
from anthem_model.nn.network import Anthem

if TYPE_CHECKING:
    from pathlib import Path

CHECKPOINT_FORMAT = 5  # rises when a file of another version cannot be read


@dataclass(frozen=True)
class Checkpoint:
    """A trained model with its vocabulary and calibration, the names of its training data, and validation measures.

    `coordinates` map vectors of the teacher, if there was one, to the dimensions of the model.
    """

    model: Anthem
    vocabulary: Vocabulary
    calibration: Calibration
    trained_on: list[str] = field(default_factory=list)
    quality: dict[str, Any] = field(default_factory=dict)
    coordinates: TeacherCoordinates | None = None


def fingerprint(checkpoint: Checkpoint) -> str:
    """Hexadecimal SHA-256 of the parameters and the vocabulary."""
    digest = hashlib.sha256(repr(checkpoint.vocabulary).encode())
    for name, value in checkpoint.model.state_dict().items():
        digest.update(name.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint file; an existing one is replaced when the new one is complete.

    Raises:
        DataError: The file cannot be written.
    """
    with atomic_write(path) as file:
        torch.save(_to_dict(checkpoint), file)


def _to_dict(checkpoint: Checkpoint) -> dict[str, Any]:
    vocabulary, coordinates = checkpoint.vocabulary, checkpoint.coordinates
    return {
        "anthem_checkpoint": CHECKPOINT_FORMAT,
        "shape": checkpoint.model.shape.to_dict(),
        "state": checkpoint.model.state_dict(),
        "trigrams": list(vocabulary.trigrams),
        "words": list(vocabulary.words),
        "text": [vocabulary.buckets, vocabulary.query_limit, vocabulary.title_limit],
        "text_rules": vocabulary.text_rules.version,
        "slack": checkpoint.calibration.slack,
        "fusion": {signals: weights.to_dict() for signals, weights in checkpoint.calibration.fusion.items()},
        "trained_on": checkpoint.trained_on,
        "quality": checkpoint.quality,
        "teacher": None if coordinates is None else _coordinates_to_dict(coordinates),
    }


def _coordinates_to_dict(coordinates: TeacherCoordinates) -> dict[str, Any]:
    arrays = {"mean": torch.from_numpy(coordinates.mean), "axes": torch.from_numpy(coordinates.axes)}
    return {"identity": coordinates.identity, **arrays}


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint file.

    Raises:
        DataError: The file is missing, is not a checkpoint of this format, or its weights do not match its shape.
    """
    if not path.is_file():
        raise DataError(
            f"{path} not found. Expected a checkpoint, which `anthem train DATA --output CHECKPOINT` writes."
        )
    try:
        return _from_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises its own classes and those of pickle and zipfile
        raise DataError(
            f"{path} is not a complete checkpoint of format {CHECKPOINT_FORMAT} ({type(error).__name__} while reading "
            "it). Train again: anthem train DATA --output CHECKPOINT"
        ) from error


def _from_dict(values: dict[str, Any]) -> Checkpoint:
    if values["anthem_checkpoint"] != CHECKPOINT_FORMAT:
        raise ValueError(f"format {values['anthem_checkpoint']}")
    model = Anthem(ModelShape(**values["shape"]))
    model.load_state_dict(values["state"])
    model.eval()
    fusion = {signals: FusionWeights.from_dict(weights) for signals, weights in values["fusion"].items()}
    calibration = Calibration(values["slack"], fusion)
    buckets, query_limit, title_limit = values["text"]
    vocabulary = Vocabulary(
        tuple(values["trigrams"]),
        buckets,
        query_limit,
        title_limit,
        tuple(values["words"]),
        TEXT_RULES[values["text_rules"]],
    )
    teacher = values["teacher"]
    coordinates = teacher and TeacherCoordinates(teacher["identity"], teacher["mean"].numpy(), teacher["axes"].numpy())
    return Checkpoint(model, vocabulary, calibration, values["trained_on"], values["quality"], coordinates)
