"""`anthem search --body`: a shop's own body, from a file or standard input, is searched and reranked as it is."""

import json

import pytest
from click.testing import CliRunner
from small_index import large_index

from anthem_plugin.cli import search
from anthem_plugin.client import AnthemClient

pytestmark = pytest.mark.node

MULTI_MATCH = {"multi_match": {"query": "fire tv", "fields": ["title^2", "brand"]}}
SHOP = {
    "query": {"function_score": {
        "query": {"bool": {"must": [MULTI_MATCH], "filter": [{"range": {"price": {"lte": 120}}}]}},
        "functions": [{"filter": {"term": {"brand": "stark"}}, "weight": 3}]}},
    "from": 3,
    "size": 7,
    "aggs": {"brands": {"terms": {"field": "brand"}}},
    "_source": {"excludes": ["*.vector"]},
}  # fmt: skip
DIFFERENT = {"query": {"bool": {"must": [MULTI_MATCH], "should": [{"match": {"brand": "acme"}}]}}}


@pytest.fixture(scope="module")
def index(client, encoder):
    """150 products, every tenth without values of the model."""
    with large_index(client, encoder, graph=False) as name:
        yield name


@pytest.fixture
def run(cluster, index, encoder, tmp_path):
    """Function that runs `anthem search --body` with a body, given as JSON or as text, from a file or from `-`."""

    def run_command(body, *arguments, file=None):
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        path = tmp_path / "search.json"
        path.write_bytes(text)
        options = ["--body", str(path) if file is None else file, "--bundle", str(encoder.bundle.path)]
        return CliRunner().invoke(search, [index, *arguments, *options, "--url", cluster], input=text)

    return run_command


@pytest.mark.parametrize("mode", ["cluster", "client"])
@pytest.mark.parametrize("file", [None, "-"])
def test_a_shops_body_is_searched(run, client, encoder, index, mode, file):
    """The hits are those of the body's page, ranked as the client ranks it; ranks count from the start of all hits."""
    result = run(SHOP, "--rerank", mode, "--json", file=file)
    assert result.exit_code == 0, result.stderr
    shown = json.loads(result.stdout)
    body = {key: value for key, value in SHOP.items() if key != "_source"}
    expected = AnthemClient(client, encoder).search(index, body, mode=mode, preference="anthem")
    plain = client.search(index=index, body=body | {"from": 0, "size": 100}, preference="anthem")["hits"]["hits"]
    former = {hit["_id"]: rank for rank, hit in enumerate(plain, start=1)}
    assert (shown["query"], shown["reranked"]) == ("fire tv", True)
    assert [hit["id"] for hit in shown["hits"]] == [hit["_id"] for hit in expected["hits"]["hits"]]
    assert [hit["rank"] for hit in shown["hits"]] == list(range(4, 11))
    assert [hit["before"] for hit in shown["hits"]] == [former[hit["id"]] for hit in shown["hits"]]
    text = run(SHOP, "--rerank", mode, "--explain", "--size", "2").stdout
    assert f"'fire tv' in {index}" in text
    assert "Score = (lexical" in text


def test_the_words_may_be_given(run):
    """Where clauses disagree, the reason says so; the words on the command line or a path decide."""
    shown = json.loads(run(DIFFERENT, "--json").stdout)
    assert (shown["query"], shown["reranked"]) == (None, False)
    assert "'fire tv', 'acme'" in shown["reason"]
    assert "the body of " in run(DIFFERENT).stdout
    paths = ["--query-path", "query.match.title", "--query-path", "query.bool.must.0.multi_match.query"]
    for words in (["fire tv"], paths):
        shown = json.loads(run(DIFFERENT, *words, "--json", "--explain").stdout)
        assert (shown["query"], shown["reranked"]) == ("fire tv", True)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"query": {"match": {"title": "fire"}}, "sort": ["price"]}, "not reranked: the body does not sort"),
        ({"size": 3}, "not reranked: "),
        ({"query": {"match": {"title": "zzzz"}}}, "No product matches."),
        ({"query": {"match": {"title": "fire"}}, "size": 0}, "products match, but `size` is 0; show some with --size"),
        ({"query": {"match": {"title": "zzzz"}}, "size": 0}, "No product matches."),
        ({"query": {"match": {"title": "fire"}}, "from": 99}, "the page starts after the last hit (`from: 99`); "),
        ({"query": {"match_all": {}}}, "pass the text as QUERY, or its path in the body as `--query-path`"),
        ({"query": {"match": {"title": "fire"}}, "collapse": {"field": "brand"}}, "not reranked: "),
    ],
)
def test_a_body_that_is_not_reranked_is_shown(run, body, word):
    """A body of another kind shows the plain hits and the reason, also without scores."""
    result = run(body)
    assert result.exit_code == 0, result.stderr
    assert word in result.stdout
    assert ("No product matches." in result.stdout) == ("zzzz" in str(body))
    assert "query_" not in result.stdout


def test_an_unknown_field_of_a_body_is_reported(run):
    """With a body too, --field must name a field that exists: its values are what is shown of the hits."""
    wrong = run({"query": {"match": {"title": "fire"}}}, "--field", "titel")
    assert wrong.exit_code == 6
    assert "Field 'titel' not found in" in wrong.stderr


@pytest.mark.parametrize(
    ("body", "code", "word"),
    [
        (b'{"query": ', 4, "is not JSON"),
        (b"[1]", 4, "is not a JSON object"),
        (b"\xff\xfe", 4, "is not JSON"),
        (b"", 4, "is not JSON"),
        (b"[" * 100_000, 4, "is not JSON"),
        ({"query": {"match": {"title": "fire"}}, "size": -1}, 6, "size"),
        ({"query": {"match": {"title": "fire"}}, "size": "many"}, 6, "many"),
        ({"querry": {}}, 6, "querry"),
    ],
)
def test_a_body_that_cannot_be_searched_is_an_error(run, body, code, word):
    """What is not a JSON object exits with 4; what OpenSearch refuses, with 6 and its reason."""
    result = run(body)
    assert (result.exit_code, word in result.stderr) == (code, True), result.stderr


def test_words_go_where_the_placeholder_stands(run):
    """QUERY replaces {{query}} in the body; without QUERY such a body is an error, not a search for the placeholder."""
    placed = {"query": {"multi_match": {**MULTI_MATCH["multi_match"], "query": "{{query}}"}}}
    filled = json.loads(run(placed, "fire tv", "--json").stdout)
    assert filled["reranked"]
    assert filled["hits"] == json.loads(run({"query": MULTI_MATCH}, "--json").stdout)["hits"]
    refused = run(placed)
    assert refused.exit_code == 4
    assert "{{query}}. Give the words as QUERY" in refused.stderr


def test_a_byte_order_mark_is_ignored(run):
    """A file as some editors save it is read."""
    assert run(b"\xef\xbb\xbf" + json.dumps(SHOP).encode()).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        ([], 2, "--body FILE"),
        (["fire tv", "--query-path", "query"], 2, "--body FILE"),
        (["fire tv", "--query-path", "query", "--body", "-"], 2, "give one of them"),
        (["--body", "no-such.json"], 4, "no-such.json could not be read"),
    ],
)
def test_words_or_a_body_are_required(cluster, index, arguments, code, word):
    """Without words and body, with a path for no body, and with a file that does not exist, the message says what."""
    result = CliRunner().invoke(search, [index, *arguments, "--url", cluster], input="{}")
    assert (result.exit_code, word in result.stderr) == (code, True), result.stderr
