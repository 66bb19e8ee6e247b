"""Laws of the ingest package on a real node."""

import gzip
import json

import numpy as np
import pytest
from click.testing import CliRunner

from anthem_core.beir import Product
from anthem_core.errors import ClusterError
from anthem_core.opensearch.schema import VectorFields
from anthem_ingest import index_io
from anthem_ingest.cli import ingest
from anthem_ingest.encode import VectorBuilder, plan_updates
from anthem_ingest.ingest import ingest_index, load_products, survey_index
from anthem_ingest.mapping import parse_single_index
from anthem_ingest.report import IngestTally

pytestmark = pytest.mark.node

NAMES = VectorFields()
TITLES = [
    "red running shoe",
    "blue shoe",
    "leather sofa, red",
    "Laufschuhe rot",
    "लाल जूता",
    "fire tv stick",
    "usb cable 2 m",
]
ONE_SHARD = {"number_of_shards": 1, "number_of_replicas": 0}
TITLE_ONLY = {"properties": {"title": {"type": "text"}}}
ODD_ID = "ü /#?&%\"'"


def fill(client, index, documents, mappings=TITLE_ONLY, **settings):
    """Make an index of documents by id."""
    client.indices.create(index=index, body={"settings": {**ONE_SHARD, **settings}, "mappings": mappings})
    for identity, document in documents.items():
        client.index(index=index, id=identity, body=document)
    client.indices.refresh(index=index)


def titled(titles=TITLES):
    """Documents with these titles, numbered."""
    return {str(number): {"title": title} for number, title in enumerate(titles)}


def stored(client, index, identity, **params):
    """Source of a product."""
    return client.get(index=index, id=identity, params=params)["_source"]


def merge(client, index):
    """Merge an index into one segment, without the old states of its products.

    An index keeps these until its retention leases move on, half a minute later, or at once when it is opened anew.
    """
    client.indices.flush(index=index, params={"force": "true", "wait_if_ongoing": "true"})
    client.indices.close(index=index)
    client.indices.open(index=index)
    client.cluster.health(index=index, params={"wait_for_status": "green"})
    client.indices.forcemerge(index=index, params={"max_num_segments": 1})
    client.indices.refresh(index=index)


def assert_current(client, index, encoder, texts):
    """Check that each product has the point of its text; who shares a batch may move the last bits."""
    for identity, text in texts.items():
        found = stored(client, index, identity)["anthem"]
        assert found["model"] == encoder.bundle.model
        np.testing.assert_allclose(found["vector"], encoder.products([text])[0], rtol=0, atol=1e-5)


def lexical(client, index, query):
    """Ids and scores of a plain search."""
    hits = client.search(index=index, body={"query": {"match": {"title": query}}, "size": 100})["hits"]["hits"]
    return sorted((-hit["_score"], hit["_id"]) for hit in hits)


def test_every_product_gets_its_point(client, index, encoder):
    """An index without vectors gets the encoder's points, to float32, and nothing else of a product changes."""
    documents = titled() | {ODD_ID: {"title": "red sofa", "price": 7}}
    fill(client, index, documents)
    report = ingest_index(client, index, encoder)
    assert (report.written, report.skipped, report.empty, report.failed, report.conflicts) == (8, 0, 0, 0, 0)
    found = {identity: stored(client, index, identity) for identity in documents}
    points = encoder.products([document["title"] for document in documents.values()])
    np.testing.assert_array_equal(np.float32([source.pop("anthem")["vector"] for source in found.values()]), points)
    assert found == documents


def test_lexical_search_stays_as_it_was(client, index, encoder):
    """Once segments have merged, a lexical search answers the same products with the same scores as before."""
    fill(client, index, titled())
    before = [lexical(client, index, title) for title in TITLES]
    ingest_index(client, index, encoder)
    merge(client, index)
    assert [lexical(client, index, title) for title in TITLES] == before


def test_a_second_run_writes_nothing(client, index, encoder):
    """What is current is skipped: a second run leaves every version of every product alone."""
    fill(client, index, titled([*TITLES, "!?"]))
    ingest_index(client, index, encoder)
    versions = [client.get(index=index, id=str(number))["_version"] for number in range(len(TITLES) + 1)]
    report = ingest_index(client, index, encoder)
    assert (report.written, report.skipped, report.empty) == (0, len(TITLES), 1)
    assert [client.get(index=index, id=str(number))["_version"] for number in range(len(TITLES) + 1)] == versions
    assert versions[-1] == 1


def test_only_a_changed_title_is_encoded_again(client, index, encoder):
    """A product whose text has changed gets a new point, and no other product is touched."""
    fill(client, index, titled())
    ingest_index(client, index, encoder)
    client.update(index=index, id="2", body={"doc": {"title": "green sofa"}}, refresh=True)
    report = ingest_index(client, index, encoder)
    assert (report.written, report.skipped) == (1, len(TITLES) - 1)
    assert_current(client, index, encoder, {"2": "green sofa"})


def test_points_of_another_model_are_replaced(client, index, encoder):
    """Points of another model are announced and rewritten: an index never mixes models."""
    fill(client, index, titled())
    ingest_index(client, index, encoder)
    foreign = NAMES.document(encoder.products(["sofa"])[0], "another model", TITLES[0])
    client.update(index=index, id="0", body={"doc": foreign}, refresh=True)
    found = survey_index(client, index, encoder.bundle)
    assert (found.products, found.stale, found.missing) == (len(TITLES), 1, 0)
    assert ingest_index(client, index, encoder).written == 1
    assert_current(client, index, encoder, {"0": TITLES[0]})


def test_a_text_that_has_gone_takes_its_point_along(client, index, encoder):
    """A product that loses its text loses its point, and can get one again."""
    fill(client, index, titled())
    ingest_index(client, index, encoder)
    for title, counts in (("...", (0, 1)), ("...", (0, 1)), ("new sofa", (1, 0))):
        client.update(index=index, id="0", body={"doc": {"title": title}}, refresh=True)
        report = ingest_index(client, index, encoder)
        assert (report.written, report.empty) == counts
    assert_current(client, index, encoder, {"0": "new sofa"})


@pytest.mark.parametrize("dynamic", ["strict", "false", "true"])
def test_any_dynamic_setting_takes_points(client, index, encoder, dynamic):
    """The fields are mapped before the first point is written, so `dynamic: strict` does not matter."""
    fill(client, index, titled(), {"dynamic": dynamic, **TITLE_ONLY})
    assert ingest_index(client, index, encoder).written == len(TITLES)
    vector = client.indices.get_mapping(index=index)[index]["mappings"]["properties"]["anthem"]["properties"]["vector"]
    assert (vector["type"], vector["dimension"]) == ("knn_vector", encoder.bundle.dimension + 1)
    assert "method" not in vector


def test_an_index_made_for_vectors_gets_the_lucene_engine(client, index, encoder):
    """With `index.knn` the engine is named, since the default one may lack its libraries and take the node down."""
    fill(client, index, titled(), **{"index.knn": True})
    assert ingest_index(client, index, encoder).written == len(TITLES)
    mapping = client.indices.get_mapping(index=index)[index]["mappings"]
    assert mapping["properties"]["anthem"]["properties"]["vector"]["method"]["engine"] == "lucene"
    assert ingest_index(client, index, encoder).skipped == len(TITLES)


def test_a_change_meanwhile_is_never_overwritten(client, index, encoder):
    """A product changed between read and write keeps the change and gets the point of its new text."""
    fill(client, index, titled())

    def live(_):
        client.update(index=index, id="1", body={"doc": {"title": "green boot", "price": 9}})
        client.delete(index=index, id="2")

    report = ingest_index(client, index, encoder, advance=live)
    assert (report.written, report.failed, report.conflicts) == (len(TITLES) - 1, 0, 0)
    assert stored(client, index, "1")["price"] == 9
    assert_current(client, index, encoder, {"1": "green boot"})
    assert not client.exists(index=index, id="2")


def test_a_product_that_never_rests_is_left_for_the_next_run(client, index, encoder):
    """An update made from an old state is refused and kept by id; the product stays as the shop left it."""
    fill(client, index, titled())
    recipe, tally = VectorBuilder(encoder), IngestTally()
    index_io.add_missing_mapping(
        client, parse_single_index(index_io.describe_index(client, index), index), NAMES, encoder.bundle.dimension
    )
    actions = list(
        plan_updates(index_io.read_product_pages(client, index, ("title",), NAMES), recipe, tally, lambda _: None)
    )
    client.update(index=index, id="3", body={"doc": {"title": "green boot"}})
    index_io.write_actions(client, actions, tally, index_io.CHANGED_STATUSES)
    assert tally.again == ["3"]
    assert tally.report().written == len(TITLES) - 1
    assert stored(client, index, "3") == {"title": "green boot"}


def test_one_bad_product_does_not_stop_the_others(client, index, encoder):
    """A product the cluster refuses is counted and named with its reason; all others are written."""
    fill(client, index, titled() | {"bad": {"title": "sofa", "price": "cheap"}}, {"dynamic": "false", **TITLE_ONLY})
    client.indices.put_mapping(index=index, body={"properties": {"price": {"type": "integer"}}})
    report = ingest_index(client, index, encoder)
    assert (report.written, report.failed) == (len(TITLES), 1)
    (failure,) = report.failures
    assert failure.id == "bad"
    assert "price" in failure.reason


def test_pages_cover_an_index_of_many_shards(client, index, monkeypatch):
    """Page after page, every product of every shard is read exactly once."""
    monkeypatch.setattr("anthem_ingest.index_io.PAGE", 3)
    fill(client, index, titled(TITLES * 3), number_of_shards=3)
    pages = list(index_io.read_product_pages(client, index, ("title",), NAMES))
    assert sorted(hit["_id"] for page in pages for hit in page) == sorted(map(str, range(3 * len(TITLES))))
    assert max(map(len, pages)) == 3


def test_routed_products_are_found_where_they_are(client, index, encoder):
    """An update goes to the shard the product was routed to."""
    fill(client, index, {}, {**TITLE_ONLY, "_routing": {"required": True}}, number_of_shards=3)
    for shop in ("a", "b", "c"):
        client.index(index=index, id=shop, body={"title": f"sofa {shop}"}, routing=shop, refresh=True)
    assert ingest_index(client, index, encoder).written == 3
    assert stored(client, index, "b", routing="b")["anthem"]["model"] == encoder.bundle.model


def test_an_alias_of_one_index_will_do(client, index, encoder):
    """An alias of one index stands for it; an alias of several is refused by their names."""
    fill(client, index, titled())
    client.indices.put_alias(index=index, name=f"{index}-alias")
    assert ingest_index(client, f"{index}-alias", encoder).written == len(TITLES)
    other = f"{index}-other"
    fill(client, other, {})
    client.indices.put_alias(index=other, name=f"{index}-alias")
    with pytest.raises(ClusterError, match=other):
        ingest_index(client, f"{index}-alias", encoder)


def test_several_fields_make_one_text(client, index, encoder):
    """The fields asked for are joined in order, dotted paths and lists included."""
    mappings = {"properties": {"title": {"type": "text"}, "brand": {"properties": {"name": {"type": "keyword"}}}}}
    fill(client, index, {"1": {"title": ["sofa", "red"], "brand": {"name": "Acme"}}}, mappings)
    ingest_index(client, index, encoder, fields=["brand.name", "title"])
    assert_current(client, index, encoder, {"1": "Acme sofa red"})


def test_a_block_stops_ingest_before_it_begins(client, index, encoder):
    """A read-only index is refused with the cure, and stays as it was."""
    fill(client, index, titled())
    client.indices.put_settings(index=index, body={"index.blocks.read_only": True})
    try:
        with pytest.raises(ClusterError, match=r"index\.blocks\.read_only"):
            ingest_index(client, index, encoder)
    finally:
        client.indices.put_settings(index=index, body={"index.blocks.read_only": None})
    assert "anthem" not in client.indices.get_mapping(index=index)[index]["mappings"]["properties"]


def test_loaded_products_need_no_second_pass(client, index, encoder):
    """Products and points are loaded together into a new index; a run on that index then writes nothing."""
    products = [Product(str(number), title, "words", {"price": number}) for number, title in enumerate(TITLES)]
    odd = [Product(ODD_ID, "sofa", metadata={"price": "n/a", "sizes": ["s", "m"]}), Product("mute", "?!")]
    report = load_products(client, index, [*products, *odd], encoder)
    assert (report.written, report.empty, report.failed) == (len(TITLES) + 1, 1, 0)
    again = ingest_index(client, index, encoder)
    assert (again.written, again.skipped, again.empty) == (0, len(TITLES) + 1, 1)
    assert_current(client, index, encoder, dict(zip(map(str, range(len(TITLES))), TITLES, strict=True)))
    assert {identity for _, identity in lexical(client, index, "shoes")} == {"0", "1"}


def test_uneven_metadata_loses_no_product(client, index, encoder):
    """Metadata that looks like a date or a number once and like words the next time loads all the same."""
    values = ["2024-01-01", "soon", 7, 7.5, "7", None, ["a", "b"], [], "x" * 40_000]
    products = [Product(str(n), "sofa", metadata={"made": value}) for n, value in enumerate(values)]
    numbers = [Product(f"n{n}", "sofa", metadata={"price": value}) for n, value in enumerate([7, "n/a", 7.5])]
    report = load_products(client, index, [*products, *numbers], encoder)
    assert (report.written, report.failures) == (len(values) + 3, ())


def test_a_filtered_alias_means_its_products_alone(client, index, encoder):
    """Through an alias with a filter only the products it shows get points."""
    fill(client, index, titled(["sofa", "shoe"]))
    body = {"filter": {"match": {"title": "shoe"}}}
    client.indices.put_alias(index=index, name=f"{index}-shoes", body=body)
    assert ingest_index(client, f"{index}-shoes", encoder).written == 1
    assert "anthem" not in stored(client, index, "0")


def test_loading_twice_replaces(client, index, encoder):
    """Loading the same ids again replaces the products and adds none."""
    load_products(client, index, [Product("1", "sofa", "old")], encoder)
    load_products(client, index, [Product("1", "boot")], encoder)
    assert client.count(index=index)["count"] == 1
    assert_current(client, index, encoder, {"1": "boot"})


def test_the_command_loads_and_ends_with_its_counts(cluster, index, tmp_path):
    """`anthem ingest --corpus` loads a file, names its bad lines, and prints one JSON object of counts."""
    lines = [json.dumps({"_id": str(number), "title": f"sofa {number}"}) for number in range(300)]
    corpus = tmp_path / "corpus.jsonl.gz"
    corpus.write_bytes(gzip.compress("\n".join([*lines, "{broken"]).encode()))
    result = CliRunner().invoke(
        ingest, [index, "--corpus", str(tmp_path), "--url", cluster, "--json", "--dead-letter", str(tmp_path / "dead")]
    )
    assert result.exit_code == 8
    counts = json.loads(result.stdout)
    assert (counts["written"], counts["failed"], counts["bad_lines"]) == (300, 0, 1)
    assert "corpus.jsonl.gz:301" in result.stderr
    again = CliRunner().invoke(ingest, [index, "--url", cluster])
    assert "0 written, 300 skipped, 0 failed" in again.stdout
    assert "0 without a vector" in again.stderr


def test_the_command_ends_in_8_when_a_product_failed(client, cluster, index, tmp_path):
    """Exit code 8 tells a script that not all was written, and the dead-letter file names the product and why."""
    fill(client, index, titled() | {"bad": {"title": "sofa", "price": "cheap"}}, {"dynamic": "false", **TITLE_ONLY})
    client.indices.put_mapping(index=index, body={"properties": {"price": {"type": "integer"}}})
    dead = tmp_path / "dead.jsonl"
    result = CliRunner().invoke(ingest, [index, "--url", cluster, "--dead-letter", str(dead)])
    assert result.exit_code == 8
    assert "1 failed" in result.stdout
    assert "bad: " in result.stderr
    (letter,) = map(json.loads, dead.read_text().splitlines())
    assert letter["id"] == "bad"
    assert "price" in letter["reason"]


def test_the_command_names_an_index_that_is_not_there(cluster, index):
    """A misspelled index ends in exit code 6 with its name and what to do."""
    result = CliRunner().invoke(ingest, [index, "--url", cluster])
    assert result.exit_code == 6
    assert f"No index '{index}'" in result.stderr
