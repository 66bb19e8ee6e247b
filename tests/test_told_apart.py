"""`reranked` is true only if a signal of the model tells at least two hits of the window apart."""

import uuid
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from shipped_words import DIMENSION, split_words
from small_index import GRAPH, match, model_documents

from anthem_core.opensearch.schema import ModelFields, fields_of_model
from anthem_plugin.client import AnthemClient
from anthem_plugin.options import ClientOptions
from anthem_plugin.scoring.params import CONTAINMENT, ScoringParams
from anthem_plugin.search.client_mode import distinguishing_signals
from anthem_plugin.search.explain import explain_hits
from anthem_plugin.search.request import (
    NO_HITS_REASON,
    NOT_TOLD_APART_REASON,
    ONE_HIT_REASON,
    no_values_reason,
)
from anthem_plugin.search.told_apart import are_told_apart, text_identity

# Title of each product, and what it has: values of the model, those of another one, or none.
PRODUCTS = {
    "same1": ("fire tv", "own"),
    "same2": ("fire tv", "own"),
    "same3": ("Fire-TV!", "own"),
    "stick": ("fire tv stick", "own"),
    "bare1": ("fire tv", None),
    "bare2": ("fire pit tv", None),
    "other": ("fire tv cube", "other"),
}
AS_STORED = f"knn_vector with dimension {DIMENSION} of type byte"
SIGNALS = ["lexical", "containment", "attention"]
MODES = ["cluster", "client", "retrieve"]
pages = st.tuples(st.integers(0, 9), st.integers(0, 8), st.integers(1, 8))  # from, size, window
subsets = st.lists(st.sampled_from(sorted(PRODUCTS)), unique=True)


def body_of(products, **keys):
    """Body of a search that finds exactly these products."""
    query = {"bool": {"must": match("fire tv")["query"], "filter": {"ids": {"values": products}}}}
    return {"query": query} | keys


@pytest.fixture(scope="module")
def create(client):
    """Function that creates an index of one shard from a mapping and documents by id; they are deleted at the end."""
    names = []

    def create_index(mapping, documents, settings=None):
        name = f"test-apart-{uuid.uuid4().hex}"
        settings = {"number_of_shards": 1} | (settings or {})
        client.indices.create(index=name, body={"settings": settings, "mappings": mapping})
        names.append(name)
        lines = [line for number, document in documents.items() for line in ({"index": {"_id": number}}, document)]
        assert not client.bulk(body=lines, index=name, refresh=True)["errors"]
        return name

    yield create_index
    client.indices.delete(index=",".join(names))


@pytest.fixture(scope="module")
def documents(encoder):
    """Documents of the products by id."""
    values = model_documents(encoder, [title for title, _ in PRODUCTS.values()])
    documents = {}
    for (number, (title, kind)), stored in zip(PRODUCTS.items(), values, strict=True):
        stored["anthem"] |= {"model": "other"} if kind == "other" else {}
        documents[number] = {"title": title} | (stored if kind else {})
    return documents


@pytest.fixture(scope="module")
def index(create, documents, encoder):
    """An index of the products with an HNSW graph."""
    mapping = ModelFields().mapping(encoder.bundle.dimension)
    mapping["properties"]["anthem"]["properties"]["vector"]["method"] = GRAPH
    return create(mapping, documents, {"index.knn": True})


@pytest.fixture(scope="module")
def anthem(client, encoder):
    """A client that reads no texts, so that every mode ranks by the same values."""
    return AnthemClient(client, encoder, ClientOptions(text_fields=()))


def identity(product):
    """What the model knows about a product: the words of its text, or nothing."""
    title, kind = PRODUCTS[product]
    return tuple(split_words(title)) if kind == "own" else None


def ids(response):
    """Ids of the hits, in order."""
    return [hit["_id"] for hit in response["hits"]["hits"]]


@pytest.mark.node
@pytest.mark.parametrize("mode", MODES)
@given(subsets, pages, st.booleans())
@example(["same1", "stick"], (0, 1, 8), False)
@example(["same1", "stick"], (1, 1, 8), True)
@example(["bare1", "same1"], (0, 8, 8), False)
@example(["same1", "stick"], (0, 0, 8), True)
@example(["same1", "stick"], (2, 8, 1), True)
@example(["same1", "stick"], (2, 8, 8), True)
def test_a_search_is_reranked_if_the_window_has_two_texts(client, anthem, index, mode, products, page, filtered):
    """`reranked` says whether the window has two hits of which the model knows different things; if not, it is plain.

    That holds for every page, also for one of a single hit or of none, and with `filter_path`.
    """
    start, size, window = page
    body = body_of(products, **{"from": start, "size": size})
    options = {"filter_path": "_shards,hits"} if filtered and mode != "client" else {}
    plain = client.search(index=index, body=body, preference="_local", **options)
    in_window = ids(client.search(index=index, body=body_of(products, size=50), preference="_local"))
    in_window = in_window if mode == "retrieve" else in_window[:window]
    response = anthem.search(
        index, body, query_text="fire tv", mode=mode, window=window, preference="_local", **options
    )
    expected = len({identity(product) for product in in_window}) > 1
    expected &= bool(plain["hits"]["hits"])
    assert response["anthem"]["reranked"] == expected, response["anthem"]
    if expected:
        assert response["anthem"]["signals"] == SIGNALS
        assert len(ids(response)) == len(ids(plain))
    else:
        assert response["hits"] == plain["hits"]
        assert response["anthem"]["signals"] == []


@pytest.mark.node
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("products", "reason"),
    [
        ([], NO_HITS_REASON),
        (["same1"], ONE_HIT_REASON),
        (["bare1"], ONE_HIT_REASON),
        (["same1", "same3"], NOT_TOLD_APART_REASON),
        (["bare1", "bare2", "other"], None),
        (["same1", "bare1"], ""),
        (["same1", "stick"], ""),
    ],
)
def test_each_case_has_its_reason(anthem, index, mode, products, reason):
    """No hits, one hit, hits of one text and hits without values of the model have reasons of their own."""
    expected = no_values_reason(index) if reason is None else reason or None
    for body in (body_of(products), body_of(products, size=1)):
        assert anthem.search(index, body, query_text="fire tv", mode=mode)["anthem"]["reason"] == expected


@pytest.mark.node
def test_the_hashes_are_removed_unless_requested(client, anthem, index):
    """Hits have the doc values that the caller requested and no others."""
    products = ["same1", "stick", "bare1"]
    for requested in ({}, {"docvalue_fields": ["anthem.text_hash"]}, {"fields": ["anthem.*", "title"]}):
        body = body_of(products) | requested
        plain, response = client.search(index=index, body=body), anthem.search(index, body, query_text="fire tv")
        assert response["anthem"]["reranked"]
        expected = {hit["_id"]: hit.get("fields") for hit in plain["hits"]["hits"]}
        assert {hit["_id"]: hit.get("fields") for hit in response["hits"]["hits"]} == expected


@pytest.mark.node
@pytest.mark.parametrize("mode", ["cluster", "client"])
@pytest.mark.parametrize(
    ("value", "definition", "fault"),
    [
        ("vector", {"type": "float"}, f"is mapped as float, not as {AS_STORED}; a map"),
        (
            "vector",
            {"type": "knn_vector", "dimension": DIMENSION},
            f"is mapped as knn_vector with dimension {DIMENSION}, not as {AS_STORED}; run: anthem",
        ),
        (
            "vector",
            {"type": "knn_vector", "dimension": 3},
            "is mapped as knn_vector with dimension 3, not as knn_vector",
        ),
        (
            "trigrams",
            {"type": "binary"},
            "is mapped as binary without doc values, not as binary with doc values; a map",
        ),
        ("trigrams", {"type": "keyword"}, "is mapped as keyword, not as binary with doc values; a mapping cannot be"),
    ],
)
def test_a_copied_index_has_only_the_signals_of_its_mapping(client, anthem, copies, mode, value, definition, fault):
    """A field of another type is no signal: alone it leaves the search plain, beside another one it is noted."""
    both, only = copies(value, definition)
    noted, plain = (anthem.search(name, match("fire tv"), mode=mode) for name in (both, only))
    signals = ["lexical", "attention" if value == "vector" else "containment"]
    assert (noted["anthem"]["reranked"], noted["anthem"]["signals"]) == (True, signals)
    assert (plain["anthem"]["reranked"], plain["anthem"]["signals"]) == (False, [])
    assert noted["anthem"]["reason"].startswith(f"`anthem.{value}` {fault}")
    assert plain["anthem"]["reason"].startswith(f"`anthem.{value}` {fault}")
    assert plain["hits"] == client.search(index=only, body=match("fire tv"))["hits"]


@pytest.fixture(scope="module")
def copies(create, documents, encoder):
    """Function that copies the index with another definition of a value's field: beside the other value, and alone."""

    def create_copies(value, definition):
        properties = ModelFields().mapping(encoder.bundle.dimension)["properties"]["anthem"]["properties"]
        names = []
        for others in (properties.keys(), properties.keys() - {"vector", "trigrams"}):
            kept = {name: properties[name] for name in others} | {value: definition}
            stored = {
                number: {"title": document["title"]}
                | {key: {name: item for name, item in document[key].items() if name in kept and fits(item, definition)}
                   for key in document.keys() - {"title"}}
                for number, document in documents.items()
            }  # fmt: skip
            names.append(create({"properties": {"anthem": {"properties": kept}}}, stored))
        return names

    def fits(item, definition):
        return definition.get("dimension") != 3 or not isinstance(item, list)

    return create_copies


@pytest.mark.node
@pytest.mark.parametrize("mode", ["cluster", "client"])
@pytest.mark.parametrize("signal", ["containment", "attention"])
def test_an_index_with_one_signal_ranks_by_it(anthem, encoder, create, documents, mode, signal):
    """An index with only vectors ranks by two signals and says so, and so does one with only trigrams."""
    fields = ModelFields()
    missing = "trigrams" if signal == "containment" else "vector"
    stored = {}
    for number, document in documents.items():
        kept = {key: value for key, value in document.get("anthem", {}).items() if key != missing}
        stored[number] = {"title": document["title"]} | ({"anthem": kept} if kept else {})
    name = create(fields.mapping(encoder.bundle.dimension, [signal]), stored)
    response = anthem.search(name, match("fire tv"), mode=mode)
    assert (response["anthem"]["reranked"], response["anthem"]["signals"]) == (True, ["lexical", signal])
    assert response["anthem"]["reason"] is None
    filtered = anthem.search(name, match("fire tv"), mode="filter")["anthem"]
    if signal == "attention":
        assert filtered["reason"] == f"filter mode needs vectors, and {name} has none; run: anthem ingest {name}"
    assert filtered["reranked"] == (signal == "containment")


WRONG_MAPPINGS = {
    "dynamic": {},  # text and numbers
    "typed": {
        "vector": {"type": "float"}, "trigrams": {"type": "keyword"}, "model": {"type": "keyword"},
        "text_hash": {"type": "keyword"},
    },
}  # fmt: skip


@pytest.mark.node
@pytest.mark.parametrize("wrong", WRONG_MAPPINGS)
def test_a_wrong_copy_beside_the_index_has_no_values(client, anthem, encoder, index, create, documents, wrong):
    """Hits of an index with a wrong mapping rank as if it had never been ingested, and the response says why."""
    copied = {f"copy-{number}": document for number, document in documents.items()}
    copy = create({"properties": {"anthem": {"properties": WRONG_MAPPINGS[wrong]}}}, copied)
    both = f"{index},{copy}"
    for mode in ("cluster", "client", "filter"):
        body = body_of(["copy-same1", "copy-stick"])
        response = anthem.search(both, body, query_text="fire tv", mode=mode)
        assert not response["anthem"]["reranked"], mode
        assert response["anthem"]["reason"].startswith(f"{copy} is not ranked: `anthem.vector` is mapped as "), mode
        assert response["hits"] == client.search(index=both, body=body)["hits"]
    body = body_of(["same1", "stick", "copy-same1", "copy-stick"])
    inside, outside = (anthem.search(both, body, query_text="fire tv", mode=mode) for mode in ("cluster", "client"))
    assert inside["anthem"]["signals"] == outside["anthem"]["signals"] == SIGNALS
    assert ids(inside) == ids(outside)
    scores = [[hit["_score"] for hit in response["hits"]["hits"]] for response in (inside, outside)]
    np.testing.assert_allclose(*scores, rtol=1e-6)
    assert all("fields" not in hit for hit in inside["hits"]["hits"])
    region, scoring = encoder.encode_query("fire tv"), anthem.profile(both).scoring
    found = client.search(index=both, body=body)["hits"]["hits"]
    explained = explain_hits(found, [1.0] * len(found), region, scoring, scoring.signals, None)
    assert [part.region is None for part in explained] == [hit["_index"] == copy for hit in found]


@pytest.mark.node
@pytest.mark.parametrize("mode", ["cluster", "retrieve", "client"])
@pytest.mark.parametrize("options", [{}, {"filter_path": "_shards,hits"}], ids=["whole", "filtered"])
def test_a_hit_without_trigrams_has_one_signal(anthem, encoder, create, documents, mode, options):
    """Attention is reported only if a hit has trigrams; otherwise the report names the command that adds them."""
    if options and mode == "client":
        return
    stored = {
        number: document | {"anthem": {key: value for key, value in document["anthem"].items() if key != "trigrams"}}
        for number, document in documents.items()
        if "anthem" in document and number not in ("same1", "other")
    }
    mapping = ModelFields().mapping(encoder.bundle.dimension)
    mapping["properties"]["anthem"]["properties"]["vector"]["method"] = GRAPH
    name = create(mapping, stored | {"same1": documents["same1"]}, {"index.knn": True})

    def report(products):
        return anthem.search(name, body_of(products), query_text="fire tv", mode=mode, **options)["anthem"]

    without, same, one = report(["same2", "stick"]), report(["same2", "same3"]), report(["same1", "same2"])
    missing = f"no product on this page has trigrams of this model; run: anthem ingest {name}"
    assert (without["reranked"], without["signals"]) == (True, ["lexical", "containment"])
    assert without["reason"] == (None if mode == "client" else missing)
    assert (same["reranked"], same["reason"]) == (False, NOT_TOLD_APART_REASON)
    assert (one["reranked"], one["reason"], one["signals"][-1]) == (True, None, "attention")


@pytest.mark.node
def test_the_smallest_of_several_trigrams_counts(anthem, encoder, create, documents):
    """A product with a list of trigrams has the same score in both modes, in whichever order they are listed."""
    packed = [document["anthem"]["trigrams"] for document in documents.values() if "anthem" in document]
    packed = sorted(set(packed))
    stored = {}
    for number, listed in (("up", packed), ("down", packed[::-1]), ("first", packed[:1]), ("last", packed[-1:])):
        values = documents["stick"]["anthem"] | {"trigrams": listed}
        stored[number] = {"title": "fire tv", "anthem": values | {"text_hash": number}}
    name = create(ModelFields().mapping(encoder.bundle.dimension, ["attention"]), stored)
    inside, outside = (anthem.search(name, match("fire tv"), mode=mode) for mode in ("cluster", "client"))
    assert inside["anthem"]["signals"] == outside["anthem"]["signals"] == ["lexical", "attention"]
    scores = [{hit["_id"]: hit["_score"] for hit in response["hits"]["hits"]} for response in (inside, outside)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-6)
    assert scores[1]["up"] == scores[1]["down"]


def test_a_list_of_indices_is_joined():
    """A reason names the indices of a search in one way, whether a list or a string names them."""
    assert no_values_reason(["a", "b"]) == no_values_reason("a,b")
    assert no_values_reason(None) == no_values_reason([]) == no_values_reason("INDEX")


@pytest.mark.node
@pytest.mark.parametrize("mode", ["cluster", "client"])
def test_values_of_another_model_rank_nothing(client, anthem, encoder, create, documents, mode):
    """An index whose values are those of another model is searched plainly, whichever object they are in."""
    own = fields_of_model(encoder.bundle.model_id)
    for fields in (ModelFields(), own):
        stored = {
            number: {"title": document["title"], fields.name: document.get("anthem", {}) | {"model": "other"}}
            for number, document in documents.items()
        }
        name = create(fields.mapping(encoder.bundle.dimension), stored)
        response = anthem.search(name, match("fire tv"), mode=mode)
        assert response["hits"] == client.search(index=name, body=match("fire tv"))["hits"]
        assert response["anthem"]["reason"] == no_values_reason(name)


floats = st.floats(-3, 3) | st.just(float("nan"))


@given(st.lists(floats, min_size=1, max_size=6), st.integers(0, 5))
def test_a_signal_counts_if_two_hits_differ(encoder, values, position):
    """A signal tells hits apart if two values differ, where a missing one is the median; rounding does not count."""
    scoring = ScoringParams.from_bundle(encoder.bundle)
    fusion = scoring.fusion_for(scoring.signals)
    distance, attention = np.array(values), np.full(len(values), np.nan)
    known = np.where(np.isnan(distance), fusion.median_distance, distance)
    expected = {"containment"} if np.ptp(known) > 1e-6 else set()
    assert distinguishing_signals(distance, attention, scoring) == expected
    attention[position % len(values)] = fusion.median_attention + 1e-9
    assert distinguishing_signals(distance, attention, scoring) == expected
    assert distinguishing_signals(None, None, scoring) == set()


def test_a_hit_without_a_hash_has_a_text_of_its_own(encoder):
    """Without stored hashes, as in documents that others wrote, hits with values of the model count as different."""
    scoring = ScoringParams.from_bundle(encoder.bundle)
    scoring = replace(scoring, signals=CONTAINMENT)
    hits = [{"_index": "a", "_id": number, "fields": {"anthem.model": [scoring.model_id]}} for number in "12"]
    assert are_told_apart(hits, scoring)
    assert not are_told_apart(hits[:1], scoring)
    several = {"fields": {"anthem.model": [scoring.model_id, "0"], "anthem.text_hash": ["x"]}}
    assert text_identity(several, scoring) is None, "the script reads the smallest id"
