"""The map of queries and products: what is drawn inside is contained, and its errors are those that it names."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anthem_core.errors import DataError
from anthem_core.geometry.gauge import gauge, reach
from anthem_core.geometry.lorentz import dist, expmap0
from anthem_core.geometry.poincare import ball_distance
from anthem_core.geometry.regions import EncodedQuery
from anthem_evaluation.example_map import VIEW_RADIUS, build_example_map
from anthem_evaluation.report import ExampleHit
from anthem_plugin.search.disk_map import MAX_MAP_PRODUCTS, MapProduct, NamedRegion, build_map, map_titles
from anthem_plugin.search.title_explanation import TitleExplainer

TITLES = [
    "DEWALT 20V MAX Cordless Drill Driver Kit", "Makita 18V Cordless Drill", "Drill Bit Set 29 piece", "Garden Hose",
    "Corded Hammer Drill 7 Amp", "Cordless Screwdriver 4V", "Battery for cordless drill 18v", "Cordless Vacuum Cleaner",
    "Drill Press 10 in.", "Makita 18V Circular Saw", "Magnetic drill stand", "Sofa", "Fire TV stick", "Body Lotion",
]  # fmt: skip
NESTED = ["drill", "cordless drill", "cordless dewalt drill 18v"]
queries = st.lists(
    st.sampled_from([*NESTED, "vacuum", "fire tv", "dril", "lotion"]), min_size=1, max_size=3, unique=True
)


@pytest.fixture(scope="module")
def explainer(encoder):
    """Explains titles by the shipped bundle."""
    return TitleExplainer(encoder.bundle, encoder)


def random_query(seed, hyperboloids, dimension=8):
    """A query with random centres, limits and weights, of which one may be 0."""
    rng = np.random.default_rng(seed)
    weights = np.append(rng.random(hyperboloids - 1), 0.5) * (rng.random(hyperboloids) > 0.2)
    weights[0] += 0.1
    centres = expmap0(0.5 * rng.normal(size=(hyperboloids, dimension)))
    limits = rng.uniform(0, 1, (hyperboloids, dimension))
    return EncodedQuery(centres, limits, weights / weights.sum(), np.ones(1), np.zeros((1, 1)))


@given(st.integers(0, 10**6), st.integers(1, 4), st.floats(0, 0.5))
def test_a_point_is_contained_where_its_gauge_is_at_most_one(seed, hyperboloids, slack):
    """The gauge and the excess draw the same line, whatever the query and the slack."""
    query = random_query(seed, hyperboloids)
    points = expmap0(np.random.default_rng(seed + 1).normal(size=(30, 8)))
    excess, values = query.excess(points), gauge(query, points, slack)
    clear = np.abs(excess - slack) > 1e-9
    assert ((values <= 1) == query.contains(points, slack))[clear].all()
    assert reach(query, slack) >= reach(query, 0.0)


@settings(max_examples=10)
@given(queries, st.permutations(TITLES), st.integers(1, len(TITLES)))
def test_the_map_is_as_true_as_it_says(explainer, queries, titles, count):
    """Sides are those of the regions, radii those of the gauge, and errors and wrong sides are those of the places."""
    titles, slack = titles[:count], explainer.scoring.slack
    shown = map_titles(explainer, queries, titles)
    regions = [explainer.encode_region(query) for query in queries]
    points = np.array(explainer.encode_points(titles))
    places = np.array([[point.x, point.y] for point in shown.points])
    centres = np.array([region.centre for region in shown.regions])
    contained = np.array([region.contains(points, slack) for region in regions])
    assert [[query in point.inside_of for point in shown.points] for query in queries] == contained.tolist()
    assert [point.inside for point in shown.points] == contained[0].tolist()
    radii = ball_distance(places, np.zeros(2))
    np.testing.assert_allclose(radii, gauge(regions[0], points, slack) * reach(regions[0], slack), rtol=1e-5)
    drawn = ball_distance(centres[:, None], places[None]) <= np.array([[reach(r, slack)] for r in regions]) + 1e-9
    assert (drawn[0] == contained[0]).all()
    assert shown.projection.wrong_sides == (drawn != contained).sum()
    every = np.vstack([[region.centres[0] for region in regions], points]).astype(np.float64)
    rows, columns = np.triu_indices(len(every), 1)
    together = np.vstack([centres, places])
    true, seen = dist(every[rows], every[columns]), ball_distance(together[rows], together[columns])
    errors = np.abs(seen - true) / true
    assert shown.projection.mean_error == pytest.approx(errors.mean(), rel=1e-3)
    assert shown.projection.largest_error == pytest.approx(errors.max(), rel=1e-3)
    assert [point.distance for point in shown.points] == pytest.approx(dist(every[:1], points), rel=1e-3)


def test_the_outlines_are_circles_at_the_reach(explainer):
    """Every corner of an outline is as far from the centre as its region reaches; a general query has more core."""
    shown = map_titles(explainer, NESTED, TITLES)
    cores = []
    for region, name in zip(shown.regions, NESTED, strict=True):
        query = explainer.encode_region(name)
        for corners, slack in ((region.outline, explainer.scoring.slack), (region.core, 0.0)):
            far = ball_distance(np.array(corners), np.array(region.centre))
            np.testing.assert_allclose(far, reach(query, slack), rtol=1e-4)
        cores.append(far[0])
    assert cores == sorted(cores, reverse=True)
    assert [region.size for region in shown.regions] == sorted((r.size for r in shown.regions), reverse=True)


@pytest.mark.parametrize("join", ["union", "intersection"])
def test_a_join_contains_what_its_region_contains(explainer, join):
    """Union and intersection on the map are those of the regions themselves."""
    shown = map_titles(explainer, ["drill", "vacuum", "cordless drill"], TITLES, join=join)
    parts = [explainer.encode_region(region.name) for region in shown.regions]
    region = parts[0] | parts[1] | parts[2] if join == "union" else parts[0] & parts[1] & parts[2]
    held = region.contains(np.array(explainer.encode_points(TITLES)), explainer.scoring.slack)
    (joined,) = shown.joins
    assert joined.inside == [point.id for point, inside in zip(shown.points, held, strict=True) if inside]
    assert joined.alternatives == ([[0], [1], [2]] if join == "union" else [[0, 1, 2]])
    assert [joined.name in point.inside_of for point in shown.points] == held.tolist()


def test_the_map_is_plain_data(explainer):
    """The same titles give the same JSON, with every place inside the disk and the errors in the description."""
    first, second = (map_titles(explainer, NESTED, [*TITLES, "?!"]) for _ in range(2))
    value = json.loads(json.dumps(first.to_dict(), allow_nan=False))
    assert value == second.to_dict()
    assert [point["title"] for point in value["points"]] == TITLES
    for places in ([(p["x"], p["y"]) for p in value["points"]], *(r["outline"] + r["core"] for r in value["regions"])):
        assert (np.hypot(*np.transpose(places)) < 1).all()
    assert f"wrong by {first.projection.mean_error:.0%} on average" in value["description"]
    assert (
        f"“drill” (size {first.regions[0].size:.4f}) contains {len(first.regions[0].inside)} products"
        in first.description
    )


def test_a_description_names_products_by_their_start(explainer):
    """A title of thousands of letters does not fill the text alternative of a picture."""
    shown = map_titles(explainer, ["drill " * 500], ["drill " * 1000])
    assert len(shown.points) == 1
    assert shown.description.count("drill drill") > 0
    assert len(shown.description) < 600


def test_the_map_of_a_report_shows_its_hits(explainer):
    """A spot is inside its region's circle exactly if the hit is contained, and its rank is that of the hit."""
    contained = explainer.encode_region("drill").contains(
        np.array(explainer.encode_points(TITLES)), explainer.scoring.slack
    )
    hits = [ExampleHit(str(n), title, n % 3, was=None if n == 3 else n) for n, title in enumerate([*TITLES, "?!"], 1)]
    shown = build_example_map(explainer, "drill", hits)
    assert [(spot.rank, spot.title, spot.grade) for spot in shown.spots] == [
        (rank, hit.title, hit.grade) for rank, hit in enumerate(hits[:-1], 1)
    ]
    assert [spot.inside for spot in shown.spots] == contained.tolist()
    clear = [spot for spot in shown.spots if abs(np.hypot(*spot.place) - shown.radius) > 0.2]
    assert all((np.hypot(*spot.place) <= shown.radius) == spot.inside for spot in clear)
    assert [spot.rank for spot in shown.spots if spot.moved_up] == [3]
    assert all(np.abs(spot.place).max() <= VIEW_RADIUS for spot in shown.spots)
    assert build_example_map(explainer, "?!", hits) is None


def test_the_page_says_what_was_measured(explainer):
    """Sizes, depths and numbers of products on the page of explanations are those of the titles in its example."""
    page = " ".join((Path(__file__).parents[1] / "docs" / "explain.md").read_text(encoding="utf-8").split())
    example = re.search(r"anthem explain drill (.*?) --with cordless", page)[1]
    titles = shlex.split(example.replace("\\", ""))
    shown = map_titles(explainer, ["cordless drill 18v", "cordless drill", "drill"], titles)
    special, middle, general = shown.regions
    sizes = [f"{region.size:.4f}" for region in (general, middle, special)]
    assert f"`drill` has size {sizes[0]}, `cordless drill` {sizes[1]}, `cordless drill 18v` {sizes[2]}." in page
    counts = [len(region.inside) for region in (general, special)]
    assert f"`drill` contains {counts[0]} of these products and `cordless drill 18v` {counts[1]}" in page
    depths = [f"{region.depth:.3f}" for region in (general, middle, special)]
    assert "the distances are {}, {} and {}.".format(*depths) in page
    assert all(len(region.holds) == 2 for region in shown.regions) == ("each of the three contains the centres" in page)


def test_a_map_without_a_place_for_something_is_refused(explainer):
    """A query without letters, no query, a join of queries that are not shown, and too many products are errors."""
    drill, vacuum = explainer.encode_region("drill"), explainer.encode_region("vacuum")
    (point,) = explainer.encode_points(["drill"])
    too_many = [MapProduct(str(n), "drill", point) for n in range(MAX_MAP_PRODUCTS + 1)]
    with pytest.raises(DataError, match="no letters or digits"):
        map_titles(explainer, ["drill", "?!"], TITLES)
    for regions, products, message in (
        ([], [], "needs a query"),
        ([NamedRegion("drill", drill), NamedRegion("both", drill & vacuum)], [], "not on the map"),
        ([NamedRegion("drill", drill)], too_many, "too many"),
    ):
        with pytest.raises(DataError, match=message):
            build_map(regions, products, explainer.scoring)
    assert build_map([NamedRegion("drill", drill)], [], explainer.scoring).points == []
