"""The transcripts in README.md and docs/first-run.md: a command writes them, and a search prints the README's."""

import json
import re
import shlex
import uuid
from importlib import util
from pathlib import Path

import pytest
from click.testing import CliRunner
from opensearchpy.helpers import bulk
from small_index import model_documents

from anthem_core.errors import DataError
from anthem_core.opensearch.schema import ModelFields
from anthem_core.opensearch.versions import SHARD_DOC_SORT, parse_release
from anthem_evaluation.demo import plain_index_body
from anthem_plugin.cli import search
from anthem_sandbox.catalogue import generate_catalogue

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "first-run.md").read_text(encoding="utf-8")
ROW = re.compile(r"^ +(\d+) +(\d+) +\S* +(\d+\.\d+)  (.+)\n( {20,}.+ ↔ .+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def maker():
    """The module docs/make_first_run.py."""
    spec = util.spec_from_file_location("make_first_run", ROOT / "docs" / "make_first_run.py")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def demo_index(client, encoder):
    """The products of the demo; those that the README's query can find have the model's values."""
    name = f"test-demo-{uuid.uuid4().hex}"
    products = generate_catalogue().products
    found = [product for product in products.values() if re.search("cordless|dril", product.title, re.IGNORECASE)]
    values = dict(zip([p.id for p in found], model_documents(encoder, [p.title for p in found]), strict=True))
    body = plain_index_body()
    body["mappings"]["properties"] |= ModelFields().mapping(encoder.bundle.dimension)["properties"]
    client.indices.create(index=name, body=body)
    actions = (
        {"_index": name, "_id": key, "title": product.title, "text": product.text, **values.get(key, {})}
        for key, product in products.items()
    )
    bulk(client, actions, chunk_size=1000, refresh=True)
    yield name
    client.indices.delete(index=name)


@pytest.mark.node
def test_the_transcript_of_the_readme_is_what_the_search_prints(maker, demo_index, cluster, client):
    """Order, products and pairs of words are the README's, and so are the scores, but for merges of segments.

    Lexical ranks are those of the README up to ties, which OpenSearch may break in another order.
    """
    if not parse_release(client.info()).has(SHARD_DOC_SORT):
        pytest.skip("the scores are those of the default release")
    found = maker.TRANSCRIPT.search(README)
    _, _, index, query, *options = shlex.split(found[2])
    assert index == "anthem-demo-catalogue"

    def run(*arguments):
        result = CliRunner().invoke(search, [demo_index, query, *arguments, "--url", cluster])
        assert result.exit_code == 0, result.stderr
        return result.stdout

    printed, shown = ROW.findall(run(*options)), ROW.findall(found[3])
    assert len(shown) == 3
    assert [(rank, *rest) for rank, _, _, *rest in printed] == [(rank, *rest) for rank, _, _, *rest in shown]
    assert [float(row[2]) for row in printed] == pytest.approx([float(row[2]) for row in shown], rel=0.01)
    lexical = json.loads(run("--rerank", "none", "--size", "50", "--json"))["hits"]
    scores = {hit["title"]: hit["score"] for hit in lexical}
    assert [lexical[int(was) - 1]["score"] for _, was, _, _, _ in shown] == [
        scores[title] for _, _, _, title, _ in shown
    ]


def test_outputs_replace_blocks_and_nothing_else(maker):
    """Each block below a command gets its output; the text around the blocks stays as it is."""
    commands = [found[2] for found in maker.OUTPUT_BLOCK.finditer(PAGE)]
    assert commands == ["anthem demo", "anthem demo --data ../shared/data/esci"]
    page = maker.replace_outputs(PAGE, maker.OUTPUT_BLOCK, {command: f"<{command}>\n" for command in commands})
    assert re.sub(r"```text.*?```", "", page, flags=re.DOTALL) == re.sub(r"```text.*?```", "", PAGE, flags=re.DOTALL)
    assert page.count("<anthem demo>\n```") == 1
    _, search_command, old = maker.TRANSCRIPT.search(README).groups()
    readme = maker.replace_outputs(README, maker.TRANSCRIPT, {search_command: "new\n"})
    assert readme.count(f"{search_command}\nnew\n```") == 1
    assert maker.replace_outputs(readme, maker.TRANSCRIPT, {search_command: old}) == README


def test_a_page_without_a_block_is_refused(maker):
    """A page whose block was renamed is not left as it is in silence."""
    with pytest.raises(DataError, match="No block"):
        maker.replace_outputs("# A page\n", maker.OUTPUT_BLOCK, {})


def test_a_report_is_shown_up_to_the_searches_that_lost(maker):
    """Everything before the list of losses is kept, and other output is not cut."""
    assert maker.shorten_report("a\n\nmost lost (x)\n  -1  b\n\nb\n  before\n") == "a\n\nmost lost (x)\n  -1  b\n"
    assert maker.shorten_report("a\n\nb\n") == "a\n\nb\n"
