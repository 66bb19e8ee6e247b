"""Quality of ranking without a lexical score, as the service does: by attention, and by containment and attention.

python bench/document_signals.py --bundle general
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import numpy as np

from anthem_core.beir import read_dataset
from anthem_core.console import bundle_option, handle_errors, json_option, print_result
from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.bundle import load_bundle
from anthem_core.encoding.encoder import Encoder
from anthem_core.encoding.stored_vectors import unpack_points
from anthem_core.fusion import model_shift
from anthem_plugin.scoring.params import ATTENTION, BOTH, ScoringParams
from anthem_plugin.scoring.window import point_distances
from candidates import RANKING_TASKS, lexical_run, load_splits, prepare_training_parts
from cells import RUNS_FOLDER, TRAINING_MINUTES, benchmark_data_folder
from model_runs import measure_run, model_run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthem_core.beir import Dataset
    from anthem_core.encoding.bundle import Bundle
    from candidates import CandidateScores, CandidateSplit

DOCUMENT_SIGNALS = ("attention", "containment+attention")


@click.command()
@bundle_option
@json_option
@handle_errors
def main(*, bundle_name: str, as_json: bool) -> None:
    """Measure nDCG@10 on the dev queries of each dataset, on their judged products and on BM25's first 100 hits.

    Example: python bench/document_signals.py --bundle general
    """
    bundle, means = load_bundle(bundle_name), {}
    for name in TRAINING_MINUTES:
        dataset = read_dataset(benchmark_data_folder() / name)
        splits = load_splits(dataset, prepare_training_parts(dataset, name), RUNS_FOLDER / f"{name}.json.gz")
        for task, values in measure_document_signals(bundle, dataset, splits["dev"]).items():
            means[f"{name}, {task}"] = values
    print_result({"ndcg_10": means}, format_signals_table(means), as_json=as_json)


def format_signals_table(means: Mapping[str, Mapping[str, float]]) -> str:
    """A markdown table with one row per dataset and task."""
    rows = [[name, *(f"{values[way]:.4f}" for way in DOCUMENT_SIGNALS)] for name, values in means.items()]
    cells = [["nDCG@10", *DOCUMENT_SIGNALS], ["---", *["---:"] * len(DOCUMENT_SIGNALS)], *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def measure_document_signals(bundle: Bundle, dataset: Dataset, split: CandidateSplit) -> dict[str, dict[str, float]]:
    """Mean nDCG@10 of each way to score a document, by task."""
    scores = score_documents(bundle, dataset, split)
    return {
        task: {
            way: round(float(np.mean(measure_run(model_run(split, scores[way], task), split.qrels)["nDCG@10"])), 4)
            for way in DOCUMENT_SIGNALS
        }
        for task in RANKING_TASKS
    }


def score_documents(bundle: Bundle, dataset: Dataset, split: CandidateSplit) -> dict[str, CandidateScores]:
    """What the model says about each candidate, for each way to score it."""
    scoring, encoder, attention = ScoringParams.from_bundle(bundle), Encoder(bundle), AttentionScorer(bundle)
    ids = sorted({product for task in RANKING_TASKS for pool in lexical_run(split, task).values() for product in pool})
    vectors = encoder.encode_vectors([dataset.products[product].title for product in ids])
    points = dict(zip(ids, unpack_points(vectors, bundle.vector_step), strict=True))
    scores: dict[str, CandidateScores] = {way: {} for way in DOCUMENT_SIGNALS}
    for query, candidates in split.candidates.items():
        pool, region = candidates.product_ids, encoder.encode_query(split.queries[query])
        attended = attention.score_titles(split.queries[query], [dataset.products[product].title for product in pool])
        distance = point_distances([points[product] for product in pool], region, scoring) if region else None
        shifts = (
            model_shift(None, attended, scoring.fusion_for(ATTENTION)),
            model_shift(distance, attended, scoring.fusion_for(BOTH)),
        )
        for way, shift in zip(DOCUMENT_SIGNALS, shifts, strict=True):
            scores[way][query] = dict(zip(pool, shift.tolist(), strict=True))
    return scores


if __name__ == "__main__":
    main()
