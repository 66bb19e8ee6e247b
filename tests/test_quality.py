"""Laws of the comparison: cells, results, fusion, tables, and what is asked of OpenSearch."""

import importlib
import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")
pytestmark = pytest.mark.train

from anthem_core.beir import Dataset, Product

sys.path.append(str(Path(__file__).resolve().parent.parent / "bench"))
candidates, scoring, cells, tables, quality = map(
    importlib.import_module, ("candidates", "scoring", "cells", "tables", "quality")
)

DATASET = Dataset(
    {
        name: Product(name, title)
        for name, title in (("p1", "red lamp"), ("p2", "blue lamp shade"), ("p3", "drill"), ("p4", "red drills"))
    },
    {"q1": "red lamps", "q2": "drill", "q3": "shade"},
    {"dev": {"q1": {"p1": 3, "p3": 0, "p2": 1}, "q2": {"p3": 2, "p1": 0}}, "train": {"q3": {"p2": 3, "p3": 0}}},
)


def split_of(chance, queries=40, products=12):
    """Queries with grades 0 to 3 and lexical scores that say nothing of them."""
    names = [f"q{number}" for number in range(queries)]
    grades = {name: {f"p{place}": chance.randrange(4) for place in range(products)} for name in names}
    found = {}
    for name in names:
        scores = {f"p{place}": chance.random() * 20 for place in range(products)}
        ordered = dict(sorted(scores.items(), key=lambda item: -item[1]))
        found[name] = candidates.Found(ordered, ordered, ordered)
    return candidates.Split(dict.fromkeys(names, "lamp"), grades, found)


def line_of(model, seed=0, minutes=cells.MINUTES["esci"], shift=0.0, data="esci"):
    """A line as a cell gives it."""
    values = np.clip(np.random.default_rng(seed).random(50) * 0.5 + shift, 0, 1)
    measures = (*tables.MEASURES, "Judged@10")
    packed = dict.fromkeys(measures, cells.pack(values))
    means = dict.fromkeys(measures, round(float(values.mean()), 4))
    keys = ("judged/alone", "window/alone")
    cost = {"parameters": 1234, "megabytes": 0.01, "ms_per_100": 1.5, "seconds": 120}
    line = {"data": data, "model": model, "seed": seed, "minutes": minutes, **cost}
    return line | {"mean": dict.fromkeys(keys, means), "per_query": dict.fromkeys(keys, packed)}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_packed_values_come_back(values):
    """Packing keeps four digits."""
    assert np.allclose(cells.unpack(cells.pack(values)), values, atol=5.01e-5)


def test_what_is_done_is_skipped(tmp_path):
    """A cell is missing until a line with its settings is in the file; other settings are another cell."""
    path = tmp_path / "quality.jsonl"
    wanted = cells.cells(["esci"], ["bm25", "knrm"], 2)
    assert [(cell.model, cell.seed) for cell in wanted] == [("bm25", 0), ("knrm", 0), ("knrm", 1)]
    assert cells.missing(wanted, cells.read_lines(path)) == wanted
    cells.append(line_of("knrm", 1), path)
    assert cells.missing(wanted, cells.read_lines(path)) == wanted[:2]
    longer = cells.cells(["esci"], ["knrm"], 2, minutes=5.0)
    assert cells.missing(longer, cells.read_lines(path)) == longer


def test_command_fills_nothing_that_is_there(tmp_path):
    """`run` on a complete file starts no training and says so."""
    path = tmp_path / "quality.jsonl"
    cells.append(line_of("knrm"), path)
    words = ["run", "--data", "esci", "--model", "knrm", "--seed", "0", "--results", str(path), "--json"]
    done = CliRunner().invoke(quality.main, words)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"cells": 1, "filled": 0, "results": str(path)}
    assert CliRunner().invoke(quality.main, ["run"]).exit_code == 2


def test_table_shows_means_and_stars(tmp_path):
    """Means are over seeds; a star stands where a model differs from the one it is tested against, and nowhere else."""
    path = tmp_path / "quality.jsonl"
    for line in (line_of("knrm"), line_of("knrm", 1), line_of("anthem", shift=0.4), line_of("anthem", 1, shift=0.4)):
        cells.append(line, path)
    shown = CliRunner().invoke(quality.main, ["table", "--results", str(path)]).output
    packed = [line_of("knrm", seed)["per_query"]["judged/alone"]["nDCG@10"] for seed in (0, 1)]
    mean = np.mean([cells.unpack(one) for one in packed])
    assert f"| knrm | 2 | {mean:.4f}* ±" in shown
    assert "| anthem | 2 |" in shown
    assert "*" not in next(row for row in shown.splitlines() if row.startswith("| anthem | 2 |"))
    assert "1,234" in shown


def test_best_baseline_is_the_best_that_was_trained():
    """ANTHEM stands beside E-ANTHEM and the best trained baseline, in per cent; without one there is no table."""
    shifts = {"anthem": 0.1, "anthem_taught": 0.2, "e_anthem": 0.0, "knrm": 0.05, "dssm": 0.3, "minilm": 0.4}
    models = {model: [line_of(model, shift=shift)] for model, shift in shifts.items()}
    row = next(row for row in tables.rivals_table(models, "judged/alone").splitlines() if "| AP | anthem |" in row)
    first, even, best = (models[name][0]["mean"]["judged/alone"]["AP"] for name in ("anthem", "e_anthem", "dssm"))
    assert f"{first / even - 1:+.1%}" in row
    assert f"{first / best - 1:+.1%}" in row
    assert row.endswith("| dssm |")
    assert tables.rivals_table({name: models[name] for name in shifts if name != "e_anthem"}, "judged/alone") == ""
    assert tables.rivals_table(models, "judged/fused") == ""


def test_newest_line_of_a_cell_counts():
    """Of two lines with the same settings the table shows the second."""
    lines = [line_of("knrm"), line_of("knrm", shift=0.3)]
    assert tables.grouped(lines)["esci", "knrm"] == [lines[1]]


def test_same_values_are_no_difference():
    """A model tested against itself has p = 1, against a better one nearly 0."""
    worse, better = [line_of("knrm")], [line_of("anthem", shift=0.3)]
    assert tables.p_value(worse, worse, "judged/alone", "AP") == 1
    assert tables.p_value(worse, better, "judged/alone", "AP") < 1e-6


def test_fusion_trusts_the_model_that_knows():
    """A model that knows the grades gets weight enough to order as it does; one that only guesses gets next to none."""
    split = split_of(random.Random(0))
    knows = {name: {one: 5.0 * grade - 40 for one, grade in grades.items()} for name, grades in split.qrels.items()}
    weights = scoring.fit(split, knows)
    order = scoring.fused(split, knows, "judged", weights)
    assert np.mean(scoring.measured(order, split.qrels)["nDCG@10"]) > 0.99
    lexical = split_of(random.Random(1))
    right = {name: candidates.Found(*[knows_as(grades)] * 3) for name, grades in lexical.qrels.items()}
    guessed = {name: {one: random.Random(one).random() for one in grades} for name, grades in lexical.qrels.items()}
    split = candidates.Split(lexical.queries, lexical.qrels, right)
    assert scoring.fit(split, guessed).weight < 0.1


def knows_as(grades):
    """Lexical scores in the order of the grades."""
    return {one: 1.0 + 5 * grade for one, grade in sorted(grades.items(), key=lambda item: -item[1])}


def test_no_weight_is_the_lexical_order():
    """With weight 0 the fused order is OpenSearch's, whatever the model says."""
    split = split_of(random.Random(0))
    noise = {name: {one: random.Random(name + one).random() for one in grades} for name, grades in split.qrels.items()}
    order = scoring.fused(split, noise, "window", scoring.Weights(5.0, 0.0, 0.0, 1.0))
    for name, run in order.items():
        assert sorted(run, key=run.__getitem__, reverse=True) == list(split.found[name].window)


def test_own_measure_is_that_of_ir_measures():
    """The nDCG@10 that chooses the weights is the one that is reported."""
    split = split_of(random.Random(2))
    model = {name: {one: random.Random(one + name).random() for one in grades} for name, grades in split.qrels.items()}
    weights = scoring.Weights(5.0, 0.7, 0.5, 0.3)
    run = scoring.fused(split, model, "judged", weights)
    reported = np.mean(scoring.measured(run, split.qrels)["nDCG@10"])
    assert scoring._standing(scoring._grid(split, model, "judged"), weights) == pytest.approx(reported, abs=1e-4)


def test_model_scores_every_candidate_as_it_would_alone():
    """Scoring many queries at a time gives each candidate the score it has by itself."""
    from rankers.registry import RANKER_BUILDERS

    titles = {f"p{place}": f"{'red' if place % 2 else 'blue'} lamp {place}" for place in range(12)}
    split = split_of(random.Random(0))
    ranker = RANKER_BUILDERS["knrm"](list(titles.values()), ["red lamp"])
    scores = scoring.ranked(ranker, split, titles)
    for name in list(split.queries)[::9]:
        for product, score in scores[name].items():
            assert score == pytest.approx(float(ranker.rank("lamp", [titles[product]])[0]), abs=1e-5)


def test_bm25_needs_no_model_and_no_fusion():
    """What OpenSearch computes is measured alone; the trigram score is also fused."""
    split = {"dev": split_of(random.Random(0)), "validation": split_of(random.Random(1))}
    given = lambda one: {name: found.trigrams for name, found in one.found.items()}  # noqa: E731
    assert set(cells.orders("bm25", given, split)[0]) == {("judged", "alone"), ("window", "alone")}
    runs, weights = cells.orders("bm25_trigrams", given, split)
    assert len(runs) == 4
    assert weights["half"] > 0


def test_held_out_queries_are_not_learned_from():
    """No query that fusion is fitted on is among those that a training sees, and none is of `dev`."""
    from anthem_sandbox.catalogue import generate_catalogue

    dataset = generate_catalogue(seed=0)
    parts = candidates.cut(dataset, "catalogue")
    held = candidates.held_out(dataset, parts)
    assert held
    assert {dataset.queries[query] for query in held}.isdisjoint(query.text for query in parts.learn.judged)
    assert held.keys() <= dataset.qrels["train"].keys()


@pytest.mark.node
def test_opensearch_scores_what_is_judged_and_finds_what_matches(client, tmp_path):
    """Every judged product has a score, 0 where no word matches; the window holds matches alone, best first."""
    wanted = {"dev": DATASET.qrels["dev"], "validation": DATASET.qrels["train"]}
    found = candidates.fetch(client, DATASET, ["q1", "q2", "q3"], wanted)
    assert list(found["q1"].judged) == ["p1", "p2", "p3"]
    assert found["q1"].judged["p3"] == 0
    assert set(found["q2"].window) == {"p3", "p4"}
    assert found["q1"].trigrams.keys() == set(found["q1"].products)
    for one in found.values():
        assert list(one.window.values()) == sorted(one.window.values(), reverse=True)
        shared = one.window.keys() & one.judged.keys()
        assert [one.window[product] for product in shared] == pytest.approx([one.judged[product] for product in shared])
    candidates.write(found, tmp_path / "cache.json.gz")
    assert candidates.read(tmp_path / "cache.json.gz") == found
    assert not client.indices.exists(index=candidates.INDEX)
