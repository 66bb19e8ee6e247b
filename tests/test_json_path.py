"""ml-commons can read our responses: they are parsed with its own jars, because Java's JSON differs from Python's."""

import json
import subprocess
from pathlib import Path

import pytest

from anthem_core.artifact_cache import create_maven_context
from anthem_core.errors import NodeError
from anthem_core.opensearch.local_node import cache_folder
from anthem_sandbox.node.java import find_java

JARS = ("com.jayway.jsonpath:json-path:2.9.0", "net.minidev:json-smart:2.5.2")
SOURCE = Path(__file__).parent / "java" / "Similarities.java"
TITLES = [f"{colour} {noun} {size}" for colour in ("red", "blue", "", "?!") for noun in
          ("fire tv", "tea/pot", '"quoted"', "टीवी <b>&amp;", "x") for size in range(20)]  # fmt: skip


@pytest.fixture(scope="module")
def parse():
    """Function that parses responses with the real jars: scores in document order, or the exception of ml-commons."""
    try:
        java = find_java()
    except NodeError as error:
        pytest.skip(f"Java not found: {error}")
    context = create_maven_context(cache_folder() / "json-path")
    roots, dependencies = context.resolver.resolve([context.create_dependency(jar) for jar in JARS])
    jars = [str(node.artifact.resolve()) for node in (*roots, *dependencies)]
    assert {Path(jar).name for jar in jars} >= {"json-path-2.9.0.jar", "json-smart-2.5.2.jar"}

    def run(responses, path="$.results"):
        command = [str(java), "-cp", ":".join(jars), str(SOURCE), path]
        result = subprocess.run(command, input="\n".join(responses), capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return result.stdout.splitlines()

    return run


def test_the_parser_is_strict(parse):
    """The parser is strict: integers, long numbers, and missing, repeated or unknown indices raise exceptions."""
    expected = {
        '{"results":[{"index":0,"relevance_score":0.5}]}': "[0.5]",
        '{"results":[{"index":0,"relevance_score":1e-07}]}': "[1.0E-7]",
        '{"results":[{"index":0,"relevance_score":1}]}': "ClassCastException",
        '{"results":[{"index":0,"relevance_score":0.30000000000000004}]}': "ClassCastException",
        '{"results":[{"index":1,"relevance_score":0.5}]}': "ArrayIndexOutOfBoundsException",
        '{"results":[{"index":0,"relevance_score":0.5},{"index":0,"relevance_score":0.5}]}': "NullPointerException",
        '{"results":[{"index":0.0,"relevance_score":0.5}]}': "ClassCastException",
        '{"results":[{"index":0}]}': "NullPointerException",
    }
    assert parse(expected) == list(expected.values())


@pytest.mark.parametrize("encoder_fixture", ["encoder", "attention_encoder"])
@pytest.mark.parametrize(
    ("path", "field", "results_path"), [("/v1/rerank", "documents", "$.results"), ("/rerank", "texts", "$[*]")]
)
def test_ml_commons_can_read_every_score(request, run_service, parse, encoder_fixture, path, field, results_path):
    """Every response of both endpoints is parsed without an exception and to the last digit."""
    requests = [("fire tv", TITLES), ("?!", TITLES[:3]), ("red tea/pot", TITLES[5:6]), ('a "टीवी"', TITLES[::-1])]
    with run_service(request.getfixturevalue(encoder_fixture)) as http:
        responses = [http.post(path, json={"query": query, field: texts}).text for query, texts in requests]
    for response, line, (_, texts) in zip(responses, parse(responses, results_path), requests, strict=True):
        results = json.loads(response)["results"] if path == "/v1/rerank" else json.loads(response)
        expected = {result["index"]: result["relevance_score"] for result in results}
        assert json.loads(line) == [expected[number] for number in range(len(texts))]
