"""`anthem search` on a real node: ranks before and after in each mode, explanations, and errors."""

import json
import math
import re

import pytest
from attention_index import create_index
from click.testing import CliRunner
from small_index import TITLES, large_index, model_documents

from anthem_core.encoding.attention_grid import GridExplainer
from anthem_core.fusion import MAX_SHIFT
from anthem_core.opensearch.schema import VALUE_OF_SIGNAL, ModelFields
from anthem_plugin.cli import search
from anthem_plugin.search.word_pairs import word_pairs

pytestmark = pytest.mark.node


@pytest.fixture(scope="module")
def index(client, encoder):
    """150 products, every tenth without values of the model, and no graph."""
    with large_index(client, encoder, graph=False) as name:
        yield name


@pytest.fixture(scope="module")
def wide_index(client, encoder):
    """The same products on three shards, with a graph."""
    with large_index(client, encoder, shards=3) as name:
        yield name


@pytest.fixture
def run(cluster, index, encoder):
    """Function that runs `anthem search` on the index, or another."""

    def run_command(*arguments, index=index, bundle=encoder.bundle):
        return CliRunner().invoke(search, [index, *arguments, "--bundle", str(bundle.path), "--url", cluster])

    return run_command


def test_the_command_filters_and_retrieves(run):
    """`--rerank filter` drops more products with less slack; without a graph, `retrieve` names the option to use."""
    results = [json.loads(run("fire tv", "--rerank", "filter", "--size", "200", "--json", *slack).stdout)
               for slack in (["--slack", "9"], [], ["--slack=-9"])]  # fmt: skip
    assert [result["reranked"] for result in results] == [True, True, True]
    kept = [len(result["hits"]) for result in results]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] > kept[2]
    result = json.loads(run("fire tv", "--rerank", "retrieve", "--json").stdout)
    assert (result["reranked"], "--ann" in result["reason"]) == (False, True)


@pytest.mark.parametrize("wrong", [["--slack", "0.1"], ["--rerank", "filter", "--slack", "nan"]])
def test_an_invalid_slack_is_refused(run, wrong):
    """A slack without filter mode, and a slack that is not finite, are usage errors."""
    result = run("fire tv", *wrong)
    assert result.exit_code == 2
    assert "--slack" in result.stderr


@pytest.mark.parametrize("mode", ["cluster", "client", "none"])
def test_the_command_shows_before_and_after(run, mode):
    """Ranks count from 1; the former ranks are those of the plain search, and with `none` both are equal."""
    result = json.loads(run("fire tv", "--rerank", mode, "--size", "20", "--json").stdout)
    assert [hit["rank"] for hit in result["hits"]] == list(range(1, 21))
    assert all("fire" in hit["title"] or "tv" in hit["title"] for hit in result["hits"])
    assert result["reranked"] == (mode != "none")
    assert ([hit["before"] for hit in result["hits"]] == list(range(1, 21))) == (mode == "none")
    assert all(hit["lexical"] > 0 for hit in result["hits"])


def assert_explained(result, size):
    """Check that the parts of every hit of the window add up to the score that the cluster returned."""
    assert result["reranked"]
    assert len(result["hits"]) == size
    for hit in result["hits"]:
        score = hit["explanation"]["score"]
        parts = [score[name] for name in ("attention", "distance") if score[name]]
        assert score["shift"] == pytest.approx(sum(part["contribution"] for part in parts))
        for part in parts:
            value = part["median"] if part["value"] is None else part["value"]
            assert part["contribution"] == pytest.approx(part["weight"] * (value - part["median"]))
        assert score["factor"] == pytest.approx(math.exp(MAX_SHIFT * math.tanh(score["shift"] / MAX_SHIFT)))
        assert score["lexical"] == hit["lexical"]
        assert score["score"] == pytest.approx((hit["lexical"] + score["offset"]) * score["factor"])
        assert score["score"] == pytest.approx(hit["score"], rel=3e-7)


@pytest.mark.parametrize("query", ["fire tv", "wireles tablet", "acme pro kindel"])
@pytest.mark.parametrize("mode", ["cluster", "client"])
def test_an_explanation_adds_up_to_the_score(run, mode, query):
    """In both modes the parts of every hit give its `_score` to float32; a hit without values has medians."""
    result = json.loads(run(query, "--rerank", mode, "--explain", "--size", "40", "--json").stdout)
    assert result["signals"] == ["lexical", "containment", "attention"]
    assert_explained(result, min(40, len(result["hits"])))
    for hit in result["hits"]:
        values = [hit["explanation"]["score"][name]["value"] for name in ("attention", "distance")]
        assert [value is None for value in values] == [int(hit["id"]) % 10 == 0] * 2


@pytest.mark.parametrize(("mode", "query", "size"), [("cluster", "wireless tv", 25), ("retrieve", "kindel shoe", 60)])
def test_hits_past_the_plain_search_add_up_too(run, wide_index, mode, query, size):
    """On three shards the window is larger than the plain search, and `retrieve` adds hits without a lexical score."""
    options = ["--rerank", mode, "--explain", "--window", "10", "--size", str(size), "--json"]
    result = json.loads(run(query, *options, index=wide_index).stdout)
    assert_explained(result, size)
    past = [hit["lexical"] for hit in result["hits"] if hit["before"] is None]
    assert past
    assert (0 in past) == (mode == "retrieve")


@pytest.mark.parametrize("mode", ["cluster", "client"])
def test_below_the_window_no_parts_are_told(run, mode):
    """The hits below the window keep their lexical order, and only those of the window are explained."""
    result = json.loads(run("fire tv", "--rerank", mode, "--window", "5", "--size", "9", "--explain", "--json").stdout)
    assert [hit["explanation"]["score"] is not None for hit in result["hits"]] == [True] * 5 + [False] * 4
    assert [hit["before"] for hit in result["hits"][5:]] == [6, 7, 8, 9]
    assert not any("pairs" in hit for hit in result["hits"][5:])


@pytest.mark.parametrize("kept", [("containment",), ("attention",), ()])
@pytest.mark.parametrize("mode", ["cluster", "client"])
def test_an_index_with_fewer_values_is_explained_by_them(client, run, encoder, mode, kept):
    """The weights are those of the values that the index has; in client mode the texts give the attention."""
    documents = {str(n): {"title": title} for n, title in enumerate(TITLES)}
    for (number, document), values in zip(documents.items(), model_documents(encoder, TITLES), strict=True):
        stored = {name: value for name, value in values["anthem"].items() if name in ("model", "text_hash")}
        stored |= {VALUE_OF_SIGNAL[signal]: values["anthem"][VALUE_OF_SIGNAL[signal]] for signal in kept}
        documents[number] = document | ({"anthem": stored} if kept else {})
    name = create_index(client, ModelFields().mapping(encoder.bundle.dimension, kept), documents)
    outcome = run("fire tv", "--rerank", mode, "--explain", "--json", index=name)
    text = run("fire tv", "--rerank", mode, index=name).stdout
    client.indices.delete(index=name)
    result = json.loads(outcome.stdout)
    used = {*kept, "attention"} if mode == "client" else {*kept}
    if not used:
        assert not result["reranked"]
        return
    assert set(result["signals"]) == {"lexical", *used}
    assert_explained(result, len(result["hits"]))
    told = {name: result["hits"][0]["explanation"]["score"][name] is not None for name in ("attention", "distance")}
    assert told == {"attention": "attention" in used, "distance": "containment" in used}
    assert any("pairs" in hit for hit in result["hits"]) == ("attention" in used)
    assert ("↔" in text) == ("attention" in used)
    command = f"run: anthem ingest {name} --bundle {encoder.bundle.path}"
    is_noted = (mode, kept) in (("cluster", ("containment",)), ("client", ()))
    assert (command in text) == is_noted


def test_a_hit_that_moved_names_its_pairs(run, encoder):
    """The pairs are the two largest shares of the grid of the hit's own title, in the words of query and title."""
    result = json.loads(run("wireles tablet", "--size", "30", "--json").stdout)
    moved = [hit for hit in result["hits"] if hit["rank"] != hit["before"] and int(hit["id"]) % 10]
    assert moved
    for hit in result["hits"]:
        assert ("pairs" in hit) == (hit in moved)
    explainer = GridExplainer(encoder.bundle)
    for hit in moved:
        grid = explainer.explain_title("wireles tablet", hit["title"])
        pairs = word_pairs(grid, "wireles tablet", hit["title"], encoder.bundle.vocabulary.text_rules)
        every = sorted((pair.share for pair in pairs), reverse=True)
        assert [share for *_, share in hit["pairs"]] == pytest.approx(every[:2], abs=1e-4)
        assert all(asked in ("wireles", "tablet") and word in hit["title"].split() for asked, word, _ in hit["pairs"])
    text = run("wireles tablet", "--size", "30").stdout
    shown = re.findall(r"^ +((?:\S+ ↔ \S+ [.1]\d+(?:, )?)+)$", text, re.MULTILINE)
    assert len(shown) == sum(any(share >= 0.005 for *_, share in hit["pairs"]) for hit in moved)


def test_filter_and_plain_searches_have_no_pairs(run):
    """Where attention did not rank, no grid is shown, and there is no score to add up."""
    for mode in ("filter", "none"):
        result = json.loads(run("fire tv", "--rerank", mode, "--explain", "--json").stdout)
        assert not any("pairs" in hit or hit["explanation"]["score"] for hit in result["hits"])


def test_the_command_explains(run, encoder):
    """Every hit has its distance, containment and tightest margins, in the text without dimensions."""
    result = json.loads(run("fire tv", "--explain", "--json").stdout)
    explanations = [hit["explanation"]["region"] for hit in result["hits"] if hit["explanation"]["region"]]
    assert explanations
    for explanation in explanations:
        tight = [margin["value"] for margin in explanation["margins"]]
        assert tight == sorted(tight)
        assert explanation["contained"] == (tight[0] >= -encoder.bundle.slack)
        assert explanation["outside_by"] == pytest.approx(max(0, -tight[0] - encoder.bundle.slack))
    shares = [share for _, share in result["weights"]]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    text = run("fire tv", "--explain").stdout
    for words in ("inside the query's region", "Score = (lexical", "The region of 'fire tv' is made of"):
        assert words in text
    assert "margin" not in text
    assert text.count("\n1. ") == text.count("\n3. ") == 1
    assert len(re.findall(r"^ +fire +[.·]", text, re.MULTILINE)) == 3
    assert max(map(len, text.splitlines()[1:])) <= 80


def test_a_query_without_letters_is_not_reranked(run):
    """The command prints the reason and exits with 0."""
    result = run("?!", "--explain")
    assert result.exit_code == 0
    assert "not reranked: the query has no letters or digits\nNo product matches." in result.stdout


def test_an_unknown_field_is_reported(run):
    """An unknown field exits with 6 and lists the text fields of the index; a search without hits exits with 0."""
    wrong = run("fire tv", "--field", "titel")
    assert wrong.exit_code == 6
    assert "Field 'titel' not found in" in wrong.stderr
    assert "Its text fields are: title. Name one with --field." in wrong.stderr
    assert run("zzzz").exit_code == 0
    keyword = run("fire tv", "--field", "brand")
    assert keyword.exit_code == 0
    assert (
        "`brand` is a field of type keyword, which is not searched word by word; text fields: title" in keyword.stdout
    )


@pytest.mark.parametrize(("index", "bundle", "code"), [("x", "no-such", 3), ("no-such", "general", 6)])
def test_an_unknown_bundle_or_index_is_reported(cluster, index, bundle, code):
    """An unknown bundle exits with 3, an unknown index with 6; both messages contain the name."""
    result = CliRunner().invoke(search, [index, "fire tv", "--bundle", bundle, "--url", cluster])
    assert result.exit_code == code
    assert "no-such" in result.stderr
