"""The pictures of the docs: `pytest tests/test_ui_pictures.py --screenshots docs/images` draws them again."""

import re
from pathlib import Path

import pytest
from page_index import browser, open_page, search_for, set_slider, title_index

from anthem_core.opensearch.connection import connect

pytest.importorskip("fastapi")

from anthem_plugin.service.ui.page_search import PageTarget

__all__ = ["browser", "open_page"]

DOCS = Path(__file__).resolve().parent.parent / "docs"
# An English analyzer finds no "watt" in 60W; what the model makes of these titles is not arranged.
PICTURE_QUERY = "60 watt led bulb"
PICTURE_TITLES = [
    "LED bulb, 60W equivalent, soft white, 4 pack",
    "LED bulb, 100W equivalent, daylight",
    "LED bulb, 40W equivalent, soft white",
    "Bulb changer kit with pole",
    "LED floodlight 50 watt",
    "LED strip light, 16 ft",
    "Watt meter with LED display",
    "LED candle bulb 40 watt replacement",
    "60W A19 LED light bulb, dimmable",
    "LED desk lamp, 10 watt",
    "LED work light, 30 watt",
    "Halogen bulb 60W, clear, 2 pack",
    "LED night light, bulb shape",
    "Smart LED bulb, A19, 60 W equivalent, colour",
    "LED bulb 75 watt equivalent",
    "Solar panel 60 watt",
    "LED tube light 4 ft, 18 watt",
    "Bulb socket adapter, 60 mm",
    "LED headlamp",
    "Tulip bulbs, pack of 60",
    "LED grow light, 45 watt",
    "60 watt soldering iron",
]


@pytest.fixture
def draw(request):
    """With `--screenshots FOLDER`: function that draws the page in a state, after a query; else None."""
    folder = request.config.getoption("--screenshots")
    if folder is None:
        yield None
        return
    # Only now: without the option, the test needs neither a node nor a browser.
    names = ("open_page", "run_service", "encoder", "client", "cluster")
    open_page, run_service, encoder, client, cluster = map(request.getfixturevalue, names)
    with (
        title_index(client, encoder, PICTURE_TITLES, name="products") as index,  # the page names what it searches
        connect(cluster) as opensearch,
        run_service(encoder, page=PageTarget(opensearch, index)) as http,
    ):

        def draw(name, act, shown=None, **options):
            with open_page(str(http.base_url), reduced_motion="reduce", **options) as page:
                search_for(page, PICTURE_QUERY)
                page.locator("h1").click()  # the focus would draw the eye
                act(page)
                target = page.locator(shown) if shown else page
                target.screenshot(path=Path(folder) / name)

        yield draw


def test_the_pictures_of_the_docs(draw):
    """The docs show the pictures that this test draws, each with a text alternative and of less than 150 kB."""

    def explain(page):
        page.locator("#reranked .product").nth(3).click()
        page.wait_for_selector("dialog .map")
        page.mouse.move(0, 0)

    def tune(page):
        page.click("#tuning summary")
        set_slider(page, "attention", 0.5)

    states = {
        "page-lists.png": (lambda _: None, {"viewport": {"width": 1100, "height": 900}}),
        "page-why.png": (explain, {"viewport": {"width": 680, "height": 1310}, "shown": "dialog"}),
        "page-weights.png": (tune, {"viewport": {"width": 1100, "height": 800}, "color_scheme": "dark"}),
        "page-phone.png": (lambda _: None, {"viewport": {"width": 360, "height": 720}}),
    }
    for name, (act, options) in states.items() if draw else ():
        draw(name, act, **options)
    shown = re.findall(r"!\[([^\]]{40,})\]\(images/([\w.-]+)\)", (DOCS / "page-to-try.md").read_text(encoding="utf-8"))
    assert {name for _, name in shown} == {*states}
    for name in states:
        assert (DOCS / "images" / name).stat().st_size < 150_000
