"""`anthem rerank`: ranking a run by three signals without a node, in the same order as the client on a real one."""

import gzip
import json
import math
from itertools import pairwise

import attention_index
import numpy as np
import pytest
from attention_index import QUERIES, TITLES, create_index, hits
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from shipped_words import VOCABULARY, has_words, split_words
from small_index import match

from anthem_core.beir import Dataset, Product, write_dataset
from anthem_core.encoding.attention import AttentionScorer
from anthem_core.encoding.encoder import Encoder
from anthem_core.encoding.title_entities import TitleEntities
from anthem_core.errors import DataError
from anthem_core.fusion import MAX_FACTOR_RATIO
from anthem_core.opensearch.schema import ModelFields
from anthem_evaluation.cli import SIGNAL_CHOICES, rerank
from anthem_evaluation.offline import (
    OfflineReranker,
    RunProducts,
    read_product_texts,
    read_query_texts,
    rerank_run,
    select_titles,
)
from anthem_evaluation.runs import ranked_ids, read_run, write_run
from anthem_plugin.client import AnthemClient
from anthem_plugin.options import ClientOptions

encoder_without_attention = attention_index.encoder_without_attention


@pytest.fixture
def files(tmp_path):
    """A corpus and queries on disk."""
    products = {number: Product(number, title) for number, title in TITLES.items()}
    queries = QUERIES | {"mute": "?!"}
    write_dataset(Dataset(products, queries), tmp_path)
    return tmp_path


@pytest.fixture
def command(files, attention_encoder):
    """Function that runs `anthem rerank` on the corpus and a run, and returns its result."""

    def call(run, *extra, bundle=attention_encoder.bundle):
        write_run(files / "in.trec", run)
        options = {"bundle": bundle.path, "corpus": files, "queries": files / "queries.jsonl"}
        options |= {"run": files / "in.trec", "output": files / "out.trec"}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return CliRunner().invoke(rerank, [*words, *extra])

    return call


def test_a_gzipped_run_is_read_again(command, files):
    """`--output o.trec.gz` is the gzipped run, which `--run` reads; it is the one that a plain name gives."""
    run = {query: dict.fromkeys(TITLES, 1.0) for query in QUERIES}
    for name in ("one.trec", "one.trec.gz"):
        assert command(run, "--output", str(files / name)).exit_code == 0
    assert gzip.decompress((files / "one.trec.gz").read_bytes()) == (files / "one.trec").read_bytes()
    again = command(run, "--run", str(files / "one.trec.gz"), "--output", str(files / "two.trec.gz"))
    assert again.exit_code == 0, again.stderr
    assert read_run(files / "two.trec.gz").keys() == run.keys()


@pytest.mark.node
@pytest.mark.parametrize("signals", SIGNAL_CHOICES)
@pytest.mark.parametrize("window", [10, 100])
def test_client_and_command_rank_alike(client, attention_encoder, command, files, signals, window):
    """From the same lexical scores both give the same order, except for ties within float32 precision."""
    bundle, scorer = attention_encoder.bundle, AttentionScorer(attention_encoder.bundle)
    documents = {number: {"title": title} for number, title in TITLES.items()}
    trigrams = dict(zip(TITLES, scorer.encode_titles([*TITLES.values()]).pack(), strict=True))
    kept = [signal for signal in ("containment", "attention") if signal in signals]
    for number, title in TITLES.items():
        if has_words(title):
            vector = attention_encoder.encode_vectors([title])[0] if "containment" in kept else None
            values = trigrams[number] if "attention" in kept else None
            documents[number] |= ModelFields().document(vector, bundle.model_id, split_words(title), values)
    index = create_index(client, ModelFields().mapping(bundle.dimension, kept), documents)
    anthem = AnthemClient(client, Encoder(bundle), ClientOptions(text_fields=()))
    bodies = {query: match(text) | {"size": 200, "_source": False} for query, text in QUERIES.items()}
    plain = {query: client.search(index=index, body=body) for query, body in bodies.items()}
    lexical = {query: {hit["_id"]: hit["_score"] for hit in hits(response)} for query, response in plain.items()}
    online = {query: anthem.search(index, body, mode="client", window=window) for query, body in bodies.items()}
    client.indices.delete(index=index)
    assert command(lexical, "--signals", signals, "--window", str(window)).exit_code == 0
    for query, scores in read_run(files / "out.trec").items():
        online_scores = {hit["_id"]: hit["_score"] for hit in hits(online[query])}
        assert online[query]["anthem"]["signals"] == signals.split(",")
        for better, worse in pairwise(online_scores[product] for product in ranked_ids(scores)):
            assert worse <= better * (1 + 1e-6)
        assert ranked_ids(scores) != ranked_ids(lexical[query])


def lexical_run(depth=30):
    """A run of every query and two unusable ones, with descending scores, ties and unknown products."""
    products = [*list(TITLES)[:depth], "gone", "bare"]
    scores = {product: float((len(products) - rank) // 2) for rank, product in enumerate(products)}
    return dict.fromkeys((*QUERIES, "mute", "unknown"), scores)


def test_the_command_reports_what_it_did(command, files):
    """Counts are right, and queries without a usable text are named and keep their order."""
    run = lexical_run()
    value = json.loads(command(run, "--window", "40", "--json").stdout)
    assert value["signals"] == ["lexical", "containment", "attention"]
    assert (value["queries"], value["reranked"]) == (7, 5)
    assert (value["products"], value["not_in_corpus"]) == (32, 1)
    assert value["left_alone"].keys() == {"mute", "unknown"}
    written = read_run(files / "out.trec")
    assert [*written] == [*run]
    for query in ("mute", "unknown"):
        assert ranked_ids(written[query]) == ranked_ids(run[query])
    text = command(run).stdout
    assert "5 of 7 queries reranked by lexical, containment, attention" in text
    assert "2 queries kept their order, such as mute: the query has no letters or digits" in text
    assert "1 of 32 products are not in the corpus" in text


def test_scores_written_are_ranks(command, files):
    """Scores fall by one per rank, so that every evaluation tool sees the same order."""
    assert command(lexical_run()).exit_code == 0
    for scores in read_run(files / "out.trec").values():
        assert list(scores.values()) == list(range(len(scores), 0, -1))


@pytest.fixture(scope="module")
def reranker(attention_encoder):
    """Reranker by all three signals."""
    return OfflineReranker.from_bundle(attention_encoder.bundle, ("lexical", "containment", "attention"))


product_ids = st.sampled_from([*list(TITLES)[:12], "bare", "odd", "gone", "lost"])
runs = st.dictionaries(
    st.sampled_from([*QUERIES, "mute", "unknown"]),
    st.dictionaries(product_ids, st.integers(0, 9).map(float), min_size=1),
    min_size=1,
)


@given(runs, st.integers(1, 20))
@settings(max_examples=40)
def test_no_product_is_lost(reranker, run, window):
    """Each query keeps its products, and those below the window keep their ranks."""
    products = reranker.encode_products(dict(list(TITLES.items())[:12]))
    result = rerank_run(run, QUERIES | {"mute": "?!"}, products, reranker, window=window)
    assert result.run.keys() == run.keys()
    assert result.not_reranked.keys() == run.keys() & {"mute", "unknown"}
    for query, scores in run.items():
        before, after = ranked_ids(scores), ranked_ids(result.run[query])
        assert sorted(after[:window]) == sorted(before[:window])
        assert after[window:] == before[window:]


def test_indistinguishable_products_keep_their_order(reranker):
    """Products with equal scores, of which nothing else is known, keep their order."""
    run = {"q1": {str(number): 3.0 for number in range(150)}}
    result = rerank_run(run, QUERIES, reranker.encode_products({}), reranker)
    assert ranked_ids(result.run["q1"]) == list(run["q1"])


def independent_scores(encoder, signals, query, lexical):
    """Score of each product, by the formula of the fusion: one product and one signal after the other."""
    bundle, texts = encoder.bundle, [TITLES.get(product, "") for product in lexical]
    weights = bundle.fusion[signals.replace(",", "+")]
    bound = math.log(MAX_FACTOR_RATIO) / 2
    attention = AttentionScorer(bundle).score_titles(query, texts)
    scores = {}
    for (product, score), text, attended in zip(lexical.items(), texts, attention, strict=True):
        shift = 0.0
        if has_words(text):
            space = np.rint(encoder.encode_products([text])[0, 1:] / bundle.vector_step) * bundle.vector_step
            point = np.array([math.sqrt(1 + np.sum(space.astype(float) ** 2)), *space])
            distance = encoder.encode_query(query).distance(point[None], bundle.gamma)[0]
            shift -= weights.containment * (distance - weights.median_distance) if "containment" in signals else 0.0
            shift += weights.attention * (attended - weights.median_attention) if "attention" in signals else 0.0
        scores[product] = (score + weights.lexical_offset) * math.exp(bound * math.tanh(shift / bound))
    return scores


@pytest.mark.parametrize("shipped", [True, False])
@pytest.mark.parametrize("signals", SIGNAL_CHOICES)
def test_each_set_of_signals_ranks_by_the_formula(encoder, attention_encoder, command, files, signals, shipped):
    """The order is that of scores computed product by product with the weights of exactly these signals."""
    used = encoder if shipped else attention_encoder
    lexical = {product: float(number % 7) for number, product in enumerate([*TITLES, "gone"])}
    run = {query: dict(sorted(lexical.items(), key=lambda item: -item[1])) for query in QUERIES}
    result = command(run, "--signals", signals, "--json", bundle=used.bundle)
    assert json.loads(result.stdout)["signals"] == signals.split(",")
    for query, scores in read_run(files / "out.trec").items():
        expected = independent_scores(used, signals, QUERIES[query], run[query])
        ranked = [expected[product] for product in ranked_ids(scores)]
        assert ranked != [expected[product] for product in run[query]]
        for better, worse in pairwise(ranked[:100]):
            assert worse <= better * (1 + 1e-3)  # encoded in another batch, a coordinate may be rounded differently


@given(st.lists(st.lists(st.integers(0, 99), max_size=5), min_size=1, max_size=9), st.data())
def test_selected_titles_are_those_titles(titles, data):
    """Any titles, in any order and repeated, keep their entities."""
    lengths = np.array([len(title) for title in titles])
    ids = np.array([number for title in titles for number in title], np.int64)
    entities = TitleEntities(ids, (ids % 7).astype(np.uint8), lengths)
    rows = data.draw(st.lists(st.integers(0, len(titles) - 1)))
    selected = select_titles(entities, np.array(rows, np.int64)).pack()
    assert selected == [entities.pack()[row] for row in rows]


def test_every_product_is_encoded_once(reranker):
    """Each product of a run has its own row; all missing products share one more."""
    products = reranker.encode_products({"a": "fire tv", "b": "?!", "c": "tv"})
    assert isinstance(products, RunProducts)
    assert products.points.shape == (4, reranker.scoring.dimension + 1)
    assert np.isfinite(products.points).all(axis=1).tolist() == [True, False, True, False]
    assert products.titles.lengths.tolist() == [len(VOCABULARY.title_ids(text)) for text in ("fire tv", "", "tv", "")]
    assert products.find(["c", "gone", "a"]).tolist() == [2, 3, 0]


@pytest.mark.parametrize(
    ("run", "options", "code", "message"),
    [
        ({"q1": {"0": -1.0}}, [], 4, "Product '0' of query 'q1' has the score -1.0"),
        ({"q1": {"x": 1.0, "y": 2.0}}, [], 4, "has none of the 2 products to rerank"),
        ({"q1": {"0": 1.0}}, ["--field", "name"], 4, "have no field name"),
        ({"q1": {"0": 1.0}}, ["--queries", "no-such.jsonl"], 4, "no-such.jsonl cannot be read"),
        ({"q1": {"0": 1.0}}, ["--run", "no-such.trec"], 4, "no-such.trec cannot be read"),
        ({"q1": {"0": 1.0}}, ["--bundle", "no-such"], 3, "Bundle 'no-such' not found"),
        ({"q1": {"0": 1.0}}, ["--signals", "attention"], 2, "'attention' is not one of"),
        ({"q1": {"0": 1.0}}, ["--window", "0"], 2, "0 is not in the range"),
    ],
)
def test_unusable_input_is_refused(command, run, options, code, message):
    """Each kind of unusable input has its exit code and a message that names it."""
    result = command(run, *options)
    assert result.exit_code == code
    assert message in result.stderr


def test_attention_needs_its_graph(command, encoder_without_attention):
    """A bundle without the graph ranks by two signals, and asking for attention is an error."""
    run, bundle = {"q1": {"0": 1.0}}, encoder_without_attention.bundle
    value = json.loads(command(run, "--json", bundle=bundle).stdout)
    assert value["signals"] == ["lexical", "containment"]
    result = command(run, "--signals", "lexical,attention", bundle=bundle)
    assert result.exit_code == 3
    assert "has no attention_table.onnx" in result.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "queries.jsonl has no queries"),
        (b'{"_id": "1"}\n', "queries.jsonl:1: no text"),
        (b'{"_id": "1", "text": "a"}\n[]\n', "queries.jsonl:2: not a JSON object"),
        (b'{"_id": "1", "text": 7}\n', "queries.jsonl:1: text is not a string"),
        (b'{"_id": "1", "text": "a"}\n\n{"_id": "1", "text": "b"}\n', "queries.jsonl:3: duplicate id '1'"),
        (b"\xff\n", "queries.jsonl:1: not UTF-8"),
    ],
)
def test_unusable_queries_are_named(tmp_path, content, message):
    """The error names the file and the line, and what is wrong with it."""
    path = tmp_path / "queries.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_query_texts(path, [])


def test_a_bad_line_among_many_queries_is_skipped(tmp_path):
    """As in every BEIR file, at most 1 % of the lines may be bad; they are skipped and reported."""
    lines = [json.dumps({"_id": str(number), "text": "fire tv"}) for number in range(199)]
    (tmp_path / "queries.jsonl").write_text("\n".join([*lines, "{"]))
    skipped_lines = []
    assert len(read_query_texts(tmp_path / "queries.jsonl", skipped_lines)) == 199
    assert [skipped.line for skipped in skipped_lines] == [200]


def titleless(products, **fields):
    """Lines of a BEIR corpus whose titles are empty."""
    return "".join(json.dumps({"_id": name, "title": "", **fields, "text": text}) + "\n" for name, text in products)


def test_a_corpus_without_titles_is_reranked_by_its_texts(command, files):
    """With `--field text`, texts rank as titles do; without, the message says that there are only texts."""
    run = lexical_run()
    assert command(run, "--json").exit_code == 0
    expected = (files / "out.trec").read_text()
    (files / "corpus.jsonl.gz").unlink()
    (files / "corpus.jsonl").write_text(titleless(TITLES.items()))
    result = command(run, "--field", "text")
    assert result.exit_code == 0, result.stderr
    assert (files / "out.trec").read_text() == expected
    refused = command(run)
    assert refused.exit_code == 4
    assert "no title, only text" in refused.stderr


@pytest.mark.parametrize("content", [{}, {"title": None}, {"metadata": {}}])
def test_a_corpus_may_leave_the_title_out(tmp_path, content):
    """A missing, null or empty title is the same, and each requested field may hold the text."""
    line = {"_id": "1", "text": "red sofa"} | content
    (tmp_path / "corpus.jsonl").write_text(json.dumps(line))
    for fields in (("text",), ("title", "text"), ("text", "metadata.brand")):
        assert read_product_texts(tmp_path / "corpus.jsonl", {"1"}, fields, []) == {"1": "red sofa"}


def test_a_field_without_text_is_refused(tmp_path):
    """A run is not reranked by texts that are all empty; the fields that would do are named."""
    line = {"_id": "1", "title": "sofa", "metadata": {"brand": "Acme"}}
    (tmp_path / "corpus.jsonl").write_text(json.dumps(line))
    with pytest.raises(DataError, match=r"has text in metadata.colour. Name another field"):
        read_product_texts(tmp_path / "corpus.jsonl", {"1"}, ("metadata.colour",), [])


def test_everything_may_be_gzipped(command, files, attention_encoder):
    """A gzipped run, corpus and queries give the same result as plain ones, whatever their names say."""
    run = lexical_run()
    assert command(run).exit_code == 0
    expected = (files / "out.trec").read_text()
    for name, packed in (("in.trec", "in.trec.gz"), ("queries.jsonl", "queries.jsonl.gz"), ("in.trec", "in.trec")):
        (files / packed).write_bytes(gzip.compress((files / name).read_bytes()))
    output = files / "again.trec"
    for name in ("in.trec", "in.trec.gz"):
        words = [
            "--bundle",
            str(attention_encoder.bundle.path),
            "--corpus",
            str(files),
            "--queries",
            str(files / "queries.jsonl.gz"),
        ]
        result = CliRunner().invoke(rerank, [*words, "--run", str(files / name), "--output", str(output)])
        assert result.exit_code == 0, result.stderr
        assert output.read_text() == expected


def test_a_run_of_other_queries_is_refused(command, files):
    """If no query of the run has a text, nothing is written, and the message has an id of each file."""
    result = command({"other": {"p1": 2.5, "p2": 1.5}})
    assert result.exit_code == 4
    assert "'other'" in result.stderr
    assert not (files / "out.trec").exists()


def test_scores_that_are_ranks_are_named(command):
    """A run whose scores count down to 1 is reranked with a warning; one of lexical scores without."""
    query, products = next(iter(QUERIES)), list(TITLES)[:3]
    for scores, is_warned in (([3.0, 2.0, 1.0], True), ([3.5, 2.0, 1.0], False)):
        result = command({query: dict(zip(products, scores, strict=True))})
        assert ("are ranks" in result.stderr) == is_warned


def test_a_folder_without_queries_is_named(tmp_path):
    """The message says which file was expected in the folder."""
    with pytest.raises(DataError, match=r"is a folder without queries\.jsonl"):
        read_query_texts(tmp_path, [])
