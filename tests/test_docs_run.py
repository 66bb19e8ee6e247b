"""Every command and every Python block of README.md and docs/ runs, on the suite's node, as a reader would run it."""

import csv
import gzip
import json
from collections import Counter
from contextlib import ExitStack

import pytest
import trustme
from doc_blocks import (
    FENCE,
    GENERATED,
    MARK,
    MARKS,
    PAGES,
    README_MARKS,
    ROOT,
    RUN_TAGS,
    TEXT_TAGS,
    PageRun,
    read_blocks,
    read_commands,
)
from small_index import PRODUCTS, model_documents

from anthem_core.beir import Dataset, write_dataset
from anthem_core.opensearch.schema import ModelFields
from anthem_core.opensearch.versions import SHARD_DOC_SORT, parse_release
from anthem_sandbox.catalogue import generate_catalogue

INDEX = "products"
DEMO_INDEX = "anthem-demo-catalogue"  # in the README; its output is compared in test_first_run.py
NUMBER_OF_MARKS = {
    "needs Docker": 2,
    "needs ml-commons": 8,
    "needs the security plugin": 3,
    "needs the extra clients": 1,
    "needs the extra train": 2,
    "takes more than 30 seconds": 5,
    "changes this machine": 3,
}
BLOCKS = {page: read_blocks(page) for page in PAGES if GENERATED not in page.parents}
RUN_PAGES = [page for page, blocks in BLOCKS.items() if any(block.is_run for block in blocks)]


@pytest.fixture(scope="module")
def shop_bundle(bundle, add_attention, tmp_path_factory):
    """Folder of a bundle of another model, as training one for a shop leaves it."""
    return add_attention(bundle, tmp_path_factory.mktemp("shop_bundle")).path


@pytest.fixture(scope="module")
def shop(encoder):
    """A small generated catalogue, and the values of its titles and a few others.

    `dev` has a few judged queries, because several pages measure on it; `test` has as many as `anthem tune` needs.
    """
    catalogue = generate_catalogue(products=514)
    judged = list(catalogue.qrels["dev"].items())
    splits = {"dev": dict(judged[:8]), "test": dict(judged[::8]), "train": dict(judged[:8])}
    products = catalogue.products
    dataset = Dataset(products, catalogue.queries, splits)
    titles = {name: product.title for name, product in products.items()} | {
        f"p{number}": title for number, title in enumerate(PRODUCTS)
    }
    return dataset, titles, model_documents(encoder, [*titles.values()])


@pytest.fixture
def index(request, client, shop, bundle):
    """The index `products`, ingested. It exists for the time of one page, as does all that the page creates."""
    _, titles, documents = shop
    before, templates = {*client.indices.get(index="*")}, list_templates(client)
    assert INDEX not in before, f"the cluster of the tests has an index {INDEX} of its own; use another cluster"
    mappings = ModelFields().mapping(bundle.dimension)
    mappings["properties"] |= {"title": {"type": "text", "analyzer": "english"}, "in_stock": {"type": "boolean"}}
    client.indices.create(index=INDEX, body={"settings": {"number_of_shards": 1}, "mappings": mappings})
    lines = []
    for (name, title), document in zip(titles.items(), documents, strict=True):
        product = {"title": title, "brand": {"name": title.split()[0]}, "price": len(title), "in_stock": True}
        lines += [{"index": {"_id": name}}, product | document]
    assert not client.bulk(body=lines, index=INDEX, refresh=True)["errors"]
    if not client.indices.exists(index=DEMO_INDEX):
        client.indices.put_alias(index=INDEX, name=DEMO_INDEX)
    yield INDEX
    text = request.node.callspec.params["page"].read_text(encoding="utf-8")
    created = {*client.indices.get(index="*")} - before
    client.indices.delete(index=",".join(name for name in created if name.startswith(INDEX) or name in text))
    for kind, name in list_templates(client):
        if (kind, name) not in templates and INDEX in name:
            client.transport.perform_request("DELETE", f"/{kind}/{name}")


def list_templates(client):
    """Kind and name of each index template, then of the component templates that these use."""
    index_templates = client.indices.get_index_template()["index_templates"]
    component_templates = client.cluster.get_component_template()["component_templates"]
    return [
        *(("_index_template", template["name"]) for template in index_templates),
        *(("_component_template", template["name"]) for template in component_templates),
    ]


@pytest.fixture
def folder(tmp_path, shop, shop_bundle, monkeypatch):
    """The current folder: what a shop has, in the files that the pages name."""
    (tmp_path / "bundles").mkdir()
    (tmp_path / "bundles" / "shop").symlink_to(shop_bundle)
    dataset, titles, _ = shop
    write_dataset(dataset, tmp_path / "shop")
    rows = [{"sku": name, "name": title, "brand.name": title.split()[0]} for name, title in titles.items()]
    with gzip.open(tmp_path / "products.csv.gz", "wt", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0]])
        writer.writeheader()
        writer.writerows(rows)
    prices = "".join(f"{name},{len(title)}.99\n" for name, title in titles.items())
    (tmp_path / "prices.csv").write_text(f"sku,price\n{prices}", encoding="utf-8")
    variants = ["Handle,Title,Variant SKU", "mug,Coffee Mug,mug-1", "mug,,mug-2", "lamp,Desk Lamp,lamp-1"]
    (tmp_path / "shopify.csv").write_text("\n".join(variants) + "\n", encoding="utf-8")
    run = [
        f"{query} Q0 {name} {rank} {9 - rank} bm25"
        for query, grades in dataset.qrels["dev"].items()
        for rank, name in enumerate([*grades][:5], start=1)
    ]
    (tmp_path / "bm25.trec").write_text("\n".join(run) + "\n", encoding="utf-8")
    body = {"query": {"match": {"title": "{{query}}"}}}
    (tmp_path / "search.json").write_text(json.dumps(body), encoding="utf-8")
    certificate = trustme.CA().issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "tls.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "tls.key")
    (tmp_path / "keys.txt").write_text("a-key-for-the-tests\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.node
@pytest.mark.parametrize("page", RUN_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
@pytest.mark.usefixtures("index", "folder")
def test_the_page_runs(page, cluster, client, encoder, run_service, wait_until):
    """Each command of the page exits 0, each request is accepted, and its Python code raises nothing."""
    if not parse_release(client.info()).has(SHARD_DOC_SORT):
        pytest.skip("the pages are those of the default release")
    with ExitStack() as stack:
        start = lambda: stack.enter_context(run_service(encoder)).base_url.port  # noqa: E731 (started only if needed)
        run = PageRun(cluster, client, start, wait_until)
        try:
            for block in BLOCKS[page]:
                if block.is_run:
                    run.run(block)
        except AssertionError as error:
            raise AssertionError(f"{block}: {error}") from None
        finally:
            run.stop()


def test_every_block_says_what_it_is():
    """Each code block has a tag, and only the tags that this test knows."""
    unknown = [f"{block} [{block.tag}]" for blocks in BLOCKS.values() for block in blocks
               if block.tag not in RUN_TAGS | TEXT_TAGS]  # fmt: skip
    assert unknown == []


def test_every_block_is_found():
    """No fence is indented or longer, where the reader of this test would miss it."""
    for page, blocks in BLOCKS.items():
        fences = [line for line in page.read_text(encoding="utf-8").splitlines() if line.strip().startswith("```")]
        assert all(FENCE.match(line) for line in fences), page
        assert len(fences) == 2 * len(blocks), page


def test_the_blocks_that_are_not_run_are_counted():
    """A block that is not run names one of the known reasons; one more of them is a decision, made here."""
    marks = Counter(block.mark for blocks in BLOCKS.values() for block in blocks if block.mark)
    assert marks.keys() <= {*MARKS}
    assert {mark: marks[mark] for mark in MARKS} == NUMBER_OF_MARKS
    lines = [line for page in BLOCKS for line in page.read_text(encoding="utf-8").splitlines() if MARK.search(line)]
    assert len(lines) + len(README_MARKS) == marks.total(), "a mark stands alone, without a block below it"


@pytest.mark.parametrize(
    "command",
    ["anthem search", "false", "false | true", "pip install '.[nothing]'", "pip install requests", "anthem demo"],
)
def test_a_command_that_fails_is_found(command, tmp_path, monkeypatch):
    """A wrong command line, a failed program, an extra that does not exist, and a command that needs a mark fail."""
    monkeypatch.chdir(tmp_path)
    run = PageRun("http://127.0.0.1:9", None, None, None)
    with pytest.raises(AssertionError):
        run.run_command(command)


def test_commands_end_where_the_shell_ends_them():
    """A command has the lines of its open quote, continuation, loop or here-document; a comment is no command."""
    commands = [
        "curl x --json '{\n  \"a\": 1\n}'",
        "anthem search products \\\n  tv",
        "seq 2 | while read -r n; do\n  echo $n\ndone",
        "cat > a.json <<'EOF'\n{\"it's\": 1}\nEOF",
        "anthem --version  # shows the version",
    ]
    assert [*read_commands("# a comment\n" + "\n\n".join(commands))] == commands
