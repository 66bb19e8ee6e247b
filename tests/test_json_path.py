"""What ml-commons reads of our answers, with the jars it reads them with; Python's JSON is no witness for Java's."""

import json
import subprocess
from pathlib import Path

import pytest

from anthem_core.errors import NodeError
from anthem_sandbox.node.artifact_cache import cache_folder, create_maven_context
from anthem_sandbox.node.java import find_java

JARS = ("com.jayway.jsonpath:json-path:2.9.0", "net.minidev:json-smart:2.5.2")
SOURCE = Path(__file__).parent / "java" / "Similarities.java"
TITLES = [f"{colour} {noun} {size}" for colour in ("red", "blue", "", "?!") for noun in
          ("fire tv", "tea/pot", '"quoted"', "टीवी <b>&amp;", "x") for size in range(20)]  # fmt: skip


@pytest.fixture(scope="module")
def read():
    """Reads answers with the real jars: the scores in the order of the documents, or the exception ml-commons gets."""
    try:
        java = find_java()
    except NodeError as error:
        pytest.skip(f"there is no Java: {error}")
    context = create_maven_context(cache_folder() / "json-path")
    roots, needed = context.resolver.resolve([context.create_dependency(jar) for jar in JARS])
    jars = [str(one.artifact.resolve()) for one in (*roots, *needed)]
    assert {Path(jar).name for jar in jars} >= {"json-path-2.9.0.jar", "json-smart-2.5.2.jar"}

    def run(answers, path="$.results"):
        command = [str(java), "-cp", ":".join(jars), str(SOURCE), path]
        told = subprocess.run(command, input="\n".join(answers), capture_output=True, text=True, check=False)
        assert told.returncode == 0, told.stderr
        return told.stdout.splitlines()

    return run


def test_the_parser_is_as_strict_as_ml_commons(read):
    """The test can fail: whole numbers, long ones, a missing, a doubled and a foreign index are all exceptions."""
    said = {
        '{"results":[{"index":0,"relevance_score":0.5}]}': "[0.5]",
        '{"results":[{"index":0,"relevance_score":1e-07}]}': "[1.0E-7]",
        '{"results":[{"index":0,"relevance_score":1}]}': "ClassCastException",
        '{"results":[{"index":0,"relevance_score":0.30000000000000004}]}': "ClassCastException",
        '{"results":[{"index":1,"relevance_score":0.5}]}': "ArrayIndexOutOfBoundsException",
        '{"results":[{"index":0,"relevance_score":0.5},{"index":0,"relevance_score":0.5}]}': "NullPointerException",
        '{"results":[{"index":0.0,"relevance_score":0.5}]}': "ClassCastException",
        '{"results":[{"index":0}]}': "NullPointerException",
    }
    assert read(said) == list(said.values())


@pytest.mark.parametrize("which", ["encoder", "attentive"])
@pytest.mark.parametrize(
    ("path", "field", "found"), [("/v1/rerank", "documents", "$.results"), ("/rerank", "texts", "$[*]")]
)
def test_ml_commons_reads_every_score(request, serving, read, which, path, field, found):
    """Every answer, long, short or mute, is read without an exception, to the last digit, under both contracts."""
    asked = [("fire tv", TITLES), ("?!", TITLES[:3]), ("red tea/pot", TITLES[5:6]), ('a "टीवी"', TITLES[::-1])]
    with serving(request.getfixturevalue(which)) as http:
        answers = [http.post(path, json={"query": query, field: texts}).text for query, texts in asked]
    for answer, line, (_, texts) in zip(answers, read(answers, found), asked, strict=True):
        results = json.loads(answer)["results"] if path == "/v1/rerank" else json.loads(answer)
        wanted = {result["index"]: result["relevance_score"] for result in results}
        assert json.loads(line) == [wanted[number] for number in range(len(texts))]
