"""`anthem search` on indices without vectors, and with titles that garble a terminal."""

import json
import urllib.request

import pytest
import small_shop
from click.testing import CliRunner

from anthem_plugin.cli import search

ODD = "fire tv \\u001b[2J x\\ud800y"  # as it stands in the JSON of a product

pytestmark = pytest.mark.node


index, bare = small_shop.index, small_shop.bare


@pytest.fixture
def run(cluster, encoder):
    """Runs `anthem search`."""
    return lambda *asked: CliRunner().invoke(
        search, ["--bundle", str(encoder.bundle.path), *asked, "--url", cluster], catch_exceptions=False
    )


@pytest.mark.parametrize("explaining", [[], ["--explain"]])
def test_the_command_says_that_there_are_no_vectors(run, index, bare, explaining):
    """Where no hit has a vector `anthem search` shows the plain search and names the cure."""
    text, reranked = (run(name, "fire tv", *explaining).stdout for name in (bare, index))
    assert f"not reranked: no product among the hits has a vector of this model: anthem ingest {bare}" in text
    assert "reranked (cluster)" in reranked
    assert "Note" not in text + reranked


def test_the_command_notes_that_attention_alone_reranked(run, attentive, bare):
    """Reranked without vectors, by attention, is reranked, and the note says what is missing."""
    text = run(bare, "fire tv", "--rerank", "client", "--bundle", str(attentive.bundle.path)).stdout
    assert "reranked (client)" in text
    assert "Note: reranked by attention alone: no product among the hits has a vector" in text


def test_titles_that_garble_are_shown_harmlessly(run, cluster, client, index):
    """A stored title with an escape sequence and half a character is one plain line, and sound JSON."""
    body = f'{{"title": "{ODD}"}}'.encode()
    path, headers = f"{cluster}/{index}/_doc/odd?refresh=true", {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(path, body, headers, method="PUT")):
        text, found = run(index, "fire tv").stdout, json.loads(run(index, "fire tv", "--json").stdout)
    client.delete(index=index, id="odd", refresh=True)
    assert "fire tv [2J xy" in text
    assert "\x1b" not in text
    assert [hit["title"] for hit in found["hits"] if hit["id"] == "odd"] == ["fire tv \x1b[2J x?y"]
