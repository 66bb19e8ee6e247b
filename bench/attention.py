"""Time of the attention score: milliseconds for 100 titles, starting from text, in one thread.

python bench/attention.py --bundle general
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import click
import numpy as np

from anthem_core.beir import read_dataset
from anthem_core.console import handle_errors, json_option, print_result
from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.bundle import load_bundle
from anthem_evaluation.measure import describe_machine
from cells import TRAINING_MINUTES, benchmark_data_folder

if TYPE_CHECKING:
    from anthem_core.beir import Dataset

TIMED_CALLS = 300
TITLES_PER_CALL = 100
QUANTILES = {"p10": 0.1, "p50": 0.5, "p90": 0.9}


@click.command()
@click.option(
    "--bundle",
    "bundle_name",
    default="general",
    show_default=True,
    help="Folder of a bundle, or the name of the one that is included.",
)
@json_option
@handle_errors
def main(*, bundle_name: str, as_json: bool) -> None:
    """Time the attention score of 100 titles on each dataset. Run it on an idle machine.

    Example: python bench/attention.py --bundle general
    """
    scorer = AttentionScorer(load_bundle(bundle_name))
    machine = describe_machine()
    timings = {name: time_calls(scorer, read_dataset(benchmark_data_folder() / name)) for name in TRAINING_MINUTES}
    lines = [f"{name}: median {ms['p50']} ms, {ms['p10']} to {ms['p90']} ms" for name, ms in timings.items()]
    print_result({"machine": machine, "ms": timings}, "\n".join([*lines, machine]), as_json=as_json)


def time_calls(scorer: AttentionScorer, dataset: Dataset) -> dict[str, float]:
    """Wall-clock milliseconds per call: 10 %, 50 % and 90 % quantile over calls with random queries and titles."""
    generator = random.Random(0)
    titles, queries = [product.title for product in dataset.products.values()], list(dataset.queries.values())
    milliseconds = []
    for _ in range(TIMED_CALLS):
        sample, query = generator.sample(titles, TITLES_PER_CALL), generator.choice(queries)
        started = time.perf_counter()
        scorer.score_titles(query, sample)
        milliseconds.append(1000 * (time.perf_counter() - started))
    return {name: round(float(np.quantile(milliseconds, share)), 2) for name, share in QUANTILES.items()}


if __name__ == "__main__":
    main()
