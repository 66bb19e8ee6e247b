"""One training from folders to checkpoint: read, prepare, train, calibrate, save."""

from __future__ import annotations

import hashlib
import os
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from anthem_core.beir import read_dataset, unanswered
from anthem_core.console import err, skipped
from anthem_core.errors import DataError
from anthem_model.calibration import calibrate
from anthem_model.checkpoint import Checkpoint, save
from anthem_model.resume import Resume
from anthem_model.shop import Parts, Shop, prepare
from anthem_model.teacher import Teacher
from anthem_model.training import Plan, Trained, train

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


TRAIN = "train"  # the one split that is read


def run(folders: Sequence[Path], output: Path, plan: Plan, teacher: Path | None = None) -> dict[str, Any]:
    """Train on folders and write a checkpoint; what is returned is the model's measured quality.

    What a killed training leaves lies in `OUTPUT.work`; the same call goes on from there, and removes it at its end.

    Raises:
        DataError: A folder cannot be read, or the checkpoint cannot be written.
    """
    _writable(output)
    work = output.with_name(f"{output.name}.work")
    parts = [read_shop(folder, plan.seed, name) for folder, name in zip(folders, _names(folders), strict=True)]
    data = hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()
    resume = Resume(work, repr(([str(folder) for folder in folders], plan, teacher, data)))
    taught_by = None if teacher is None else Teacher(teacher, work, plan.threads)
    trained = train(parts, plan, taught_by, resume)
    calibration = calibrate(trained.ranker, _chosen_on(parts))
    quality = _quality(trained) | {"validation": calibration.quality}
    ranker, names = trained.ranker, [part.learn.name for part in parts]
    save(Checkpoint(ranker.network, ranker.vocabulary, calibration, names, quality), output)
    resume.forget()
    return quality | {"seconds": round(trained.seconds)}


def _chosen_on(parts: Sequence[Parts]) -> list[Shop]:
    """Validation parts; where nobody judged enough to have one, titles alone: what was learned from tells nothing."""
    if any(part.validate.judged for part in parts):
        return [part.validate for part in parts]
    if any(part.learn.judged for part in parts):
        err.print("too few judged queries to keep some for validation; fusion is chosen as without judgments")
    return [replace(part.learn, judged=[]) for part in parts]


def _names(folders: Sequence[Path]) -> list[str]:
    """Names of folders, told apart by a number where they are alike."""
    names = [folder.resolve().name for folder in folders]
    earlier = [names[:place].count(name) for place, name in enumerate(names)]
    return [f"{name} ({count + 1})" if count else name for name, count in zip(names, earlier, strict=True)]


def read_shop(folder: Path, seed: int, name: str | None = None) -> Parts:
    """Read one BEIR folder and prepare it; lines that were skipped are named on standard error.

    Raises:
        DataError: The folder cannot be read, more than 1 % of its lines are bad or of its queries without a relevant
            product, or it has no products.
    """
    dataset = read_dataset(folder, TRAIN)
    skipped(dataset.problems + unanswered(folder, dataset, TRAIN))
    if not dataset.products:
        raise DataError(f"{folder} has no products to learn from; give a corpus with titles.")
    parts = prepare(name or folder.resolve().name, dataset, random.Random(seed))
    asked = sum(max(judged.values()) > 0 for judged in dataset.qrels.get(TRAIN, {}).values())
    lost = asked - len(parts.learn.judged) - len(parts.validate.judged)
    if lost:
        err.print(f"{folder}: the relevant products of {lost} of {asked} judged queries are kept for validation")
    if not asked and any((folder / one).exists() for one in ("queries.jsonl", "queries.jsonl.gz", "qrels")):
        err.print(f"{folder} has no judgments in qrels/{TRAIN}.tsv; learning from its titles alone")
    return parts


def _writable(output: Path) -> None:
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


def _quality(trained: Trained) -> dict[str, Any]:
    return {
        "validation_ndcg_10": {name: round(value, 4) for name, value in trained.quality.items()},
        "steps": trained.steps,
    }
