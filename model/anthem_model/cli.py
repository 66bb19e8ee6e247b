"""The command `anthem train`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from anthem_core.console import FiniteFloatRange, handle_errors, json_option, print_result, stderr
from anthem_core.cores import usable_cores
from anthem_core.errors import require_extra
from anthem_core.output_files import bundle_files, check_output_files
from anthem_model.trainer.schedule import TrainingSchedule

SHIPPED_BUNDLE = "general"
NO_BASE = "nothing"


@click.command()
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Checkpoint file to write.")
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0, 2**63 - 1),
    help="Random seed. The same data, seed, steps and threads give the same model.",
)
@click.option(
    "--steps",
    default=TrainingSchedule.steps,
    show_default=True,
    type=click.IntRange(1),
    help="Number of batches to train on.",
)
@click.option(
    "--minutes",
    type=FiniteFloatRange(0, min_open=True),
    help="Stop after this much processor time, even if steps remain.",
)
@click.option(
    "--threads",
    default=1,
    show_default=True,
    type=click.IntRange(1, usable_cores()),
    help="Threads to compute with; the model depends on their number.",
)
@click.option(
    "--teacher",
    "teachers",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Sentence-embedding model that reads the texts: a folder with model.onnx and tokenizer.json, a folder of "
    "sentence-transformers, or bge-small-en-v1.5 or e5-small-v2, which are fetched. If repeated, the vectors of all "
    "are put side by side.",
)
@click.option(
    "--texts",
    "texts_files",
    multiple=True,
    type=click.Path(path_type=Path),
    help="File with more texts for the teacher, such as queries: one on each line, plain or .gz. May be repeated.",
)
@click.option(
    "--from",
    "base",
    default=SHIPPED_BUNDLE,
    show_default=True,
    help="Bundle or checkpoint to start from; `nothing` trains a new model, as in the paper.",
)
@click.option(
    "--share",
    "shares",
    multiple=True,
    type=click.IntRange(1),
    help="Relative number of batches from a DATA folder; give one per folder.",
)
@json_option
@handle_errors
def train(  # noqa: PLR0913 (one argument per option)
    *,
    data: tuple[Path, ...],
    output: Path,
    seed: int,
    steps: int,
    minutes: float | None,
    threads: int,
    teachers: tuple[Path, ...],
    texts_files: tuple[Path, ...],
    base: str,
    shares: tuple[int, ...],
    as_json: bool,
) -> None:
    """Train ANTHEM on BEIR folders: corpus.jsonl[.gz], queries.jsonl and qrels/train.tsv, or a corpus alone.

    Training starts from the bundle that ships. A --teacher, a sentence-embedding model, reads the titles, and the
    bundle is adapted to its vectors, which takes minutes and needs no judgments. If there are judgments, the model is
    then trained on them. A sixth to a third of the judged queries in `train` are held out for validation. Other splits
    are not read.

    With --from nothing, a new model with a vocabulary of its own is initialised from the teacher's vectors or, without
    a teacher, from words that occur together in titles.

    To resume a training that was killed, run the same command again; it continues after the last validation. There is
    one every 250 steps, and in a training of fewer than 1,000 steps one after each quarter.

    \b
    Example:
        anthem train shop/ --teacher bge-small-en-v1.5 --output shop.pt
        anthem train shop/ --from nothing --output shop.pt --minutes 20
    """
    if shares and len(shares) != len(data):
        raise click.UsageError(f"{len(shares)} --share options for {len(data)} folders. Give one per folder, or none.")
    if texts_files and not teachers:
        raise click.UsageError("--texts without --teacher: only a teacher reads these texts. Add --teacher.")
    _check_output(output, data, teachers, texts_files, base)
    require_extra("train", "torch", "geoopt", "bm25s", "scipy", "Stemmer")
    from anthem_model.base_model import load_base
    from anthem_model.pipeline import train_from_folders
    from anthem_model.trainer.training import TrainingPlan

    interval = max(1, min(TrainingSchedule.validation_interval, steps // 4))
    seconds = math.inf if minutes is None else 60 * minutes
    schedule = TrainingSchedule(steps=steps, seconds=seconds, validation_interval=interval)
    plan = TrainingPlan(seed=seed, schedule=schedule, threads=threads, shares=shares)
    start = None if base == NO_BASE else load_base(base)
    quality = train_from_folders(data, output, plan, teachers, texts_files, start)
    stderr.print(f"Next: anthem export {output} BUNDLE")
    print_result({"checkpoint": str(output), **quality}, f"{output}: {_describe(quality)}", as_json=as_json)


def _check_output(
    output: Path, data: tuple[Path, ...], teachers: tuple[Path, ...], texts_files: tuple[Path, ...], base: str
) -> None:
    """Check that neither the checkpoint nor the folder of the training, which is deleted, replaces what is read."""
    work = output.with_name(f"{output.name}.work")
    base_files = [Path(base)] if Path(base).is_file() else bundle_files(base)
    teacher_files = [file for folder in teachers for file in folder.rglob("*")]
    inputs = {"DATA": data, "--teacher": teacher_files, "--texts": texts_files, "--from": base_files}
    check_output_files({"--output": output}, inputs)
    check_output_files({"--output": [work]}, inputs)


def _describe(quality: dict[str, Any]) -> str:
    if quality["validation_ndcg_10"]:
        return str(quality)
    done = f"trained for {quality['steps']} steps" if quality["steps"] else "adapted to the titles"
    return f"{done} in {quality['seconds']} s; there are no held-out judgments to measure its quality on"
