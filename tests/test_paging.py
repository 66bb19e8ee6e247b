"""Paging: on an unchanged index no mode repeats or loses a product, whatever the page size."""

import pytest
from small_index import large_index

from anthem_plugin.client import AnthemClient
from anthem_plugin.modes import Filter, Retrieve
from anthem_plugin.options import ClientOptions

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
    """150 page_hits with an HNSW graph, on one shard and on three."""
    with large_index(client, encoder, shards=request.param) as name:
        yield name


@pytest.fixture(scope="module")
def anthem(client, encoder):
    """A client without attention."""
    return AnthemClient(client, encoder, ClientOptions(text_fields=()))


def page_hits(response):
    """Id, score and sort values of the hits of a page, in order."""
    return [(hit["_id"], hit["_score"], hit.get("sort")) for hit in response["hits"]["hits"]]


@modes
def test_pages_of_every_size_are_one_ranking(anthem, index, mode):
    """Consecutive pages of any size equal one long page, across the end of the window and up to the last hit."""
    long_page = page_hits(anthem.search(index, BODY | {"size": 150}, mode=mode, window=10, preference="_local"))
    assert len({product for product, _, _ in long_page}) == len(long_page) > 15
    for size in SIZES:
        pages = [
            anthem.search(index, BODY | {"from": start, "size": size}, mode=mode, window=10, preference="_local")
            for start in range(0, len(long_page) + size, size)
        ]
        assert [product for page in pages for product in page_hits(page)] == long_page
        assert all(page["anthem"]["reranked"] for page in pages if page_hits(page))


@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize("order", [[{"price": "desc"}], ["_score", {"price": "asc"}]])
def test_filter_mode_supports_search_after(anthem, index, size, order):
    """In filter mode, pages with `search_after` equal one long page, and an empty page ends them."""
    body = BODY | {"sort": order, "track_scores": True}
    long_page = page_hits(anthem.search(index, body | {"size": 150}, mode=Filter(0.25)))
    hits, after = [], {}
    while page := page_hits(anthem.search(index, body | {"size": size} | after, mode=Filter(0.25))):
        hits += page
        after = {"search_after": page[-1][2]}
    assert hits == long_page
    assert len(long_page) > 15


def test_filter_mode_pages_through_groups(anthem, index):
    """In filter mode with `collapse`, the groups of consecutive pages equal those of one long page."""
    body = BODY | {"collapse": {"field": "brand"}, "sort": [{"price": "asc"}]}
    long_page = page_hits(anthem.search(index, body | {"size": 150}, mode=Filter(0.25)))
    pages = [anthem.search(index, body | {"from": start, "size": 2}, mode=Filter(0.25)) for start in range(0, 6, 2)]
    assert [product for page in pages for product in page_hits(page)] == long_page
    assert len(long_page) > 2
