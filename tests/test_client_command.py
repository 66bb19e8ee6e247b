"""`anthem search` on indices without values of the model, and with titles that contain control characters."""

import json
import urllib.request

import pytest
import small_index
from click.testing import CliRunner

from anthem_plugin.cli import search

UNPRINTABLE_TITLE = "fire tv \\u001b[2J x\\ud800y"  # as JSON escapes

pytestmark = pytest.mark.node


index, foreign_index = small_index.index, small_index.foreign_index


@pytest.fixture
def run(cluster, encoder):
    """Function that runs `anthem search`."""
    return lambda *arguments: CliRunner().invoke(
        search, ["--bundle", str(encoder.bundle.path), *arguments, "--url", cluster], catch_exceptions=False
    )


@pytest.mark.parametrize("explaining", [[], ["--explain"]])
def test_missing_values_are_reported(run, index, foreign_index, explaining):
    """If no hit has values, `anthem search` shows the plain search and the command that adds them."""
    text, reranked = (run(name, "fire tv", *explaining).stdout for name in (foreign_index, index))
    reason = f"no product among the hits has values of this model; run: anthem ingest {foreign_index}"
    assert f"not reranked: {reason}" in text
    assert "reranked (cluster)" in reranked
    assert "Note" not in text + reranked


def test_reranking_by_attention_alone_is_noted(run, attention_encoder, foreign_index):
    """A search reranked by the attention of texts counts as reranked, and a note says that nothing is stored."""
    text = run(foreign_index, "fire tv", "--rerank", "client", "--bundle", str(attention_encoder.bundle.path)).stdout
    assert "reranked (client)" in text
    assert "Note: attention was computed from the texts: no product among the hits has values of this model" in text


def test_control_characters_in_titles_are_removed(run, cluster, client, index):
    """A title with an escape sequence and a lone surrogate is printed on one harmless line, and as valid JSON."""
    body = f'{{"title": "{UNPRINTABLE_TITLE}"}}'.encode()
    path, headers = f"{cluster}/{index}/_doc/odd?refresh=true", {"Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(path, body, headers, method="PUT")):
        text, result = run(index, "fire tv").stdout, json.loads(run(index, "fire tv", "--json").stdout)
    client.delete(index=index, id="odd", refresh=True)
    assert "fire tv [2J xy" in text
    assert "\x1b" not in text
    assert [hit["title"] for hit in result["hits"] if hit["id"] == "odd"] == ["fire tv \x1b[2J x?y"]
