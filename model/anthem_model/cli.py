"""`anthem train`: a BEIR folder in, a checkpoint out."""

from __future__ import annotations

import math
import os
from pathlib import Path

import click

from anthem_core.console import handle_errors, json_option, print_result, stderr
from anthem_core.errors import require_extra


@click.command()
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Checkpoint file to write.")
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0, 2**63 - 1),
    help="The same seed, threads and --steps give the same model.",
)
@click.option("--steps", default=4000, show_default=True, type=click.IntRange(1), help="Batches to learn from.")
@click.option(
    "--minutes",
    default=math.inf,
    type=click.FloatRange(0, min_open=True),
    help="Stop early after so much processor time.",
)
@click.option(
    "--threads",
    default=1,
    show_default=True,
    type=click.IntRange(1, os.cpu_count() or 1),
    help="More are faster on an idle machine.",
)
@click.option(
    "--teacher", type=click.Path(path_type=Path), help="Folder of a sentence-embedding model to learn from as well."
)
@click.option(
    "--share", "shares", multiple=True, type=click.IntRange(1), help="How often each DATA is drawn; repeatable."
)
@json_option
@handle_errors
def train(  # noqa: PLR0913 (an argument an option)
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
    """Train ANTHEM on BEIR folders: corpus.jsonl[.gz], queries.jsonl, qrels/train.tsv, or a corpus alone.

    Some judged queries of `train`, a sixth or of few a third, are kept for validation; no other split is learned from.

    Where trigrams start is computed from which words stand together in the titles or, with a --teacher, from its
    vectors of titles, of queries and of words of titles; both work for a catalogue without a single judgment. A
    training that was killed goes on from its last validation, every 250 steps, when the same command is given again.

    \b
    Example:
        anthem train shop/ --output shop.pt
        anthem train catalogue/ --teacher all-MiniLM-L6-v2/ --output shop.pt --minutes 20
    """
    if shares and len(shares) != len(data):
        raise click.UsageError(f"{len(shares)} times --share for {len(data)} folders; give one for each, or none.")
    needed = ("torch", "geoopt", "bm25s", "Stemmer", *(("sentence_transformers",) if teacher else ()))
    require_extra("train", *needed)
    from anthem_model.pipeline import train_from_folders
    from anthem_model.trainer.loop import TrainingSchedule
    from anthem_model.trainer.training import TrainingPlan

    pace = TrainingSchedule(steps=steps, seconds=60 * minutes, every=max(1, min(250, steps // 4)))
    plan = TrainingPlan(seed=seed, pace=pace, threads=threads, shares=shares)
    quality = train_from_folders(data, output, plan, teacher)
    stderr.print(f"Next: anthem export {output} BUNDLE")
    print_result({"checkpoint": str(output), **quality}, f"{output}: {quality}", as_json=as_json)
