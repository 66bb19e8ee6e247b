"""`anthem evaluate`: its figures are those of its runs, with any body, and what it leaves can be read elsewhere."""

import json
import re

import pytest
from click.testing import CliRunner

pytest.importorskip("ir_measures", reason="the extra `demo` is not installed")

import ir_measures
import numpy as np
from scipy import stats
from small_index import PRODUCTS, small_index

from anthem_core.encoding.bundle import ALL_SIGNALS
from anthem_evaluation.evaluate_cli import evaluate
from anthem_evaluation.judgments import read_judgments
from anthem_evaluation.metrics import correct_by_holm
from anthem_evaluation.runs import read_run
from anthem_evaluation.slices import slice_queries
from anthem_plugin.rewriter.placeholder import fill_text
from anthem_plugin.scoring.params import FUSION_NAMES

pytestmark = pytest.mark.node

QUERIES = [
    "wireles tablet",
    "fire tv",
    "red fire tv",
    "acme pro running shoe x1",
    "kindle reader 4",
    "zzzqq",
    "mini tv stick",
]


@pytest.fixture(scope="module")
def products(client, encoder):
    """An index of products, ingested."""
    with small_index(client, encoder, titles=PRODUCTS) as name:
        yield name


@pytest.fixture(scope="module")
def ratings(tmp_path_factory):
    """Judgments as Quepid exports them, with grades that depend on nothing, so that the modes differ in quality."""
    path = tmp_path_factory.mktemp("judged") / "ratings.csv"
    lines = ["query,docid,rating"]
    for query in QUERIES:
        lines += [f"{query},{number},{number * 7 % 4}" for number in range(len(PRODUCTS))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(products, ratings, cluster):
    """Run the command on the index of products."""
    base = [products, "--judgments", str(ratings), "--url", cluster]
    return lambda *arguments: CliRunner().invoke(evaluate, [*base, *map(str, arguments)])


@pytest.fixture(scope="module")
def two_modes(run, tmp_path_factory):
    """JSON of an evaluation of two modes, and the folder of its runs."""
    folder = tmp_path_factory.mktemp("evaluated")
    result = run("--rerank", "cluster", "--rerank", "client", "--files", folder / "files", "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout), folder / "files"


def test_the_figures_are_those_of_the_runs(two_modes, ratings):
    """nDCG@10 in the report is what ir_measures computes from the TREC runs that the command leaves."""
    report, files = two_modes
    assert [row["name"] for row in report["signal_sets"]] == [*FUSION_NAMES.values()]
    by_all = next(row for row in report["signal_sets"] if row["name"] == ALL_SIGNALS)
    assert by_all["reranked"] == pytest.approx(report["modes"][1]["reranked"])  # client mode, by the same signals
    qrels = read_judgments(ratings).qrels
    runs = {name: read_run(files / f"{name}.trec") for name in ("lexical", "cluster", "client")}
    values = {name: ir_measures.calc_aggregate([ir_measures.nDCG @ 10], qrels, run) for name, run in runs.items()}
    means = {name: next(iter(value.values())) for name, value in values.items()}
    for mode in report["modes"]:
        assert mode["baseline"] == pytest.approx(means["lexical"])
        assert mode["reranked"] == pytest.approx(means[mode["name"]])
    assert [mode["name"] for mode in report["modes"]] == ["cluster", "client"]
    assert report["modes"][0]["reranked"] != report["modes"][0]["baseline"]
    assert read_judgments(files / "quepid.csv").qrels == qrels


def test_p_values_are_corrected_over_measures_and_modes(two_modes, ratings):
    """Every p-value of a mode is Holm's correction of t-tests on its run, over at least all measures of both modes."""
    report, files = two_modes
    lexical, *modes = (read_run(files / f"{name}.trec") for name in ("lexical", "cluster", "client"))
    qrels = read_judgments(ratings).qrels
    measures = [
        ir_measures.parse_measure(m["name"]) for m in report["comparison"]["measures"] if "Judged" not in m["name"]
    ]

    def values(run, measure):
        return [metric.value for metric in sorted(ir_measures.iter_calc([measure], qrels, run))]

    single = {
        (number, str(measure)): stats.ttest_rel(values(run, measure), values(lexical, measure)).pvalue
        for number, run in enumerate(modes)
        for measure in measures
    }
    single = {key: 1.0 if np.isnan(p) else p for key, p in single.items()}  # no query changed
    shown = {m["name"]: m["p"] for m in report["comparison"]["measures"]}
    tests = len(single) + len(report["signal_sets"])
    for measure in map(str, measures):
        assert correct_by_holm(single)[0, measure] - 1e-9 <= shown[measure] <= min(1, tests * single[0, measure]) + 1e-9
    assert report["is_corrected"]
    assert min(single.values()) < 1


def test_a_body_of_the_shop_is_searched(run, tmp_path):
    """With --body the text goes where {{query}} stands, and filters count."""
    body = {
        "query": {
            "bool": {
                "must": [{"multi_match": {"query": "{{query}}", "fields": ["title^2"]}}],
                "filter": [{"match": {"title": "acme"}}],
            }
        }
    }
    (tmp_path / "body.json").write_text(json.dumps(body), encoding="utf-8")
    result = run("--body", tmp_path / "body.json", "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    shown = [hit["title"] for example in report["examples"] for hit in example["after"]]
    assert shown
    assert all(title.startswith("acme") for title in shown)
    unknown = next(row for row in report["slices"] if row["name"] == "with a word that no product has")
    assert unknown["queries"] == 4  # wireles, x1, 4 and zzzqq


def test_a_body_without_a_place_for_the_text_is_refused(run, tmp_path):
    """The message names the placeholder."""
    (tmp_path / "body.json").write_text('{"query": {"match_all": {}}}', encoding="utf-8")
    result = run("--body", tmp_path / "body.json")
    assert result.exit_code == 4
    assert "{{query}}" in result.stderr


def test_examples_have_the_largest_changes(run, tmp_path):
    """The page shows each search that changed, side by side, and the text says how many."""
    result = run("--output", tmp_path / "report.html")
    assert result.exit_code == 0, result.stderr
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "By mode, signals and kind of search" in page
    assert "Holm&#39;s correction for all measures, modes and sets of signals" in page
    assert page.count("<summary>Attention: ") == page.count("Before: lexical<") > 0
    assert re.search(r"with a number +\d", result.stdout)


def test_a_mode_that_reranks_nothing_is_an_error(client, ratings, cluster):
    """An index without values has no figures: the reason is given instead."""
    name = "test-evaluate-plain"
    client.indices.delete(index=name, ignore_unavailable=True)
    client.index(index=name, id="1", body={"title": "fire tv"}, refresh=True)
    arguments = [name, "--judgments", str(ratings), "--url", cluster, "--field", "title"]
    result = CliRunner().invoke(evaluate, arguments)
    client.indices.delete(index=name)
    assert result.exit_code == 6
    assert "no search was reranked" in result.stderr


def test_judgments_of_other_products_are_refused(products, cluster, tmp_path):
    """If the index has no judged product, there are no figures, and the message names an id."""
    path = tmp_path / "ratings.csv"
    path.write_text("query,docid,rating\nfire tv,sku-1,3\nfire tv,sku-2,0\n", encoding="utf-8")
    result = CliRunner().invoke(evaluate, [products, "--judgments", str(path), "--url", cluster])
    assert result.exit_code == 4
    assert "None of the 2 judged products is in" in result.stderr
    assert "'sku-1'" in result.stderr


def test_files_that_cannot_be_written_are_named_first(cluster, ratings, tmp_path):
    """A folder that cannot be made is an error before the index is searched."""
    (tmp_path / "notes").write_text("mine")
    arguments = ["no-index", "--judgments", str(ratings), "--url", cluster, "--files", str(tmp_path / "notes" / "new")]
    result = CliRunner().invoke(evaluate, arguments)
    assert result.exit_code == 4
    assert "Name another file with --files" in result.stderr


def test_an_unknown_field_is_named_with_the_text_fields(run):
    """The message has the field that the index lacks and those that it has."""
    result = run("--field", "nope")
    assert result.exit_code == 6
    assert "Field 'nope' not found" in result.stderr
    assert "Its text fields are: title" in result.stderr


def test_fractional_grades_are_shown_as_they_are(products, cluster, tmp_path):
    """Measures and products name grades as the judgments have them, though fractions are counted in thousandths."""
    path = tmp_path / "ratings.csv"
    lines = [f"{query},{number},{number % 5 / 2}" for query in ("fire tv", "red tablet") for number in range(60)]
    path.write_text("\n".join(["query,docid,rating", *lines]) + "\n", encoding="utf-8")
    arguments = [products, "--judgments", str(path), "--url", cluster, "--output", str(tmp_path / "report.html")]
    result = CliRunner().invoke(evaluate, [*arguments, "--files", str(tmp_path / "files"), "--json"])
    assert result.exit_code == 0, result.stderr
    report, page = json.loads(result.stdout), (tmp_path / "report.html").read_text(encoding="utf-8")
    assert report["dataset"]["top_grade"] == 2
    assert {"AP(rel=1)", "nDCG@10"} <= {measure["name"] for measure in report["comparison"]["measures"]}
    grades = {hit["grade"] for example in report["examples"] for hit in example["after"]}
    assert {0.5, 1.5} & grades
    assert grades <= {None, 0, 0.5, 1, 1.5, 2}
    assert "of 2<" in page
    assert "00<" not in "".join(re.findall(r"badge[^>]*>[^<]*<", page))
    assert read_judgments(tmp_path / "files" / "quepid.csv").qrels == read_judgments(path).qrels


def test_slices_follow_their_names():
    """A query belongs to every slice whose rule it meets."""
    queries = {"a": "one two three four", "b": "iphone 12", "c": "zzz", "d": "tv"}
    lexical = {"a": {"1": 1.0}, "b": {str(n): 1.0 for n in range(20)}, "c": {}, "d": {str(n): 1.0 for n in range(20)}}
    slices = slice_queries(queries, lexical, {"zzz"})
    assert list(slices.values()) == [["a"], ["b"], ["c"], ["a"], ["c"]]


def test_a_text_is_filled_in_wherever_the_placeholder_stands():
    """Strings in lists and objects are filled; other values and keys stay."""
    template = {"a": ["{{query}}", 1, None], "{{query}}": {"b": "x {{query}} y"}}
    assert fill_text(template, "tv") == {"a": ["tv", 1, None], "{{query}}": {"b": "x tv y"}}
