"""What the attention score costs: milliseconds for a hundred titles from text, one thread.

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


@click.command()
@click.option("--bundle", default="general", show_default=True, help="Folder of a bundle, or one that ships.")
@json_option
@handle_errors
def main(*, bundle: str, as_json: bool) -> None:
    """Time queries against a hundred titles of each data set; a quiet machine is wanted.

    Example: python bench/attention.py --bundle general
    """
    attention = AttentionScorer(load_bundle(bundle))
    found = {name: time_calls(attention, read_dataset(benchmark_data_folder() / name)) for name in TRAINING_MINUTES}
    shown = "\n".join(f"{name}: median {one['p50']} ms, {one['p10']} to {one['p90']}" for name, one in found.items())
    print_result({"machine": describe_machine(), "ms": found}, f"{shown}\n{describe_machine()}", as_json=as_json)


def time_calls(attention: AttentionScorer, dataset: Dataset) -> dict[str, float]:
    """Milliseconds of a call by the clock: 10 %, half and 90 % of the calls take no more."""
    chance = random.Random(0)
    titles, queries = [product.title for product in dataset.products.values()], list(dataset.queries.values())
    taken = []
    for _ in range(TIMED_CALLS):
        some, query = chance.sample(titles, TITLES_PER_CALL), chance.choice(queries)
        started = time.perf_counter()
        attention.scores(query, some)
        taken.append(1000 * (time.perf_counter() - started))
    return {
        name: round(float(np.quantile(taken, share)), 2) for name, share in (("p10", 0.1), ("p50", 0.5), ("p90", 0.9))
    }


if __name__ == "__main__":
    main()
