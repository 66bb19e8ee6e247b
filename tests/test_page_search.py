"""The searches behind the page, without a browser: orders, numbers, and what is said about indices and fields."""

import numpy as np
import pytest
from page_index import TITLES, title_index

from anthem_core.errors import ClusterError
from anthem_core.fusion import FusionWeights, fuse, model_shift
from anthem_ingest.index_io import put_mapping
from anthem_plugin.client import AnthemClient
from anthem_plugin.scoring.window import rank_descending

pytest.importorskip("fastapi")

from anthem_plugin.service.context import ServiceContext
from anthem_plugin.service.settings import ServiceSettings
from anthem_plugin.service.ui.page_search import PageTarget, SearchPage

pytestmark = pytest.mark.node

ODD_TITLES = [["drill", "in a list"], "drill " + "x" * 10_000, "مثقاب drill", "🔩 drill", "drill \u200b", "", None]
# More words than a model reads, in more characters than the page is sent: no order may depend on what it is sent.
ODD_TITLES += [f"drill {number} " + f"word{number}" * 600 for number in range(3)]
ODD_QUERIES = [
    "drill",
    "drill 18 volt",
    "cordless drill | masonry bits",
    "drill & battery OR toy",
    '"drill bit"',
    "title:drill* (bag -bit",
    "drill " * 50,
    "drill\u200b \u202eبطارية",
    "<b>drill</b>",
    "18V",
    "🔩",
]


@pytest.fixture(scope="module")
def context(encoder):
    """What the page shares with the other endpoints."""
    return ServiceContext.create(encoder, ServiceSettings())


@pytest.fixture(scope="module")
def shop(client, encoder):
    """An alias of two indices: one on three shards with values, and a small one without."""
    with (
        title_index(client, encoder, [*TITLES, *ODD_TITLES], shards=3) as large,
        title_index(client, encoder, TITLES[:14], with_values=False) as small,
    ):
        client.indices.put_alias(index=[large, small], name="test-page-shop")
        yield {"alias": "test-page-shop", "large": large, "small": small}


@pytest.mark.parametrize("name", ["alias", "large", "small"])
def test_orders_are_those_of_client_mode(client, encoder, context, shop, name):
    """The page's order is that of client mode, and of its numbers: shards, alias, texts, odd titles and queries."""
    page, searches, moved = SearchPage(PageTarget(client, shop[name]), context), AnthemClient(client, encoder), 0
    for query in ODD_QUERIES:
        answer = page.search(query)
        body = {"query": {"match": {"title": query}}, "size": 200}
        plain, reranked = (
            [(hit["_index"], hit["_id"]) for hit in searches.search(shop[name], body, mode=mode)["hits"]["hits"]]
            for mode in ("none", "client")
        )
        assert [plain[place] for place in answer["order"]] == reranked, query
        assert answer["order"] == order_of_numbers(answer), query
        moved += answer["order"] != sorted(answer["order"])
    assert moved > 3


@pytest.mark.parametrize("window", [2, 5, 20])
def test_the_numbers_of_a_search_give_the_order_of_every_window(client, encoder, context, shop, window):
    """From the numbers of one search follows what client mode returns for another window, on several shards too."""
    answer = SearchPage(PageTarget(client, shop["large"]), context).search("drill 18 volt")
    body = {"query": {"match": {"title": "drill 18 volt"}}, "size": 200}
    found = AnthemClient(client, encoder).search(shop["large"], body, mode="client", window=window)
    ids = [answer["products"][place]["id"] for place in order_of_numbers(answer, window)]
    assert ids == [hit["_id"] for hit in found["hits"]["hits"]]


def order_of_numbers(answer, window=200):
    """The order that the weights and numbers of an answer give in a window; below it, products keep their places."""
    if not answer["reranked"]:
        return [*range(len(answer["products"]))]
    columns = {name: [product[name] for product in answer["products"]] for name in ("lexical", "distance", "attention")}
    lexical, distance, attention = (np.array(column, float) for column in columns.values())
    weights = FusionWeights(**answer["fusion"]["weights"])
    scores = fuse(lexical, model_shift(distance, attention, weights), weights).astype(np.float32)
    return [*rank_descending(scores[:window]), *range(window, len(scores))]


@pytest.mark.parametrize(
    ("field", "sentence"),
    [
        ("no_such_field", "Its text fields are: title. Name one with --field."),
        ("anthem.model", "`anthem.model` is a field of type keyword"),
        ("size", "`size` is a field of type integer"),
        ("title", None),
    ],
)
def test_a_field_that_cannot_be_searched_is_named(client, context, shop, field, sentence):
    """A `--field` that does not exist, or has no words, is named with the text fields; a text field needs no remark."""
    put_mapping(client, shop["large"], {"properties": {"size": {"type": "integer"}}})
    page = SearchPage(PageTarget(client, shop["large"], field), context)
    try:
        said = page.search("nothing has this word")["reason"]
    except ClusterError as error:
        said = str(error)
    assert (said is None) if sentence is None else (sentence in said)


def test_an_index_that_cannot_be_searched_is_named(client, encoder, context):
    """An index that is empty, closed or missing is named; a pattern that matches none has no products."""
    with title_index(client, encoder, []) as name:
        page = SearchPage(PageTarget(client, name), context)
        assert page.search("drill")["reason"] == f"{name} has no products"
        assert (page.settings()["products"], page.settings()["problem"]) == (0, None)
        client.indices.close(index=name)
        with pytest.raises(ClusterError, match=f"POST /{name}/_open"):
            page.settings()
    with pytest.raises(ClusterError, match="no such index"):
        page.search("drill")
    assert SearchPage(PageTarget(client, "test-page-none*"), context).search("drill")["reason"].endswith("no products")
