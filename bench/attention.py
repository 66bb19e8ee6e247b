"""What the attention score costs: milliseconds for a hundred titles from text, one thread.

python bench/attention.py --bundle general
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import click
import numpy as np
from cells import MINUTES, data_folder

from anthem_core.attention import Attention
from anthem_core.beir import read_dataset
from anthem_core.bundle import load
from anthem_core.console import emit, ends_cleanly, json_option
from anthem_evaluation.machine import machine

if TYPE_CHECKING:
    from anthem_core.beir import Dataset

CALLS = 300
TITLES = 100


@click.command()
@click.option("--bundle", default="general", show_default=True, help="Folder of a bundle, or one that ships.")
@json_option
@ends_cleanly
def main(*, bundle: str, as_json: bool) -> None:
    """Time queries against a hundred titles of each data set; a quiet machine is wanted.

    Example: python bench/attention.py --bundle general
    """
    attention = Attention(load(bundle))
    found = {name: timed(attention, read_dataset(data_folder() / name)) for name in MINUTES}
    shown = "\n".join(f"{name}: median {one['p50']} ms, {one['p10']} to {one['p90']}" for name, one in found.items())
    emit({"machine": machine(), "ms": found}, f"{shown}\n{machine()}", as_json=as_json)


def timed(attention: Attention, dataset: Dataset) -> dict[str, float]:
    """Milliseconds of a call by the clock: 10 %, half and 90 % of the calls take no more."""
    chance = random.Random(0)
    titles, queries = [product.title for product in dataset.products.values()], list(dataset.queries.values())
    taken = []
    for _ in range(CALLS):
        some, query = chance.sample(titles, TITLES), chance.choice(queries)
        started = time.perf_counter()
        attention.scores(query, some)
        taken.append(1000 * (time.perf_counter() - started))
    return {
        name: round(float(np.quantile(taken, share)), 2) for name, share in (("p10", 0.1), ("p50", 0.5), ("p90", 0.9))
    }


if __name__ == "__main__":
    main()
