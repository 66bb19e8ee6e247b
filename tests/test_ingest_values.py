"""Vectors and trigrams of one index: either alone, one added to the other, conflicts, on a real node."""

from base64 import b64decode

import pytest
from click.testing import CliRunner
from shipped_words import split_words

from anthem_core.encoding.attention import AttentionScorer
from anthem_core.errors import ClusterError
from anthem_core.opensearch.schema import MODEL_SIGNALS, VALUE_OF_SIGNAL, ModelFields, mapped_signals
from anthem_ingest.ann import create_ann_copy
from anthem_ingest.cli import ingest
from anthem_ingest.encode import ValueBuilder
from anthem_ingest.ingest import IngestOptions, ingest_index, survey_index
from anthem_ingest.multi_model import check_switch, switch_aliases
from anthem_ingest.remove import remove_from_index

pytestmark = pytest.mark.node

FIELDS = ModelFields()
TITLES = ["red running shoe", "blue shoe", "leather sofa, red", "Laufschuhe rot", "लाल जूता"]
TITLE_ONLY = {"properties": {"title": {"type": "text"}}}


def create_index(client, index, documents, mappings=TITLE_ONLY):
    """Create an index with these products."""
    settings = {"number_of_shards": 1, "number_of_replicas": 0}
    client.indices.create(index=index, body={"settings": settings, "mappings": mappings})
    for product_id, document in documents.items():
        client.index(index=index, id=product_id, body=document)
    client.indices.refresh(index=index)


def make_products(titles=TITLES):
    """Sources of products with these titles, by a numeric id."""
    return {str(number): {"title": title} for number, title in enumerate(titles)}


def read_source(client, index, product_id):
    """Source of a product."""
    return client.get(index=index, id=product_id)["_source"]


def only(signal):
    """Options of an ingest that writes the value of one signal."""
    return IngestOptions(signals=(signal,))


def read_doc_values(client, index):
    """Trigrams of each product as a script reads them, by id; None if it has none."""
    source = """
        if (doc['anthem.trigrams'].size() == 0) return null;
        def bytes = doc['anthem.trigrams'].value;
        def values = [];
        for (int i = bytes.offset; i < bytes.offset + bytes.length; i++) values.add(bytes.bytes[i] & 255);
        return values;
    """
    body = {"size": 100, "script_fields": {"trigrams": {"script": {"source": source}}}}
    hits = client.search(index=index, body=body)["hits"]["hits"]
    return {hit["_id"]: hit.get("fields", {}).get("trigrams") for hit in hits}


def test_a_script_reads_the_trigrams(client, index, encoder):
    """A script finds the bytes of each product's trigrams in its doc values; a product without words has none."""
    create_index(client, index, make_products([*TITLES, "!?"]))
    ingest_index(client, index, encoder)
    packed = AttentionScorer(encoder.bundle).encode_titles(TITLES).pack()
    expected = {str(number): list(value) for number, value in enumerate(packed)} | {str(len(TITLES)): [None]}
    assert read_doc_values(client, index) == expected


@pytest.mark.parametrize("first", MODEL_SIGNALS)
def test_an_index_with_one_value_gets_the_other(client, cluster, index, encoder, tmp_path, first):
    """A product with one of two values is due until it has both; the survey counts it, and the first value is kept."""
    create_index(client, index, make_products())
    command = [index, "--url", cluster, "--dead-letter", str(tmp_path / "dead")]
    assert CliRunner().invoke(ingest, [*command, "--signals", first]).exit_code == 0
    assert mapped_signals(client.indices.get_mapping(index=index)[index]["mappings"], FIELDS) == (first,)
    before = read_source(client, index, "0")["anthem"]
    assert before.keys() == {VALUE_OF_SIGNAL[first], "model", "text_hash"}
    assert ingest_index(client, index, encoder, options=only(first)).written == 0
    result = CliRunner().invoke(ingest, command)
    missing = {"containment": "0 without a vector", "attention": "0 without trigrams"}
    for signal, text in missing.items():
        assert (text if signal == first else text.replace("0", str(len(TITLES)), 1)) in result.stderr
    assert f"{len(TITLES)} written, 0 skipped" in result.stdout
    assert read_source(client, index, "0")["anthem"].items() >= before.items()
    assert read_source(client, index, "0")["anthem"].keys() == {"vector", "trigrams", "model", "text_hash"}
    assert ingest_index(client, index, encoder).skipped == len(TITLES)


def test_values_that_a_mapping_did_not_index_are_indexed(client, index, encoder):
    """Products copied with their values into an index that does not map them get them indexed, unchanged."""
    builder = ValueBuilder(encoder, MODEL_SIGNALS)
    values = builder.build(TITLES)
    documents = {str(n): {"title": title, **values[n]} for n, title in enumerate(TITLES)}
    create_index(client, index, documents, {"dynamic": "false", **TITLE_ONLY})
    assert ingest_index(client, index, encoder).written == len(TITLES)
    assert survey_index(client, index, encoder.bundle).missing == dict.fromkeys(MODEL_SIGNALS, 0)
    assert {product_id: read_source(client, index, product_id) for product_id in documents} == documents


@pytest.mark.parametrize(
    ("value", "field"),
    [("trigrams", {"type": "text"}), ("trigrams", {"type": "binary"}), ("vector", {"type": "float"})],
)
def test_a_conflicting_field_is_refused(client, index, encoder, value, field):
    """A field of another type is refused, naming it, before anything is written.

    The other value does not need it, and is written if a record says that the object is a model's.
    """
    create_index(client, index, make_products(), {"properties": {"anthem": {"properties": {value: field}}}})
    with pytest.raises(ClusterError, match=rf"with the fields {value}\).*--as anthem_values"):
        ingest_index(client, index, encoder)
    assert "anthem" not in read_source(client, index, "0")
    client.indices.put_mapping(index=index, body={"_meta": {"anthem": {"anthem": {"model": "0123456789abcdef"}}}})
    (other,) = [signal for signal in MODEL_SIGNALS if VALUE_OF_SIGNAL[signal] != value]
    assert ingest_index(client, index, encoder, options=only(other)).written == len(TITLES)


@pytest.mark.parametrize("value", VALUE_OF_SIGNAL.values())
def test_values_of_another_model_are_replaced(client, index, encoder, value):
    """Values of another model are announced and replaced: an index never mixes models in one object."""
    create_index(client, index, make_products())
    ingest_index(client, index, encoder)
    before = read_source(client, index, "0")["anthem"]
    foreign = FIELDS.document(encoder.encode_vectors(["sofa"])[0], "0123456789abcdef", split_words(TITLES[0]), b"abc")
    foreign["anthem"] = {key: found for key, found in foreign["anthem"].items() if key in {value, "model", "text_hash"}}
    client.index(index=index, id="0", body={"title": TITLES[0]} | foreign, refresh=True)
    found = survey_index(client, index, encoder.bundle)
    assert (found.products, found.stale) == (len(TITLES), 1)
    assert found.missing == {signal: int(VALUE_OF_SIGNAL[signal] != value) for signal in MODEL_SIGNALS}
    assert ingest_index(client, index, encoder).written == 1
    after = read_source(client, index, "0")["anthem"]
    assert after.pop("vector") == pytest.approx(before.pop("vector"), abs=1), "encoded in another batch"
    assert after == before


def test_a_changed_text_leaves_no_value_of_the_old_one(client, index, encoder):
    """If a run writes one value, a product whose text changed loses the other, which the next full run writes again."""
    create_index(client, index, make_products())
    ingest_index(client, index, encoder)
    client.update(index=index, id="1", body={"doc": {"title": "green boot"}}, refresh=True)
    assert ingest_index(client, index, encoder, options=only("containment")).written == 1
    assert read_source(client, index, "1")["anthem"]["trigrams"] is None
    assert survey_index(client, index, encoder.bundle).missing == {"containment": 0, "attention": 1}
    assert ingest_index(client, index, encoder).written == 1
    packed = b64decode(read_source(client, index, "1")["anthem"]["trigrams"])
    assert [packed] == AttentionScorer(encoder.bundle).encode_titles(["green boot"]).pack()


def test_trigrams_alone_are_removed(client, index, encoder):
    """An object whose only value is trigrams is found by the removal, which restores every product."""
    create_index(client, index, make_products())
    ingest_index(client, index, encoder, options=only("attention"))
    removal = remove_from_index(client, index, lambda _: None, IngestOptions())
    assert (removal.objects, removal.written) == (("anthem",), len(TITLES))
    assert {number: read_source(client, index, number) for number in make_products()} == make_products()


def test_trigrams_alone_have_no_graphs(client, index, encoder):
    """An index without vectors is not copied, and the message says what is missing; without values of it neither."""
    create_index(client, index, make_products())
    ingest_index(client, index, encoder, options=only("attention"))
    with pytest.raises(ClusterError, match="no vectors"):
        create_ann_copy(client, index, FIELDS)
    assert not client.indices.exists(index=f"{index}-ann")


def test_a_copy_with_graphs_has_both_values(client, index, encoder):
    """The copy has the trigrams of every product too, with doc values."""
    create_index(client, index, make_products())
    ingest_index(client, index, encoder)
    create_ann_copy(client, index, FIELDS)
    assert read_doc_values(client, f"{index}-ann") == read_doc_values(client, index)


def test_aliases_of_another_model_never_stay_behind(client, index, encoder):
    """Aliases move only to fields with every value they point at now, as OpenSearch cannot remove one of them."""
    new = ModelFields("anthem_0123abcd")
    create_index(client, index, make_products())
    ingest_index(client, index, encoder)
    ingest_index(client, index, encoder, options=IngestOptions(new, ("containment",)))

    def switch(fields, signals):
        switch_aliases(client, index, ValueBuilder(encoder, tuple(signals), model_fields=fields))

    switch(new, ["containment"])
    switch(FIELDS, MODEL_SIGNALS)
    with pytest.raises(
        ClusterError, match=r"alias anthem_current\.trigrams .* another model.*--signals containment,attention"
    ):
        switch(new, ["containment"])
    check_switch(client, index, FIELDS, ["containment"])
    with pytest.raises(ClusterError, match=f"{len(TITLES)} products"):
        switch(new, MODEL_SIGNALS)
    ingest_index(client, index, encoder, options=IngestOptions(new))
    switch(new, MODEL_SIGNALS)
    aliases = client.indices.get_mapping(index=index)[index]["mappings"]["properties"]["anthem_current"]["properties"]
    assert {alias["path"].partition(".")[0] for alias in aliases.values()} == {new.name}
