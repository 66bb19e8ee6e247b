"""The whole main job on the real node, and every figure its report is made of."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from anthem_core.beir import Dataset, Product, write_dataset
from anthem_core.geometry.regions import contained
from anthem_evaluation.cli import demo
from anthem_evaluation.evaluate import EvaluationSet, evaluate_reranking, select_examples
from anthem_evaluation.measure import SearchSetup, describe_machine, measure_containment, run_queries
from anthem_evaluation.runs import ranked_ids
from anthem_plugin.client import AnthemClient
from anthem_sandbox.catalogue import generate_catalogue

INDEX = "anthem-demo-shop"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A small department store in a BEIR folder, forty judged queries of it."""
    whole = generate_catalogue(products=700)
    qrels = dict(list(whole.qrels["dev"].items())[:40])
    dataset = Dataset(whole.products, {query: whole.queries[query] for query in qrels}, {"dev": qrels})
    folder = tmp_path_factory.mktemp("data") / "shop"
    write_dataset(dataset, folder)
    return folder, dataset


@pytest.fixture(scope="module")
def done(shop, cluster, client, tmp_path_factory):
    """The demo, done once; its result and its page."""
    page = tmp_path_factory.mktemp("out") / "deep" / "report.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANTHEM_TEST_URL", cluster)
        patch.setenv("OPENSEARCH_URL", "http://127.0.0.1:9")  # somebody's live cluster: nobody may call
        result = CliRunner().invoke(demo, ["--data", str(shop[0]), "--output", str(page), "--json"])
    assert result.exit_code == 0, result.stderr
    yield json.loads(result.stdout), page
    client.indices.delete(index=INDEX)


@pytest.mark.node
@pytest.mark.usefixtures("done")
def test_every_product_is_in_the_index_with_its_vector(shop, client, bundle):
    """After the demo the index holds every product, each with a vector of the bundle's model."""
    total = client.count(index=INDEX)["count"]
    current = client.count(index=INDEX, body={"query": {"term": {"anthem.model": bundle.model}}})["count"]
    assert total == current == len(shop[1].products)


@pytest.mark.node
def test_the_report_counts_what_there_is(done, shop):
    """Counts, model and the page are those of the data, the bundle and the run."""
    value, page = done
    dataset = shop[1]
    assert value["dataset"]["products"] == len(dataset.products)
    assert value["dataset"]["queries"] == len(dataset.qrels["dev"])
    assert value["dataset"]["judgments"] == sum(map(len, dataset.qrels["dev"].values()))
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert len(value["examples"]) == 5
    assert {latency["name"] for latency in value["latencies"]} == {"lexical", "reranked (client)"}


@pytest.mark.node
def test_the_figures_are_those_of_another_run(done, shop, client, encoder):
    """Searching again, in the client this time, gives the figures that the report printed."""
    judgments = EvaluationSet("shop", shop[1], "dev")
    again = evaluate_reranking(
        judgments, SearchSetup(AnthemClient(client, encoder), INDEX, mode="client"), encoder, "again"
    )
    printed = {measure["name"]: measure for measure in done[0]["comparison"]["measures"]}
    for measure in again.comparison.measures:
        assert measure.baseline == pytest.approx(printed[measure.name]["baseline"], abs=1e-9)
        assert measure.reranked == pytest.approx(printed[measure.name]["reranked"], abs=1e-9)


@pytest.mark.node
@pytest.mark.usefixtures("done")
def test_the_baseline_is_the_plain_search(shop, client, encoder):
    """The lexical run is, hit by hit, what the cluster answers to a plain match."""
    query, text = next(iter(shop[1].queries.items()))
    body = {"query": {"match": {"title": {"query": text}}}, "size": 100}
    plain = client.search(index=INDEX, body=body, preference="_local")
    searches = SearchSetup(AnthemClient(client, encoder), INDEX)
    run = run_queries(searches, {query: text}, mode="none").run
    assert ranked_ids(run[query]) == [hit["_id"] for hit in plain["hits"]["hits"]]


@pytest.mark.node
@pytest.mark.usefixtures("done")
def test_a_search_that_is_not_reranked_is_counted(client, encoder):
    """A query without letters keeps its lexical order, and the run says that and why."""
    measured = run_queries(SearchSetup(AnthemClient(client, encoder), INDEX), {"q": "!!"}, mode="cluster")
    assert measured.left_alone.keys() == {"q"}
    assert "no letters or digits" in measured.left_alone["q"]


def test_containment_is_counted_product_by_product(encoder):
    """The shares are the means of the containment of each judged product, relevant and not."""
    titles = {"a": "red ceramic teapot", "b": "garden hose 50 ft", "c": "teapot lid", "d": "cordless drill"}
    products = {name: Product(name, title) for name, title in titles.items()}
    qrels = {"q": {"a": 3, "b": 0, "c": 1, "d": 0}}
    found = measure_containment(encoder, Dataset(products, {"q": "teapot"}, {"dev": qrels}), qrels)
    inside = contained(encoder.query("teapot"), encoder.products(list(titles.values())), encoder.bundle.slack)
    assert found.relevant == inside[0]
    assert found.irrelevant == pytest.approx(np.mean(inside[1:]))


def test_no_share_is_made_up(encoder):
    """Where no irrelevant product was judged there is no share, rather than one of 0."""
    dataset = Dataset({"a": Product("a", "teapot")}, {"q": "teapot"}, {"dev": {"q": {"a": 1}}})
    assert measure_containment(encoder, dataset, dataset.qrels["dev"]) is None


def test_examples_are_spread_from_best_to_worst():
    """Of many queries those shown are the best, the worst and three between; of few all."""
    changes = {f"q{number}": number / 100 for number in range(-50, 51)}
    shown = select_examples(changes)
    assert [changes[query] for query in shown] == sorted((changes[query] for query in shown), reverse=True)
    assert (shown[0], shown[2], shown[-1]) == ("q50", "q0", "q-50")
    assert select_examples({"a": 0.0, "b": 1.0}) == ["b", "a"]


def test_a_report_that_could_not_be_written_is_refused_first(tmp_path):
    """A folder as output ends the demo before any work, with exit code 4 and the way out."""
    result = CliRunner().invoke(demo, ["--output", str(tmp_path)])
    assert result.exit_code == 4
    assert "--output" in result.stderr
    assert "start OpenSearch" not in result.stderr


def test_a_folder_without_judgments_is_refused(tmp_path):
    """A corpus alone cannot show a gain: exit code 4, and the file that is wanted is named."""
    write_dataset(Dataset({"a": Product("a", "teapot")}), tmp_path / "alone")
    result = CliRunner().invoke(demo, ["--data", str(tmp_path / "alone"), "--output", str(tmp_path / "r.html")])
    assert result.exit_code == 4
    assert "qrels/dev.tsv" in result.stderr


def test_the_machine_is_named():
    """The machine says its cores, its memory and its Python."""
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}" in describe_machine()
    assert "cores" in describe_machine()


def test_the_bundle_is_made_without_anything_held_out():
    """What trains the bundle shares no product, no title and no judgment with another split."""
    scope = {"__name__": "make"}
    source = Path(__file__).parent.parent / "bundles" / "make.py"
    exec(compile(source.read_text(encoding="utf-8"), source, "exec"), scope)
    products = {name: Product(name, title) for name, title in {"a": "x", "b": "y", "c": "y", "d": "z"}.items()}
    qrels = {"train": {"q": {"a": 1, "b": 2, "c": 0}}, "dev": {"r": {"b": 1}}}
    part = scope["train_part"](Dataset(products, {"q": "x", "r": "y"}, qrels))
    assert part.products.keys() == {"a", "d"}
    assert part.queries == {"q": "x"}
    assert part.qrels == {"train": {"q": {"a": 1}}}
