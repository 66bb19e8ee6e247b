"""Laws of what an index must be like to take points."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.errors import ClusterError
from anthem_core.opensearch.schema import VectorFields
from anthem_core.opensearch.versions import Release
from anthem_ingest.mapping import (
    IndexDescription,
    build_missing_mapping,
    build_new_index_body,
    check_index_name,
    check_index_writable,
    check_mapping_changes,
    check_source,
    check_text_fields,
)

NAMES = VectorFields()
OPENSEARCH_3_6 = "137277827"
OPENSEARCH_2_11 = str(2110099 ^ 0x08000000)
ANCESTOR_7_10 = "7100299"


def an_index(mappings=None, created=OPENSEARCH_3_6, **settings):
    """Return an index as the cluster would describe it."""
    return IndexDescription("shop", mappings or {}, {"version": {"created": created}, **settings})


@pytest.mark.parametrize("name", ["", "_all", "shop-*", "a,b", "sho?", "remote:shop"])
def test_patterns_are_refused(name):
    """A name that can stand for several indices, or for one elsewhere, is refused."""
    with pytest.raises(ClusterError, match="no name of one index"):
        check_index_name(name)


@given(st.from_regex(r"[a-z0-9äß][a-z0-9_.\-äß]*", fullmatch=True))
def test_names_of_one_index_are_taken(name):
    """Any other name is taken."""
    check_index_name(name)


@pytest.mark.parametrize(
    ("created", "version"), [(OPENSEARCH_3_6, (3, 6, 0)), (OPENSEARCH_2_11, (2, 11, 0)), (ANCESTOR_7_10, (0, 0, 0))]
)
def test_the_version_that_created_an_index_is_read(created, version):
    """The id an index keeps of its version gives major and minor."""
    assert an_index(created=created).created == version


@pytest.mark.parametrize("block", ["read_only", "read_only_allow_delete", "write", "metadata"])
def test_a_blocked_index_is_refused_with_the_cure(block):
    """A blocked index is refused, with the request that lifts the block."""
    with pytest.raises(ClusterError, match=rf"index\.blocks\.{block}"):
        check_index_writable(an_index(blocks={block: "true"}))
    check_index_writable(an_index(blocks={block: "false"}))


def test_an_old_index_takes_points_only_with_knn():
    """An index from before 2.17 is refused unless it was made for vectors."""
    with pytest.raises(ClusterError, match="Reindex"):
        check_index_writable(an_index(created=OPENSEARCH_2_11))
    check_index_writable(an_index(created=OPENSEARCH_2_11, knn="true"))


@pytest.mark.parametrize("source", [{"enabled": False}, {"excludes": ["price"]}, {"includes": ["title"]}])
def test_an_update_that_would_lose_something_is_refused(source):
    """Where `_source` is not whole, an update in place would lose data, so there is none."""
    with pytest.raises(ClusterError, match="whole _source"):
        check_source(an_index({"_source": source}))
    check_source(an_index({"_source": {"enabled": True}}))


@pytest.mark.parametrize("field", ["title", "brand.name", "hidden.any", "raw.any", "flat.a.b"])
def test_fields_documents_can_have_are_taken(field):
    """A mapped field is taken, and any below an object the mapping does not look into."""
    properties = {
        "title": {"type": "text"},
        "brand": {"properties": {"name": {"type": "text"}}},
        "hidden": {"dynamic": "false", "properties": {}},
        "raw": {"type": "object", "enabled": False},
        "flat": {"type": "flat_object"},
    }
    check_text_fields(an_index({"properties": properties}), [field])


@pytest.mark.parametrize("field", ["titel", "title.keyword", "name"])
def test_fields_no_document_has_are_refused(field):
    """A field that is not mapped, a multi-field or an alias has no value of its own and is refused."""
    properties = {
        "title": {"type": "text", "fields": {"keyword": {"type": "keyword"}}},
        "name": {"type": "alias", "path": "title"},
    }
    with pytest.raises(ClusterError, match=f"no field {field}"):
        check_text_fields(an_index({"properties": properties}), [field])


@given(st.sets(st.sampled_from(["vector", "model", "text_hash"])), st.integers(1, 512), st.booleans())
def test_only_the_missing_fields_are_added(there, dimension, knn):
    """Fields that are there are left alone, the others are added, and then nothing is missing."""
    whole = NAMES.mapping(dimension)["properties"]["anthem"]["properties"]
    present = {name: whole[name] for name in there}
    settings = {"knn": "true"} if knn else {}
    index = an_index({"properties": {"anthem": {"properties": present}}}, **settings)
    body = build_missing_mapping(index, NAMES, dimension)
    added = body["properties"]["anthem"]["properties"] if body else {}
    assert set(added) == set(whole) - there
    assert ("method" in added.get("vector", {})) == (knn and "vector" not in there)
    full = an_index({"properties": {"anthem": {"properties": present | added}}}, **settings)
    assert build_missing_mapping(full, NAMES, dimension) is None


@pytest.mark.parametrize(
    "field",
    [
        {"type": "keyword"},
        {"properties": {"vector": {"type": "knn_vector", "dimension": 33}}},
        {"properties": {"vector": {"type": "float"}}},
        {"properties": {"model": {"type": "text"}}},
    ],
)
def test_other_fields_of_these_names_are_refused(field):
    """A field of the same name with another type or dimension is refused, and the message says what to do."""
    with pytest.raises(ClusterError, match="_reindex"):
        build_missing_mapping(an_index({"properties": {"anthem": field}}), NAMES, 64)


def test_a_new_index_lacks_nothing():
    """An index made for products takes points at once, and an update in place loses nothing of it."""
    index = an_index(build_new_index_body(NAMES, 64)["mappings"])
    assert build_missing_mapping(index, NAMES, 64) is None
    check_text_fields(index, ["title", "text"])
    check_source(index)


def test_a_new_index_with_graphs_lacks_nothing():
    """Made with graphs, a new index names the engine for them, and takes points at once too."""
    body = build_new_index_body(NAMES, 64, knn=True)
    assert body["settings"]["index.knn"] is True
    assert body["mappings"]["properties"]["anthem"]["properties"]["vector"]["method"]["engine"] == "lucene"
    assert build_missing_mapping(an_index(body["mappings"], knn="true"), NAMES, 64) is None


OPEN = {"properties": {"title": {"type": "text"}}}


@pytest.mark.parametrize("release", [Release(2, 19), Release(2, 19, 2)])
def test_an_index_that_would_lose_shards_is_refused(release):
    """Before 2.19.3 an index without graphs that takes new fields is refused: what was found, wanted, to do."""
    wanted = rf"on OpenSearch {release}: .*Wanted: 2\.19\.3 or newer.*Upgrade, or .*ANTHEM_ACCEPT_OUTAGES"
    with pytest.raises(ClusterError, match=wanted):
        check_mapping_changes(an_index(OPEN), release)
    with pytest.raises(ClusterError, match=wanted):
        check_mapping_changes(an_index({**OPEN, "dynamic": "true"}), release)


@pytest.mark.parametrize(
    ("index", "release"),
    [
        (an_index(OPEN), Release(2, 19, 3)),
        (an_index(OPEN), Release(3, 0)),
        (an_index(OPEN, knn="true"), Release(2, 19)),
        (an_index({**OPEN, "dynamic": "strict"}), Release(2, 19)),
        (an_index({**OPEN, "dynamic": False}), Release(2, 19)),
        (an_index(NAMES.mapping(64)), Release(2, 19)),
    ],
)
def test_an_index_that_loses_none_is_taken(index, release):
    """A newer release, graphs, a closed mapping, or vectors that are there already: nothing is refused."""
    check_mapping_changes(index, release)
