"""One training from folders to checkpoint: read, prepare, train, calibrate, save."""

from __future__ import annotations

import hashlib
import os
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from anthem_core.beir import find_unanswered_queries, read_dataset
from anthem_core.console import print_skipped, stderr
from anthem_core.errors import DataError
from anthem_model.calibration import calibrate
from anthem_model.checkpoint import Checkpoint, save_checkpoint
from anthem_model.data.training_shop import ShopSplit, TrainingShop, split_dataset
from anthem_model.initialisation.teacher import Teacher
from anthem_model.trainer.resume import ResumeFolder
from anthem_model.trainer.training import TrainedAnthem, TrainingPlan, train_anthem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


TRAINING_SPLIT = "train"  # the one split that is read


def train_from_folders(
    folders: Sequence[Path], output: Path, plan: TrainingPlan, teacher: Path | None = None
) -> dict[str, Any]:
    """Train on folders and write a checkpoint; what is returned is the model's measured quality.

    What a killed training leaves lies in `OUTPUT.work`; the same call goes on from there, and removes it at its end.

    Raises:
        DataError: A folder cannot be read, or the checkpoint cannot be written.
    """
    _check_writable(output)
    work = output.with_name(f"{output.name}.work")
    parts = [
        read_training_data(folder, plan.seed, name)
        for folder, name in zip(folders, _unique_names(folders), strict=True)
    ]
    data = hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()
    resume = ResumeFolder(work, repr(([str(folder) for folder in folders], plan, teacher, data)))
    taught_by = None if teacher is None else Teacher(teacher, work, plan.threads)
    trained = train_anthem(parts, plan, taught_by, resume)
    calibration = calibrate(trained.ranker, _calibration_shops(parts))
    quality = _quality_summary(trained) | {"validation": calibration.quality}
    ranker, names = trained.ranker, [part.learn.name for part in parts]
    save_checkpoint(Checkpoint(ranker.network, ranker.vocabulary, calibration, names, quality), output)
    resume.forget()
    return quality | {"seconds": round(trained.seconds)}


def _calibration_shops(parts: Sequence[ShopSplit]) -> list[TrainingShop]:
    """Validation parts; where nobody judged enough to have one, titles alone: what was learned from tells nothing."""
    if any(part.validate.judged for part in parts):
        return [part.validate for part in parts]
    if any(part.learn.judged for part in parts):
        stderr.print("too few judged queries to keep some for validation; fusion is chosen as without judgments")
    return [replace(part.learn, judged=[]) for part in parts]


def _unique_names(folders: Sequence[Path]) -> list[str]:
    """Names of folders, told apart by a number where they are alike."""
    names = [folder.resolve().name for folder in folders]
    earlier = [names[:place].count(name) for place, name in enumerate(names)]
    return [f"{name} ({count + 1})" if count else name for name, count in zip(names, earlier, strict=True)]


def read_training_data(folder: Path, seed: int, name: str | None = None) -> ShopSplit:
    """Read one BEIR folder and prepare it; lines that were skipped are named on standard error.

    Raises:
        DataError: The folder cannot be read, more than 1 % of its lines are bad or of its queries without a relevant
            product, or it has no products.
    """
    dataset = read_dataset(folder, TRAINING_SPLIT)
    print_skipped(dataset.problems + find_unanswered_queries(folder, dataset, TRAINING_SPLIT))
    if not dataset.products:
        raise DataError(f"{folder} has no products to learn from; give a corpus with titles.")
    parts = split_dataset(name or folder.resolve().name, dataset, random.Random(seed))
    asked = sum(max(judged.values()) > 0 for judged in dataset.qrels.get(TRAINING_SPLIT, {}).values())
    lost = asked - len(parts.learn.judged) - len(parts.validate.judged)
    if lost:
        stderr.print(f"{folder}: the relevant products of {lost} of {asked} judged queries are kept for validation")
    if not asked and any((folder / one).exists() for one in ("queries.jsonl", "queries.jsonl.gz", "qrels")):
        stderr.print(f"{folder} has no judgments in qrels/{TRAINING_SPLIT}.tsv; learning from its titles alone")
    return parts


def _check_writable(output: Path) -> None:
    """Refuse before the training what would fail after it."""
    before = os.path.lexists(output)
    if before and not output.is_file():
        raise DataError(f"{output} is no plain file; name one, or one that does not exist yet.")
    try:
        with output.open("ab"):
            pass
    except OSError as error:
        raise DataError(f"{output} cannot be written ({error.strerror}); name a file in a folder of yours.") from error
    if not before:
        output.unlink()


def _quality_summary(trained: TrainedAnthem) -> dict[str, Any]:
    return {
        "validation_ndcg_10": {name: round(value, 4) for name, value in trained.quality.items()},
        "steps": trained.steps,
    }
