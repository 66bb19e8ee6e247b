"""The page of `anthem serve --ui` when something is wrong: titles, cluster, key, network or browser."""

import json
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection

import httpx
import pytest
from page_index import (
    HOSTILE_TITLES,
    TITLES,
    address,
    browser,
    index,
    open_page,
    search_for,
    sent,
    title_index,
    titles_of,
)
from small_index import slow_proxy

from anthem_core.opensearch.connection import connect

pytest.importorskip("fastapi")

from anthem_plugin.service.settings import ServiceSettings
from anthem_plugin.service.ui.page_files import CONTENT_SECURITY_POLICY, read_page_files
from anthem_plugin.service.ui.page_search import PageTarget

pytestmark = pytest.mark.node

__all__ = ["address", "browser", "index", "open_page", "sent"]


def test_hostile_titles_are_text(open_page, address):
    """Titles that look like markup are shown letter by letter, in the lists and in the dialog, and nothing runs."""
    with open_page(address) as page:
        name = page.title()
        search_for(page, "hostile")
        shown = titles_of(page, "reranked")
        assert set(HOSTILE_TITLES[:4]) <= set(shown)
        for number in range(len(shown)):
            page.locator("#reranked .product").nth(number).click()
            page.wait_for_selector("dialog .grid")
            page.keyboard.press("Escape")
        assert page.title() == name
        assert page.locator("#lists img, #lists script, dialog img, dialog script").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_late_answer_does_not_overwrite_a_later_one(open_page, address):
    """If the answer of the first query arrives after that of the second, the page keeps that of the second."""
    held = []
    with open_page(address) as page:

        def hold_first(route):
            held.append(route) if not held else route.continue_()

        page.route("**/ui/search", hold_first)
        page.fill("#query", "yoga")
        page.keyboard.press("Enter")
        page.wait_for_selector("#lists[aria-busy]", state="attached")
        page.fill("#query", "masonry")
        page.keyboard.press("Enter")
        page.wait_for_selector("#reranked li")
        body = {
            "products": [],
            "order": [],
            "total": {"value": 0, "relation": "eq"},
            "reranked": False,
            "reason": "late",
        }
        held[0].fulfill(json=body)
        page.wait_for_timeout(100)
        assert titles_of(page, "lexical") == ["Masonry drill bits, 5 to 10 mm"]
        assert "not reranked" in page.inner_text("#message")
        assert "only one hit" in page.inner_text("#message")


def test_typing_before_the_settings_arrive_searches_once(open_page, address):
    """A query that is typed while the page still reads its settings is searched once, when they are there."""
    with open_page(address) as page:
        held, searches = [], []
        page.on("request", lambda request: searches.append(request.url) if request.url.endswith("/search") else None)
        page.route("**/ui/settings", lambda route: held.append(route))  # noqa: PLW0108 (playwright needs a function)
        page.reload()
        while not held:
            page.wait_for_timeout(10)
        page.fill("#query", "cordless")
        page.press("#query", "Enter")
        page.wait_for_timeout(300)  # longer than the pause after which typing searches
        for route in held:
            route.continue_()
        page.wait_for_selector("#reranked li")
        page.wait_for_timeout(100)
        assert (len(held), len(searches)) == (1, 1)


def test_an_answer_leaves_the_focus_in_the_page(open_page, address):
    """An answer that replaces the list in which the focus is, or the row behind the dialog, moves it to the query."""
    held = []
    with open_page(address) as page:
        search_for(page)
        page.route("**/ui/search", lambda route: held.append(route))  # noqa: PLW0108 (playwright needs a function)
        for number, opens_dialog in enumerate((False, True)):
            page.fill("#query", f"cordless {number}")
            page.wait_for_selector("#lists[aria-busy]", state="attached")
            while len(held) == number:
                page.wait_for_timeout(10)
            page.keyboard.press("ArrowDown")
            if opens_dialog:
                page.keyboard.press("Enter")
            with page.expect_response("**/ui/search"):
                held[-1].continue_()
            page.wait_for_selector("#lists:not([aria-busy])", state="attached")
            if opens_dialog:
                page.keyboard.press("Escape")
            page.wait_for_selector("#query:focus")


def test_a_misspelt_query_is_explained(open_page, address):
    """A query that finds nothing says so, and a button searches for the words that it resembles."""
    with open_page(address) as page:
        page.fill("#query", "masnry dril")
        page.click("#message button")
        page.wait_for_selector("#reranked li")
        assert page.input_value("#query") == "masonry drill"
        page.fill("#query", "\u202e ?! " + "z" * 500)  # its words would be read from right to left, and fill the page
        page.wait_for_selector("#message bdi")
        said = page.inner_text("#message")
        assert said.startswith("No product has a word of “")
        assert said.endswith("…” in the field title. Is it misspelt?")
        assert len(said) < 160


def test_a_cluster_that_goes_away_is_named(open_page, run_service, encoder, cluster, index):
    """A cluster that stops answering is named, without the lists of an earlier query, until it answers again."""
    with ExitStack() as stack:
        proxy = stack.enter_context(ExitStack())
        url = proxy.enter_context(slow_proxy(b"no such word", cluster))
        opensearch = stack.enter_context(connect(url, timeout=5))
        http = stack.enter_context(run_service(encoder, page=PageTarget(opensearch, index)))
        page = stack.enter_context(open_page(str(http.base_url), complaints=["502 (Bad Gateway)"]))
        search_for(page)
        proxy.close()
        page.fill("#query", "drill")
        page.wait_for_selector("#message:visible")
        assert "The cluster does not answer" in page.inner_text("#message")
        assert not page.is_visible("#lists")
        stack.enter_context(slow_proxy(b"no such word", cluster, port=int(url.rpartition(":")[2])))
        page.keyboard.press("Enter")
        page.wait_for_selector("#reranked li")
        assert not page.is_visible("#message")


def test_queries_that_were_typed_over_are_not_searched(run_service, encoder, cluster, index):
    """While the cluster is slow, queries that the page no longer waits for are not sent to it, and the last one is."""
    with slow_proxy(b"drill", cluster, 0.5) as url, connect(url) as opensearch:
        perform, asked = opensearch.transport.perform_request, set()

        def record(method, path, *args, body=None, **kwargs):
            asked.add(body and json.dumps(body["query"]))
            return perform(method, path, *args, body=body, **kwargs)

        opensearch.transport.perform_request = record
        with run_service(encoder, page=PageTarget(opensearch, index)) as http:
            http.get("/ui/settings")
            asked.clear()
            for letters in range(1, 9):
                with suppress(httpx.TimeoutException):
                    http.post("/ui/search", json={"query": "drill" + "s" * letters}, timeout=0.05)
            assert http.post("/ui/search", json={"query": "drill"}).status_code == 200
    assert any('"drill"' in query for query in asked)
    assert len(asked) < 8


def test_a_key_is_asked_for_once(open_page, run_service, encoder, client, cluster):
    """With API keys the page asks for one, keeps it for the tab, and then says that the index was not ingested."""
    with (
        title_index(client, encoder, TITLES[:6], with_values=False) as name,
        connect(cluster) as opensearch,
        run_service(encoder, ServiceSettings(api_keys=("secret",)), PageTarget(opensearch, name)) as http,
    ):
        assert http.get("/ui/settings").status_code == 401
        with open_page(str(http.base_url), complaints=["401 (Unauthorized)"]) as page:
            for impossible in ("", "ключ", "two words"):
                page.fill("#key", impossible)
                page.keyboard.press("Enter")
                assert "cannot be a key" in page.inner_text("#message")
            page.fill("#key", "wrong")
            page.keyboard.press("Enter")
            page.wait_for_selector("#message:visible")
            assert "does not accept this key" in page.inner_text("#message")
            page.fill("#key", "secret")
            page.keyboard.press("Enter")
            page.wait_for_selector("#key-form", state="hidden")
            assert f"run: anthem ingest {name}" in page.inner_text("#message")
            page.reload()
            search_for(page)
            assert f"run: anthem ingest {name}" in page.inner_text("#message")
            assert "by lexical score and attention" in page.inner_text("#ranked-by")
            assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 1]


def test_a_browser_without_storage_is_enough(browser, address):
    """A browser that forbids pages to store anything shows the lists, and colours can be chosen until it is closed."""
    context = browser.new_context(color_scheme="light")
    context.add_init_script(
        """for (const name of ["localStorage", "sessionStorage"]) {
            Object.defineProperty(window, name, { get() { throw new DOMException("forbidden", "SecurityError"); } });
        }"""
    )
    page = context.new_page()
    page.goto(f"{address}/ui")
    search_for(page)
    page.click("#theme")
    assert page.inner_text("#theme") == "Light"
    context.close()


@pytest.mark.parametrize("viewport", [{"width": 320, "height": 640}, {"width": 640, "height": 430}])
def test_nothing_is_cut_off_when_it_is_narrow(open_page, address, viewport):
    """At 320 pixels, and at 200 % on a desktop, nothing scrolls sideways, not even long words in the dialog."""
    with open_page(address, viewport=viewport, device_scale_factor=2) as page:
        search_for(page, "hostile")
        page.click("#tuning summary")
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        page.locator("#reranked .product", has_text="longlong").click()
        page.wait_for_selector("dialog .map")
        assert page.evaluate("document.querySelector('dialog').scrollWidth") <= viewport["width"]


def test_only_searches_of_the_index_reach_the_cluster(address, index, sent):
    """What the page calls searches its index and reads its mapping, and sends nothing else to the cluster."""
    sent.clear()
    with httpx.Client(base_url=address, timeout=60) as http:
        assert http.get("/ui/settings").status_code == 200
        for query in ("drill", "?!"):
            assert http.post("/ui/search", json={"query": query}).status_code == 200
        assert http.post("/ui/map", json={"query": "drill", "texts": {"0": "Drill"}}).status_code == 200
        assert http.post("/explain", json={"query": "drill", "titles": ["Drill"]}).status_code == 200
    assert ("POST", f"/{index}/_search") in sent
    assert {*sent} <= {
        ("POST", f"/{index}/_search"),
        ("GET", f"/{index}/_mapping"),
        ("GET", f"/{index}/_mapping/field/*"),  # names the text fields when nothing is found
    }


def test_every_file_is_served_with_the_policy(address):
    """Every file and answer of the page has the strict policy, also without its content; other endpoints have none."""
    with httpx.Client(base_url=address) as http:
        paths = [file.path for file in read_page_files()]
        assert {"/ui", "/ui/app.js", "/ui/page.css"} <= {*paths}
        for path in [*paths, "/ui/settings"]:
            response = http.get(path)
            assert response.status_code == 200
            assert response.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Cache-Control"] == ("no-store" if path == "/ui/settings" else "no-cache")
            if path != "/ui/settings":
                head = http.head(path)
                assert (head.status_code, head.content, head.headers["Content-Type"]) == (
                    200,
                    b"",
                    response.headers["Content-Type"],
                )
        assert "Content-Security-Policy" not in http.get("/health").headers
        assert http.post("/ui/search", json={"query": "x" * 20_000}).status_code == 422
        assert not any(path.startswith("/ui") for path in http.get("/openapi.json").json()["paths"])
        assert http.get("/ui/").headers["Location"] == "../ui"  # a reverse proxy may serve the page below another path


@pytest.mark.parametrize(
    "path",
    ["/ui/routes.py", "/ui/%2e%2e/cli.py", "/ui/..%2fapp.py", "/ui//etc/passwd", "/ui/static/app.js", "/ui/app.js/"],
)
def test_nothing_but_the_files_of_the_page_is_served(address, path):
    """Paths that are not those of a file, also disguised ones, are not found, in a sentence."""
    port = int(address.rpartition(":")[2])
    with closing(HTTPConnection("127.0.0.1", port)) as connection:  # sends the path as it is
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status in (307, 404)
        if response.status == 404:
            assert "There is no endpoint" in json.loads(response.read())["detail"]
