"""Pages: on an unchanged index no mode repeats or loses a product, whatever the size of its pages."""

import pytest
from small_shop import large_shop

from anthem_plugin.client import AnthemClient, Filter, Retrieve

pytestmark = pytest.mark.node

BODY = {"query": {"match": {"title": "kindle"}}}
MODES = {
    "cluster": "cluster",
    "client": "client",
    "filter": Filter(0.25),
    "retrieve": Retrieve(k=3),
}  # fmt: skip
SIZES = (1, 2, 3, 5, 8)

modes = pytest.mark.parametrize("mode", MODES.values(), ids=MODES.keys())


@pytest.fixture(scope="module", params=[1, 3])
def index(client, encoder, request):
    """150 products with a graph, on one shard and on three."""
    with large_shop(client, encoder, shards=request.param) as name:
        yield name


@pytest.fixture(scope="module")
def anthem(client, encoder):
    """A client of two signals."""
    return AnthemClient(client, encoder, text_fields=())


def products(response):
    """What a page shows: ids and scores in order."""
    return [(hit["_id"], hit["_score"], hit.get("sort")) for hit in response["hits"]["hits"]]


@modes
def test_pages_of_every_size_are_one_ranking(anthem, index, mode):
    """Pages of any size, one after the other, are the one long page: across the end of the window, and to the last."""
    whole = products(anthem.search(index, BODY | {"size": 150}, mode=mode, window=10, preference="_local"))
    assert len({product for product, _, _ in whole}) == len(whole) > 15
    for size in SIZES:
        pages = [
            anthem.search(index, BODY | {"from": start, "size": size}, mode=mode, window=10, preference="_local")
            for start in range(0, len(whole) + size, size)
        ]
        assert [product for page in pages for product in products(page)] == whole
        assert all(page["anthem"]["reranked"] for page in pages if products(page))


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize("order", [[{"price": "desc"}], ["_score", {"price": "asc"}]])
def test_a_filter_pages_by_what_came_last(anthem, index, size, order):
    """With `search_after` the pages of a filter are the one long page too, and a page of none ends them."""
    body = BODY | {"sort": order, "track_scores": True}
    whole = products(anthem.search(index, body | {"size": 150}, mode=Filter(0.25)))
    found, after = [], {}
    while page := products(anthem.search(index, body | {"size": size} | after, mode=Filter(0.25))):
        found += page
        after = {"search_after": page[-1][2]}
    assert found == whole
    assert len(whole) > 15


def test_a_filter_pages_through_groups(anthem, index):
    """With `collapse` the groups of all pages are those of the long page."""
    body = BODY | {"collapse": {"field": "brand"}, "sort": [{"price": "asc"}]}
    whole = products(anthem.search(index, body | {"size": 150}, mode=Filter(0.25)))
    pages = [anthem.search(index, body | {"from": start, "size": 2}, mode=Filter(0.25)) for start in range(0, 6, 2)]
    assert [product for page in pages for product in products(page)] == whole
    assert len(whole) > 2
