"""`anthem rerank`: three signals without a node, and in the same order as the client on a real one."""

import json
from dataclasses import replace

import attention_shop
import numpy as np
import pytest
from attention_shop import QUERIES, TITLES, fill, hits
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from small_shop import match

from anthem_core.beir import Dataset, Product, write_dataset
from anthem_core.encoding.attention import AttentionScorer
from anthem_core.errors import DataError
from anthem_core.opensearch.schema import VectorFields
from anthem_evaluation.cli import rerank
from anthem_evaluation.offline import OfflineReranker, RunProducts, encode_products, read_queries, rerank_run
from anthem_evaluation.runs import ranked_ids, read_run, write_run
from anthem_plugin.client import AnthemClient
from anthem_plugin.search.response import hit_distances

plain = attention_shop.plain


@pytest.fixture
def files(tmp_path):
    """A corpus and queries on disk."""
    products = {number: Product(number, title) for number, title in TITLES.items()}
    queries = QUERIES | {"mute": "?!"}
    write_dataset(Dataset(products, queries), tmp_path)
    return tmp_path


@pytest.fixture
def command(files, attentive):
    """Runs `anthem rerank` on the corpus and a run; gives its result and what it wrote."""

    def call(run, *more, bundle=attentive.bundle):
        write_run(files / "in.trec", run)
        named = {"bundle": bundle.path, "corpus": files, "queries": files / "queries.jsonl"}
        named |= {"run": files / "in.trec", "output": files / "out.trec"}
        words = [word for name, value in named.items() for word in (f"--{name}", str(value))]
        return CliRunner().invoke(rerank, [*words, *more])

    return call


@pytest.mark.node
@pytest.mark.parametrize("signals", ["lexical,containment,attention", "lexical,containment"])
@pytest.mark.parametrize("window", [10, 100])
def test_client_and_command_rank_alike(client, attentive, command, files, signals, window):
    """From the same lexical scores both paths give the same order, ties within float32 aside."""
    points = encode_products(TITLES, attentive)
    texts = {number: {"title": title} for number, title in TITLES.items()}
    named = {n: VectorFields().document(points[n], attentive.bundle.model, "") if n in points else {} for n in TITLES}
    shop = fill(client, VectorFields().mapping(attentive.bundle.dimension), {n: texts[n] | named[n] for n in TITLES})
    anthem = AnthemClient(client, attentive, text_fields=("title",) if "attention" in signals else ())
    bodies = {query: match(text) | {"size": 200, "_source": False} for query, text in QUERIES.items()}
    responses = {query: client.search(index=shop, body=body) for query, body in bodies.items()}
    lexical = {query: {hit["_id"]: hit["_score"] for hit in hits(found)} for query, found in responses.items()}
    online = {query: anthem.search(shop, body, mode="client", window=window) for query, body in bodies.items()}
    client.indices.delete(index=shop)
    assert command(lexical, "--signals", signals, "--window", str(window)).exit_code == 0
    for query, scored in read_run(files / "out.trec").items():
        score = {hit["_id"]: hit["_score"] for hit in hits(online[query])}
        assert online[query]["anthem"]["signals"] == signals.split(",")
        assert np.diff([score[product] for product in ranked_ids(scored)]).max() <= 3e-6
        assert ranked_ids(scored) != ranked_ids(lexical[query])


def lexical_run(depth=30):
    """A run of every query and two odd ones, with falling scores, ties and products nobody knows."""
    products = [*list(TITLES)[:depth], "gone", "bare"]
    scores = {product: float((len(products) - place) // 2) for place, product in enumerate(products)}
    return dict.fromkeys((*QUERIES, "mute", "unknown"), scores)


def test_the_command_reports_what_it_did(command, files):
    """Counts are right, odd queries and foreign products are named, and queries without a text keep their order."""
    run = lexical_run()
    found = json.loads(command(run, "--window", "40", "--json").stdout)
    assert found["signals"] == ["lexical", "containment", "attention"]
    assert (found["queries"], found["reranked"]) == (7, 5)
    assert (found["products"], found["not_in_corpus"]) == (32, 1)
    assert found["left_alone"].keys() == {"mute", "unknown"}
    written = read_run(files / "out.trec")
    assert [*written] == [*run]
    for query in ("mute", "unknown"):
        assert ranked_ids(written[query]) == ranked_ids(run[query])
    text = command(run).stdout
    assert "5 of 7 queries reranked by lexical, containment, attention" in text
    assert "2 queries kept their order, such as mute: the query has no letters or digits" in text
    assert "1 of 32 products are not in the corpus" in text


def test_scores_written_are_places(command, files):
    """Every evaluator sees one order: scores fall by one a rank, whatever its rule for ties."""
    assert command(lexical_run()).exit_code == 0
    for scored in read_run(files / "out.trec").values():
        assert list(scored.values()) == list(range(len(scored), 0, -1))


@pytest.fixture(scope="module")
def ranker(attentive):
    """Ranker by all three signals."""
    return OfflineReranker.of(attentive.bundle, ("lexical", "containment", "attention"))


some_ids = st.sampled_from([*list(TITLES)[:12], "bare", "odd", "gone", "lost"])
some_runs = st.dictionaries(
    st.sampled_from([*QUERIES, "mute", "unknown"]),
    st.dictionaries(some_ids, st.integers(0, 9).map(float), min_size=1),
    min_size=1,
)


@given(some_runs, st.integers(1, 20))
@settings(max_examples=40)
def test_no_product_is_lost(ranker, run, window):
    """Each query keeps its products; those beneath the window keep their order and stay beneath."""
    products = RunProducts(TITLES, encode_products(dict(list(TITLES.items())[:12]), ranker.encoder))
    done = rerank_run(run, QUERIES | {"mute": "?!"}, products, ranker, window=window)
    assert done.run.keys() == run.keys()
    assert done.left_alone.keys() == run.keys() & {"mute", "unknown"}
    for query, scored in run.items():
        former, order = ranked_ids(scored), ranked_ids(done.run[query])
        assert sorted(order[:window]) == sorted(former[:window])
        assert order[window:] == former[window:]


def test_products_alike_keep_their_order(ranker):
    """Products of which nothing is known but equal scores stay as they came."""
    run = {"q1": {str(number): 3.0 for number in range(150)}}
    done = rerank_run(run, QUERIES, RunProducts({}, {}), ranker)
    assert ranked_ids(done.run["q1"]) == list(run["q1"])


@pytest.mark.parametrize("signals", ["lexical,attention", "lexical,containment"])
def test_a_signal_left_out_has_no_say(attentive, command, files, signals):
    """By fewer signals the order is that of the fused score in which the other is unknown."""
    run = {"q1": dict.fromkeys(list(TITLES)[:40], 5.0)}
    assert command(run, "--signals", signals).exit_code == 0
    written = ranked_ids(read_run(files / "out.trec")["q1"])
    titles = [TITLES[product] for product in written]
    by = (
        AttentionScorer(attentive.bundle).scores("fire tv", titles)
        if "attention" in signals
        else -hit_distances(
            [{"_source": VectorFields().document(point, "m", "")} for point in attentive.products(titles)],
            attentive.query("fire tv"),
            replace(OfflineReranker.of(attentive.bundle, ()).scoring, model="m"),
        )
    )
    assert np.diff(by).max() <= 2e-5


@pytest.mark.parametrize(
    ("run", "more", "code", "message"),
    [
        ({"q1": {"0": -1.0}}, [], 4, "found the score -1.0 of product '0' for query 'q1'"),
        ({"q1": {"x": 1.0, "y": 2.0}}, [], 4, "has none of the 2 products to rerank"),
        ({"q1": {"0": 1.0}}, ["--field", "name"], 4, "has no field name"),
        ({"q1": {"0": 1.0}}, ["--queries", "no-such.jsonl"], 4, "no-such.jsonl cannot be read"),
        ({"q1": {"0": 1.0}}, ["--run", "no-such.trec"], 4, "cannot read no-such.trec"),
        ({"q1": {"0": 1.0}}, ["--bundle", "no-such"], 3, "No bundle 'no-such'"),
        ({"q1": {"0": 1.0}}, ["--signals", "attention"], 2, "'attention' is not one of"),
        ({"q1": {"0": 1.0}}, ["--window", "0"], 2, "0 is not in the range"),
    ],
)
def test_the_command_says_what_is_wrong(command, run, more, code, message):
    """What cannot be used ends in its exit code, with a sentence that names it."""
    result = command(run, *more)
    assert result.exit_code == code
    assert message in result.stderr


def test_attention_needs_its_graph(command, plain):
    """A bundle without the graph ranks by two signals, and says so where the third is asked for."""
    run = {"q1": {"0": 1.0}}
    assert json.loads(command(run, "--json", bundle=plain.bundle).stdout)["signals"] == ["lexical", "containment"]
    result = command(run, "--signals", "lexical,attention", bundle=plain.bundle)
    assert result.exit_code == 3
    assert "has no attention.onnx" in result.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found no query"),
        (b'{"_id": "1"}\n', "line 1: found no query .*text"),
        (b'{"_id": "1", "text": "a"}\n[]\n', "line 2: found no query"),
        (b'{"_id": "1", "text": 7}\n', "line 1: found the text 7"),
        (b'{"_id": "1", "text": "a"}\n\n{"_id": "1", "text": "b"}\n', "line 3: found query '1' again"),
        (b"\xff\n", "line 1: found no query"),
    ],
)
def test_queries_that_cannot_be_used_are_named(tmp_path, content, message):
    """The error names the file and the line and says what was wrong with it."""
    path = tmp_path / "queries.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"queries.jsonl.*{message}"):
        read_queries(path)
