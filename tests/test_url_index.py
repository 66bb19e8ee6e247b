"""A node that takes the index of a request from its URL alone, so that access rules by URL hold: everything works."""

import json

import pytest
from click.testing import CliRunner
from opensearchpy.exceptions import RequestError
from small_index import PRODUCTS, match

from anthem_core.opensearch.connection import connect
from anthem_core.opensearch.schema import MATCH_ALL
from anthem_doctor.cli import doctor
from anthem_evaluation.cli import demo
from anthem_evaluation.evaluate_cli import evaluate
from anthem_ingest import index_io
from anthem_ingest.cli import ingest, remove
from anthem_ingest.report import IngestTally
from anthem_plugin.cli import search
from anthem_plugin.client import AnthemClient
from anthem_sandbox.node.cluster_choice import find_test_release
from anthem_sandbox.node.lifecycle import temporary_node

pytestmark = pytest.mark.node

SETTING = {"rest.action.multi.allow_explicit_index": "false"}
TITLES = {"properties": {"title": {"type": "text"}}}


@pytest.fixture(scope="module")
def url():
    """URL of a node that refuses an index in the body of a request for several items."""
    with temporary_node(heap="512m", settings=SETTING, release=find_test_release()) as address:
        yield address


@pytest.fixture(scope="module")
def strict(url):
    """Client of that node."""
    with connect(url) as client:
        yield client


@pytest.fixture(scope="module")
def shop(strict):
    """An index of products without values, loaded by the plain client."""
    lines = [line for number, title in enumerate(PRODUCTS) for line in ({"index": {"_id": str(number)}},
                                                                        {"title": title})]  # fmt: skip
    strict.indices.create(index="shop", body={"mappings": TITLES})
    strict.bulk(index="shop", body=lines, refresh=True)
    return "shop"


def invoke(command, url, *words):
    """Run a command on the node, without `OPENSEARCH_URL`; it succeeds."""
    result = CliRunner().invoke(command, [*map(str, words), "--url", url])
    assert result.exit_code == 0, result.output
    return result


def count_ingested(client, index):
    """Number of products of an index that have values."""
    client.indices.refresh(index=index)
    return client.count(index=index, body={"query": {"exists": {"field": "anthem.model"}}})["count"]


def test_the_node_refuses_an_index_in_a_body(strict, shop):
    """The setting is in force: a multi-search and a bulk request that name an index in their bodies are refused."""
    body = [{"index": shop}, match("fire tv")]
    with pytest.raises(RequestError, match="explicit index in multi search is not allowed"):
        strict.msearch(body=body)
    with pytest.raises(RequestError, match="explicit index in bulk is not allowed"):
        strict.bulk(body=[{"index": {"_index": shop, "_id": "x"}}, {"title": "x"}])


def test_every_command_names_the_index_in_the_url(strict, url, shop, tmp_path, monkeypatch):
    """Ingest, its copy, search, evaluate, doctor, a load of a file and remove do what they do on any node."""
    monkeypatch.chdir(tmp_path)
    invoke(ingest, url, shop)
    assert count_ingested(strict, shop) == len(PRODUCTS)
    invoke(ingest, url, shop, "--ann")
    assert count_ingested(strict, f"{shop}-ann") == len(PRODUCTS)
    strict.index(index=shop, id="new", body={"title": "red boot"}, refresh=True)
    strict.delete(index=shop, id="0", refresh=True)
    invoke(ingest, url, shop)
    invoke(ingest, url, shop, "--ann")
    copied = strict.search(index=f"{shop}-ann", body={"query": match("boot")["query"]})["hits"]["hits"]
    assert [hit["_id"] for hit in copied] == ["new"]
    assert not strict.exists(index=f"{shop}-ann", id="0")
    assert json.loads(invoke(search, url, shop, "fire tv", "--json").stdout)["reranked"]
    examined = CliRunner().invoke(doctor, [shop, "--url", url])
    assert "explicit index" not in examined.output
    assert examined.exit_code in (0, 1), examined.output
    (tmp_path / "ratings.csv").write_text("query,docid,rating\nfire tv,1,3\nred boot,new,3\nred boot,4,0\n")
    invoke(evaluate, url, shop, "--judgments", "ratings.csv")
    rows = [{"_id": "1", "title": "green sofa"}, {"_id": "2", "title": PRODUCTS[2]}, {"_id": "last", "title": "lamp"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    invoke(ingest, url, shop, "--corpus", "rows.jsonl")
    assert strict.get(index=shop, id="1")["_source"]["title"] == "green sofa"
    assert count_ingested(strict, shop) == len(PRODUCTS) + 1
    invoke(remove, url, shop, "--yes")
    assert count_ingested(strict, shop) == 0


def test_a_load_through_an_alias_has_its_index_or_its_routing(strict, url, tmp_path, monkeypatch):
    """Rows that are loaded through an alias reach the index that it writes to, or have the routing that it adds."""
    monkeypatch.chdir(tmp_path)
    for name in ("old", "current"):
        strict.indices.create(index=name, body={"settings": {"number_of_shards": 5}, "mappings": TITLES})
    strict.indices.put_alias(index="old", name="all", body={"is_write_index": False})
    strict.indices.put_alias(index="current", name="all", body={"is_write_index": True})
    strict.indices.put_alias(index="old", name="routed", body={"routing": "a"})
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"_id": str(n), "title": "lamp"}) + "\n" for n in range(9)))
    for alias, index, routing in (("all", "current", None), ("routed", "old", "a")):
        invoke(ingest, url, alias, "--corpus", "rows.jsonl")
        strict.indices.refresh(index="old,current")
        hits = strict.search(index="old,current", body={"query": MATCH_ALL, "size": 99})["hits"]["hits"]
        found = sorted((hit["_id"], hit.get("_routing")) for hit in hits if hit["_index"] == index)
        assert found == [(str(number), routing) for number in range(9)]
        assert len(hits) == (9 if alias == "all" else 18)


def test_actions_for_several_indices_are_sent_to_each(strict):
    """Actions for several indices in one batch are each written to their own, and counted together."""
    actions = [
        {"_op_type": "index", "_index": f"several-{number % 2}", "_id": str(number), "_source": {"title": "lamp"}}
        for number in range(6)
    ]
    tally = IngestTally()
    index_io.write_actions(strict, actions, tally)
    strict.indices.refresh(index="several-*")
    assert (tally.written, tally.failed) == (6, 0)
    assert [strict.count(index=f"several-{number}")["count"] for number in range(2)] == [3, 3]


@pytest.mark.parametrize("mode", ["cluster", "client", "filter", "none"])
def test_a_multi_search_names_its_index_where_the_caller_did(strict, encoder, mode):
    """An index in the URL stays there, in every mode; one in a header is refused, as without ANTHEM."""
    strict.indices.create(index=f"asked-{mode}", body={"mappings": TITLES})
    lines = [line for title in ("red shoe", "blue shoe") for line in ({"index": {}}, {"title": title})]
    strict.bulk(index=f"asked-{mode}", body=lines, refresh=True)
    anthem, body = AnthemClient(strict, encoder), [{}, match("shoe"), {"preference": "x"}, match("red shoe")]
    responses = anthem.msearch(body, f"asked-{mode}", mode=mode)["responses"]
    assert [(response["status"], len(response["hits"]["hits"])) for response in responses] == [(200, 2), (200, 2)]
    with pytest.raises(RequestError, match="explicit index in multi search is not allowed"):
        anthem.msearch([{"index": f"asked-{mode}"}, match("shoe")], mode=mode)


def test_a_template_is_rendered_and_searched(strict, encoder):
    """A search template names its index in the URL."""
    strict.index(index="rendered", id="1", body={"title": "red shoe"}, refresh=True)
    response = AnthemClient(strict, encoder).search_template({"source": match("{{q}}"), "params": {"q": "shoe"}},
                                                             "rendered")  # fmt: skip
    assert [hit["_id"] for hit in response["hits"]["hits"]] == ["1"]


def test_the_demo_fills_its_index(strict, url, tmp_path, monkeypatch):
    """`anthem demo` writes its products to an index that the URL names."""
    monkeypatch.setenv("ANTHEM_TEST_URL", url)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "qrels").mkdir()
    (tmp_path / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": str(n), "title": title, "text": ""}) + "\n" for n, title in enumerate(PRODUCTS))
    )
    (tmp_path / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": f"q{n}", "text": title}) + "\n" for n, title in enumerate(PRODUCTS[:5]))
    )
    judged = "".join(f"q{number}\t{number}\t1\n" for number in range(5))
    (tmp_path / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    result = CliRunner().invoke(demo, ["--data", str(tmp_path), "--output", "report.html"])
    assert result.exit_code == 0, result.output
    assert strict.count(index="anthem-demo-*")["count"] == len(PRODUCTS)
