"""Multi-searches and search templates: each search is reranked as alone, in a few requests for all."""

import asyncio
import json
from collections import Counter

import pytest
from opensearchpy import AsyncOpenSearch
from opensearchpy.exceptions import ConnectionError as NoConnection
from opensearchpy.exceptions import NotFoundError, RequestError
from small_index import large_index, match, slow_proxy

from anthem_plugin.client import AnthemClient, AsyncAnthemClient
from anthem_plugin.modes import Filter
from anthem_plugin.rewriter.json_arrays import tuples_as_lists
from anthem_plugin.rewriter.query_text import NO_QUERY_TEXT_REASON
from anthem_plugin.scoring.painless import script_id
from anthem_plugin.search.multi_search import read_searches
from anthem_plugin.search.request_options import SCROLL_REASON

BODIES = [
    match("fire tv"),
    {"query": {"bool": {"must": [{"multi_match": {"query": "red shoe", "fields": ["title"]}}],
                        "filter": [{"term": {"brand": "acme"}}]}}, "size": 3},
    {"query": {"match_all": {}}},
    match("kindle reader") | {"from": 2, "size": 4, "_source": ["title"]},
    match("zzzz"),
]  # fmt: skip


@pytest.fixture(scope="module")
def index(client, encoder):
    """150 products, every tenth without values of the model."""
    with large_index(client, encoder) as name:
        yield name


class CountingClient:
    """A client that counts its calls, and passes them on."""

    def __init__(self, client):
        """Count the calls of a client."""
        self.client, self.calls = client, Counter()

    def __getattr__(self, name):
        """The attribute of the client; a search is counted."""
        if name in ("search", "msearch", "render_search_template", "search_template", "put_script"):
            self.calls[name] += 1
        return getattr(self.client, name)


def without_times(response):
    """A response without what differs from one search to the next."""
    kept = {key: value for key, value in response.items() if key not in ("took", "status")}
    return kept | {"anthem": {key: value for key, value in response["anthem"].items() if key != "took_ms"}}


def lines(index, bodies, **header):
    """Header and body of each search."""
    return [line for body in bodies for line in ({"index": index, **header}, body)]


@pytest.mark.node
@pytest.mark.parametrize("mode", ["cluster", "client", "filter", "retrieve", "none"])
def test_each_search_is_reranked_as_alone(client, encoder, index, mode):
    """Each response is that of a single search, report included, in whatever form the body is given."""
    anthem = AnthemClient(client, encoder)
    expected = [without_times(anthem.search(index, body, mode=mode, preference="x")) for body in BODIES]
    body = lines(index, BODIES, preference="x")
    texts = "\n".join(json.dumps(line) for line in body)
    for given in (body, tuple(body), iter(body), texts, texts.encode(), [json.dumps(line) for line in body]):
        together = anthem.msearch(given, mode=mode)
        assert [without_times(response) for response in together["responses"]] == expected
        assert [response["status"] for response in together["responses"]] == [200] * len(BODIES)
    empty_headers = "".join(f"\n{json.dumps(sent)}\n" for sent in BODIES)
    for given, options in ((empty_headers, {"preference": "x"}), (lines(index, BODIES), {"preference": "x"})):
        together = anthem.msearch(given, index, mode=mode, **options)
        assert [without_times(response) for response in together["responses"]] == expected


@pytest.mark.node
def test_a_multi_search_costs_few_requests(client, encoder, index):
    """All reranked searches are one request, the plain ones another, whatever their number."""
    counting = CountingClient(client)
    anthem = AnthemClient(counting, encoder)
    anthem.search(index, match("fire tv"))
    counting.calls.clear()
    anthem.msearch(lines(index, [match("fire tv"), match("red shoe")] * 10))
    assert counting.calls == {"msearch": 1}
    anthem.msearch(lines(index, [match("fire tv"), {"query": {"match_all": {}}}] * 10))
    assert counting.calls == {"msearch": 1 + 2}
    counting.calls.clear()
    client.delete_script(id=script_id())
    responses = anthem.msearch(lines(index, [match("fire tv")] * 10), request_timeout=60)["responses"]
    assert all(response["anthem"]["reranked"] for response in responses)
    assert counting.calls == {"msearch": 2, "put_script": 1}  # the script was missing


@pytest.mark.node
def test_one_failing_search_does_not_fail_the_others(client, encoder, index):
    """An unknown index and invalid bodies give the error of OpenSearch in their own responses, with a report.

    OpenSearch alone refuses the whole request for one body that it cannot parse.
    """
    unknown, invalid, plain = {"query": {"matsch": {}}}, {"size": -1}, {"query": {"match_all": {}}}
    body = [*lines(index, BODIES[:1]), {"index": "no-such"}, match("fire"), {}, unknown, {}, invalid, {}, plain,
            {"preference": "x"}, match("fire tv"), {"index": index, "colour": "red"}, match("fire tv")]  # fmt: skip
    anthem = AnthemClient(client, encoder)
    together = anthem.msearch(body, index, request_timeout=60)["responses"]
    assert [response["status"] for response in together] == [200, 404, 400, 400, 200, 200, 400]
    for response, name, sent in zip(together[1:4], ("no-such", index, index), (match("fire"), unknown, invalid),
                                    strict=True):  # fmt: skip
        with pytest.raises((NotFoundError, RequestError)) as alone:
            client.search(index=name, body=sent)
        assert response["error"]["type"] == alone.value.error
        assert response["anthem"]["reason"] == response["error"]["root_cause"][0]["reason"]
        assert response["anthem"]["reason"] in str(alone.value)
        assert (response["anthem"]["reranked"], bool(response["anthem"]["reason"])) == (False, True)
    assert together[4]["hits"] == client.search(index=index, body=plain)["hits"]
    assert [together[number]["anthem"]["reranked"] for number in (0, 4, 5)] == [True, False, True]
    asked = [{}, match("fire tv"), {}, unknown]
    assert [
        response["status"]
        for response in anthem.msearch(asked, index, query_text="fire", request_timeout=60)["responses"]
    ] == [
        200,
        400,
    ]
    assert anthem.stats()["breaker"] == "closed"


@pytest.mark.node
def test_arguments_apply_to_all_searches(client, encoder, index):
    """A text for all, a text for each, options of a mode and of the request are those of single searches."""
    anthem, plain = AnthemClient(client, encoder), {"query": {"match_all": {}}, "size": 20}
    for texts in ("fire tv", ["fire tv", None, "red shoe"]):
        together = anthem.msearch(lines(index, [plain] * 3), query_text=texts, routing=None, request_timeout=5)
        given = [texts] * 3 if isinstance(texts, str) else texts
        for response, text in zip(together["responses"], given, strict=True):
            expected = anthem.search(index, plain, query_text=text)
            assert without_times(response) == without_times(expected)
            assert (response["anthem"]["reason"] == NO_QUERY_TEXT_REASON) == (text is None)
    filtered = anthem.msearch(lines(index, BODIES[:2]), mode=Filter(slack=9))["responses"]
    assert [response["anthem"]["mode"] for response in filtered] == ["filter", "filter"]
    totals = anthem.msearch(lines(index, BODIES[:2]), rest_total_hits_as_int=True)["responses"]
    assert all(isinstance(response["hits"]["total"], int) for response in totals)
    assert all(response["anthem"]["reranked"] for response in totals)


@pytest.mark.node
def test_a_multi_search_that_fails_falls_back_or_raises(cluster, client, encoder, index):
    """If reranking does not answer in time, all searches are plain; if nothing answers, the error is raised."""
    kinds = type(client)
    with slow_proxy(b'"rescore"', cluster) as url, kinds(hosts=[url], timeout=3) as slow:
        anthem = AnthemClient(slow, encoder)
        responses = anthem.msearch(lines(index, BODIES))["responses"]
        assert [response["status"] for response in responses] == [200] * len(BODIES)
        assert not any(response["anthem"]["reranked"] for response in responses)
        for response, body in zip(responses, BODIES, strict=True):
            assert response["hits"] == client.search(index=index, body=body)["hits"]
    with kinds(hosts=["http://127.0.0.1:9"], max_retries=0) as dead, pytest.raises(NoConnection):
        AnthemClient(dead, encoder).msearch(lines(index, BODIES))


@pytest.mark.node
def test_the_async_client_gives_the_same(cluster, client, encoder, index):
    """Both clients give the same responses to multi-searches and templates."""
    template = {"source": {"query": {"match": {"title": "{{words}}"}}}, "params": {"words": "fire tv"}}

    async def search_all():
        async with AsyncOpenSearch(hosts=[cluster]) as opensearch:
            anthem = AsyncAnthemClient(opensearch, encoder)
            return await anthem.msearch(lines(index, BODIES)), await anthem.search_template(template, index)

    together, rendered = asyncio.run(search_all())
    anthem = AnthemClient(client, encoder)
    expected = anthem.msearch(lines(index, BODIES))["responses"]
    assert [without_times(response) for response in together["responses"]] == list(map(without_times, expected))
    assert without_times(rendered) == without_times(anthem.search(index, match("fire tv")))


@pytest.mark.node
def test_a_template_is_rendered_and_reranked(client, encoder, index):
    """A stored template and one in the body are reranked as the search that they render, in one request more."""
    source = {"query": {"bool": {"must": [{"match": {"title": "{{words}}"}}]}}, "size": "{{size}}"}
    client.put_script(id="anthem-test-template", body={"script": {"lang": "mustache", "source": source}})
    params = {"words": "fire tv", "size": 4}
    counting = CountingClient(client)
    anthem = AnthemClient(counting, encoder)
    expected = anthem.search(index, {"query": {"match": {"title": "fire tv"}}, "size": 4})
    counting.calls.clear()
    for body in ({"id": "anthem-test-template", "params": params}, {"source": json.dumps(source), "params": params}):
        for mode in ("cluster", "client"):
            response = anthem.search_template(body, index, mode=mode, request_timeout=5)
            assert response["anthem"]["reranked"]
            assert [hit["_id"] for hit in response["hits"]["hits"]] == [hit["_id"] for hit in expected["hits"]["hits"]]
    assert counting.calls == {"render_search_template": 4, "search": 4}
    explaining = body | {"explain": True}
    for form in (explaining, json.dumps(explaining), json.dumps(explaining).encode()):  # all that opensearch-py takes
        explained = anthem.search_template(form, index)
        assert explained["anthem"]["reranked"]
        assert all("_explanation" in hit for hit in explained["hits"]["hits"])
    given = anthem.search_template(body, index, query_text="red", mode="none")
    assert given["anthem"]["reason"] == "reranking was not requested"
    client.delete_script(id="anthem-test-template")


@pytest.mark.node
def test_a_template_that_cannot_be_rendered_fails_as_without_us(client, encoder, index):
    """An unknown template and a broken one raise the error of the plain search; so does an unknown index."""
    anthem = AnthemClient(client, encoder)
    for body, name, error in (
        ({"id": "no-such-template"}, index, NotFoundError),
        ({"source": '{"query": {{#', "params": {}}, index, RequestError),
        ({"source": {"query": {"matsch": {}}}}, index, RequestError),
        ({"source": {"query": {"match_all": {}}}}, "no-such-index", NotFoundError),
    ):
        with pytest.raises(error) as plain:
            client.search_template(body=body, index=name)
        with pytest.raises(error) as ours:
            anthem.search_template(body, name)
        assert ours.value.error == plain.value.error
    assert anthem.stats()["breaker"] == "closed"


@pytest.mark.node
def test_a_scroll_is_told_what_to_do(client, encoder, index):
    """A scroll is plain, and its reason advises nothing that OpenSearch refuses; `q` belongs into a `query_string`."""
    anthem = AnthemClient(client, encoder)
    response = anthem.search(index, match("fire tv"), scroll="1m")
    assert response["anthem"]["reason"] == SCROLL_REASON
    assert "put it into the body" not in SCROLL_REASON
    client.clear_scroll(scroll_id=response["_scroll_id"])
    in_params = anthem.search(index, match("fire tv"), params={"scroll": "1m"})
    assert in_params["anthem"]["reason"] == SCROLL_REASON
    client.clear_scroll(scroll_id=in_params["_scroll_id"])
    for option, place in (("q", "`query_string`"), ("_source_includes", "`_source.includes`"), ("from_", "`from`")):
        options = {option: {"q": "fire", "_source_includes": "title", "from_": 1}[option]}
        assert place in anthem.search(index, match("fire tv"), **options)["anthem"]["reason"]
    hidden = anthem.search(index, match("fire tv"), params={"request_cache": "true"})["anthem"]["reason"]
    assert hidden == "`request_cache` was passed in `params`; pass it as an argument"


@pytest.mark.parametrize(
    ("body", "error", "word"),
    [
        ([{}], ValueError, "1 lines"),
        ([], ValueError, "0 lines"),
        ("", ValueError, "1 lines"),
        ({"query": {}}, TypeError, "dict"),
        (5, TypeError, "int"),
        ("{}\n{,}\n", ValueError, "line 2"),
        ([[], {}], TypeError, "header of search 1"),
        (["5", "{}"], TypeError, "header of search 1"),
    ],
)
def test_what_is_no_multi_search_is_refused(body, error, word):
    """A body that is not a header and a body per search raises an error that says what was found."""
    with pytest.raises((error, ValueError), match=word):
        read_searches(body)


def test_a_separator_inside_a_text_is_no_end_of_line():
    """Only a newline ends a line; the header may be empty, also that of the first search."""
    assert read_searches('\n{"a": "x\u2028y"}\n{}\r\n{}') == [({}, {"a": "x\u2028y"}), ({}, {})]


@pytest.mark.node
def test_a_multi_search_is_sent_as_the_caller_sent_it(client, encoder, index):
    """The index of the request is in the URL; headers name another only where the caller's do, in the same request."""

    class RecordingClient(CountingClient):
        sent = None

        def msearch(self, **arguments):
            self.sent = arguments
            self.calls["msearch"] += 1
            return self.client.msearch(**arguments)

    recording = RecordingClient(client)
    anthem = AnthemClient(recording, encoder)
    anthem.search(index, match("fire tv"))  # stores the script, without which a multi-search is sent twice
    for mode in ("cluster", "client", "none"):
        recording.calls.clear()
        body = [{}, match("fire tv"), {"index": [index]}, match("red shoe"), {"indices": index}, match("kindle")]
        responses = anthem.msearch(body, index, mode=mode)["responses"]
        assert [response["status"] for response in responses] == [200] * 3
        assert recording.calls["msearch"] == 1
        assert recording.sent["index"] == index
        assert recording.sent["body"][::2] == [{}, {"index": [index]}, {"index": index}]
        anthem.msearch(lines(index, [match("fire tv")]), mode=mode)
        assert "index" not in recording.sent


@pytest.mark.node
@pytest.mark.parametrize("text", [5, b"fire tv", 1.5, {"a": "fire tv"}, [5, "fire tv"], ("fire tv", b"x")])
def test_a_query_text_of_the_wrong_type_is_the_reason_of_its_search(client, encoder, index, text):
    """A text that is no str leaves its own search plain with the reason that a single search gives."""
    anthem, body = AnthemClient(client, encoder), [{}, match("fire tv"), {}, match("fire tv")]
    texts = text if isinstance(text, list | tuple) else [text] * 2
    expected = [anthem.search(index, match("fire tv"), query_text=each)["anthem"] for each in texts]
    responses = anthem.msearch(body, index, query_text=text)["responses"]
    for response, alone in zip(responses, expected, strict=True):
        assert (response["anthem"]["reranked"], response["anthem"]["reason"]) == (alone["reranked"], alone["reason"])
        assert response["hits"]["hits"]


@pytest.mark.node
@pytest.mark.parametrize(
    "wrong",
    [{"query_path": 5}, {"query_path": ["query", 5]}, {"window": "x"}, {"window": [1, 2]}, {"mode": "x"},
     {"mode": ["client", "none"]}, {"operators": 1}, {"region": 5}, {"request_timeout": "x"}],
)  # fmt: skip
def test_arguments_of_the_wrong_type_are_refused_as_in_a_search(client, encoder, index, wrong):
    """The same error is raised for the same argument, whether one search or several are sent."""
    anthem = AnthemClient(client, encoder)
    with pytest.raises((TypeError, ValueError)) as alone:
        anthem.search(index, match("fire tv"), **wrong)
    with pytest.raises(alone.type) as together:
        anthem.msearch([{}, match("fire tv"), {}, match("fire tv")], index, **wrong)
    assert str(together.value) == str(alone.value)


@pytest.mark.node
@pytest.mark.parametrize("options", [{}, {"filter_path": "hits,_shards"}, {"filter_path": "hits,_shards,s*"},
                                     {"filter_path": ["-took"]}, {"filter_path": "-status"}])  # fmt: skip
def test_a_template_has_the_keys_of_the_plain_response(client, encoder, index, options):
    """Reranked or not, a template's response has the keys that OpenSearch gives it, `status` among them."""
    anthem = AnthemClient(client, encoder)
    for source in (match("fire tv"), {"size": 0}, {"query": {"match_all": {}}}, match("zzzz")):
        for mode in ("cluster", "client", "none"):
            plain = client.search_template(body={"source": source}, index=index, **options)
            response = anthem.search_template({"source": source}, index, mode=mode, **options)
            assert response.keys() == {*plain, "anthem"}
            assert response.get("status") == plain.get("status")
    reranked = anthem.search_template({"source": match("fire tv")}, index, **options)
    assert reranked["anthem"]["reranked"]


def as_tuples(node):
    """The same JSON with a tuple for each list."""
    if isinstance(node, dict):
        return {key: as_tuples(value) for key, value in node.items()}
    return tuple(map(as_tuples, node)) if isinstance(node, list) else node


TUPLE_BODIES = [
    {"query": {"bool": {"must": [{"match": {"title": "fire tv"}}], "should": [{"match": {"title": "fire tv"}}],
                        "filter": [{"exists": {"field": "title"}}], "must_not": [{"term": {"brand": "x"}}]}}},
    {"query": {"dis_max": {"queries": [{"multi_match": {"query": "red shoe", "fields": ["title^2", "title"]}}]}},
     "_source": ["title"], "docvalue_fields": ["brand.keyword"], "fields": ["title"]},
    {"query": {"multi_match": {"query": "fire tv", "fields": ["title"]}}, "sort": ["_score"], "stored_fields": ["_id"]},
    {"query": {"match": {"title": "fire tv"}}, "sort": [{"_score": "desc"}], "_source": {"excludes": ["brand"]}},
    {"query": {"match": {"title": "fire tv"}}, "sort": [{"_doc": {"order": "asc"}}, "_score"]},
    {"query": {"match": {"title": "fire tv"}}, "aggs": {"a": {"top_hits": {"size": 1, "_source": ["title"]}}}},
]  # fmt: skip


@pytest.mark.node
@pytest.mark.parametrize("mode", ["cluster", "client", "filter", "none"])
@pytest.mark.parametrize("body", TUPLE_BODIES)
def test_a_tuple_in_a_body_is_an_array(client, encoder, index, body, mode):
    """A body with tuples, which opensearch-py sends as arrays, is answered as the same body with lists."""
    anthem, given = AnthemClient(client, encoder), as_tuples(body)
    expected = without_times(anthem.search(index, body, mode=mode, preference="x"))
    assert given == as_tuples(body)
    assert without_times(anthem.search(index, given, mode=mode, preference="x")) == expected
    together = anthem.msearch([{}, given, {}, body], index, mode=mode, preference="x")["responses"]
    assert [without_times(response) for response in together] == [expected] * 2
    rendered = anthem.search_template({"source": given}, index, mode=mode, preference="x")
    assert without_times(rendered) == expected


@pytest.mark.node
def test_a_path_leads_through_a_tuple(client, encoder, index):
    """The dotted path of a query text selects an item of a tuple as of a list, and `explain` finds the text too."""
    anthem = AnthemClient(client, encoder)
    body = {"query": {"bool": {"must": ({"match": {"title": "fire tv"}},)}}}
    response = anthem.search(index, body, query_path="query.bool.must.0.match.title")
    assert response["anthem"]["reranked"]
    assert anthem.explain(index, body, response["hits"]["hits"][0]["_id"]).query == "fire tv"


def test_only_a_body_with_tuples_is_copied():
    """A body without tuples stays the same object; one that contains itself, or is too deep to copy, does too."""
    plain, endless, deep = {"a": [1, {"b": "x"}]}, {"a": (1,)}, (1,)
    endless["self"] = endless
    for _ in range(10_000):
        deep = [deep]
    assert all(tuples_as_lists(body) is body for body in (plain, endless, deep, None, "x", b"x", 5))
    given = {"a": ({"b": (1, 2)},)}
    assert tuples_as_lists(given) == {"a": [{"b": [1, 2]}]}
    assert given == {"a": ({"b": (1, 2)},)}
