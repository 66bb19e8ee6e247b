"""`anthem train`: a BEIR folder in, a checkpoint out."""

from __future__ import annotations

import math
from pathlib import Path

import click

from anthem_core.console import emit, ends_cleanly, err, json_option
from anthem_core.errors import require_extra


@click.command()
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--output", required=True, type=click.Path(path_type=Path), help="Checkpoint file to write.")
@click.option("--seed", default=0, show_default=True, help="The same seed and threads give the same model.")
@click.option("--steps", default=4000, show_default=True, type=click.IntRange(1), help="Batches to learn from.")
@click.option("--minutes", default=math.inf, type=click.FloatRange(0, min_open=True), help="Stop early after so long.")
@click.option(
    "--threads", default=1, show_default=True, type=click.IntRange(1), help="More are faster on an idle machine."
)
@click.option(
    "--share", "shares", multiple=True, type=click.IntRange(1), help="How often each DATA is drawn; repeatable."
)
@json_option
@ends_cleanly
def train(  # noqa: PLR0913 (an argument an option)
    *,
    data: tuple[Path, ...],
    output: Path,
    seed: int,
    steps: int,
    minutes: float,
    threads: int,
    shares: tuple[int, ...],
    as_json: bool,
) -> None:
    """Train ANTHEM on BEIR folders: corpus.jsonl[.gz], queries.jsonl, qrels/train.tsv, or a corpus alone.

    Some judged queries of `train`, a sixth or of few a third, are kept for validation; no other split is learned from.

    \b
    Example:
        anthem train shop/ --output shop.pt
    """
    if shares and len(shares) != len(data):
        raise click.UsageError(f"{len(shares)} times --share for {len(data)} folders; give one for each, or none.")
    require_extra("train", "torch", "geoopt", "bm25s", "Stemmer")
    from anthem_model.run import run
    from anthem_model.training import Plan

    quality = run(data, output, Plan(seed=seed, steps=steps, minutes=minutes, threads=threads, shares=shares))
    err.print(f"Next: anthem export {output} BUNDLE")
    emit({"checkpoint": str(output), **quality}, f"{output}: {quality}", as_json=as_json)
