"""From BEIR folders to a checkpoint: read, split, train, calibrate, save."""

from __future__ import annotations

import hashlib
import os
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from anthem_core.beir import find_unanswered_queries, read_dataset
from anthem_core.console import print_skipped, stderr
from anthem_core.errors import DataError
from anthem_core.files import check_writable
from anthem_model.anthem_ranker import AnthemRanker
from anthem_model.calibration import Calibration, calibrate
from anthem_model.checkpoint import Checkpoint, fingerprint, save_checkpoint
from anthem_model.data.general_texts import read_texts
from anthem_model.data.training_shop import TRAINING_SPLIT, ShopSplit, TrainingShop, split_dataset
from anthem_model.initialisation.known_teachers import find_teacher_folder
from anthem_model.initialisation.teacher import load_teachers
from anthem_model.recalibration import carry_calibration
from anthem_model.torch_settings import torch_threads
from anthem_model.trainer.resume import ResumeFolder
from anthem_model.trainer.training import TrainedAnthem, TrainingPlan, TrainingSources, train_anthem

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def train_from_folders(
    folders: Sequence[Path],
    output: Path,
    plan: TrainingPlan,
    teacher_folders: Sequence[Path] = (),
    texts_files: Sequence[Path] = (),
    base: Checkpoint | None = None,
) -> dict[str, Any]:
    """Train on BEIR folders, write a checkpoint and return the measured quality.

    Training starts from `base` or, without it, from a new model.

    The state of the training is saved in `OUTPUT.work`. If a training is killed, the same call resumes it; the folder
    is deleted at the end.

    Raises:
        DataError: A folder cannot be read, or the checkpoint cannot be written.
        AnthemError: The loss is NaN or infinite.
    """
    _check_writable(output)
    if texts_files and not teacher_folders:
        raise DataError("General texts need a teacher to read them. Name a teacher, or no texts.")
    work = output.with_name(f"{output.name}.work")
    splits = [
        read_training_data(folder, plan.seed, name)
        for folder, name in zip(folders, _unique_names(folders), strict=True)
    ]
    if base is not None and not teacher_folders:
        _check_judgments(splits)
    general_texts = read_texts(texts_files)
    data = hashlib.sha256(repr((splits, general_texts)).encode("utf-8", "surrogatepass")).hexdigest()
    teacher = load_teachers([find_teacher_folder(folder) for folder in teacher_folders], work, plan.threads)
    identity = teacher.identity if teacher else None
    settings = ([str(folder) for folder in folders], plan, identity, data, base and fingerprint(base))
    resume = ResumeFolder(work, repr(settings))
    trained = train_anthem(splits, plan, TrainingSources(base, teacher, general_texts), resume)
    with torch_threads(plan.threads):
        calibration = _calibrate(trained, base, splits)
    quality = _quality_summary(trained) | {"validation": calibration.quality}
    trained_on = [
        *(base.trained_on if base else ()),
        *(split.train.name for split in splits),
        *(f"teacher {folder.name}" for folder in teacher_folders),
        *(f"texts {file.name}" for file in texts_files),
    ]
    save_checkpoint(_checkpoint(trained, calibration, trained_on, quality), output)
    resume.delete()
    return quality | {"seconds": round(trained.seconds)}


def _check_judgments(splits: Sequence[ShopSplit]) -> None:
    if not any(split.train.judged_queries for split in splits):
        raise DataError(
            "There is nothing to learn: the data have no judgments, and no teacher reads the titles. Add --teacher "
            "bge-small-en-v1.5 or qrels/train.tsv, or train a new model with --from nothing."
        )


def _checkpoint(
    trained: TrainedAnthem, calibration: Calibration, trained_on: Sequence[str], quality: dict[str, Any]
) -> Checkpoint:
    """Build the checkpoint of a trained model; each source it was trained on is named once."""
    ranker = trained.ranker
    sources = list(dict.fromkeys(trained_on))
    return Checkpoint(ranker.network, ranker.vocabulary, calibration, sources, quality, trained.coordinates)


def _calibrate(trained: TrainedAnthem, base: Checkpoint | None, splits: Sequence[ShopSplit]) -> Calibration:
    """Calibration of the trained model; that of the base is carried over if there are no validation queries."""
    ranker = trained.ranker
    if base is None or any(split.validation.judged_queries for split in splits):
        return calibrate(ranker, _calibration_shops(splits), is_taught=trained.coordinates is not None)
    base_ranker = AnthemRanker(base.vocabulary, base.model).eval()
    return carry_calibration(base.calibration, base_ranker, ranker, [split.train for split in splits])


def _calibration_shops(splits: Sequence[ShopSplit]) -> list[TrainingShop]:
    """Validation shops, or the training titles without judgments if no shop has validation queries.

    Training judgments are never used, because a model's results on them say nothing about other queries.
    """
    if any(split.validation.judged_queries for split in splits):
        return [split.validation for split in splits]
    if any(split.train.judged_queries for split in splits):
        stderr.print("too few judged queries for validation; fusion weights are chosen without judgments")
    return [replace(split.train, judged_queries=[]) for split in splits]


def _unique_names(folders: Sequence[Path]) -> list[str]:
    """Names of folders; repeated names get a number."""
    names = [folder.resolve().name for folder in folders]
    earlier = [names[:number].count(name) for number, name in enumerate(names)]
    return [f"{name} ({count + 1})" if count else name for name, count in zip(names, earlier, strict=True)]


def read_training_data(folder: Path, seed: int, name: str | None = None) -> ShopSplit:
    """Read a BEIR folder and split it; skipped lines are printed on standard error.

    Raises:
        DataError: The folder cannot be read, has no products, more than 1 % of its lines are bad, or more than 1 % of
            its queries have no relevant product.
    """
    dataset = read_dataset(folder, TRAINING_SPLIT)
    print_skipped(dataset.skipped_lines + find_unanswered_queries(folder, dataset, TRAINING_SPLIT))
    if not dataset.products:
        raise DataError(f"{folder} contains no products. Expected a corpus with titles. Check corpus.jsonl.")
    split = split_dataset(name or folder.resolve().name, dataset, random.Random(seed))
    answered = sum(max(grades.values()) > 0 for grades in dataset.qrels.get(TRAINING_SPLIT, {}).values())
    dropped = answered - len(split.train.judged_queries) - len(split.validation.judged_queries)
    if dropped:
        stderr.print(
            f"{folder}: {dropped} of {answered} judged queries are not used, because all their relevant products are "
            "held out for validation"
        )
    if not answered and any((folder / file).exists() for file in ("queries.jsonl", "queries.jsonl.gz", "qrels")):
        stderr.print(f"{folder} has no judgments in qrels/{TRAINING_SPLIT}.tsv; training on its titles alone")
    return split


def _check_writable(output: Path) -> None:
    """Fail before the training if the checkpoint cannot be written after it."""
    if os.path.lexists(output) and not output.is_file():
        raise DataError(f"{output} is not a regular file. Name a regular file or a file that does not exist.")
    if not output.parent.is_dir():
        raise DataError(f"{output} cannot be written: its folder does not exist. Create the folder first.")
    check_writable(output)


def _quality_summary(trained: TrainedAnthem) -> dict[str, Any]:
    return {
        "validation_ndcg_10": {name: round(ndcg, 4) for name, ndcg in trained.quality.items()},
        "steps": trained.steps,
    }
