"""The comparison of bench/: cells, results, fusion, tables, and the candidates from OpenSearch."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")
pytestmark = pytest.mark.train

import adaptation
import candidates
import cell_measurement
import cells
import fusion_fit
import model_runs
import quality
import tables
from anthem_core.beir import Dataset, Product
from anthem_sandbox.catalogue import generate_catalogue
from rankers.registry import RANKER_BUILDERS

TABLES_PAGE = Path(__file__).resolve().parent.parent / "docs" / "quality-tables.md"
DATASET = Dataset(
    {
        name: Product(name, title)
        for name, title in (("p1", "red lamp"), ("p2", "blue lamp shade"), ("p3", "drill"), ("p4", "red drills"))
    },
    {"q1": "red lamps", "q2": "drill", "q3": "shade"},
    {"dev": {"q1": {"p1": 3, "p3": 0, "p2": 1}, "q2": {"p3": 2, "p1": 0}}, "train": {"q3": {"p2": 3, "p3": 0}}},
)


def make_split(rng, queries=40, products=12):
    """A split with grades 0 to 3 and lexical scores that are independent of them."""
    names = [f"q{number}" for number in range(queries)]
    grades = {name: {f"p{number}": rng.randrange(4) for number in range(products)} for name in names}
    query_candidates = {}
    for name in names:
        scores = {f"p{number}": rng.random() * 20 for number in range(products)}
        ordered = dict(sorted(scores.items(), key=lambda item: -item[1]))
        query_candidates[name] = candidates.QueryCandidates(ordered, ordered, ordered)
    return candidates.CandidateSplit(dict.fromkeys(names, "lamp"), grades, query_candidates)


def make_line(model, seed=0, minutes=cells.TRAINING_MINUTES["esci"], shift=0.0, data="esci"):
    """A line of results."""
    values = np.clip(np.random.default_rng(seed).random(50) * 0.5 + shift, 0, 1)
    measures = (*tables.TABLE_MEASURES, "Judged@10")
    packed = dict.fromkeys(measures, cells.pack_values(values))
    means = dict.fromkeys(measures, round(float(values.mean()), 4))
    keys = ("judged/alone", "window/alone")
    cost = {"parameters": 1234, "megabytes": 0.01, "ms_per_100": 1.5, "seconds": 120}
    line = {"data": data, "model": model, "seed": seed, "minutes": minutes, **cost}
    return line | {"mean": dict.fromkeys(keys, means), "per_query": dict.fromkeys(keys, packed)}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_packed_values_round_trip(values):
    """Packing keeps four decimals."""
    assert np.allclose(cells.unpack_values(cells.pack_values(values)), values, atol=5.01e-5)


def test_measured_cells_are_not_missing(tmp_path):
    """A cell is missing until the file has a line with its settings; other settings make another cell."""
    path = tmp_path / "quality.jsonl"
    selected = cells.list_cells(["esci"], ["bm25", "knrm"], 2)
    assert [(cell.model, cell.seed) for cell in selected] == [("bm25", 0), ("knrm", 0), ("knrm", 1)]
    assert cells.list_missing_cells(selected, cells.read_results(path), "") == selected
    cells.append_result(make_line("knrm", 1), path)
    assert cells.list_missing_cells(selected, cells.read_results(path), "") == selected[:2]
    longer = cells.list_cells(["esci"], ["knrm"], 2, minutes=5.0)
    assert cells.list_missing_cells(longer, cells.read_results(path), "") == longer


def test_another_bundle_is_measured_again():
    """A line of a bundle counts for this bundle alone; other models do not depend on it."""
    selected = cells.list_cells(["esci"], ["general", "knrm"], 1)
    lines = [make_line("general", minutes=0.0) | {"bundle": "one"}, make_line("knrm")]
    assert cells.list_missing_cells(selected, lines, "one") == []
    assert [cell.model for cell in cells.list_missing_cells(selected, lines, "two")] == ["general"]


def test_run_skips_measured_cells(tmp_path):
    """`run` on a complete file trains nothing and reports that; without a selection it is a usage error."""
    path = tmp_path / "quality.jsonl"
    cells.append_result(make_line("knrm"), path)
    arguments = ["run", "--data", "esci", "--model", "knrm", "--seed", "0", "--results", str(path), "--json"]
    result = CliRunner().invoke(quality.main, arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"cells": 1, "filled": 0, "results": str(path)}
    assert CliRunner().invoke(quality.main, ["run"]).exit_code == 2


def test_table_shows_means_and_stars(tmp_path):
    """Means are over seeds; only models that differ from the reference get a star."""
    path = tmp_path / "quality.jsonl"
    for line in (
        make_line("knrm"),
        make_line("knrm", 1),
        make_line("anthem", shift=0.4),
        make_line("anthem", 1, shift=0.4),
    ):
        cells.append_result(line, path)
    output = CliRunner().invoke(quality.main, ["table", "--results", str(path)]).output
    packed = [make_line("knrm", seed)["per_query"]["judged/alone"]["nDCG@10"] for seed in (0, 1)]
    mean = np.mean([cells.unpack_values(text) for text in packed])
    assert f"| knrm | 2 | {mean:.4f}* ±" in output
    assert "| anthem | 2 |" in output
    assert "*" not in next(row for row in output.splitlines() if row.startswith("| anthem | 2 |"))
    assert "1,234" in output


def test_page_of_tables_is_up_to_date():
    """docs/quality-tables.md is what `table` prints for bench/results/quality.jsonl."""
    assert CliRunner().invoke(quality.main, ["table"]).stdout == TABLES_PAGE.read_text(encoding="utf-8")


def test_comparison_table_shows_gain_over_the_best_trained_baseline():
    """Gains over E-ANTHEM and the best trained baseline are in per cent; without E-ANTHEM or the key it is empty."""
    shifts = {"anthem": 0.1, "anthem_taught": 0.2, "e_anthem": 0.0, "knrm": 0.05, "dssm": 0.3, "minilm": 0.4}
    models = {model: [make_line(model, shift=shift)] for model, shift in shifts.items()}
    table = tables.build_comparison_table(models, "judged/alone")
    row = next(row for row in table.splitlines() if "| AP | anthem |" in row)
    anthem, e_anthem, best = (models[name][0]["mean"]["judged/alone"]["AP"] for name in ("anthem", "e_anthem", "dssm"))
    assert f"{anthem / e_anthem - 1:+.1%}" in row
    assert f"{anthem / best - 1:+.1%}" in row
    assert row.endswith("| dssm |")
    without_e_anthem = {name: models[name] for name in shifts if name != "e_anthem"}
    assert tables.build_comparison_table(without_e_anthem, "judged/alone") == ""
    assert tables.build_comparison_table(models, "judged/fused") == ""


def test_last_line_of_a_cell_counts():
    """Of two lines with the same settings the table shows the second."""
    lines = [make_line("knrm"), make_line("knrm", shift=0.3)]
    assert tables.group_lines(lines)["esci", "knrm"] == [lines[1]]


def lexical_oracle(grades):
    """Lexical scores in the order of the grades."""
    return {product: 1.0 + 5 * grade for product, grade in sorted(grades.items(), key=lambda item: -item[1])}


def random_scores(split):
    """Scores that depend only on the query and product ids."""
    return {
        query: {product: random.Random(query + product).random() for product in grades}
        for query, grades in split.qrels.items()
    }


def test_fusion_weights_an_informative_model():
    """A model that knows the grades gets enough weight to order by them; one that guesses gets almost none."""
    split = make_split(random.Random(0))
    oracle = {
        query: {product: 5.0 * grade - 40 for product, grade in grades.items()} for query, grades in split.qrels.items()
    }
    fusion = fusion_fit.fit_fusion(split, oracle)
    run = model_runs.fused_run(split, oracle, "judged", fusion)
    assert np.mean(model_runs.measure_run(run, split.qrels)["nDCG@10"]) > 0.99
    split = make_split(random.Random(1))
    lexical = {
        query: candidates.QueryCandidates(*[lexical_oracle(grades)] * 3) for query, grades in split.qrels.items()
    }
    guesses = {
        query: {product: random.Random(product).random() for product in grades} for query, grades in split.qrels.items()
    }
    split = candidates.CandidateSplit(split.queries, split.qrels, lexical)
    assert fusion_fit.fit_fusion(split, guesses).weight < 0.1


def test_weight_zero_is_the_lexical_order():
    """With weight 0 the fused order is OpenSearch's, whatever the scores of the model are."""
    split = make_split(random.Random(0))
    fusion = fusion_fit.FittedFusion(5.0, 0.0, 0.0, 1.0)
    fused = model_runs.fused_run(split, random_scores(split), "window", fusion)
    for query, run in fused.items():
        assert sorted(run, key=run.__getitem__, reverse=True) == list(split.candidates[query].window)


def test_fitted_ndcg_is_the_reported_ndcg():
    """The nDCG@10 that selects the fusion weights is the one of ir_measures, which is reported."""
    split = make_split(random.Random(2))
    scores = random_scores(split)
    fusion = fusion_fit.FittedFusion(5.0, 0.7, 0.5, 0.3)
    run = model_runs.fused_run(split, scores, "judged", fusion)
    reported = np.mean(model_runs.measure_run(run, split.qrels)["nDCG@10"])
    arrays = fusion_fit._task_arrays(split, scores, "judged")
    assert fusion_fit._mean_ndcg_at_10(arrays, fusion) == pytest.approx(reported, abs=1e-4)


def test_batches_do_not_change_scores():
    """Scoring many queries at a time gives each candidate the score it gets on its own."""
    titles = {f"p{number}": f"{'red' if number % 2 else 'blue'} lamp {number}" for number in range(12)}
    split = make_split(random.Random(0))
    ranker = RANKER_BUILDERS["knrm"](list(titles.values()), ["red lamp"])
    scores = model_runs.score_all_candidates(ranker, split, titles)
    for query in list(split.queries)[::9]:
        for product, score in scores[query].items():
            assert score == pytest.approx(float(ranker.score_titles("lamp", [titles[product]])[0]), abs=1e-5)


def test_bm25_is_not_fused():
    """BM25 is measured alone; the trigram score is also fused."""
    splits = {"dev": make_split(random.Random(0)), "validation": make_split(random.Random(1))}

    def trigram_scores(split):
        return {query: item.trigrams for query, item in split.candidates.items()}

    assert set(cell_measurement.build_runs("bm25", trigram_scores, splits)[0]) == {
        ("judged", "alone"),
        ("window", "alone"),
    }
    runs, weights = cell_measurement.build_runs("bm25_trigrams", trigram_scores, splits)
    assert len(runs) == 4
    assert weights["half"] > 0


def test_held_out_queries_are_not_trained_on():
    """No query that fusion is fitted on is used in training, and all of them are from `train`."""
    dataset = generate_catalogue(seed=0)
    parts = candidates.prepare_training_parts(dataset, "catalogue")
    held_out = candidates.select_held_out_qrels(dataset, parts)
    assert held_out
    training_texts = {query.text for query in parts.train.judged_queries}
    assert {dataset.queries[query] for query in held_out}.isdisjoint(training_texts)
    assert held_out.keys() <= dataset.qrels["train"].keys()


@pytest.mark.node
def test_opensearch_scores_judged_products_and_matches(client, tmp_path):
    """Every judged product has a score, 0 if no word matches; the window holds only matches, best first."""
    qrels_by_split = {"dev": DATASET.qrels["dev"], "validation": DATASET.qrels["train"]}
    fetched = candidates.fetch_candidates(client, DATASET, qrels_by_split)
    assert list(fetched) == ["q1", "q2", "q3"]
    assert list(fetched["q1"].judged) == ["p1", "p2", "p3"]
    assert fetched["q1"].judged["p3"] == 0
    assert set(fetched["q2"].window) == {"p3", "p4"}
    assert fetched["q1"].trigrams.keys() == set(fetched["q1"].product_ids)
    for item in fetched.values():
        assert list(item.window.values()) == sorted(item.window.values(), reverse=True)
        shared = item.window.keys() & item.judged.keys()
        assert [item.window[product] for product in shared] == pytest.approx(
            [item.judged[product] for product in shared]
        )
    candidates.write_candidates(fetched, tmp_path / "cache.json.gz")
    assert candidates.read_candidates(tmp_path / "cache.json.gz") == fetched
    assert not client.indices.exists(index=candidates.CANDIDATE_INDEX)


def test_adaptation_reads_the_titles_that_are_ranked(monkeypatch):
    """The teacher reads every title of a small catalogue once; of a large one, those of the candidates."""
    split = make_split(random.Random(0), queries=2, products=3)
    dataset = Dataset({f"p{number}": Product(f"p{number}", f"title {number % 5}") for number in range(10)})
    assert adaptation.adaptation_titles(dataset, split) == [f"title {number}" for number in range(5)]
    monkeypatch.setattr(adaptation, "MAX_TITLES", 5)
    assert sorted(adaptation.adaptation_titles(dataset, split)) == ["title 0", "title 1", "title 2"]
