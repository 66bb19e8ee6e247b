"""One training from folders to checkpoint: read, prepare, train, calibrate, save."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING, Any

from anthem_core.beir import read_dataset
from anthem_core.console import err
from anthem_core.errors import DataError
from anthem_model.calibration import calibrate
from anthem_model.checkpoint import Checkpoint, save
from anthem_model.resume import Resume
from anthem_model.shop import Parts, prepare
from anthem_model.teacher import Teacher
from anthem_model.training import Plan, Trained, train

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def run(folders: Sequence[Path], output: Path, plan: Plan, teacher: Path | None = None) -> dict[str, Any]:
    """Train on folders and write a checkpoint; what is returned is the model's measured quality.

    What a killed training leaves lies in `OUTPUT.work`; the same call goes on from there, and removes it at its end.

    Raises:
        DataError: A folder cannot be read, or the checkpoint cannot be written.
    """
    _writable(output)
    work = output.with_name(f"{output.name}.work")
    parts = [read_shop(folder, plan.seed) for folder in folders]
    data = hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()
    resume = Resume(work, repr(([str(folder) for folder in folders], plan, teacher, data)))
    taught_by = None if teacher is None else Teacher(teacher, work, plan.threads)
    trained = train(parts, plan, taught_by, resume)
    judged = any(part.validate.judged for part in parts)
    calibration = calibrate(trained.ranker, [part.validate if judged else part.learn for part in parts])
    quality = _quality(trained) | {"validation": calibration.quality}
    ranker, names = trained.ranker, [part.learn.name for part in parts]
    save(Checkpoint(ranker.network, ranker.vocabulary, calibration, names, quality), output)
    resume.forget()
    return quality


def read_shop(folder: Path, seed: int) -> Parts:
    """Read one BEIR folder and prepare it; lines that were skipped are named on standard error.

    Raises:
        DataError: The folder cannot be read, more than 1 % of its lines are bad, or it has no products.
    """
    dataset = read_dataset(folder)
    for problem in dataset.problems[:10]:
        err.print(f"skipped {problem}")
    if len(dataset.problems) > 10:
        err.print(f"skipped {len(dataset.problems)} lines in all")
    if not dataset.products:
        raise DataError(f"{folder} has no products to learn from; give a corpus with titles.")
    parts = prepare(folder.resolve().name, dataset, random.Random(seed))
    asked = len(dataset.qrels.get("train", {}))
    useless = asked - len(parts.learn.judged) - len(parts.validate.judged)
    if useless:
        err.print(f"{folder}: {useless} of {asked} judged queries have no relevant product, and teach nothing")
    return parts


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
