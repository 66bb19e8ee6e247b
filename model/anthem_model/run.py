"""One training from folders to checkpoint: read, prepare, train, calibrate, save."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from anthem_core.beir import read_dataset
from anthem_core.console import err
from anthem_core.errors import DataError
from anthem_model.calibration import calibrate
from anthem_model.checkpoint import Checkpoint, save
from anthem_model.shop import Parts, prepare
from anthem_model.training import Plan, Trained, train

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def run(folders: Sequence[Path], output: Path, plan: Plan) -> dict[str, Any]:
    """Train on folders and write a checkpoint; what is returned is the model's measured quality.

    Raises:
        DataError: A folder cannot be read, or the checkpoint cannot be written.
    """
    _writable(output)
    parts = [read_shop(folder, plan.seed) for folder in folders]
    trained = train(parts, plan)
    calibration = calibrate(trained.model, trained.vocabulary, [part.validate for part in parts])
    quality = _quality(trained) | {"validation": calibration.quality}
    save(
        Checkpoint(trained.model, trained.vocabulary, calibration, [part.learn.name for part in parts], quality), output
    )
    return quality


def read_shop(folder: Path, seed: int) -> Parts:
    """Read one BEIR folder and prepare it; lines that were skipped are named on standard error."""
    dataset = read_dataset(folder)
    for problem in dataset.problems[:10]:
        err.print(f"skipped {problem}")
    if len(dataset.problems) > 10:
        err.print(f"skipped {len(dataset.problems)} lines in all")
    if not dataset.products:
        raise DataError(f"{folder} has no products to learn from; give a corpus with titles.")
    return prepare(folder.resolve().name, dataset, random.Random(seed))


def _writable(output: Path) -> None:
    """Refuse before the training what would fail after it."""
    try:
        with output.open("ab"):
            pass
    except OSError as error:
        raise DataError(f"{output} cannot be written ({error.strerror}); name a file in a folder of yours.") from error
    if not output.stat().st_size:
        output.unlink()


def _quality(trained: Trained) -> dict[str, Any]:
    return {
        "validation_ndcg_10": {name: round(value, 4) for name, value in trained.quality.items()},
        "steps": trained.steps,
        "seconds": round(trained.seconds),
    }
