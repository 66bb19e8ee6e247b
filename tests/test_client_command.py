"""`anthem search` on indices without values of the model, and with titles that contain control characters."""

import json
import re
import urllib.request
from shlex import quote

import pytest
import small_index
from click.testing import CliRunner

from anthem_ingest.index_io import put_mapping
from anthem_plugin.cli import search
from anthem_plugin.rewriter import own_scores, query_text, retrieve
from anthem_plugin.search import client_mode, cluster_mode, request
from anthem_plugin.search_remarks import in_command_words

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


@pytest.mark.parametrize("is_shipped", [True, False])
def test_an_index_of_another_bundle_is_searched_with_that_one(run, client, encoder, attention_encoder, is_shipped):
    """If another bundle's values are recorded, the advice is to search with it, and a second ingest comes second."""
    model = encoder.bundle.model_id if is_shipped else "00c0ffee00c0ffee"
    with small_index.small_index(client, encoder, model) as name:
        put_mapping(client, name, {"_meta": {"anthem": {"anthem": {"model": model}}}})
        bundle = str(attention_encoder.bundle.path)
        reason = json.loads(run(name, "fire tv", "--bundle", bundle, "--json").stdout)["reason"]
        noted = run(name, "fire tv", "--bundle", bundle, "--rerank", "client").stdout
    used = "another bundle: search with --bundle general" if is_shipped else (
        f"the bundle of model {model}: name its folder with --bundle")  # fmt: skip
    second = f"to add values of this model too, run: anthem ingest {name} --bundle {bundle} --beside"
    expected = f"no product among the hits has values of this model; {name} was ingested with {used}; {second}"
    assert reason == expected
    assert f"Note: attention was computed from the texts: {expected}" in noted


@pytest.mark.parametrize("mode", ["cluster", "client"])
def test_signals_and_explanation_are_the_same(run, client, encoder, mode):
    """A signal that tells no hits apart counts in the scores, so every mode reports it, and the explanation has it."""
    with small_index.small_index(client, encoder) as name:
        first = client.get(index=name, id="0")["_source"]["anthem"]["vector"]
        for number in range(len(small_index.TITLES)):
            client.update(index=name, id=str(number), body={"doc": {"anthem": {"vector": first}}}, refresh=True)
        result = json.loads(run(name, "fire tv", "--rerank", mode, "--explain", "--json").stdout)
    assert result["reranked"], result["reason"]
    assert result["signals"] == ["lexical", "containment", "attention"]
    for hit in result["hits"]:
        parts = hit["explanation"]["score"]
        assert parts["distance"]
        assert parts["attention"]
        assert parts["score"] == pytest.approx(hit["score"], rel=3e-7)


def test_an_advised_command_has_the_bundle(run, client, encoder, index):
    """A command that a reason advises for the index behind an alias names the bundle of the search, quoted."""
    client.indices.put_alias(index=index, name=f"{index}-alias")
    text = run(f"{index}-alias", "fire tv", "--rerank", "retrieve").stdout
    assert f"search {index}-ann, the copy that `anthem ingest {index} --bundle " in text
    assert f"--bundle {quote(str(encoder.bundle.path))} --ann` creates" in text


REASONS = {
    reason
    for module in (query_text, retrieve, own_scores, request, client_mode, cluster_mode)
    for reason in vars(module).values()
    if isinstance(reason, str) and "`" in reason and " " in reason
}


def test_reasons_name_the_options_of_the_command():
    """No reason that `anthem search` prints names an argument of Python."""
    arguments = [reason for reason in REASONS if "query_text" in reason or "query_path" in reason]
    assert len(arguments) >= 3
    for reason in REASONS:
        told = in_command_words(reason)
        assert not re.search(r"query_text|query_path|text_fields|use client mode", told), told
    assert in_command_words(None) is None


def test_titles_that_are_lists_or_absent_are_readable(run, client, index, tmp_path):
    """The table joins a list of titles and marks a missing title; JSON returns the values unchanged."""
    client.index(index=index, id="list", body={"title": ["fire tv", None, "stick"]}, refresh=True)
    client.index(index=index, id="none", body={"other": "fire tv"}, refresh=True)
    found = run(index, "fire tv", "--field", "title", "--rerank", "client")
    as_json = json.loads(run(index, "fire tv", "--field", "title", "--rerank", "client", "--json").stdout)
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"query": {"multi_match": {"query": "fire tv", "fields": ["title", "other^9"]}}}))
    other = run(index, "--body", str(body), "--field", "title")
    client.delete(index=index, id="list", refresh=True)
    client.delete(index=index, id="none", refresh=True)
    assert "fire tv, stick" in found.stdout
    assert [hit["title"] for hit in as_json["hits"] if hit["id"] == "list"] == [["fire tv", None, "stick"]]
    assert "(no value)" in other.stdout, other.stderr


def test_fields_of_a_model_are_not_offered_as_text_fields(run, client, index):
    """OpenSearch maps the values as text after a reindex without a template; only the user's fields are listed."""
    copy = f"{index}-copy"
    client.reindex(body={"source": {"index": index}, "dest": {"index": copy}}, refresh=True)
    try:
        refused = run(copy, "fire tv", "--field", "titel")
    finally:
        client.indices.delete(index=copy)
    assert refused.exit_code == 6
    assert "Its text fields are: title" in refused.stderr
    assert "anthem." not in refused.stderr
