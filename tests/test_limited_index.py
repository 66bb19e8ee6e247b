"""Every command reports an index that is closed, is blocked, or allows fewer hits than requested."""

import csv
import json
import re
import uuid

import pytest
from click.testing import CliRunner

pytest.importorskip("ir_measures", reason="the extra `demo` is not installed")

from small_index import PRODUCTS, index_setting, small_index

from anthem_core.errors import ClusterError
from anthem_core.opensearch.blocks import block_advice
from anthem_core.opensearch.connection import cluster_errors, connect
from anthem_evaluation.cli import rerank
from anthem_evaluation.evaluate_cli import evaluate
from anthem_evaluation.judgments import read_judgments
from anthem_evaluation.runs import ranked_ids, read_run
from anthem_evaluation.tune.cli import tune
from anthem_ingest.cli import ingest
from anthem_plugin.cli import search
from anthem_plugin.client import AnthemClient
from anthem_plugin.service.ui.page_search import find_refusal

pytestmark = pytest.mark.node
LIMIT = 7


@pytest.fixture(scope="module")
def shop(client, encoder):
    """An index of thirty products."""
    with small_index(client, encoder, titles=PRODUCTS[:30]) as name:
        yield name


@pytest.fixture(scope="module")
def ratings(tmp_path_factory):
    """Judgments of the products."""
    return write_ratings(tmp_path_factory.mktemp("judged") / "ratings.csv", range(30))


def write_ratings(path, products):
    """A file of judgments of two queries."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = [(query, number, number % 4) for query in ("fire tv", "red tablet") for number in products]
        csv.writer(file).writerows([("query", "docid", "rating"), *rows])
    return path


def run(command, index, cluster, *arguments):
    """Run a command on the index."""
    return CliRunner().invoke(command, [index, *map(str, arguments), "--url", cluster])


def test_commands_read_no_more_hits_than_the_index_allows(client, cluster, shop, ratings, tmp_path):
    """With a small `index.max_result_window`, search, evaluate and tune use fewer hits, and say so once."""
    with index_setting(client, shop, "index.max_result_window", LIMIT):
        found = run(search, shop, cluster, "fire tv", "--size", 2)
        evaluated = run(evaluate, shop, cluster, "--judgments", ratings, "--files", tmp_path, "--json")
        tuned = run(tune, shop, cluster, "--judgments", ratings)
        beyond = run(search, shop, cluster, "fire tv", "--size", LIMIT + 1)
    assert found.exit_code == 0, found.stderr
    assert found.stdout.count(f"the window is {LIMIT} instead of 100") == 1
    assert evaluated.exit_code == 0, evaluated.stderr
    limits = json.loads(evaluated.stdout)["limits"]
    assert [f"Only the first {LIMIT} hits" in limit for limit in limits].count(True) == 1
    assert {len(hits) for hits in read_run(tmp_path / "lexical.trec").values()} == {LIMIT}
    assert "too few judgments" in tuned.stderr.lower()  # of two queries; the hits were read
    assert f"Only the first {LIMIT} hits" in tuned.stderr
    assert beyond.exit_code == 6
    assert "too large" in beyond.stderr


@pytest.mark.parametrize(("missing", "is_said"), [(2, False), (30, True)])
def test_missing_products_are_named_beside_the_headline(cluster, shop, tmp_path, missing, is_said):
    """If more than a tenth of the judged products are not in the index, the sentences of the result say how many."""
    ratings = write_ratings(tmp_path / "ratings.csv", range(30 + missing))
    page = tmp_path / "report.html"
    result = run(evaluate, shop, cluster, "--judgments", ratings, "--output", page, "--json")
    assert result.exit_code == 0, result.stderr
    report, sentence = json.loads(result.stdout), f"{missing} of {30 + missing} judged products are not in the index."
    assert report["missing"] == {"missing": missing, "judged": 30 + missing}
    assert (sentence in report["verdict"][1]) == is_said
    assert (sentence in page.read_text(encoding="utf-8").split("</section>")[0]) == is_said
    assert (sentence in report["limits"]) == bool(missing)


BLOCKS = ["index.blocks.read", "index.blocks.metadata"]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_is_named_with_the_request_that_removes_it(client, cluster, shop, ratings, block):
    """A blocked index is not reported as a missing permission; without its metadata, a search may still work."""
    with index_setting(client, shop, block, True):
        results = [run(command, shop, cluster, "--judgments", ratings) for command in (evaluate, tune)]
        with connect(cluster) as connected, pytest.raises(ClusterError) as caught, cluster_errors():
            connected.indices.get_settings(index=shop) if "metadata" in block else connected.search(index=shop)
    removed = f'PUT /{shop}/_settings {{"{block}": null}}'
    assert removed in str(caught.value)
    assert "docs/permissions.md" not in str(caught.value)
    assert [removed in result.stderr for result in results] == [True, True]


CLUSTER_BLOCKS = ["cluster.blocks.create_index", "cluster.blocks.read_only", "cluster.blocks.read_only_allow_delete"]


@pytest.mark.parametrize("block", CLUSTER_BLOCKS)
def test_a_block_of_the_cluster_is_named_with_the_request_that_removes_it(client, cluster, tmp_path, block):
    """The cluster accepts the request in the message of ingest, which then succeeds."""
    name, corpus = f"blocked-{uuid.uuid4().hex[:8]}", tmp_path / "products.csv"
    corpus.write_text("id,title\n1,fire tv\n", encoding="utf-8")
    client.cluster.put_settings(body={"persistent": {block: True}})
    refused = run(ingest, name, cluster, "--corpus", corpus)
    client.cluster.put_settings(body={"persistent": {block: None}})
    assert refused.exit_code == 6
    assert f"The cluster is blocked by {block}. Remove the block: PUT /_cluster/settings " in refused.stderr
    assert f'{{"persistent": {{"{block}": null}}}}, or "transient"' in refused.stderr
    assert "docs/permissions.md" not in refused.stderr
    assert run(ingest, name, cluster, "--corpus", corpus).exit_code == 0
    client.indices.delete(index=name)


def test_two_blocks_of_the_cluster_have_a_request_each():
    """A cluster that is read-only accepts only a request that changes one setting."""
    error = "blocked by: [FORBIDDEN/6/cluster read-only (api)];[FORBIDDEN/13/cluster read-only / allow delete (api)];"
    advice = block_advice(error)
    assert advice.count("PUT /_cluster/settings ") == 2
    assert '{"persistent": {"cluster.blocks.read_only": null}} and ' in advice


SNAPSHOT = "index [snap] blocked by: [FORBIDDEN/13/remote index is read-only];"


def test_a_searchable_snapshot_is_told_from_a_blocked_cluster():
    """Two blocks have the number 13: that of a searchable snapshot, which no setting removes, is not the cluster's."""
    advice = block_advice(SNAPSHOT)
    assert "Index 'snap' is a searchable snapshot, which is always read-only" in advice
    assert "cluster" not in advice
    of_cluster = block_advice("index [a] blocked by: [FORBIDDEN/13/cluster read-only / allow delete (api)];")
    assert "cluster.blocks.read_only_allow_delete" in of_cluster
    assert "snapshot" not in of_cluster


@pytest.mark.parametrize(
    ("error", "advice"),
    [("index [a] blocked by: [FORBIDDEN/20/index scaled down];", "Index 'a' is blocked by index.blocks.search_only"),
     ("index [a] blocked by: [FORBIDDEN/4/index closed];", "Index 'a' is closed. Open it: POST /a/_open"),
     ("index [a] blocked by: [FORBIDDEN/99/of a plugin];", "Index 'a' is blocked: of a plugin"),
     ("blocked by: [FORBIDDEN/99/of a plugin];", "The cluster is blocked: of a plugin"),
     ("no permissions for [indices:data/read/search]", None)],
)  # fmt: skip
def test_no_block_is_a_missing_permission(error, advice):
    """Every block is named, known or not; only an error that is about none has no advice."""
    given = block_advice(error)
    assert given is advice or given.startswith(advice)


def test_every_index_and_every_block_of_an_error_is_named(client, cluster, encoder):
    """An error about two indices with two blocks has requests for each, which OpenSearch accepts in their order."""
    blocks = {"index.blocks.read_only": True, "index.blocks.metadata": True}
    with small_index(client, encoder, titles=PRODUCTS[:1]) as one, small_index(client, encoder, titles=["a"]) as other:
        client.indices.put_settings(index=f"{one},{other}", body=blocks)
        with connect(cluster) as connected, pytest.raises(ClusterError) as caught, cluster_errors():
            connected.indices.put_mapping(index=f"{one},{other}", body={"properties": {"new": {"type": "text"}}})
        requests = re.findall(r"PUT (/\S+) (\{[^}]*\})", str(caught.value))
        for path, body in requests:
            client.transport.perform_request("PUT", path, body=json.loads(body))
        client.indices.put_mapping(index=f"{one},{other}", body={"properties": {"new": {"type": "text"}}})
    expected = {(f"/{index}/_settings", json.dumps({block: None})) for index in (one, other) for block in blocks}
    assert set(requests) == expected
    assert len(requests) == len(expected)


def test_a_closed_index_is_named_by_evaluate_tune_and_the_page(client, cluster, shop, ratings):
    """The message has the request that opens it; an index that does not exist is told from it."""
    client.indices.close(index=shop)
    try:
        results = [run(command, shop, cluster, "--judgments", ratings) for command in (evaluate, tune)]
        refusals = [find_refusal(client, name) for name in (shop, "no-such-index")]
    finally:
        client.indices.open(index=shop)
    assert [(result.exit_code, f"POST /{shop}/_open" in result.stderr) for result in results] == [(6, True)] * 2
    assert f"POST /{shop}/_open" in refusals[0]
    assert "Not found" in refusals[1]
    assert find_refusal(client, shop) is None


def test_a_lexical_run_reranks_as_the_search_does(cluster, shop, ratings, tmp_path):
    """The run that `--files` writes has the lexical scores: `anthem rerank` orders it as client mode does."""
    measured = run(evaluate, shop, cluster, "--judgments", ratings, "--rerank", "client", "--files", tmp_path)
    assert measured.exit_code == 0, measured.stderr
    corpus, queries = tmp_path / "corpus.jsonl", tmp_path / "queries.jsonl"
    corpus.write_text("".join(json.dumps({"_id": str(n), "title": t}) + "\n" for n, t in enumerate(PRODUCTS[:30])))
    texts = read_judgments(ratings).queries
    queries.write_text("".join(json.dumps({"_id": query, "text": text}) + "\n" for query, text in texts.items()))
    arguments = ["--corpus", corpus, "--queries", tmp_path, "--run", tmp_path / "lexical.trec", "--output"]
    done = CliRunner().invoke(rerank, [*map(str, [*arguments, tmp_path / "offline.trec"])])
    assert done.exit_code == 0, done.stderr
    assert "are ranks" not in done.stderr
    offline, client_mode, lexical = (read_run(tmp_path / f"{name}.trec") for name in ("offline", "client", "lexical"))
    for query in texts:
        assert ranked_ids(offline[query]) == ranked_ids(client_mode[query]) != ranked_ids(lexical[query])


def test_a_page_without_hits_is_not_said_to_start_late(client, encoder, shop):
    """A filtered search from 0 that ends before its first hit does not claim that its page starts after the last."""
    body = {"query": {"match": {"title": "fire tv"}}, "terminate_after": -1}
    response = AnthemClient(client, encoder).search(shop, body, mode="filter")
    assert response["hits"]["hits"] == []
    assert "none of them is on this page" in response["anthem"]["reason"]
