"""Which fields can give the text of a product: by the mapping, and by what the products of a real node hold."""

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from anthem_core.errors import ClusterError
from anthem_core.opensearch.schema import ModelFields, ingested_fields
from anthem_ingest.actions import ProductDocument
from anthem_ingest.cli import ingest
from anthem_ingest.ingest import ingest_index, load_documents, survey_index
from anthem_ingest.mapping import IndexDescription
from anthem_ingest.text_fields import (
    check_text_fields,
    find_empty_fields,
    find_nested_parent,
    iterate_text_paths,
    list_text_fields,
)

TEXT, KEYWORD = {"type": "text"}, {"type": "keyword"}
CONSTANT = {"type": "constant_keyword", "value": "a"}
LANGUAGES = {"properties": {"en": TEXT, "de": TEXT}}


def describe(properties, **mappings):
    """An index with these fields."""
    return IndexDescription("products", {"properties": properties, **mappings}, {})


@pytest.mark.parametrize("field", ["title", "brand.name", "hidden.any", "raw", "raw.any", "flat", "flat.a.b"])
def test_fields_that_can_hold_text_are_accepted(field):
    """A mapped field is accepted, and any field under an object that is not mapped in detail."""
    properties = {
        "title": TEXT,
        "brand": {"properties": {"name": TEXT}},
        "hidden": {"dynamic": "false", "properties": {}},
        "raw": {"type": "object", "enabled": False},
        "flat": {"type": "flat_object"},
    }
    check_text_fields(describe(properties), [field])


@pytest.mark.parametrize(
    ("field", "usable"),
    [
        ("titel", "title, names.de, names.en"),
        ("title.keyword", "title, names.de, names.en"),
        ("name", "title, names.de, names.en"),
        ("names", "names.en, names.de"),
        ("reviews", "title, names.de, names.en"),
        ("extra", "title, names.de, names.en"),
    ],
)
def test_fields_that_cannot_hold_text_are_refused(field, usable):
    """A field that is not mapped, a multi-field, an alias and an object are refused, and fields that would do named."""
    properties = {
        "title": {"type": "text", "fields": {"keyword": KEYWORD}, "copy_to": "everything"},
        "everything": TEXT,
        "sku": KEYWORD,
        "name": {"type": "alias", "path": "title"},
        "names": LANGUAGES,
        "reviews": {"type": "nested", "properties": {"text": TEXT}},
        "extra": {"type": "object"},
        **ModelFields().mapping(4)["properties"],
    }
    with pytest.raises(ClusterError, match=f"can have text in {field}\\.") as refused:
        check_text_fields(describe(properties), [field])
    named = str(refused.value).partition("Fields with text are: ")[2].partition(". ")[0]
    assert set(named.split(", ")) == set(usable.split(", "))


@pytest.mark.parametrize("path", ["variants.title", "variants.sizes.title"])
def test_a_nested_title_is_refused(path):
    """Only nested queries find it, so it cannot be the first text field; it may follow one that searches find."""
    parent = path.removesuffix(".title")
    nested = {
        "type": "nested",
        "properties": {"title": TEXT, "sizes": {"type": "nested", "properties": {"title": TEXT}}},
    }
    index = describe({"title": TEXT, "variants": nested})
    with pytest.raises(ClusterError, match=r"nested object variants, where only .* nested objects first: title\. "):
        check_text_fields(index, [path, "title"])
    check_text_fields(index, ["title", path])
    for option in ("include_in_root", "include_in_parent"):
        flat = {
            **nested,
            option: True,
            "properties": {**nested["properties"], "sizes": {**nested["properties"]["sizes"], option: True}},
        }
        check_text_fields(describe({"variants": flat}), [path])
    assert parent.startswith(find_nested_parent(index.mappings, path))


def test_keywords_are_named_where_there_is_no_full_text():
    """Full-text fields come first; an index that has only keywords names these."""
    assert list_text_fields(describe({"sku": KEYWORD, "price": {"type": "float"}}).mappings) == ["sku"]
    assert list_text_fields({}) == []


names = st.sampled_from(["title", "brand", "note"])


@given(st.lists(st.dictionaries(names, st.sampled_from(["red", "", None, 7, {"en": "red"}, ["sofa"], []]))))
def test_a_field_is_empty_if_no_source_has_text_in_it(sources):
    """A field is found as soon as one source has a string or a number in it; objects and empty values have none."""
    filled = {name for source in sources for name, value in source.items() if value in ("red", 7, ["sofa"])}
    assert find_empty_fields(["title", "brand", "note"], sources) == [
        name for name in ("title", "brand", "note") if name not in filled
    ]


def test_the_strings_of_a_source_are_listed_with_their_paths():
    """Paths lead through objects and lists; a model's object is left out, a field of the user's of that name is not."""
    source = {
        "a": "x",
        "b": {"c": ["y", {"d": "z"}]},
        "n": 1,
        "anthem": {"model": "0123456789abcdef"},
        "anthem_01234567": {"year": "2"},
    }
    assert set(iterate_text_paths(source)) == {"a", "b.c", "b.c.d", "anthem_01234567.year"}


def create_index(client, index, documents, properties=None, **mappings):
    """Create an index with these products."""
    client.indices.create(index=index, body={"mappings": {"properties": properties or {}, **mappings}})
    for number, document in enumerate(documents):
        client.index(index=index, id=str(number), body=document)
    client.indices.refresh(index=index)


NAMED = {"name": {"type": "text", "copy_to": "everything"}, "everything": TEXT}


@pytest.mark.node
@pytest.mark.parametrize(
    ("field", "document", "mappings", "usable"),
    [
        ("everything", {"name": "red shoe"}, {"properties": NAMED}, "name"),
        ("title", {"title": {"en": "shoe", "de": "Schuh"}}, {"properties": {"title": LANGUAGES}}, "title.en, title.de"),
        ("titel", {"title": "red shoe"}, {"properties": {"title": TEXT}, "dynamic": "false"}, "title"),
        ("titel", {"title": "shoe", "brand": {"name": "Acme"}}, {"dynamic": "false"}, "brand.name, title"),
        ("titel", {"title": "red shoe"}, {"properties": {"title": TEXT}}, "title"),
        ("titel", {"title": "red shoe"}, {"properties": {"title": TEXT}, "dynamic": "strict"}, "title"),
        ("subtitle", {"title": "shoe"}, {"properties": {"title": TEXT, "subtitle": TEXT}}, "title"),
        ("shop", {"title": "shoe"}, {"properties": {"title": TEXT, "shop": CONSTANT}}, "title"),
    ],
)  # fmt: skip
def test_a_field_that_no_source_has_is_refused(client, index, encoder, field, document, mappings, usable):
    """Ingest refuses it before it writes anything, names it, and names fields with text."""
    create_index(client, index, [document] * 3, **mappings)
    before = client.indices.get_mapping(index=index)
    for call in (ingest_index, lambda *given, **named: survey_index(*given[:2], encoder.bundle, **named)):
        with pytest.raises(ClusterError, match=f"can have text in {field}\\.") as refused:
            call(client, index, encoder, text_fields=[field])
        assert f"Fields with text are: {usable}." in str(refused.value) or field == "title"
        assert all(name in str(refused.value) for name in usable.split(", "))
    assert client.indices.get_mapping(index=index) == before


@pytest.mark.node
def test_a_field_that_only_some_products_have_is_ingested(client, index, encoder):
    """If one product of many has the field, even the last one, all are ingested as before; so is an empty index."""
    create_index(client, index, [], {"title": TEXT})
    assert ingest_index(client, index, encoder).products == 0
    create_index(client, f"{index}-b", [*[{"note": "x"}] * 20, {"title": "red shoe"}], {"title": TEXT, "note": TEXT})
    report = ingest_index(client, f"{index}-b", encoder)
    assert (report.written, report.empty) == (1, 20)


@pytest.mark.node
def test_a_string_is_one_field(client, index, encoder):
    """Where the Python API takes text fields, a string is the name of one field."""
    create_index(client, index, [{"name": "red shoe"}], {"name": TEXT})
    assert survey_index(client, index, encoder.bundle, text_fields="name").products == 1
    assert ingest_index(client, index, encoder, text_fields="name").written == 1
    document = ProductDocument("2", {"name": "boot"})
    assert load_documents(client, index, [document], encoder, text_fields="name").written == 1
    mappings = client.indices.get_mapping(index=index)[index]["mappings"]
    assert ingested_fields(mappings, "anthem") == ("name",)


@pytest.mark.node
def test_the_command_ends_in_6_for_such_a_field(client, cluster, index):
    """The command refuses a field that copy_to fills, and says what to name instead."""
    create_index(client, index, [{"name": "red shoe"}], NAMED)
    result = CliRunner().invoke(ingest, [index, "--field", "everything", "--url", cluster])
    assert result.exit_code == 6
    assert "Fields with text are: name" in result.output
