"""What ingest records in the mapping's `_meta`: pure builders, and the record on a real node."""

from dataclasses import replace

import pytest
import secured_proxy
from hypothesis import given
from hypothesis import strategies as st
from secured_proxy import secured

from anthem_core.encoding.encoder import Encoder
from anthem_core.errors import ClusterError
from anthem_core.opensearch.connection import connect
from anthem_core.opensearch.schema import (
    MODEL_SIGNALS,
    ModelFields,
    build_ingest_record,
    ingested_fields,
    ingested_signals,
    with_ingest_meta,
    without_ingest_meta,
)
from anthem_core.opensearch.versions import Release
from anthem_ingest import index_io
from anthem_ingest.actions import ProductDocument
from anthem_ingest.ann import create_ann_copy
from anthem_ingest.ingest import IngestOptions, ingest_index, load_documents, no_progress
from anthem_ingest.multi_model import choose_model_fields
from anthem_ingest.remove import remove_from_index, remove_objects

authority, settings = secured_proxy.authority, secured_proxy.settings

PUT_MAPPING = "PUT /INDEX/_mapping"
ACCEPT_OUTAGES = IngestOptions(accept_outages=True)  # mapping changes are then the same on every release
USER_META = {"owner": "search team", "nested": {"revision": 7}}

names = st.sampled_from(["anthem", "anthem_01234567", "anthem_89abcdef"])
field_lists = st.lists(st.text(min_size=1), min_size=1, max_size=3)
metas = st.dictionaries(st.text(max_size=4).filter(lambda key: key != "anthem"), st.integers(), max_size=3)


def record_of(fields, signals=MODEL_SIGNALS):
    """A record of an ingest."""
    return build_ingest_record("model", fields, signals, {"gram": 3})


@given(metas, st.dictionaries(names, field_lists), names, field_lists, st.permutations(MODEL_SIGNALS))
def test_a_record_is_read_back_and_keeps_everything_else(user_meta, others, name, fields, signals):
    """A record reads back its fields in order and its signals; the user's entries and other objects are kept."""
    meta = user_meta
    for other, other_fields in others.items():
        meta = with_ingest_meta(meta, other, record_of(other_fields))
    meta = with_ingest_meta(meta, name, record_of(fields, signals))
    expected_record = {"model": "model", "fields": fields, "signals": signals, "text_rules": {"gram": 3}}
    assert meta["anthem"][name] == expected_record
    assert ingested_signals({"_meta": meta}, name) == tuple(signals)
    expected = {other: tuple(other_fields) for other, other_fields in (others | {name: fields}).items()}
    assert {other: ingested_fields({"_meta": meta}, other) for other in meta["anthem"]} == expected
    assert {key: value for key, value in meta.items() if key != "anthem"} == user_meta


@given(metas, st.dictionaries(names, field_lists), names)
def test_removing_a_record_keeps_everything_else(user_meta, objects, name):
    """Without its record an object reads None; removing all records gives back the user's `_meta`."""
    meta = user_meta
    for other, fields in objects.items():
        meta = with_ingest_meta(meta, other, record_of(fields))
    rest = without_ingest_meta(meta, name)
    assert ingested_fields({"_meta": rest}, name) is None
    assert rest.get("anthem", {}).keys() == objects.keys() - {name}
    for other in objects:
        meta = without_ingest_meta(meta, other)
    assert meta == user_meta


@pytest.mark.parametrize(
    "meta", [None, {}, {"anthem": "x"}, {"anthem": {"anthem": 1}}, {"anthem": {"anthem": {"fields": "title"}}},
             {"anthem": {"anthem": {"fields": [1]}}}, {"anthem": {"anthem": {"fields": [], "signals": {}}}}]
)  # fmt: skip
def test_a_missing_or_malformed_record_reads_as_none(meta):
    """What is not a record of text fields or signals is not mistaken for one."""
    mappings = {} if meta is None else {"_meta": meta}
    assert ingested_fields(mappings, "anthem") is None
    assert ingested_signals(mappings, "anthem") is None


def test_an_entry_of_the_user_with_our_key_is_kept():
    """If the user's `_meta` has an `anthem` entry that is not an object, nothing is recorded and nothing lost."""
    meta = {"anthem": "ours since 2019", "owner": "search team"}
    assert with_ingest_meta(meta, "anthem", record_of(["title"])) == meta
    assert without_ingest_meta(meta, "anthem") == meta


def create_index(client, index, meta=None):
    """Create an index of two products."""
    mappings = {"properties": {"title": {"type": "text"}, "brand": {"type": "keyword"}}, "dynamic": "false"}
    body = {"settings": {"number_of_replicas": 0}, "mappings": mappings | ({"_meta": meta} if meta else {})}
    client.indices.create(index=index, body=body)
    for number in range(2):
        client.index(index=index, id=str(number), body={"title": f"red sofa {number}", "brand": "Acme"})
    client.indices.refresh(index=index)


def read_meta(client, index):
    """`_meta` of an index; empty if it has none."""
    return client.indices.get_mapping(index=index)[index]["mappings"].get("_meta", {})


def read_mapping_version(client, index):
    """Version of a mapping, which every change increments."""
    return client.cluster.state(metric="metadata", index=index)["metadata"]["indices"][index]["mapping_version"]


def make_record(bundle, *fields):
    """The record of an object that this bundle's values were written to."""
    return build_ingest_record(bundle.model_id, fields, MODEL_SIGNALS, bundle.vocabulary.rules())


@pytest.mark.node
def test_ingest_records_beside_the_users_meta(client, index, encoder, bundle):
    """Fields, model, signals and text rules are recorded, and the user's own `_meta` is kept."""
    create_index(client, index, USER_META)
    ingest_index(client, index, encoder, text_fields=["brand", "title"], options=ACCEPT_OUTAGES)
    assert read_meta(client, index) == USER_META | {"anthem": {"anthem": make_record(bundle, "brand", "title")}}
    ingest_index(client, index, encoder, options=ACCEPT_OUTAGES)
    assert read_meta(client, index) == USER_META | {"anthem": {"anthem": make_record(bundle, "title")}}


@pytest.mark.node
def test_a_second_run_changes_no_mapping(client, index, encoder, monkeypatch):
    """If the record is up to date, neither ingest nor a load sends a mapping, not even the same one."""
    create_index(client, index, USER_META)
    ingest_index(client, index, encoder)
    version, sent = read_mapping_version(client, index), []
    monkeypatch.setattr(index_io, "put_mapping", lambda *arguments: sent.append(arguments))
    ingest_index(client, index, encoder)
    load_documents(client, index, [ProductDocument("2", {"title": "boot"})], encoder)
    assert sent == []
    assert read_mapping_version(client, index) == version


@pytest.mark.node
def test_an_index_ingested_before_gets_its_record(client, index, encoder, bundle):
    """An index whose fields exist but whose record is missing gets the record."""
    create_index(client, index, USER_META)
    client.indices.put_mapping(index=index, body=ModelFields().mapping(bundle.dimension))
    ingest_index(client, index, encoder, options=ACCEPT_OUTAGES)
    assert read_meta(client, index) == USER_META | {"anthem": {"anthem": make_record(bundle, "title")}}


@pytest.mark.node
def test_a_new_index_has_the_record(client, index, encoder, bundle):
    """An index that ingest creates has the record from the start."""
    load_documents(client, index, [ProductDocument("1", {"name": "boot"})], encoder, text_fields=["name"])
    assert read_meta(client, index) == {"anthem": {"anthem": make_record(bundle, "name")}}


@pytest.mark.node
def test_two_models_have_a_record_each(client, index, encoder, bundle):
    """A second model has a separate record, and removing its values deletes only this record."""
    create_index(client, index, USER_META)
    ingest_index(client, index, encoder)
    other_bundle = replace(bundle, model_id="0123abcd" + bundle.model_id[8:])
    fields = choose_model_fields(client, index, other_bundle.model_id, beside=True)
    ingest_index(client, index, Encoder(other_bundle), text_fields=["brand"], options=IngestOptions(fields))
    first = {"anthem": make_record(bundle, "title")}
    both = first | {"anthem_0123abcd": make_record(other_bundle, "brand")}
    assert read_meta(client, index) == USER_META | {"anthem": both}
    remove_objects(client, index, [fields.name], no_progress, ACCEPT_OUTAGES)
    assert read_meta(client, index) == USER_META | {"anthem": first}
    remove_from_index(client, index, no_progress, ACCEPT_OUTAGES)
    assert read_meta(client, index) == USER_META


@pytest.mark.node
def test_the_record_stays_while_a_product_has_a_value(client, index, encoder, bundle):
    """A removal through a filtered alias leaves values, and so the record."""
    create_index(client, index)
    ingest_index(client, index, encoder, options=IngestOptions(signals=("attention",)))
    client.indices.put_alias(index=index, name=f"{index}-one", body={"filter": {"ids": {"values": ["1"]}}})
    remove_from_index(client, f"{index}-one", no_progress, ACCEPT_OUTAGES)
    record = make_record(bundle, "title") | {"signals": ["attention"]}
    assert read_meta(client, index) == {"anthem": {"anthem": record}}


@pytest.mark.node
def test_a_copy_with_graphs_has_the_record(client, index, encoder, bundle):
    """A copy has the record of the original; a resumed copy has the new record, and keeps what is only in its own."""
    create_index(client, index, USER_META)
    ingest_index(client, index, encoder)
    create_ann_copy(client, index, ModelFields())
    copy = f"{index}-ann"
    assert read_meta(client, copy) == read_meta(client, index)
    client.indices.put_mapping(index=copy, body={"_meta": {"copied": True}})
    ingest_index(client, index, encoder, text_fields=["brand"], options=ACCEPT_OUTAGES)
    create_ann_copy(client, index, ModelFields())
    record = {"anthem": {"anthem": make_record(bundle, "brand")}}
    assert read_meta(client, copy) == {"copied": True} | USER_META | record


@pytest.mark.node
def test_two_ingests_at_once_keep_both_records(client, index, encoder, bundle):
    """If another ingest overwrites the record meanwhile, both are there at the end."""
    create_index(client, index)
    other = {"anthem_0123abcd": {"model": "0123abcd", "fields": ["title"], "signals": ["attention"]}}

    def overwrite(_):
        index_io.put_mapping(client, index, {"_meta": {"anthem": other}})

    ingest_index(client, index, encoder, advance=overwrite, options=ACCEPT_OUTAGES)
    assert read_meta(client, index) == {"anthem": other | {"anthem": make_record(bundle, "title")}}


@pytest.mark.parametrize("value", ["O Canada", {"composer": "Kodály"}, ["a"]])
def test_an_entry_of_the_user_is_no_record(value):
    """What a user keeps under the name of the object is not overwritten; a record of an earlier ingest is."""
    meta = {"anthem": {"anthem": value, "anthem_0123abcd": {"model": "m"}}, "owner": "me"}
    assert with_ingest_meta(meta, "anthem", {"model": "n"}) == meta
    replaced = with_ingest_meta(meta, "anthem_0123abcd", {"model": "n"})
    assert replaced == meta | {"anthem": meta["anthem"] | {"anthem_0123abcd": {"model": "n"}}}


@pytest.fixture
def restricted(cluster, authority, settings):
    """A client that may not change mappings, and the requests it has sent."""
    with secured(cluster, authority, forbidden=(PUT_MAPPING,)) as proxy:
        settings(proxy.url)
        with connect() as client:
            yield client, proxy.received


def ingest_warnings(caplog):
    """Warnings that ingest has logged."""
    return [record.message for record in caplog.records if record.name.startswith("anthem_ingest")]


@pytest.mark.node
def test_a_forbidden_record_fails_no_ingest(client, restricted, index, encoder, bundle, caplog):
    """If the fields are mapped and mapping changes forbidden, ingest succeeds with a warning."""
    create_index(client, index, USER_META)
    client.indices.put_mapping(index=index, body=ModelFields().mapping(bundle.dimension))
    restricted_client, requests = restricted
    assert ingest_index(restricted_client, index, encoder, options=ACCEPT_OUTAGES).written == 2
    assert requests.count(PUT_MAPPING) == 1
    assert read_meta(client, index) == USER_META
    (warning,) = ingest_warnings(caplog)
    assert f"'{index}'" in warning
    assert "forbids" in warning


@pytest.mark.node
def test_forbidden_fields_are_an_error(client, restricted, index, encoder, caplog):
    """If the fields are missing and mapping changes forbidden, ingest fails, naming the permission."""
    create_index(client, index)
    with pytest.raises(ClusterError, match=r"403.*indices:admin/mapping/put"):
        ingest_index(restricted[0], index, encoder)
    assert ingest_warnings(caplog) == []


@pytest.mark.node
def test_a_forbidden_record_fails_no_removal(client, restricted, index, encoder, bundle, caplog):
    """If mapping changes are forbidden, the values are removed, and the record stays with a warning."""
    create_index(client, index)
    ingest_index(client, index, encoder)
    assert remove_from_index(restricted[0], index, no_progress, ACCEPT_OUTAGES).written == 2
    assert read_meta(client, index) == {"anthem": {"anthem": make_record(bundle, "title")}}
    (warning,) = ingest_warnings(caplog)
    assert "forbids" in warning


@pytest.mark.node
def test_the_record_is_not_worth_an_outage(client, index, encoder, bundle, monkeypatch, caplog):
    """On a release where a mapping change makes shards fail, the record is only written if outages are accepted."""
    create_index(client, index)
    client.indices.put_mapping(index=index, body=ModelFields().mapping(bundle.dimension))
    monkeypatch.setattr(index_io, "read_release", lambda _: Release(2, 19, 1))
    assert ingest_index(client, index, encoder).written == 2
    assert read_meta(client, index) == {}
    (warning,) = ingest_warnings(caplog)
    assert "shards fail" in warning
    ingest_index(client, index, encoder, options=ACCEPT_OUTAGES)
    assert read_meta(client, index) == {"anthem": {"anthem": make_record(bundle, "title")}}
