"""The comparison of geometries in bench/."""

import json
import random

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.train

import geometry
import geometry_measures
import geometry_training
from anthem_model.data.training_shop import JudgedQuery, TrainingShop
from anthem_sandbox.catalogue import generate_catalogue

PATHS = st.lists(st.sampled_from("ab"), min_size=1, max_size=4)
DISTANCES = st.lists(st.tuples(st.floats(0.1, 10), st.integers(1, 8)), min_size=1, max_size=20)


@given(PATHS, PATHS, PATHS)
def test_tree_distance_is_a_metric(first, second, third):
    """It is 0 only between a node and itself, it is symmetric, and no detour is shorter."""
    distance = geometry_measures.tree_distance
    assert (distance(first, second) == 0) == (first == second)
    assert distance(first, second) == distance(second, first)
    assert distance(first, third) <= distance(first, second) + distance(second, third)


def test_tree_distance_by_hand():
    """Siblings are two edges apart, a child and its parent one, nodes below different departments go over the root."""
    assert geometry_measures.tree_distance(("home", "lamps"), ("home", "mirrors")) == 2
    assert geometry_measures.tree_distance(("home",), ("home", "mirrors")) == 1
    assert geometry_measures.tree_distance(("home", "lamps"), ("tools",)) == 3


@given(DISTANCES, st.floats(0.01, 100))
def test_distortion_does_not_depend_on_the_unit(pairs, unit):
    """Scaling all distances changes nothing, and an isometry has distortion 0."""
    embedded, expected = (np.array(values, float) for values in zip(*pairs, strict=True))
    distortion = geometry_measures.average_distortion(embedded, expected)
    assert geometry_measures.average_distortion(unit * embedded, expected) == pytest.approx(distortion)
    assert geometry_measures.average_distortion(unit * expected, expected) == pytest.approx(0, abs=1e-9)


def test_sample_keeps_judgments(monkeypatch):
    """Every sampled query keeps its products and gains; there are as many titles as asked for."""
    monkeypatch.setattr(geometry_training, "SAMPLED_QUERIES", 5)
    monkeypatch.setattr(geometry_training, "SAMPLED_TITLES", 30)
    titles = [f"title {row}" for row in range(100)]
    queries = [JudgedQuery(f"query {number}", (number, number + 50), (1.0, 0.5)) for number in range(20)]
    sample = geometry_training.sample_shop(TrainingShop("shop", titles, queries), random.Random(0))
    assert len(sample.judged_queries) == 5
    assert len(sample.titles) == len(set(sample.titles)) == 30
    for query in sample.judged_queries:
        number = int(query.text.split()[1])
        assert [sample.titles[row] for row in query.rows] == [f"title {number}", f"title {number + 50}"]
        assert query.gains == (1.0, 0.5)


def test_cell_is_measured_once(tmp_path, monkeypatch):
    """A run writes a line per geometry, a second one none; the table shows both."""
    monkeypatch.setattr(geometry_training, "generate_catalogue", lambda: generate_catalogue(products=1000))
    geometry_training.load_shop_split.cache_clear()
    path = tmp_path / "geometry.jsonl"
    arguments = ["run", "--data", "catalogue", "--dimension", "4", "--seeds", "1", "--steps", "1"]
    for filled in (2, 0):
        result = CliRunner().invoke(geometry.main, [*arguments, "--results", str(path), "--json"])
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["filled"] == filled
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert {line["geometry"] for line in lines} == set(geometry_training.GEOMETRIES)
    for line in lines:
        assert 0 < line["window/alone"] < line["window/bm25"]
        assert -1 <= line["tree_correlation"] <= 1
        assert line["tree_distortion"] > 0
    geometry_training.load_shop_split.cache_clear()
    output = CliRunner().invoke(geometry.main, ["table", "--results", str(path)]).output
    assert "| 4 | hyperboloids | 1 |" in output
    assert "| 4 | boxes | 1 |" in output
