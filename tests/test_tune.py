"""`anthem tune`: choices are measured on queries that they were not made on, and a search shows what was predicted."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("ir_measures", reason="the extra `demo` is not installed")

from small_index import PRODUCTS, match, small_index

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.bundle import load_bundle
from anthem_core.encoding.encoder import Encoder
from anthem_core.errors import BundleError
from anthem_core.fusion import FusionWeights
from anthem_evaluation.judgments import JudgedQueries, read_judgments
from anthem_evaluation.measure import SearchSetup, run_queries
from anthem_evaluation.metrics import HEADLINE_MEASURE, measure_per_query, measures_for
from anthem_evaluation.runs import rank_scores, ranked_ids
from anthem_evaluation.tune import tuned_bundle
from anthem_evaluation.tune.candidates import CandidateList, CandidateReader, merge_same_texts
from anthem_evaluation.tune.choice import (
    ChosenSetting,
    choose_setting,
    compare_quality,
    held_out_quality,
    smallest_detectable_gain,
    split_folds,
)
from anthem_evaluation.tune.cli import tune
from anthem_evaluation.tune.quality_grid import QualityGrid, measure_grid, window_orders
from anthem_evaluation.tune.tuned_bundle import write_tuned_bundle
from anthem_evaluation.tune.tuning import is_worth_changing
from anthem_plugin.client import AnthemClient
from anthem_plugin.scoring.params import BOTH, ScoringParams

FEW_EXAMPLES = settings(max_examples=30)
WINDOWS = (2, 5, 20)
WEIGHTS = FusionWeights(0.5, containment=1.0, median_distance=0.5, attention=2.0, median_attention=-1.0)
QUERIES = [f"{brand} {noun}" for brand in ("acme", "globex", "initech") for noun in (
    "tv", "stick", "tablet", "shoe", "fire pit", "kindle", "red reader", "blue tv",
)]  # fmt: skip


@pytest.fixture(scope="module")
def scoring(bundle):
    """Constants of the bundle's scores."""
    return ScoringParams.from_bundle(bundle)


def random_candidates(seed, hits=12):
    """Hits of a query with random signals and grades, some of each unknown."""
    random = np.random.default_rng(seed)
    lexical = np.sort(random.uniform(0, 9, hits))[::-1]
    distance, attention, grades = random.normal(size=(3, hits))
    distance[random.random(hits) < 0.2] = np.nan
    grades = np.where(random.random(hits) < 0.3, np.nan, np.round(np.abs(grades)))
    ids = tuple(f"p{number}" for number in range(hits))
    missed = random.integers(0, 4, size=2)
    judged = np.concatenate([grades[np.isfinite(grades)], missed])
    return CandidateList(f"q{seed}", ids, lexical, distance, attention, grades, judged)


def qrels_of(candidates):
    """Judgments of the hits, and of products that were not found."""
    found = {name: int(g) for name, g in zip(candidates.ids, candidates.grades, strict=True) if np.isfinite(g)}
    missed = candidates.judged[len(found) :]
    return found | {f"missed{number}": int(grade) for number, grade in enumerate(missed)}


@FEW_EXAMPLES
@given(st.integers(0, 10**6), st.booleans())
def test_quality_is_that_of_ir_measures(scoring, seed, judged_only):
    """nDCG@10 of every order is what ir_measures computes for it; without unjudged products, for the shorter list."""
    candidates = random_candidates(seed)
    qrels = {candidates.query: qrels_of(candidates)}
    grid = measure_grid([candidates], scoring, BOTH, [WEIGHTS], WINDOWS, judged_only=judged_only)
    for number, window in enumerate(WINDOWS):
        order = window_orders(candidates, [replace(scoring, fusions={BOTH: WEIGHTS})], window)[0]
        ids = [candidates.ids[place] for place in order]
        shown = [name for name in ids if name in qrels[candidates.query]] if judged_only else ids
        run = {candidates.query: rank_scores(shown)}
        measured = measure_per_query(run, qrels, measures_for(1))[HEADLINE_MEASURE][candidates.query]
        assert grid.values[0, 0, number] == pytest.approx(measured)


@FEW_EXAMPLES
@given(st.integers(0, 10**6), st.integers(1, 20))
def test_a_window_moves_no_hit_below_it(scoring, seed, window):
    """An order is a permutation of the hits, and those below the window keep their lexical order."""
    candidates = random_candidates(seed)
    order = window_orders(candidates, [scoring], window)[0].tolist()
    assert sorted(order) == list(range(len(candidates.ids)))
    assert order[window:] == list(range(window, len(order)))


@given(st.integers(20, 60), st.integers(2, 20), st.integers(0, 99))
def test_folds_have_about_one_size(queries, folds, seed):
    """Every query is in one fold, and the sizes of folds differ by one at most."""
    sizes = np.bincount(split_folds(queries, folds, seed), minlength=folds)
    assert len(sizes) == folds
    assert sizes.sum() == queries
    assert sizes.max() - sizes.min() <= 1


def test_a_text_counts_once():
    """Queries of one text, whatever its case and spaces, are one query with the judgments of all: no new evidence."""
    judged = JudgedQueries(
        {"a": "Fire  TV", "b": "tablet", "c": "fire tv"}, {"a": {"p": 3}, "b": {"p": 1}, "c": {"p": 0, "q": 2}}
    )
    merged = merge_same_texts(judged)
    assert merged.qrels == {"a": {"p": 3, "q": 2}, "b": {"p": 1}}
    assert merged.queries == {"a": "Fire  TV", "b": "tablet"}


def grid_of(values, lexical=0.0):
    """A grid with one window; the first weights are the current ones."""
    values = np.asarray(values, float)[:, :, None]
    weights = tuple(FusionWeights(1.0) for _ in values[0])
    return QualityGrid(values, np.full(len(values), lexical), weights, (100,))


def test_a_query_never_chooses_for_itself():
    """Weights that fail on one query alone look best to folds without it, so a quarter of each fold of four fails."""
    count = 20
    grid = grid_of(np.hstack([np.full((count, 1), 0.5), 1 - np.eye(count)]))
    quality = held_out_quality(grid, np.ones(count + 1), ChosenSetting(0, 0), 5)
    assert quality.mean() == pytest.approx(0.75)


def test_a_gain_below_its_standard_error_changes_nothing():
    """The current weights stay unless others gain more than a standard error on the queries of the choice."""
    sure, unsure = np.array([[0.4, 0.6]] * 8), np.array([[0.0, 1.0], [0.0, 0.0]] + [[0.5, 0.5]] * 6)
    for values, chosen in ((sure, 1), (unsure, 0)):
        setting = choose_setting(grid_of(values), np.arange(8), np.array([0.0, 1.0]), ChosenSetting(0, 0))
        assert setting.weights == chosen


def decide(grid):
    """Whether held-out queries favour other weights than the current ones."""
    held_out = held_out_quality(grid, np.zeros(len(grid.fusions)), ChosenSetting(0, 0), 5)
    return is_worth_changing(
        compare_quality("", grid.values[:, 0, 0], held_out), compare_quality("", grid.lexical, held_out)
    )


def test_chance_is_seldom_taken_for_a_gain():
    """Among weights that differ by chance alone, at most one decision in ten is to change."""
    random = np.random.default_rng(5)
    decisions = [decide(grid_of(random.normal(0.6, 0.2, size=(30, 25)))) for _ in range(40)]
    assert sum(decisions) <= 4


def test_a_gain_of_detectable_size_is_found():
    """Weights that gain twice the smallest detectable gain are chosen, unless they lose to the lexical order."""
    random = np.random.default_rng(6)
    values = random.normal(0.5, 0.1, size=(60, 12))
    values[:, 7] += 2 * smallest_detectable_gain(values[:, 7] - values[:, 0])
    assert decide(grid_of(values))
    assert not decide(grid_of(values, lexical=0.99))


@pytest.fixture(scope="module")
def lexical_bundle(bundle, tmp_path_factory):
    """A copy of the bundle whose weights change nothing."""
    folder = tmp_path_factory.mktemp("lexical") / "bundle"
    return write_tuned_bundle(bundle, folder, BOTH, FusionWeights(1.0), 30, {})


def test_a_tuned_bundle_is_the_same_model(bundle, lexical_bundle):
    """Only the weights of the tuned signals and the window differ, so stored values fit both bundles."""
    same = replace(lexical_bundle, path=bundle.path, fusion=bundle.fusion, window=None, quality=bundle.quality)
    assert same == bundle
    assert lexical_bundle.window == 30
    assert lexical_bundle.fusion["lexical+attention"] == bundle.fusion["lexical+attention"]


def test_a_bundle_is_written_whole_or_not_at_all(bundle, tmp_path, monkeypatch):
    """A write that fails leaves nothing behind, and a folder with files is left alone."""
    monkeypatch.setattr(tuned_bundle, "_write_card", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(BundleError, match="No space left"):
        write_tuned_bundle(bundle, tmp_path / "new", BOTH, WEIGHTS, 50, {})
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match="exists already"):
        write_tuned_bundle(bundle, tmp_path / "old", BOTH, WEIGHTS, 50, {})
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["notes.txt"]


@pytest.fixture(scope="module")
def ratings(bundle, tmp_path_factory):
    """Judgments that favour attention: of the titles that share a word with a query, its best five are relevant."""
    scorer = AttentionScorer(bundle)
    lines = ["query,docid,rating"]
    for query in QUERIES:
        found = [number for number, title in enumerate(PRODUCTS) if set(query.split()) & set(title.split())]
        scores = scorer.score_titles(query, [PRODUCTS[number] for number in found])
        best = {found[place] for place in np.argsort(-scores)[:5]}
        lines += [f"{query},{number},{3 * (number in best)}" for number in found]
    path = tmp_path_factory.mktemp("judged") / "ratings.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def products(client, encoder):
    """An index of products, ingested."""
    with small_index(client, encoder, titles=PRODUCTS) as name:
        yield name


@pytest.fixture(scope="module")
def tuned(products, ratings, cluster, lexical_bundle, tmp_path_factory):
    """JSON of a tuning that starts from lexical weights, and the folder of its files."""
    pytest.importorskip("matplotlib", reason="the extra `pictures` is not installed")
    folder = tmp_path_factory.mktemp("tuned")
    files = ["--output", folder / "bundle", "--png", folder / "curve.png", "--svg", folder / "curve.svg"]
    base = [products, "--judgments", ratings, "--url", cluster, "--bundle", lexical_bundle.path, "--json"]
    base += ["--largest-window", 50]
    result = CliRunner().invoke(tune, [*map(str, [*base, *files])])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout), folder


@pytest.mark.node
@pytest.mark.parametrize("mode", ["client", "cluster"])
def test_the_prediction_is_what_a_search_shows(tuned, products, ratings, client, mode):
    """A search with the tuned bundle has the order that its weights predict, and the nDCG@10 that tune expects."""
    result, folder = tuned
    encoder, judged = Encoder(load_bundle(folder / "bundle")), read_judgments(ratings)
    setup = SearchSetup(AnthemClient(client, encoder), products, mode=mode, window=encoder.bundle.window)
    run = run_queries(setup, judged.queries, mode=mode).run
    reader = CandidateReader.create(client, setup, encoder, depth=100)
    for query, text in judged.queries.items():
        candidates = reader.read(query, text, judged.qrels[query])
        order = window_orders(candidates, [reader.profile.scoring], encoder.bundle.window)[0]
        assert ranked_ids(run[query]) == [candidates.ids[place] for place in order]
    after = measure_per_query(run, judged.qrels, measures_for(2))[HEADLINE_MEASURE]
    assert np.mean(list(after.values())) == pytest.approx(result["expected"])
    assert result["expected"] > result["against_lexical"]["baseline"] + 0.05


@pytest.mark.node
def test_a_search_without_a_window_uses_the_tuned_one(tuned, products, client):
    """The tuned window is that of the manifest, and the hits below it keep their lexical order."""
    bundle = load_bundle(tuned[1] / "bundle")
    assert bundle.window == tuned[0]["window"]
    anthem = AnthemClient(client, Encoder(replace(bundle, window=3)))
    body = match("fire tv") | {"size": 9}
    plain, given, default = (
        anthem.search(products, body, mode=mode, preference="_local", **window)["hits"]["hits"]
        for mode, window in (("none", {}), ("client", {"window": 3}), ("client", {}))
    )
    assert [hit["_id"] for hit in default] == [hit["_id"] for hit in given]
    assert [hit["_id"] for hit in default[3:]] == [hit["_id"] for hit in plain[3:]]


@pytest.mark.node
def test_what_was_tuned_is_kept(tuned, products, ratings, cluster, tmp_path):
    """Tuning a tuned bundle again keeps it, with exit code 1 and without a new bundle."""
    arguments = [products, "--judgments", ratings, "--url", cluster, "--bundle", tuned[1] / "bundle"]
    result = CliRunner().invoke(tune, [*map(str, arguments), "--output", str(tmp_path / "again")])
    assert result.exit_code == 1, result.stderr
    assert "Kept: " in result.stdout
    assert not (tmp_path / "again").exists()


@pytest.mark.node
def test_the_picture_has_its_text(tuned):
    """The description of the picture has the gain of every window and the decision."""
    result, folder = tuned
    svg = (folder / "curve.svg").read_text(encoding="utf-8")
    assert all(f"{point['window']}: " in svg for point in result["window_curve"])
    assert result["verdict"][0] in svg
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.node
def test_judgments_of_other_products_are_named(products, cluster, tmp_path):
    """If no hit is judged, the message says which ids are expected, and does not ask for more judgments."""
    path = tmp_path / "ratings.csv"
    path.write_text("query,docid,rating\nfire tv,sku-1,3\nfire tv,sku-2,0\n", encoding="utf-8")
    result = CliRunner().invoke(tune, [products, "--judgments", str(path), "--url", cluster])
    assert result.exit_code == 4
    assert "None of the judgments is of a product among the hits" in result.stderr


@pytest.mark.node
def test_values_of_another_model_are_not_tuned(client, encoder, cluster, ratings):
    """Weights chosen without any distance would silence containment after the next ingest, so the index is refused."""
    with small_index(client, encoder, model_id="0" * 16) as name:
        result = CliRunner().invoke(tune, [name, "--judgments", str(ratings), "--url", cluster])
    assert result.exit_code == 6
    assert (
        f"There is nothing to tune: no product among the hits has values of this model; run: anthem ingest {name}"
        in (" ".join(result.stderr.split()))
    )


@pytest.mark.node
def test_too_few_judgments_are_named(products, cluster, tmp_path):
    """With fewer than twenty informative queries nothing is chosen; the message has their number."""
    path = tmp_path / "ratings.csv"
    path.write_text("query,docid,rating\nfire tv,0,3\nfire tv,1,0\nzzzqq,0,3\n", encoding="utf-8")
    result = CliRunner().invoke(tune, [products, "--judgments", str(path), "--url", cluster])
    assert result.exit_code == 4
    assert "1 of 2 judged queries have a relevant product" in result.stderr
