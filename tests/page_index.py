"""The products that the tests of the page search, and a browser to look at it."""

import shutil
import uuid
from contextlib import contextmanager

import pytest
from small_index import model_documents

from anthem_core.opensearch.connection import connect
from anthem_core.opensearch.schema import ModelFields, product_text

QUERY = "drill 18 volt"  # most products spell it 18V, which an English analyzer does not match
DESKTOP = {"width": 1280, "height": 860}
PHONE = {"width": 360, "height": 740}
TITLES = [
    "Battery pack 18V for cordless drill and cordless screwdriver, cordless drill battery",
    "Drill bit set for cordless drill 18V, 100 pieces",
    "Cordless drill holder, wall mounted rack for 4 cordless drills",
    "Bag for cordless drill, 18V tools and drill bits",
    "Charger for 18V cordless drill batteries",
    "Northwind 18V cordless drill driver with two batteries",
    "Steelbourne cordless drill 18V, brushless, 60 Nm",
    "Cordless hammer drill 18V by Rookhammer",
    "Torqvane cordless drill 12V compact",
    "Steelbourne corded drill 750 W",
    "Cordless screwdriver 4V with bits",
    "Corded hammer drill 1050 W with depth stop",
    "Drill press 500 W, bench top",
    "Cordless vacuum cleaner 18V",
    "Toy drill for children with sounds",
    "Drill guide for straight holes",
    "Impact driver 18V brushless, cordless",
    "Paddle mixer attachment for drill",
    "Hand drill with crank, for model making",
    "Drill chuck 13 mm with key",
    "Grindolf 20V cordless combi drill kit with case",
    "Cordless drill brush set for cleaning, fits every drill",
    "Work light 18V for cordless tool batteries",
    "Masonry drill bits, 5 to 10 mm",
    "Yoga mat, extra thick",
]
HOSTILE_TITLES = [
    "hostile <img src=x onerror=document.title='broken'>",
    "hostile </script><script>document.title='broken'</script>",
    'hostile "><svg onload=document.title="broken">',
    "hostile \u202eright to left\u202c && {{constructor}} ${1}",
    "hostile " + "long" * 200,
]


@contextmanager
def title_index(client, encoder, titles, *, name=None, shards=1, with_values=True):
    """Create an index of titles, with the encoder's values or without; yield its name."""
    name = name or f"test-page-{uuid.uuid4().hex}"
    mapping = ModelFields().mapping(encoder.bundle.dimension) if with_values else {"properties": {}}
    mapping["properties"]["title"] = {"type": "text", "analyzer": "english"}
    client.indices.create(index=name, body={"settings": {"number_of_shards": shards}, "mappings": mapping})
    texts = [product_text({"title": title}, ("title",)) for title in titles]
    values = model_documents(encoder, texts) if with_values else [{} for _ in titles]
    lines = []
    for number, (title, document) in enumerate(zip(titles, values, strict=True)):
        lines += [{"index": {"_id": str(number)}}, {"title": title, **document}]
    assert not lines or not client.bulk(body=lines, index=name, refresh=True)["errors"]
    yield name
    client.indices.delete(index=name)


@pytest.fixture(scope="module")
def index(client, encoder):
    """An ingested index of tools and hostile titles."""
    with title_index(client, encoder, [*TITLES, *HOSTILE_TITLES]) as name:
        yield name


@pytest.fixture(scope="module")
def sent():
    """Method and path of every request that the page's service sends to the cluster."""
    return []


@pytest.fixture(scope="module")
def address(run_service, encoder, cluster, index, sent):
    """Address of the service with the page for the index."""
    from anthem_plugin.service.ui.page_search import PageTarget

    with connect(cluster) as opensearch:
        perform = opensearch.transport.perform_request

        def record(method, url, *args, **kwargs):
            sent.append((method, url))
            return perform(method, url, *args, **kwargs)

        opensearch.transport.perform_request = record
        with run_service(encoder, page=PageTarget(opensearch, index)) as http:
            yield str(http.base_url)


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium; without one, or without playwright, the tests of the page are skipped."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[dev]'")
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if executable is None:
        pytest.skip("no Chromium on the PATH: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def open_page(browser):
    """Context manager that opens the page; at its end, the console must be empty, and nothing foreign requested."""

    @contextmanager
    def open_page(address, *, viewport=DESKTOP, complaints=(), **options):
        context = browser.new_context(viewport=viewport, **options)
        page, said, requested = context.new_page(), [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: requested.append(request.url))
        page.goto(f"{address}/ui")
        yield page
        context.close()
        assert [text for text in said if not any(known in text for known in complaints)] == []
        assert {url for url in requested if not url.startswith((address, "data:"))} == set()

    return open_page


def search_for(page, query=QUERY):
    """Type a query, and wait until both lists are there and at rest."""
    with page.expect_response("**/ui/search"):
        page.fill("#query", query)
    page.wait_for_selector("#reranked li")
    page.evaluate("Promise.all(document.getAnimations().map((animation) => animation.finished)).then(() => null)")


def titles_of(page, name):
    """Titles of a list, first to last."""
    return page.locator(f"#{name} .title").all_inner_texts()


def set_slider(page, name, value):
    """Move a slider to a value."""
    page.eval_on_selector(
        f"#slider-{name}", "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }", value
    )
