"""What an index must be like to take a model's values, and the mappings that ingest adds."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.errors import ClusterError
from anthem_core.opensearch.schema import MODEL_SIGNALS, VALUE_OF_SIGNAL, ModelFields
from anthem_core.opensearch.versions import Release
from anthem_ingest.conflicts import UsersFieldError
from anthem_ingest.ingest import ingest_index
from anthem_ingest.mapping import (
    IndexDescription,
    build_missing_mapping,
    check_index_name,
    check_index_writable,
    check_mapping_changes,
    check_source,
    check_takes_vectors,
    model_objects,
    vector_objects,
)
from anthem_ingest.new_index import build_new_index_body, plan_index
from anthem_ingest.text_fields import check_text_fields

FIELDS = ModelFields()
OPENSEARCH_3_6 = "137277827"
OPENSEARCH_2_11 = str(2110099 ^ 0x08000000)
ANCESTOR_7_10 = "7100299"


def describe(mappings=None, created=OPENSEARCH_3_6, **settings):
    """An index as the cluster would describe it."""
    return IndexDescription("products", mappings or {}, {"version": {"created": created}, **settings})


@pytest.mark.parametrize("name", ["", "_all", "products-*", "a,b", "product?", "remote:products"])
def test_patterns_are_refused(name):
    """A name that can stand for several indices, or for one elsewhere, is refused."""
    with pytest.raises(ClusterError, match="not the name of one index"):
        check_index_name(name)


@given(st.from_regex(r"[a-z0-9äß][a-z0-9_.\-äß]*", fullmatch=True))
def test_names_of_one_index_are_accepted(name):
    """Any other name is accepted."""
    check_index_name(name)


@pytest.mark.parametrize(
    ("created", "version"), [(OPENSEARCH_3_6, (3, 6, 0)), (OPENSEARCH_2_11, (2, 11, 0)), (ANCESTOR_7_10, (0, 0, 0))]
)
def test_the_version_that_created_an_index_is_read(created, version):
    """The version id of an index gives the release that created it."""
    assert describe(created=created).created == version


@pytest.mark.parametrize("block", ["read_only", "read_only_allow_delete", "write", "metadata"])
def test_a_blocked_index_is_refused(block):
    """A blocked index is refused, and the message has the request that removes the block."""
    with pytest.raises(ClusterError, match=rf"index\.blocks\.{block}"):
        check_index_writable(describe(blocks={block: "true"}))
    check_index_writable(describe(blocks={block: "false"}))


def test_a_message_names_every_block_of_an_index():
    """The request in the message removes all blocks at once."""
    removed = r'PUT /[^/]+/_settings \{"index.blocks.read": null, "index.blocks.write": null\}'
    with pytest.raises(ClusterError, match=removed):
        check_index_writable(describe(blocks={"read": "true", "write": "true"}))


def test_an_old_index_takes_vectors_only_with_knn():
    """An index created before 2.17 is refused unless it has `index.knn`."""
    with pytest.raises(ClusterError, match="Reindex"):
        check_takes_vectors(describe(created=OPENSEARCH_2_11))
    check_takes_vectors(describe(created=OPENSEARCH_2_11, knn="true"))


@given(
    st.lists(
        st.tuples(st.sampled_from(["anthem", "anthem_0123abcd", "anthem_x"]), st.sets(st.sampled_from(MODEL_SIGNALS)))
    )
)
def test_objects_of_models_are_found_by_any_value(objects):
    """An object with one of the values is a model's, whichever it is; one with another name, or with none, is not."""
    properties = {name: FIELDS.mapping(3, signals)["properties"]["anthem"] for name, signals in objects}
    has = {name: signals for name, signals in dict(objects).items() if name != "anthem_x"}
    assert set(model_objects({"properties": properties})) == {name for name, signals in has.items() if signals}
    assert set(vector_objects({"properties": properties})) == {name for name in has if "containment" in has[name]}
    assert model_objects({"properties": {"anthem": {"properties": {"trigrams": {"type": "binary"}}}}}) == ()


@pytest.mark.parametrize("source", [{"enabled": False}, {"excludes": ["price"]}, {"includes": ["title"]}])
def test_an_update_that_would_lose_something_is_refused(source):
    """If `_source` is not whole, an update would lose data, so the index is refused."""
    with pytest.raises(ClusterError, match=r"whole _source|keeps no _source"):
        check_source(describe({"_source": source}))
    check_source(describe({"_source": {"enabled": True}}))


@given(
    st.sets(st.sampled_from(["vector", "trigrams", "model", "text_hash"])),
    st.integers(1, 512),
    st.booleans(),
    st.sets(st.sampled_from(MODEL_SIGNALS), min_size=1),
)
def test_only_the_missing_fields_are_added(there, dimension, knn, signals):
    """Only missing fields of the signals are added, and after that none is missing; a lone id or hash is the user's."""
    every = FIELDS.mapping(dimension)["properties"]["anthem"]["properties"]
    whole = FIELDS.mapping(dimension, signals)["properties"]["anthem"]["properties"]
    assert set(whole) == {"model", "text_hash"} | {VALUE_OF_SIGNAL[signal] for signal in signals}
    present = {name: every[name] for name in there}
    settings = {"knn": "true"} if knn else {}
    index = describe({"properties": {"anthem": {"properties": present}}}, **settings)
    if len(there) == 1 and there < {"model", "text_hash"}:
        with pytest.raises(UsersFieldError, match=f"with the fields {next(iter(there))}"):
            build_missing_mapping(index, FIELDS, dimension, signals)
        return
    body = build_missing_mapping(index, FIELDS, dimension, signals)
    added = body["properties"]["anthem"]["properties"] if body else {}
    assert set(added) == set(whole) - there
    assert ("method" in added.get("vector", {})) == (knn and "vector" in set(whole) - there)
    full = describe({"properties": {"anthem": {"properties": present | added}}}, **settings)
    assert build_missing_mapping(full, FIELDS, dimension, signals) is None


@pytest.mark.parametrize(
    "field",
    [
        {"properties": {"vector": {"type": "knn_vector", "dimension": 33, "data_type": "BYTE"}}},
        {"properties": {"vector": {"type": "knn_vector", "dimension": 65}}},
        {"properties": {"vector": {"type": "float"}}},
        {"properties": {"model": {"type": "text"}}},
        {"properties": {"trigrams": {"type": "text"}}},
        {"properties": {"trigrams": {"type": "binary"}}},
        {"properties": {"trigrams": {"type": "binary", "doc_values": False}}},
    ],
)
def test_conflicting_fields_are_refused(field):
    """A field of the same name with another type or dimension, or without doc values, is refused with what to do.

    Other vectors, such as the floats of an earlier version, can stay: the new values go into an object of their own.
    A reindex without the object is advised only if an ingest recorded it, because it may be the user's.
    """
    index = describe({"properties": {"anthem": field}})
    has_vectors = field.get("properties", {}).get("vector", {}).get("type") == "knn_vector"
    with pytest.raises(ClusterError, match="ingest products --beside.*--prune" if has_vectors else "--as anthem_val"):
        build_missing_mapping(index, FIELDS, 64)
    recorded = describe({**index.mappings, "_meta": {"anthem": {"anthem": {"model": "0123"}}}})
    with pytest.raises(ClusterError, match="ingest products --beside.*--prune" if has_vectors else "_reindex"):
        build_missing_mapping(recorded, FIELDS, 64)
    values = {"vector", "trigrams"} & field.get("properties", {}).keys()
    for signal, value in VALUE_OF_SIGNAL.items():
        if values and value not in values:
            assert build_missing_mapping(recorded, FIELDS, 64, [signal]), "the other value does not need the field"


def test_a_new_index_is_complete():
    """A new index has all fields of a model, and keeps its whole `_source`."""
    body = build_new_index_body(plan_index("products", {}, Release(3, 6), MODEL_SIGNALS), FIELDS, 64)
    assert body["settings"] == {"auto_expand_replicas": "0-1"}, "the cluster chooses the number of shards"
    index = describe(body["mappings"])
    assert build_missing_mapping(index, FIELDS, 64) is None
    check_text_fields(index, ["title", "text"])
    check_source(index)


def test_a_new_index_with_graphs_is_complete():
    """A new index with graphs names their engine, and has all fields of a model too; without vectors it has none."""
    planned = plan_index("products", {}, Release(2, 19), MODEL_SIGNALS)
    check_mapping_changes(planned, Release(2, 19))
    body = build_new_index_body(planned, FIELDS, 64)
    assert body["settings"]["index.knn"] is True
    assert body["mappings"]["properties"]["anthem"]["properties"]["vector"]["method"]["engine"] == "lucene"
    assert build_missing_mapping(describe(body["mappings"], knn="true"), FIELDS, 64) is None
    planned = plan_index("products", {}, Release(2, 19), ["attention"])
    assert "index.knn" not in build_new_index_body(planned, FIELDS, 64, ["attention"])["settings"]


DYNAMIC_MAPPING = {"properties": {"title": {"type": "text"}}}


@pytest.mark.parametrize("release", [Release(2, 19), Release(2, 19, 2)])
def test_an_index_that_would_lose_shards_is_refused(release):
    """Before 2.19.3 an index without graphs whose mapping can grow is refused, and the message says what to do."""
    message = rf"on OpenSearch {release}: .*Expected: OpenSearch 2\.19\.3 or newer.*: upgrade; .*ANTHEM_ACCEPT_OUTAGES"
    with pytest.raises(ClusterError, match=message):
        check_mapping_changes(describe(DYNAMIC_MAPPING), release)
    with pytest.raises(ClusterError, match=message):
        check_mapping_changes(describe({**DYNAMIC_MAPPING, "dynamic": "true"}), release)
    with pytest.raises(ClusterError, match=message):
        check_mapping_changes(describe(FIELDS.mapping(64, ["attention"])), release)


@pytest.mark.parametrize(
    ("index", "release"),
    [
        (describe(DYNAMIC_MAPPING), Release(2, 19, 3)),
        (describe(DYNAMIC_MAPPING), Release(3, 0)),
        (describe(DYNAMIC_MAPPING, knn="true"), Release(2, 19)),
        (describe({**DYNAMIC_MAPPING, "dynamic": "strict"}), Release(2, 19)),
        (describe({**DYNAMIC_MAPPING, "dynamic": False}), Release(2, 19)),
        (describe(FIELDS.mapping(64)), Release(2, 19)),
    ],
)
def test_an_index_that_keeps_its_shards_is_accepted(index, release):
    """A newer release, graphs, a closed mapping or existing vectors: the index is accepted."""
    check_mapping_changes(index, release)


@pytest.mark.parametrize("enabled", [True, "true", "false", None])
def test_an_index_that_derives_its_source_is_refused(enabled):
    """OpenSearch cannot derive a model's fields, so ingest says what to do before it writes; others are accepted."""
    settings = {} if enabled is None else {"derived_source": {"enabled": enabled}}
    index = IndexDescription("shop", {}, settings)
    if index.derives_source:
        with pytest.raises(ClusterError, match=r"derives its _source.*POST _reindex"):
            check_source(index)
    else:
        check_source(index)
    assert index.derives_source == (str(enabled).lower() == "true")


@pytest.mark.node
def test_a_limit_of_fields_is_explained(client, index, encoder):
    """If the limit leaves no room for the model's fields, the error has the request that raises it, which suffices."""
    settings = {"index.mapping.total_fields.limit": 2}
    mappings = {"properties": {"title": {"type": "text"}, "brand": {"type": "text"}}}
    client.indices.create(index=index, body={"settings": settings, "mappings": mappings})
    client.index(index=index, id="1", body={"title": "red shoe"}, refresh=True)
    with pytest.raises(ClusterError, match=r"may have 2 fields, too few") as refused:
        ingest_index(client, index, encoder)
    request = str(refused.value).partition("_settings ")[2]
    client.indices.put_settings(index=index, body=json.loads(request))
    assert ingest_index(client, index, encoder).written == 1
