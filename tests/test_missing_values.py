"""Reasons for a search without values to rank by are true, and name an index that `anthem ingest` accepts."""

import uuid

import pytest
from click.testing import CliRunner
from shipped_words import DIMENSION
from small_index import match, model_documents

from anthem_core.opensearch.schema import ModelFields
from anthem_ingest.cli import ingest
from anthem_plugin.client import AnthemClient
from anthem_plugin.options import ClientOptions
from anthem_plugin.scoring.params import ScoringParams
from anthem_plugin.search.index_signals import read_index_signals
from anthem_plugin.search.missing_values import find_untitled
from anthem_plugin.search.request import NO_HITS_REASON, NO_INDEX_REASON, no_values_reason

pytestmark = pytest.mark.node

MODES = ["cluster", "client", "filter"]
TITLES = ["fire tv", "fire tv stick", "fire pit tv"]
NO_TEXTS = ClientOptions(text_fields=())


@pytest.fixture(scope="module")
def create(client, encoder):
    """Function that creates an index of some titles, with the model's values in an object, or without any."""
    prefix = f"test-missing-{uuid.uuid4().hex}"

    def create_index(suffix, titles=TITLES, stored_in="anthem", **mapping):
        name = f"{prefix}-{suffix}"
        documents = model_documents(encoder, titles) if stored_in else [{}] * len(titles)
        mappings = {"properties": {"title": {"type": "text"}}, **mapping}
        if stored_in:
            record = {"model": encoder.bundle.model_id, "fields": ["title"]}
            mappings["properties"] |= ModelFields(stored_in).mapping(DIMENSION)["properties"]
            mappings["_meta"] = {"anthem": {stored_in: record}}
        client.indices.create(index=name, body={"mappings": mappings})
        for title, values in zip(titles, documents, strict=True):
            product = {"title": title, **({stored_in: values["anthem"]} if stored_in else {})}
            client.index(index=name, body=product, params={"refresh": "true"})
        return name

    yield create_index
    client.indices.delete(index=f"{prefix}*", params={"expand_wildcards": "all"})


@pytest.fixture(scope="module")
def shoes(create):
    """An ingested index, the first by name, whose products the query does not match; its object is the search's."""
    return create("a-shoes", ["red shoe", "blue shoe"])


@pytest.fixture(scope="module")
def bare(create):
    """An index without values of a model."""
    return create("bare", stored_in=None)


@pytest.mark.parametrize("mode", MODES)
def test_values_in_another_object_are_not_missing(client, encoder, create, shoes, mode):
    """If all hits have their values in another object than the rest of the alias, the reason names that object."""
    other = create(f"mv-{mode}", stored_in="mv")
    response = AnthemClient(client, encoder, NO_TEXTS).search(f"{shoes},{other}", match("fire tv"), mode=mode)
    assert not response["anthem"]["reranked"]
    assert response["anthem"]["reason"].startswith(f"{other} is not ranked: the values of this model are in `mv`")


def test_indices_that_texts_rank_are_not_called_unranked(client, encoder, create, shoes):
    """In client mode, texts rank an index whose values are elsewhere; the note says that only containment lacks."""
    other = create("texts", stored_in="mv")
    report = AnthemClient(client, encoder).search(f"{shoes},{other}", match("fire tv"), mode="client")["anthem"]
    assert (report["reranked"], report["signals"]) == (True, ["lexical", "attention"])
    assert report["reason"].startswith(f"{other} is ranked without containment: the values of this model are in `mv`")
    both = AnthemClient(client, encoder).search(f"{shoes},{other}", match("fire tv shoe"), mode="client")["anthem"]
    assert both["reason"].startswith(f"{other} is not ranked: ")  # by the stored values of the others


@pytest.mark.parametrize("excludes", [["anthem*"], ["anthem.vector"]])
def test_vectors_outside_the_source_are_reported(client, encoder, create, excludes):
    """Client mode cannot read what an index keeps out of `_source`, and says so; cluster mode ranks by it."""
    name = create(f"excludes-{len(excludes[0])}", _source={"excludes": excludes})
    anthem = AnthemClient(client, encoder)
    inside, outside = (anthem.search(name, match("fire tv"), mode=mode)["anthem"] for mode in ("cluster", "client"))
    assert (inside["signals"], inside["reason"]) == (["lexical", "containment", "attention"], None)
    assert outside["signals"] == ["lexical", "attention"]
    assert outside["reason"].startswith(f"the _source of {name} leaves out `anthem.vector`")
    product = client.search(index=name, body=match("fire tv"))["hits"]["hits"][0]["_id"]
    notes = " ".join(anthem.explain(name, match("fire tv"), product).notes)
    assert outside["reason"] in notes
    assert "anthem ingest" not in notes


def test_without_anything_in_the_source_nothing_is_missing(client, encoder, create):
    """If client mode reads neither values nor texts, the reason is the `_source`, not an ingest that was forgotten."""
    name = create("no-source", _source={"excludes": ["anthem*"]})
    report = AnthemClient(client, encoder, NO_TEXTS).search(name, match("fire tv"), mode="client")["anthem"]
    assert not report["reranked"]
    assert report["reason"].startswith(f"the _source of {name} leaves out ")


@pytest.mark.parametrize("mode", [*MODES, "retrieve"])
def test_a_closed_index_has_no_missing_values(client, encoder, create, mode):
    """A search of closed indices alone says that nothing was searched, by name and by a pattern."""
    name = create(f"closed-{mode}", stored_in=None)
    client.indices.close(index=name)
    for index in (name, f"{name}*"):
        anthem = AnthemClient(client, encoder, NO_TEXTS)
        report = anthem.search(index, match("fire tv"), mode=mode, ignore_unavailable=True)["anthem"]
        assert (report["reranked"], report["reason"]) in [(False, NO_INDEX_REASON), (False, NO_HITS_REASON)]


@pytest.mark.parametrize("mode", MODES)
def test_without_hits_no_values_are_missing(client, encoder, bare, mode):
    """A search of an index without values that finds nothing has no hits, rather than hits without values."""
    report = AnthemClient(client, encoder, NO_TEXTS).search(bare, match("zzzz"), mode=mode)["anthem"]
    assert (report["reranked"], report["reason"]) == (False, NO_HITS_REASON)


@pytest.mark.parametrize("mode", MODES)
def test_a_reason_advises_no_ingest_of_several_indices(client, encoder, create, bare, mode):
    """The advice names the one index that a pattern or an alias leads to; of several it lists the names."""
    anthem, second = AnthemClient(client, encoder, NO_TEXTS), create(f"second-{mode}", stored_in=None)
    for index in (bare, f"{bare}*"):
        assert anthem.search(index, match("fire tv"), mode=mode)["anthem"]["reason"] == no_values_reason(bare)
    reason = anthem.search(f"{bare},{second}", match("fire tv"), mode=mode)["anthem"]["reason"]
    assert reason.endswith(f"; run anthem ingest INDEX for each of {bare}, {second}")


@pytest.mark.parametrize("mode", MODES)
def test_the_advice_is_for_the_indices_of_the_hits(client, encoder, create, shoes, mode):
    """If the products of one of several ingested indices lack values, only that index is named."""
    mapped = create(f"mapped-{mode}", stored_in=None, properties={
        "title": {"type": "text"}, **ModelFields().mapping(DIMENSION)["properties"]})  # fmt: skip
    report = AnthemClient(client, encoder, NO_TEXTS).search(f"{shoes},{mapped}", match("fire tv"), mode=mode)["anthem"]
    assert (report["reranked"], report["reason"]) == (False, no_values_reason(mapped))


@pytest.mark.parametrize("index", ["shop*", "a,b", ["a", "b"], "<shop-{now/d}>"])
def test_what_names_several_indices_is_no_argument_of_the_command(index):
    """Without their mappings, the names of the indices behind a pattern are unknown: the command has a placeholder."""
    assert "run anthem ingest INDEX for each of " in no_values_reason(index)


@pytest.fixture
def untitled(client, create):
    """An index whose products have texts, but none in `title`."""
    name = create("untitled", [], stored_in=None, properties={
        "name": {"type": "text"}, "brand": {"type": "keyword"}, "size": {"properties": {"words": {"type": "text"}}},
        "variants": {"type": "nested", "properties": {"label": {"type": "text"}}}})  # fmt: skip
    for number, title in enumerate(TITLES):
        client.index(index=name, id=str(number), body={"name": title}, params={"refresh": "true"})
    yield name
    client.indices.delete(index=name)


NAME_QUERY = {"query": {"match": {"name": "fire tv"}}}


@pytest.mark.parametrize("mode", [*MODES, "retrieve"])
def test_the_advice_of_an_index_without_titles_can_be_followed(cluster, client, encoder, untitled, mode):
    """If `ingest` needs the name of a field, the advice has the option, and the fields that it may name."""
    reason = AnthemClient(client, encoder, NO_TEXTS).search(untitled, NAME_QUERY, mode=mode)["anthem"]["reason"]
    advice = f"run: anthem ingest {untitled} --field FIELD, where FIELD holds the product text (its text fields are "
    assert f"; {advice}name, size.words), because no product has a title" in reason
    arguments = [untitled, "--field", "name", "--bundle", str(encoder.bundle.path), "--url", cluster]
    assert CliRunner().invoke(ingest, arguments).exit_code == 0
    assert AnthemClient(client, encoder, NO_TEXTS).search(untitled, NAME_QUERY)["anthem"]["reranked"]
    client.index(index=untitled, body={"name": "igloo"}, params={"refresh": "true"})
    client.index(index=untitled, body={"name": "igloo tent"}, params={"refresh": "true"})
    body = {"query": {"match": {"name": "igloo"}}}
    report = AnthemClient(client, encoder, NO_TEXTS).search(untitled, body)["anthem"]
    assert report["reason"] == no_values_reason(untitled)  # the fields are recorded now


def test_the_advice_for_several_indices_names_those_without_titles(client, encoder, bare, untitled):
    """Of several indices, the option that names a field is for those where no product has a title."""
    body = {"query": {"multi_match": {"query": "fire tv", "fields": ["title", "name"]}}}
    reason = AnthemClient(client, encoder, NO_TEXTS).search(f"{bare},{untitled}", body)["anthem"]["reason"]
    ending = f"each of {bare}, {untitled}, with --field FIELD for {untitled}, where no product has a title"
    assert reason.endswith(ending)


def test_text_fields_without_text_are_named(client, encoder, untitled):
    """If client mode finds no text to rank by, the reason names the fields that it read, and how to name others."""
    for options, read in ((None, "title"), (ClientOptions(text_fields=["nope", "nono"]), "nope, nono")):
        report = AnthemClient(client, encoder, options).search(untitled, NAME_QUERY, mode="client")["anthem"]
        remedy = f"no hit has text in {read}: name the fields of the product text (text_fields)"
        assert (report["reranked"], report["reason"].endswith(remedy)) == (False, True)
    named = ClientOptions(text_fields="name")
    assert AnthemClient(client, encoder, named).search(untitled, NAME_QUERY, mode="client")["anthem"]["reranked"]


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [({"properties": {"title": {"type": "keyword"}}}, None), ({"dynamic": "false", "properties": {}}, None),
     ({"properties": {"name": {"type": "text"}}, "_meta": {"anthem": {"anthem": {"model": "x", "fields": ["name"]}}}},
      None),
     ({"properties": {}}, ()), ({"properties": {"title": {"type": "alias"}, "name": {"type": "text"}}}, ("name",)),
     ({"properties": {"title": {"properties": {"en": {"type": "text"}}}}}, ("title.en",))],
)  # fmt: skip
def test_where_ingest_needs_the_name_of_a_field(mapping, expected):
    """It needs one if no product can have text in `title`, unless an ingest has recorded its fields."""
    assert find_untitled({"shop": mapping}) == ({} if expected is None else {"shop": expected})


def test_a_fault_of_several_indices_names_them(bundle):
    """A field that several indices map wrongly is a fault for each of its types, and names the indices."""
    wrong = {"a": "float", "b": "long", "c": "float"}
    mappings = {
        name: {"properties": {"anthem": {"properties": {"vector": {"type": kind}}}}} for name, kind in wrong.items()
    }
    _, faults = read_index_signals(mappings, ScoringParams.from_bundle(bundle))
    starts = ["in a, c `anthem.vector` is mapped as float, not", "in b `anthem.vector` is mapped as long, not"]
    assert [fault[: len(start)] for fault, start in zip(faults, starts, strict=True)] == starts
