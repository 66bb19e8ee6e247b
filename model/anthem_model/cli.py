"""The command `anthem train`."""

from __future__ import annotations

import math
import os
from pathlib import Path

import click

from anthem_core.console import handle_errors, json_option, print_result, stderr
from anthem_core.errors import require_extra
from anthem_model.trainer.schedule import TrainingSchedule


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
    default=math.inf,
    type=click.FloatRange(0, min_open=True),
    help="Stop after this much processor time, even if steps remain.",
)
@click.option(
    "--threads",
    default=1,
    show_default=True,
    type=click.IntRange(1, os.cpu_count() or 1),
    help="Threads to compute with; the model depends on their number.",
)
@click.option(
    "--teacher",
    type=click.Path(path_type=Path),
    help="Folder of a sentence-embedding model whose vectors initialise ANTHEM.",
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
    minutes: float,
    threads: int,
    teacher: Path | None,
    shares: tuple[int, ...],
    as_json: bool,
) -> None:
    """Train ANTHEM on BEIR folders: corpus.jsonl[.gz], queries.jsonl and qrels/train.tsv, or a corpus alone.

    A sixth to a third of the judged queries in `train` are held out for validation. Other splits are not read.

    The model is initialised from the words that occur together in titles or, with --teacher, from the teacher's vectors
    of titles and queries. Neither needs judgments. To resume a training that was killed, run the same command again; it
    continues after the last validation. There is one every 250 steps, and in a training of fewer than 1,000 steps one
    after each quarter.

    \b
    Example:
        anthem train shop/ --output shop.pt
        anthem train catalogue/ --teacher all-MiniLM-L6-v2/ --output shop.pt --minutes 20
    """
    if shares and len(shares) != len(data):
        raise click.UsageError(f"{len(shares)} --share options for {len(data)} folders. Give one per folder, or none.")
    optional = ("sentence_transformers",) if teacher else ()
    require_extra("train", "torch", "geoopt", "bm25s", "scipy", "Stemmer", *optional)
    from anthem_model.pipeline import train_from_folders
    from anthem_model.trainer.training import TrainingPlan

    interval = max(1, min(TrainingSchedule.validation_interval, steps // 4))
    schedule = TrainingSchedule(steps=steps, seconds=60 * minutes, validation_interval=interval)
    plan = TrainingPlan(seed=seed, schedule=schedule, threads=threads, shares=shares)
    quality = train_from_folders(data, output, plan, teacher)
    stderr.print(f"Next: anthem export {output} BUNDLE")
    print_result({"checkpoint": str(output), **quality}, f"{output}: {quality}", as_json=as_json)
