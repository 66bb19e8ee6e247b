"""`anthem search` on a real node: ranks before and after in each mode, explanations, and errors."""

import json

import pytest
from click.testing import CliRunner
from small_index import large_index

from anthem_plugin.cli import search

pytestmark = pytest.mark.node


@pytest.fixture(scope="module")
def index(client, encoder):
    """150 products, every tenth without a vector, and no graph."""
    with large_index(client, encoder, graph=False) as name:
        yield name


@pytest.fixture
def run(cluster, index, encoder):
    """Function that runs `anthem search` on the index."""

    def run_command(*arguments):
        return CliRunner().invoke(search, [index, *arguments, "--bundle", str(encoder.bundle.path), "--url", cluster])

    return run_command


def test_the_command_filters_and_retrieves(run):
    """`--rerank filter` drops more products with less slack; without a graph, `retrieve` names the option to use."""
    results = [json.loads(run("fire tv", "--rerank", "filter", "--size", "200", "--json", *slack).stdout)
               for slack in ([], ["--slack", "0.22"], ["--slack=-9"])]  # fmt: skip
    assert [result["reranked"] for result in results] == [True, True, True]
    assert len(results[0]["hits"]) > len(results[1]["hits"]) > len(results[2]["hits"])
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


def test_the_command_explains(run, encoder):
    """Every hit has its lexical score, distance, containment and tightest margins; the query has its attention."""
    result = json.loads(run("fire tv", "--explain", "--json").stdout)
    explanations = [hit["explanation"] for hit in result["hits"] if hit["explanation"]]
    assert explanations
    for explanation in explanations:
        tight = [margin["value"] for margin in explanation["margins"]]
        assert tight == sorted(tight)
        assert explanation["contained"] == (tight[0] >= -encoder.bundle.slack)
    shares = [share for _, share in result["attention"]]
    assert shares == sorted(shares, reverse=True)
    text = run("fire tv", "--explain").stdout
    assert all(words in text for words in ("tightest margins", "Strongest attention of the query: "))


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


@pytest.mark.parametrize(("index", "bundle", "code"), [("x", "no-such", 3), ("no-such", "general", 6)])
def test_an_unknown_bundle_or_index_is_reported(cluster, index, bundle, code):
    """An unknown bundle exits with 3, an unknown index with 6; both messages contain the name."""
    result = CliRunner().invoke(search, [index, "fire tv", "--bundle", bundle, "--url", cluster])
    assert result.exit_code == code
    assert "no-such" in result.stderr
