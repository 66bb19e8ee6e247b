"""`anthem demo` on a real node, and the figures of its report."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from anthem_core import errors
from anthem_core.beir import Dataset, Product, write_dataset
from anthem_evaluation.cli import demo
from anthem_evaluation.evaluate import EvaluationSet, evaluate_reranking, select_examples
from anthem_evaluation.measure import SearchSetup, describe_machine, measure_containment, run_queries
from anthem_evaluation.runs import ranked_ids
from anthem_plugin.client import AnthemClient
from anthem_sandbox.catalogue import generate_catalogue

INDEX = "anthem-demo-store"
EXTRA_PACKAGES = {
    "fastapi", "ir_measures", "jgo", "jinja2", "prometheus_client", "scipy", "testcontainers", "torch", "uvicorn"
}  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A BEIR folder with a small generated catalogue and forty judged queries, and its content."""
    catalogue = generate_catalogue(products=700)
    qrels = dict(list(catalogue.qrels["dev"].items())[:40])
    dataset = Dataset(catalogue.products, {query: catalogue.queries[query] for query in qrels}, {"dev": qrels})
    folder = tmp_path_factory.mktemp("data") / "store"
    write_dataset(dataset, folder)
    return folder, dataset


@pytest.fixture(scope="module")
def demo_result(store, cluster, client, tmp_path_factory):
    """JSON result and page of one run of the demo."""
    page = tmp_path_factory.mktemp("out") / "deep" / "report.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANTHEM_TEST_URL", cluster)
        patch.setenv("OPENSEARCH_URL", "http://127.0.0.1:9")  # the demo must never use the user's cluster
        result = CliRunner().invoke(demo, ["--data", str(store[0]), "--output", str(page), "--json"])
    assert result.exit_code == 0, result.stderr
    yield json.loads(result.stdout), page
    client.indices.delete(index=INDEX)


@pytest.mark.node
@pytest.mark.usefixtures("demo_result")
def test_every_product_is_indexed_with_its_values(store, client, bundle):
    """After the demo the index has every product, each with the vector and the trigrams of the bundle's model."""
    total = client.count(index=INDEX)["count"]
    values = [{"exists": {"field": field}} for field in ("anthem.vector", "anthem.trigrams")]
    current = [{"term": {"anthem.model": bundle.model_id}}, *values]
    current = client.count(index=INDEX, body={"query": {"bool": {"filter": current}}})["count"]
    assert total == current == len(store[1].products)


@pytest.mark.node
def test_the_counts_of_the_report(demo_result, store):
    """The report has the counts of the dataset, five examples, both latencies, the signals that ranked, and a page."""
    value, page = demo_result
    dataset = store[1]
    assert value["dataset"]["products"] == len(dataset.products)
    assert value["dataset"]["queries"] == len(dataset.qrels["dev"])
    assert value["dataset"]["judgments"] == sum(map(len, dataset.qrels["dev"].values()))
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert len(value["examples"]) == 5
    assert {latency["name"] for latency in value["latencies"]} == {"lexical", "reranked (cluster)"}
    ((signals, reranked),) = value["signals"].items()
    assert signals == "lexical,containment,attention"
    assert value["limits"][0].startswith(f"{40 - reranked} of 40 searches were not reranked")
    assert all(hit["attention"] is not None for example in value["examples"] for hit in example["after"])


@pytest.mark.node
def test_a_second_evaluation_gives_the_same_figures(demo_result, store, client, encoder):
    """Evaluating the same index again, in the client instead of the cluster, gives the figures of the report."""
    setup = SearchSetup(AnthemClient(client, encoder), INDEX, mode="client")
    report = evaluate_reranking(EvaluationSet("store", store[1], "dev"), setup, encoder, "again")
    printed = {measure["name"]: measure for measure in demo_result[0]["comparison"]["measures"]}
    for measure in report.comparison.measures:
        assert measure.baseline == pytest.approx(printed[measure.name]["baseline"], abs=1e-9)
        assert measure.reranked == pytest.approx(printed[measure.name]["reranked"], abs=1e-9)


@pytest.mark.node
@pytest.mark.usefixtures("demo_result")
def test_the_baseline_is_the_plain_search(store, client, encoder):
    """The lexical run is, hit by hit, the cluster's response to a plain match."""
    query, text = next(iter(store[1].queries.items()))
    body = {"query": {"match": {"title": {"query": text}}}, "size": 100}
    plain = client.search(index=INDEX, body=body, preference="_local")
    run = run_queries(SearchSetup(AnthemClient(client, encoder), INDEX), {query: text}, mode="none").run
    assert ranked_ids(run[query]) == [hit["_id"] for hit in plain["hits"]["hits"]]


@pytest.mark.node
@pytest.mark.usefixtures("demo_result")
def test_a_search_that_is_not_reranked_is_reported(client, encoder):
    """A query without letters keeps its lexical order, and the run has the reason."""
    search_run = run_queries(SearchSetup(AnthemClient(client, encoder), INDEX), {"q": "!!"}, mode="cluster")
    assert search_run.not_reranked.keys() == {"q"}
    assert "no letters or digits" in search_run.not_reranked["q"]


def test_containment_shares(encoder):
    """The shares are the means over the judged products, relevant and not."""
    titles = {"a": "red ceramic teapot", "b": "garden hose 50 ft", "c": "teapot lid", "d": "cordless drill"}
    products = {name: Product(name, title) for name, title in titles.items()}
    qrels = {"q": {"a": 3, "b": 0, "c": 1, "d": 0}}
    shares = measure_containment(encoder, Dataset(products, {"q": "teapot"}, {"dev": qrels}), qrels)
    points = encoder.encode_products(list(titles.values()))
    inside = encoder.encode_query("teapot").contains(points, encoder.bundle.slack)
    assert shares.relevant == inside[0]
    assert shares.irrelevant == pytest.approx(np.mean(inside[1:]))


def test_containment_shares_need_both_kinds(encoder):
    """If no irrelevant product was judged, there is no share, rather than one of 0."""
    dataset = Dataset({"a": Product("a", "teapot")}, {"q": "teapot"}, {"dev": {"q": {"a": 1}}})
    assert measure_containment(encoder, dataset, dataset.qrels["dev"]) is None


def test_examples_are_spread_from_best_to_worst():
    """Of many queries, the best, the worst and three in between are selected; of few queries, all."""
    changes = {f"q{number}": number / 100 for number in range(-50, 51)}
    selected = select_examples(changes)
    assert [changes[query] for query in selected] == sorted((changes[query] for query in selected), reverse=True)
    assert (selected[0], selected[2], selected[-1]) == ("q50", "q0", "q-50")
    assert select_examples({"a": 0.0, "b": 1.0}) == ["b", "a"]


def test_an_output_that_cannot_be_written_is_refused_first(tmp_path):
    """With a folder as output the demo ends before any work, with exit code 4 and advice."""
    result = CliRunner().invoke(demo, ["--output", str(tmp_path)])
    assert result.exit_code == 4
    assert "--output" in result.stderr
    assert "start OpenSearch" not in result.stderr


def test_a_folder_without_judgments_is_refused(tmp_path):
    """Without judgments no gain can be measured: exit code 4, and the message names the missing file."""
    write_dataset(Dataset({"a": Product("a", "teapot")}), tmp_path / "alone")
    result = CliRunner().invoke(demo, ["--data", str(tmp_path / "alone"), "--output", str(tmp_path / "r.html")])
    assert result.exit_code == 4
    assert "qrels/dev.tsv" in result.stderr


def test_the_demo_names_its_missing_extra(monkeypatch):
    """Without the packages of the extra `demo` the command exits with 9 and says how to install it."""
    monkeypatch.setattr(errors, "find_spec", lambda name: None if name == "jinja2" else find_spec(name))
    result = CliRunner().invoke(demo, [])
    assert result.exit_code == 9
    assert "jinja2 not found" in result.stderr
    assert "pip install '.[demo]'" in result.stderr


@pytest.mark.parametrize("command", ["anthem_evaluation.cli rerank", "anthem_doctor.cli doctor"])
def test_rerank_and_doctor_need_no_extra(command, tmp_path):
    """`anthem rerank` and `anthem doctor` work without the packages of the extras."""
    write_dataset(Dataset({"a": Product("a", "teapot")}, {"q": "teapot"}), tmp_path)
    (tmp_path / "in.trec").write_text("q Q0 a 1 2.0 tag\n")
    files = {"corpus": "", "queries": "queries.jsonl", "run": "in.trec", "output": "out.trec"}
    words = {
        "rerank": [word for option, file in files.items() for word in (f"--{option}", str(tmp_path / file))],
        "doctor": ["products", "--url", "http://127.0.0.1:9", "--history", str(tmp_path / "history")],
    }
    module, name = command.split()
    code = f"""
import sys
for package in {sorted(EXTRA_PACKAGES)!r}:
    sys.modules[package] = None  # importing it raises ImportError
from {module} import {name}
{name}({words[name]!r}, standalone_mode=False)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Error" not in result.stderr, result.stderr
    assert ("1 of 1 queries" if name == "rerank" else "fault    cluster") in result.stdout


def test_the_machine_is_described():
    """The description has the cores and the Python version."""
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}" in describe_machine()
    assert "cores" in describe_machine()


def test_the_bundle_is_trained_without_held_out_data():
    """The training data of the bundle shares no product, title or judgment with another split."""
    scope = {"__name__": "make"}
    source = Path(__file__).parent.parent / "bundles" / "make.py"
    exec(compile(source.read_text(encoding="utf-8"), source, "exec"), scope)
    products = {name: Product(name, title) for name, title in {"a": "x", "b": "y", "c": "y", "d": "z"}.items()}
    qrels = {"train": {"q": {"a": 1, "b": 2, "c": 0}}, "dev": {"r": {"b": 1}}}
    part = scope["select_training_part"](Dataset(products, {"q": "x", "r": "y"}, qrels))
    assert part.products.keys() == {"a", "d"}
    assert part.queries == {"q": "x"}
    assert part.qrels == {"train": {"q": {"a": 1}}}
