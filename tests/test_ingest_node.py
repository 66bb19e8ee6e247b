"""Ingest on a real node: updates in place, loading from files, and the command."""

import gzip
import json
from base64 import b64decode

import numpy as np
import pytest
from click.testing import CliRunner

from anthem_core.beir import Product
from anthem_core.encoding.attention import AttentionScorer
from anthem_core.errors import ClusterError
from anthem_core.opensearch.schema import MODEL_SIGNALS, ModelFields
from anthem_core.opensearch.versions import Release
from anthem_ingest import index_io
from anthem_ingest.cli import ingest
from anthem_ingest.encode import ValueBuilder, plan_updates
from anthem_ingest.ingest import ingest_index, load_products, prepare_index
from anthem_ingest.mapping import check_mapping_changes
from anthem_ingest.report import IngestTally

pytestmark = pytest.mark.node

FIELDS = ModelFields()
TITLES = [
    "red running shoe", "blue shoe", "leather sofa, red", "Laufschuhe rot", "लाल जूता", "fire tv stick", "usb cable 2 m",
]  # fmt: skip
ONE_SHARD = {"number_of_shards": 1, "number_of_replicas": 0}
TITLE_ONLY = {"properties": {"title": {"type": "text"}}}
ODD_ID = "ü /#?&%\"'"


def create_index(client, index, documents, mappings=TITLE_ONLY, **settings):
    """Create an index with these products."""
    client.indices.create(index=index, body={"settings": {**ONE_SHARD, **settings}, "mappings": mappings})
    for product_id, document in documents.items():
        client.index(index=index, id=product_id, body=document)
    client.indices.refresh(index=index)


def make_products(titles=TITLES):
    """Sources of products with these titles, by a numeric id."""
    return {str(number): {"title": title} for number, title in enumerate(titles)}


def read_source(client, index, product_id, **params):
    """Source of a product."""
    return client.get(index=index, id=product_id, params=params)["_source"]


def merge(client, index):
    """Merge an index into one segment, without deleted versions of its products.

    An index keeps these until its retention leases advance: after half a minute, or at once when it is reopened.
    """
    client.indices.flush(index=index, params={"force": "true", "wait_if_ongoing": "true"})
    client.indices.close(index=index)
    client.indices.open(index=index)
    client.cluster.health(index=index, params={"wait_for_status": "green"})
    client.indices.forcemerge(index=index, params={"max_num_segments": 1})
    client.indices.refresh(index=index)


def pack_trigrams(encoder, texts):
    """Trigrams of texts as an index stores them."""
    return AttentionScorer(encoder.bundle).encode_titles(texts).pack()


def assert_values(client, index, encoder, texts):
    """Check that each product has the values of its text; its batch may change how a coordinate is rounded."""
    for product_id, text in texts.items():
        found = read_source(client, index, product_id)["anthem"]
        assert found["model"] == encoder.bundle.model_id
        assert [b64decode(found["trigrams"])] == pack_trigrams(encoder, [text])
        np.testing.assert_allclose(found["vector"], encoder.encode_vectors([text])[0], rtol=0, atol=1)


def lexical(client, index, query):
    """Ids and scores of a plain search."""
    hits = client.search(index=index, body={"query": {"match": {"title": query}}, "size": 100})["hits"]["hits"]
    return sorted((-hit["_score"], hit["_id"]) for hit in hits)


def test_every_product_gets_its_values(client, index, encoder):
    """The products of an index get vectors and trigrams, and nothing else in them changes."""
    documents = make_products() | {ODD_ID: {"title": "red sofa", "price": 7}}
    create_index(client, index, documents)
    report = ingest_index(client, index, encoder)
    assert (report.written, report.skipped, report.empty, report.failed, report.conflicts) == (8, 0, 0, 0, 0)
    found = {product_id: read_source(client, index, product_id) for product_id in documents}
    titles = [document["title"] for document in documents.values()]
    values = [source.pop("anthem") for source in found.values()]
    assert [stored["vector"] for stored in values] == encoder.encode_vectors(titles).tolist()
    assert [b64decode(stored["trigrams"]) for stored in values] == pack_trigrams(encoder, titles)
    assert found == documents


def test_lexical_search_stays_as_it_was(client, index, encoder):
    """Once segments have merged, a lexical search returns the same products with the same scores as before."""
    create_index(client, index, make_products())
    before = [lexical(client, index, title) for title in TITLES]
    ingest_index(client, index, encoder)
    merge(client, index)
    assert [lexical(client, index, title) for title in TITLES] == before


def test_a_second_run_writes_nothing(client, index, encoder):
    """Current products are skipped: a second run changes the version of no product."""
    create_index(client, index, make_products([*TITLES, "!?"]))
    ingest_index(client, index, encoder)
    versions = [client.get(index=index, id=str(number))["_version"] for number in range(len(TITLES) + 1)]
    report = ingest_index(client, index, encoder)
    assert (report.written, report.skipped, report.empty) == (0, len(TITLES), 1)
    assert [client.get(index=index, id=str(number))["_version"] for number in range(len(TITLES) + 1)] == versions
    assert versions[-1] == 1


def test_only_a_changed_title_is_encoded_again(client, index, encoder):
    """A product whose text has changed gets new values, and no other product is written."""
    create_index(client, index, make_products())
    ingest_index(client, index, encoder)
    client.update(index=index, id="2", body={"doc": {"title": "green sofa"}}, refresh=True)
    report = ingest_index(client, index, encoder)
    assert (report.written, report.skipped) == (1, len(TITLES) - 1)
    assert_values(client, index, encoder, {"2": "green sofa"})


def test_a_product_that_loses_its_text_loses_its_values(client, index, encoder):
    """A product that loses its text loses its values, and can get new ones."""
    create_index(client, index, make_products())
    ingest_index(client, index, encoder)
    for title, counts in (("...", (0, 1)), ("...", (0, 1)), ("new sofa", (1, 0))):
        client.update(index=index, id="0", body={"doc": {"title": title}}, refresh=True)
        report = ingest_index(client, index, encoder)
        assert (report.written, report.empty) == counts
    assert_values(client, index, encoder, {"0": "new sofa"})


@pytest.mark.parametrize("dynamic", ["strict", "false", "true"])
def test_any_dynamic_setting_takes_values(client, index, encoder, dynamic):
    """The fields are mapped before the first value is written, so `dynamic: strict` works too."""
    create_index(client, index, make_products(), {"dynamic": dynamic, **TITLE_ONLY})
    assert ingest_index(client, index, encoder).written == len(TITLES)
    vector = client.indices.get_mapping(index=index)[index]["mappings"]["properties"]["anthem"]["properties"]["vector"]
    found = (vector["type"], vector["dimension"], vector["data_type"].lower())
    assert found == ("knn_vector", encoder.bundle.dimension, "byte")
    assert "method" not in vector


def test_an_index_with_knn_gets_the_lucene_engine(client, index, encoder):
    """With `index.knn` the engine is named: without its native libraries, the default one would crash the node."""
    create_index(client, index, make_products(), **{"index.knn": True})
    assert ingest_index(client, index, encoder).written == len(TITLES)
    mapping = client.indices.get_mapping(index=index)[index]["mappings"]
    assert mapping["properties"]["anthem"]["properties"]["vector"]["method"]["engine"] == "lucene"
    assert ingest_index(client, index, encoder).skipped == len(TITLES)


def test_a_concurrent_change_is_never_overwritten(client, index, encoder):
    """A product that changes between read and write keeps the change and gets the values of its new text."""
    create_index(client, index, make_products())

    def live(_):
        client.update(index=index, id="1", body={"doc": {"title": "green boot", "price": 9}})
        client.delete(index=index, id="2")

    report = ingest_index(client, index, encoder, advance=live)
    assert (report.written, report.failed, report.conflicts) == (len(TITLES) - 1, 0, 0)
    assert read_source(client, index, "1")["price"] == 9
    assert_values(client, index, encoder, {"1": "green boot"})
    assert not client.exists(index=index, id="2")


def test_an_outdated_update_is_refused_and_kept_for_a_retry(client, index, encoder):
    """An update computed from an old state is refused and its id kept; the product stays as it was changed."""
    create_index(client, index, make_products())
    builder, tally = ValueBuilder(encoder, MODEL_SIGNALS), IngestTally()
    prepare_index(client, index, encoder.bundle)
    actions = list(
        plan_updates(index_io.read_product_pages(client, index, ("title",), FIELDS), builder, tally, lambda _: None)
    )
    client.update(index=index, id="3", body={"doc": {"title": "green boot"}})
    index_io.write_actions(client, actions, tally, index_io.CHANGED_STATUSES)
    assert tally.retry_ids == ["3"]
    assert tally.report().written == len(TITLES) - 1
    assert read_source(client, index, "3") == {"title": "green boot"}


def test_one_bad_product_does_not_stop_the_others(client, index, encoder):
    """A product that the cluster refuses is listed with its reason; all others are written."""
    create_index(
        client,
        index,
        make_products() | {"bad": {"title": "sofa", "price": "cheap"}},
        {"dynamic": "false", **TITLE_ONLY},
    )
    client.indices.put_mapping(index=index, body={"properties": {"price": {"type": "integer"}}})
    report = ingest_index(client, index, encoder)
    assert (report.written, report.failed) == (len(TITLES), 1)
    (failure,) = report.failures
    assert failure.id == "bad"
    assert "price" in failure.reason


def test_pages_cover_an_index_of_many_shards(client, index, monkeypatch):
    """Page after page, every product of every shard is read exactly once."""
    monkeypatch.setattr("anthem_ingest.index_io.PRODUCTS_PER_PAGE", 3)
    create_index(client, index, make_products(TITLES * 3), number_of_shards=3)
    pages = list(index_io.read_product_pages(client, index, ("title",), FIELDS))
    assert sorted(hit["_id"] for page in pages for hit in page) == sorted(map(str, range(3 * len(TITLES))))
    assert max(map(len, pages)) == 3


def test_routed_products_are_updated_on_their_shard(client, index, encoder):
    """An update goes to the shard the product was routed to."""
    create_index(client, index, {}, {**TITLE_ONLY, "_routing": {"required": True}}, number_of_shards=3)
    for routing in ("a", "b", "c"):
        client.index(index=index, id=routing, body={"title": f"sofa {routing}"}, routing=routing, refresh=True)
    assert ingest_index(client, index, encoder).written == 3
    assert read_source(client, index, "b", routing="b")["anthem"]["model"] == encoder.bundle.model_id


def test_an_alias_of_one_index_is_accepted(client, index, encoder):
    """An alias of one index is accepted; an alias of several is refused, naming them."""
    create_index(client, index, make_products())
    client.indices.put_alias(index=index, name=f"{index}-alias")
    assert ingest_index(client, f"{index}-alias", encoder).written == len(TITLES)
    other = f"{index}-other"
    create_index(client, other, {})
    client.indices.put_alias(index=other, name=f"{index}-alias")
    with pytest.raises(ClusterError, match=other):
        ingest_index(client, f"{index}-alias", encoder)


def test_several_fields_make_one_text(client, index, encoder):
    """The text fields are joined in order, including dotted paths and lists."""
    mappings = {"properties": {"title": {"type": "text"}, "brand": {"properties": {"name": {"type": "keyword"}}}}}
    create_index(client, index, {"1": {"title": ["sofa", "red"], "brand": {"name": "Acme"}}}, mappings)
    ingest_index(client, index, encoder, text_fields=["brand.name", "title"])
    assert_values(client, index, encoder, {"1": "Acme sofa red"})


def test_a_block_stops_ingest_before_it_begins(client, index, encoder):
    """A read-only index is refused with the request that removes the block, and stays unchanged."""
    create_index(client, index, make_products())
    client.indices.put_settings(index=index, body={"index.blocks.read_only": True})
    try:
        with pytest.raises(ClusterError, match=r"index\.blocks\.read_only"):
            ingest_index(client, index, encoder)
    finally:
        client.indices.put_settings(index=index, body={"index.blocks.read_only": None})
    assert "anthem" not in client.indices.get_mapping(index=index)[index]["mappings"]["properties"]


def test_loaded_products_need_no_second_pass(client, index, encoder):
    """Products and values are loaded together into a new index; ingesting that index then writes nothing."""
    products = [Product(str(number), title, "words", {"price": number}) for number, title in enumerate(TITLES)]
    odd = [Product(ODD_ID, "sofa", metadata={"price": "n/a", "sizes": ["s", "m"]}), Product("mute", "?!")]
    report = load_products(client, index, [*products, *odd], encoder)
    assert (report.written, report.empty, report.failed) == (len(TITLES) + 1, 1, 0)
    again = ingest_index(client, index, encoder)
    assert (again.written, again.skipped, again.empty) == (0, len(TITLES) + 1, 1)
    assert_values(client, index, encoder, dict(zip(map(str, range(len(TITLES))), TITLES, strict=True)))
    assert {product_id for _, product_id in lexical(client, index, "shoes")} == {"0", "1"}


def test_uneven_metadata_loses_no_product(client, index, encoder):
    """Metadata loads even if a value looks like a date or number in one product and like words in the next."""
    values = ["2024-01-01", "soon", 7, 7.5, "7", None, ["a", "b"], [], "x" * 40_000]
    products = [Product(str(n), "sofa", metadata={"made": value}) for n, value in enumerate(values)]
    numbers = [Product(f"n{n}", "sofa", metadata={"price": value}) for n, value in enumerate([7, "n/a", 7.5])]
    report = load_products(client, index, [*products, *numbers], encoder)
    assert (report.written, report.failures) == (len(values) + 3, ())


def test_a_filtered_alias_covers_only_its_products(client, index, encoder):
    """Through an alias with a filter, only the products it shows get values."""
    create_index(client, index, make_products(["sofa", "shoe"]))
    body = {"filter": {"match": {"title": "shoe"}}}
    client.indices.put_alias(index=index, name=f"{index}-shoes", body=body)
    assert ingest_index(client, f"{index}-shoes", encoder).written == 1
    assert "anthem" not in read_source(client, index, "0")


def test_loading_twice_replaces(client, index, encoder):
    """Loading the same ids again replaces the products and adds none."""
    load_products(client, index, [Product("1", "sofa", "old")], encoder)
    load_products(client, index, [Product("1", "boot")], encoder)
    assert client.count(index=index)["count"] == 1
    assert_values(client, index, encoder, {"1": "boot"})


def test_the_command_loads_and_ends_with_its_counts(cluster, index, tmp_path):
    """`anthem ingest --corpus` loads a file, names its bad lines, and prints one JSON object of counts."""
    lines = [json.dumps({"_id": str(number), "title": f"sofa {number}"}) for number in range(300)]
    corpus = tmp_path / "corpus.jsonl.gz"
    corpus.write_bytes(gzip.compress("\n".join([*lines, "{broken"]).encode()))
    options = ["--corpus", str(tmp_path), "--url", cluster, "--json", "--dead-letter", str(tmp_path / "dead")]
    result = CliRunner().invoke(ingest, [index, *options])
    assert result.exit_code == 8
    counts = json.loads(result.stdout)
    assert (counts["written"], counts["failed"], counts["bad_lines"]) == (300, 0, 1)
    assert "corpus.jsonl.gz:301" in result.stderr
    again = CliRunner().invoke(ingest, [index, "--url", cluster])
    assert "0 written, 300 skipped, 0 failed" in again.stdout
    assert "0 without a vector, 0 without trigrams" in again.stderr


def test_the_command_ends_in_8_when_a_product_failed(client, cluster, index, tmp_path):
    """If a product cannot be written, the exit code is 8, and the dead-letter file has the product and the reason."""
    create_index(
        client,
        index,
        make_products() | {"bad": {"title": "sofa", "price": "cheap"}},
        {"dynamic": "false", **TITLE_ONLY},
    )
    client.indices.put_mapping(index=index, body={"properties": {"price": {"type": "integer"}}})
    dead = tmp_path / "dead.jsonl"
    result = CliRunner().invoke(ingest, [index, "--url", cluster, "--dead-letter", str(dead)])
    assert result.exit_code == 8
    assert "1 failed" in result.stdout
    assert "bad: " in result.stderr
    (letter,) = map(json.loads, dead.read_text().splitlines())
    assert letter["id"] == "bad"
    assert "price" in letter["reason"]


def test_the_command_names_an_index_that_does_not_exist(cluster, index):
    """A misspelled index ends in exit code 6 with its name and what to do."""
    result = CliRunner().invoke(ingest, [index, "--url", cluster])
    assert result.exit_code == 6
    assert f"Index '{index}' not found" in result.stderr


def test_the_command_reads_accepted_outages_from_the_environment(client, cluster, index, tmp_path, monkeypatch):
    """On a release where mapping changes make shards fail, the command ingests only with ANTHEM_ACCEPT_OUTAGES."""
    monkeypatch.setattr(index_io, "read_release", lambda _: Release(2, 19, 1))
    monkeypatch.setattr("anthem_ingest.open_index.check_mapping_changes", check_mapping_changes)
    create_index(client, index, make_products())
    command = [index, "--url", cluster, "--json", "--dead-letter", str(tmp_path / "dead")]
    monkeypatch.delenv("ANTHEM_ACCEPT_OUTAGES", raising=False)
    refused = CliRunner().invoke(ingest, command)
    assert refused.exit_code == 6
    assert "ANTHEM_ACCEPT_OUTAGES=1" in refused.stderr
    monkeypatch.setenv("ANTHEM_ACCEPT_OUTAGES", "1")
    accepted = CliRunner().invoke(ingest, command)
    assert accepted.exit_code == 0, accepted.stderr
    assert json.loads(accepted.stdout)["written"] == len(TITLES)
