"""`anthem search` on a real node: before and after, in each mode, and why."""

import json

import pytest
from click.testing import CliRunner
from small_shop import large_shop

from anthem_plugin.cli import search

pytestmark = pytest.mark.node


@pytest.fixture(scope="module")
def index(client, encoder):
    """150 products, every tenth without a vector, and no graph."""
    with large_shop(client, encoder, graph=False) as name:
        yield name


@pytest.fixture
def run(cluster, index, encoder):
    """Runs `anthem search` on the shop."""

    def run_command(*arguments):
        return CliRunner().invoke(search, [index, *arguments, "--bundle", str(encoder.bundle.path), "--url", cluster])

    return run_command


def test_the_command_filters_and_retrieves(run):
    """`--rerank filter` leaves products out, more of them with less slack; without a graph `retrieve` says so."""
    found = [json.loads(run("fire tv", "--rerank", "filter", "--size", "200", "--json", *slack).stdout)
             for slack in ([], ["--slack", "0.22"], ["--slack=-9"])]  # fmt: skip
    assert [one["reranked"] for one in found] == [True, True, True]
    assert len(found[0]["hits"]) > len(found[1]["hits"]) > len(found[2]["hits"])
    left = json.loads(run("fire tv", "--rerank", "retrieve", "--json").stdout)
    assert (left["reranked"], "--ann" in left["reason"]) == (False, True)


@pytest.mark.parametrize("wrong", [["--slack", "0.1"], ["--rerank", "filter", "--slack", "nan"]])
def test_the_command_refuses_a_slack_that_means_nothing(run, wrong):
    """Slack without a filter, and one that is no number, are errors of the command line."""
    result = run("fire tv", *wrong)
    assert result.exit_code == 2
    assert "--slack" in result.stderr


@pytest.mark.parametrize("mode", ["cluster", "client", "none"])
def test_the_command_shows_before_and_after(run, mode):
    """Ranks are 1, 2, 3…; the ranks before are those of the plain search, and `none` moves nothing."""
    found = json.loads(run("fire tv", "--rerank", mode, "--size", "20", "--json").stdout)
    assert [hit["rank"] for hit in found["hits"]] == list(range(1, 21))
    assert all("fire" in hit["title"] or "tv" in hit["title"] for hit in found["hits"])
    assert found["reranked"] == (mode != "none")
    assert ([hit["before"] for hit in found["hits"]] == list(range(1, 21))) == (mode == "none")
    assert all(hit["lexical"] > 0 for hit in found["hits"])


def test_the_command_explains(run, encoder):
    """Every hit has its lexical score, distance, containment and tightest margins; the query has its attention."""
    found = json.loads(run("fire tv", "--explain", "--json").stdout)
    explanations = [hit["explanation"] for hit in found["hits"] if hit["explanation"]]
    assert explanations
    for explanation in explanations:
        tight = [margin["value"] for margin in explanation["margins"]]
        assert tight == sorted(tight)
        assert explanation["contained"] == (tight[0] >= -encoder.bundle.slack)
    shares = [share for _, share in found["attention"]]
    assert shares == sorted(shares, reverse=True)
    text = run("fire tv", "--explain").stdout
    assert all(words in text for words in ("tightest margins", "The query looks most at: "))


def test_the_command_leaves_a_query_without_letters_to_opensearch(run):
    """It says so, and ends well."""
    result = run("?!", "--explain")
    assert result.exit_code == 0
    assert "not reranked: the query has no letters or digits\nNo product matches." in result.stdout


def test_the_command_names_the_fields_there_are(run):
    """A field that is nowhere in the index ends with 6 and the text fields there are; no hit for a word does not."""
    wrong = run("fire tv", "--field", "titel")
    assert wrong.exit_code == 6
    assert "has no field 'titel'; its text fields are: title. Give one" in wrong.stderr
    assert run("zzzz").exit_code == 0


@pytest.mark.parametrize(("index", "bundle", "code"), [("x", "no-such", 3), ("no-such", "general", 6)])
def test_the_command_says_what_is_wrong(cluster, index, bundle, code):
    """A bundle that is none ends with exit code 3, an index that is none with 6, each with its message."""
    result = CliRunner().invoke(search, [index, "fire tv", "--bundle", bundle, "--url", cluster])
    assert result.exit_code == code
    assert "no-such" in result.stderr
