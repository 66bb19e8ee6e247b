"""`client.explain` on a real node: its numbers are those of the search, and what is missing is said in a note."""

import asyncio
import json

import numpy as np
import pytest
from attention_index import create_index
from hypothesis import given, settings
from hypothesis import strategies as st
from opensearchpy import AsyncOpenSearch
from opensearchpy.exceptions import NotFoundError, RequestError
from small_index import PRODUCTS, large_index, match, model_documents, small_index

from anthem_core.opensearch.schema import ModelFields
from anthem_plugin.client import AnthemClient, AsyncAnthemClient
from anthem_plugin.search.title_explanation import TitleExplainer
from anthem_plugin.service.ui.page_search import PageTarget

pytestmark = pytest.mark.node

WORDS = sorted({word for product in PRODUCTS for word in product.split()} | {"kindel", "wireles", "garden"})
FLOAT32 = 3e-7  # relative, as `_score` is rounded


@pytest.fixture(scope="module")
def index(client, encoder):
    """150 products on one shard, every tenth without values of the model."""
    with large_index(client, encoder, graph=False) as name:
        yield name


@pytest.fixture(scope="module")
def anthem(client, encoder):
    """The client of the shipped bundle."""
    return AnthemClient(client, encoder)


def words_of(grid):
    """The words of a grid that `to_dict` returned."""
    return grid["query"], grid["title"]


@settings(max_examples=8)
@given(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3, unique=True).map(" ".join),
    st.integers(0, 149),
    st.sampled_from(["cluster", "client"]),
    st.sampled_from([5, 40, 150]),
)
def test_an_explanation_is_that_of_the_search(client, anthem, index, query, number, mode, window):
    """Ranks and scores are those of the two searches, and for a product in the window the parts give its `_score`."""
    body, product = match(query) | {"size": 150}, str(number)
    explained = anthem.explain(index, body, product, mode=mode, window=window)
    plain = client.search(index=index, body=body)
    after = anthem.search(index, body, mode=mode, window=window)
    ranks = {hit["_id"]: (rank, hit["_score"]) for rank, hit in enumerate(after["hits"]["hits"], start=1)}
    former = {hit["_id"]: (rank, hit["_score"]) for rank, hit in enumerate(plain["hits"]["hits"], start=1)}
    hit = explained.to_dict()["hit"]
    assert (hit["rank"], hit["score"]) == ranks.get(product, (None, None))
    assert (hit["lexical_rank"], hit["lexical"]) == former.get(product, (None, None))
    assert [hit[name] for name in ("reranked", "mode", "signals")] == [
        after["anthem"][name] for name in ("reranked", "mode", "signals")
    ]
    in_window = after["anthem"]["reranked"] and product in former and former[product][0] <= window
    assert hit["in_window"] == in_window
    score = explained.title.score
    assert (score is not None) == in_window
    if score is not None:
        assert score.score == pytest.approx(hit["score"], rel=FLOAT32)
        assert score.lexical == hit["lexical"]
        assert (score.attention.value is None) == (score.distance.value is None) == (number % 10 == 0)


def test_the_title_is_explained_as_without_a_cluster(anthem, encoder, index):
    """Grid, attention score and region of a hit are those that `anthem explain` gives for its title."""
    explained = anthem.explain(index, match("wireles fire tv"), "31").to_dict()
    alone = TitleExplainer(encoder.bundle).explain("wireles fire tv", PRODUCTS[31], explained["hit"]["lexical"])
    (title,), expected = explained["titles"], alone.to_dict()
    assert title["title"] == PRODUCTS[31]
    assert title["attention"] == expected["attention"]
    assert title["region"]["distance"] == pytest.approx(expected["region"]["distance"])
    for name in ("lexical", "shift", "factor", "score"):
        assert title["score"][name] == pytest.approx(expected["score"][name])
    assert sum(weight for _, weight in explained["weights"]) == pytest.approx(1, abs=1e-5)
    assert explained["hit"]["notes"] == []


@pytest.mark.parametrize(
    ("query", "product", "options", "note", "in_window"),
    [
        ("fire tv", "40", {}, "has no vector of this model, so its distance counts as the median", True),
        ("fire tv", "145", {"window": 3}, "below the window", False),
        ("kindle", "1", {}, "the query does not match the product", False),
        ("fire tv", "1", {"mode": "none"}, "not reranked: reranking was not requested", False),
        ("fire tv", "no-such", {}, "has no product with the id 'no-such'", False),
        ("fire tv", "1", {"mode": "filter"}, "filter mode drops products", False),
        ("fire tv", "1", {"query_text": "?!"}, "no query text with letters or digits", False),
    ],
)
def test_what_is_missing_is_said(anthem, index, query, product, options, note, in_window):
    """A note says why there is no score of the model, no vector, no match or no product."""
    explained = anthem.explain(index, match(query) | {"size": 150}, product, **options)
    hit = explained.to_dict()["hit"]
    assert any(note in sentence for sentence in hit["notes"]), hit["notes"]
    assert hit["in_window"] == in_window == bool(explained.title and explained.title.score)
    assert (explained.title is None) == (product == "no-such")
    assert hit["matches"] == (query == "fire tv" and product != "no-such")
    assert explained.title is None or bool(explained.title.attention) == ("query_text" not in options)


def test_a_search_of_some_shards_says_so(anthem, index):
    """An id that is not found where `routing` leads may exist elsewhere."""
    explained = anthem.explain(index, match("fire tv"), "no-such", routing="x")
    assert any("among those that `routing` admits" in note for note in explained.notes)


def test_of_two_products_with_one_id_the_better_is_explained(client, anthem, encoder, index):
    """With two indices, the explained product is the one that ranks first, and a note names the index of the other."""
    with small_index(client, encoder, titles=["garden hose", "fire tv"]) as other:
        body = match("fire tv") | {"size": 150}
        hits = anthem.search(f"{index},{other}", body)["hits"]["hits"]
        first = next(hit for hit in hits if hit["_id"] == "1")
        explained = anthem.explain(f"{index},{other}", body, "1").to_dict()["hit"]
    assert (explained["index"], explained["score"]) == (first["_index"], first["_score"])
    (elsewhere,) = {index, other} - {first["_index"]}
    assert f"another product has this id, in {elsewhere}; this is the one in {first['_index']}" in explained["notes"]


def test_a_dropped_product_is_outside(anthem, index):
    """A matching product that filter mode drops lies outside the query's region, and a note says what dropped it."""
    body = match("fire tv pro") | {"size": 150}
    kept = {hit["_id"] for hit in anthem.search(index, body, mode="filter")["hits"]["hits"]}
    plain = [hit["_id"] for hit in anthem.search(index, body, mode="none")["hits"]["hits"]]
    dropped = next(product for product in plain if product not in kept)
    explained = anthem.explain(index, body, dropped, mode="filter")
    assert not explained.title.region.contained
    assert any("the filter dropped the product" in note for note in explained.notes)


@pytest.mark.parametrize("key", ["post_filter", "min_score"])
def test_what_the_body_drops_is_said(client, anthem, index, key):
    """A product that matches, but that a key of the body keeps out of the hits, has a note that names the key."""
    body = match("fire tv") | {"size": 150}
    lexical = {hit["_id"]: hit["_score"] for hit in client.search(index=index, body=body)["hits"]["hits"]}
    dropping = {"post_filter": {"term": {"brand": "acme"}}, "min_score": 1.2 * lexical["139"]}
    assert max(lexical.values()) > dropping["min_score"]  # other products stay
    explained = anthem.explain(index, body | {key: dropping[key]}, "139").to_dict()["hit"]
    assert (explained["rank"], explained["matches"]) == (None, True)
    assert any(f"`{key}` may have dropped it" in note for note in explained["notes"])


def test_the_async_client_explains_alike(cluster, anthem, encoder, index):
    """Both clients return the same explanation."""

    async def explain():
        async with AsyncOpenSearch(hosts=[cluster]) as opensearch:
            return await AsyncAnthemClient(opensearch, encoder).explain(index, match("fire tv"), "1")

    assert asyncio.run(explain()).to_dict() == anthem.explain(index, match("fire tv"), "1").to_dict()


def test_a_changed_text_is_told(client, anthem, encoder):
    """If the text was changed after the ingest, the score is still that of the search, and a note says so."""
    titles = ["fire tv stick", "tv stand", "red tv"]
    documents = {str(n): {"title": title} | values for n, (title, values) in
                 enumerate(zip(titles, model_documents(encoder, titles), strict=True))}  # fmt: skip
    documents["0"]["title"] = "garden hose for a fire tv"
    name = create_index(client, ModelFields().mapping(encoder.bundle.dimension), documents)
    try:
        explained = anthem.explain(name, match("fire tv"), "0")
        (hit,) = [hit for hit in anthem.search(name, match("fire tv"))["hits"]["hits"] if hit["_id"] == "0"]
        assert explained.title.score.score == pytest.approx(hit["_score"], rel=FLOAT32)
        assert any("the text was changed" in note for note in explained.notes)
        assert "garden" in explained.title.attention.words.title
    finally:
        client.indices.delete(index=name)


def test_operators_and_other_bodies_are_explained(anthem, encoder, index):
    """With OR, the phrase that the title answers best gives the grid; with a sort, the lexical score is still known."""
    explained = anthem.explain(index, match("fire pit OR kindle reader"), "5", operators=True)
    assert words_of(explained.to_dict()["titles"][0]["attention"]["words"])[0] == ["kindle", "reader"]
    sorted_by_price = anthem.explain(index, match("fire tv") | {"sort": ["price"]}, "7")
    hit = sorted_by_price.to_dict()["hit"]
    assert not hit["reranked"]
    assert hit["lexical"] > 0
    assert hit["lexical"] == anthem.explain(index, match("fire tv"), "7", mode="none").found.lexical
    region = encoder.encode_query("fire tv") & encoder.encode_query("wireless")
    joined = anthem.explain(index, match("fire tv"), "7", region=region)
    assert joined.title.score.score == pytest.approx(joined.found.ranked["_score"], rel=FLOAT32)
    assert np.isfinite(joined.title.region.distance)


@pytest.mark.parametrize(
    ("product", "options", "error"),
    [
        ("", {}, ValueError),
        (7, {}, TypeError),
        ("1", {"filter_path": "hits"}, ValueError),
        ("1", {"window": 0}, ValueError),
    ],
)
def test_wrong_arguments_are_refused(anthem, index, product, options, error):
    """An id that is no text, an empty one, and options that remove what is read are refused before anything is sent."""
    with pytest.raises(error):
        anthem.explain(index, match("fire tv"), product, **options)


def test_the_service_explains_as_the_client(client, anthem, encoder, index, run_service):
    """`POST /explain` answers the same object for a hit of its index, a sentence for another index or a bad body."""
    request = {"index": index, "body": match("wireles fire tv"), "id": "31"}
    with run_service(encoder, page=PageTarget(client, index)) as http:
        answer = http.post("/explain", json=request | {"window": 40})
        other = http.post("/explain", json=request | {"index": "other"})
        unsent = http.post("/explain", json=request | {"body": {"query": {"no_such": {}}}})
        without_ids = http.post("/explain", json=request | {"body": request["body"] | {"stored_fields": "_none_"}})
        alone = http.post("/explain", json={"query": "wireles fire tv", "titles": [PRODUCTS[31]], "lexical": [1]})
    explained = anthem.explain(index, request["body"], "31", window=40).to_dict()
    expected = json.loads(json.dumps(explained))
    assert answer.json() == expected
    assert alone.json()["titles"][0]["attention"] == expected["titles"][0]["attention"]
    assert (other.status_code, other.json()["detail"]) == (404, f"index: this service reads `{index}` only.")
    assert (without_ids.status_code, "stored_fields" in without_ids.json()["detail"]) == (422, True)
    assert unsent.status_code == 502
    assert "no_such" in unsent.json()["detail"]


def test_a_small_result_window_is_kept(client, encoder):
    """An index that returns fewer hits than the window has is explained within what it returns."""
    with large_index(client, encoder, graph=False) as name:
        client.indices.put_settings(index=name, body={"index": {"max_result_window": 40}})
        narrow = AnthemClient(client, encoder)
        first = narrow.search(name, match("fire tv"))["hits"]["hits"][0]
        explained = narrow.explain(name, match("fire tv"), first["_id"])
        assert (explained.found.rank, explained.found.ranked["_score"]) == (1, first["_score"])
        assert explained.title.score.score == pytest.approx(first["_score"], rel=FLOAT32)
        with pytest.raises(RequestError, match="Result window is too large"):
            narrow.explain(name, match("fire tv") | {"size": 41}, first["_id"])


def test_an_unknown_index_is_an_error(anthem):
    """The error of the plain search is raised, as by `search`."""
    with pytest.raises(NotFoundError):
        anthem.explain("no-such", match("fire tv"), "1")
