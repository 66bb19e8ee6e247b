"""The page of `anthem serve --ui` in a real browser: what is typed, seen and clicked."""

import json

import numpy as np
import pytest
from page_index import (
    DESKTOP,
    PHONE,
    QUERY,
    address,
    browser,
    index,
    open_page,
    search_for,
    sent,
    set_slider,
    titles_of,
)

from anthem_core.encoding.bundle import ALL_SIGNALS
from anthem_core.fusion import MAX_SHIFT, FusionWeights, fuse, model_shift
from anthem_plugin.client import AnthemClient
from anthem_plugin.modes import DEFAULT_WINDOW
from anthem_plugin.scoring.window import rank_descending
from anthem_plugin.search.title_explanation import TitleExplainer

pytest.importorskip("fastapi")

pytestmark = pytest.mark.node

__all__ = ["address", "browser", "index", "open_page", "sent"]

BLOCKING = ("serious", "critical")


def found_titles(client, encoder, index, **options):
    """Titles that a search of the Python client returns."""
    body = {"query": {"match": {"title": {"query": QUERY}}}, "size": 10, "_source": ["title"]}
    response = AnthemClient(client, encoder).search(index, body, **options)
    return [hit["_source"]["title"] for hit in response["hits"]["hits"]]


def test_both_lists_are_those_of_the_client(open_page, address, client, encoder, index):
    """The page shows the lexical and the reranked hits in the orders of a client, and marks every movement in words."""
    with open_page(address) as page:
        search_for(page)
        assert titles_of(page, "lexical") == found_titles(client, encoder, index, mode="none")
        assert titles_of(page, "reranked") == found_titles(client, encoder, index, mode="cluster")
        before = page.locator("#lexical li").evaluate_all("rows => rows.map((row) => Number(row.dataset.place) + 1)")
        after = page.locator("#reranked li").evaluate_all("rows => rows.map((row) => Number(row.dataset.place) + 1)")
        assert before == list(range(1, 11))
        moved = page.locator("#reranked .moved").all_text_contents()
        for rank, (was, text) in enumerate(zip(after, moved, strict=True), start=1):
            sign, words = text.split(",", 1)
            assert sign == ("=" if was == rank else f"{'▲' if was > rank else '▼'}{abs(was - rank)}")
            assert (f"was {was}" in words) == (was != rank)
        assert max(was - rank for rank, was in enumerate(after, start=1)) > 5
        assert index in page.inner_text("#about")


def test_the_browser_ranks_as_python_does(open_page, address):
    """For 300 sets of weights, windows and products, some without a signal, the browser's order is that of Python."""
    random = np.random.default_rng(7)
    cases, expected = [], []
    for _ in range(300):
        lexical = np.round(random.exponential(3, 40), 2)
        signals = [np.where(random.random(40) < 0.1, np.nan, random.normal(size=40)) for _ in range(2)]
        weights = FusionWeights(*random.uniform(0, [4, 9, 1, 4, 1]) * (random.random(5) > 0.1))
        window = int(random.integers(1, 41))
        scores = fuse(lexical[:window], model_shift(*(values[:window] for values in signals), weights), weights)
        expected.append([*rank_descending(scores.astype(np.float32)), *range(window, 40)])
        distance, attention = ([None if np.isnan(value) else value for value in values] for values in signals)
        products = [
            {"lexical": score, "distance": far, "attention": near}
            for score, far, near in zip(lexical.tolist(), distance, attention, strict=True)
        ]
        cases.append({"products": products, "weights": weights.to_dict(), "window": window})
    with open_page(address) as page:
        ranked = page.evaluate(
            """async ({ cases, maxShift }) => {
                const { rankProducts } = await import("/ui/fusion.js");
                const rank = ({ products, weights, window }) => rankProducts(products, weights, window, maxShift);
                return JSON.parse(cases).map(rank);
            }""",
            {"cases": json.dumps(cases), "maxShift": MAX_SHIFT},
        )
    assert ranked == expected


def test_sliders_show_what_would_change(open_page, address, encoder):
    """Without weights of the model the order is lexical; the values to copy are the sliders'; a button goes back."""
    with open_page(address) as page:
        search_for(page)
        current = titles_of(page, "reranked")
        page.click("#tuning summary")
        assert page.is_disabled("#reset")
        set_slider(page, "attention", 0)
        set_slider(page, "containment", 0)
        assert titles_of(page, "reranked") == titles_of(page, "lexical")
        changed = sum(one != other for one, other in zip(titles_of(page, "reranked"), current, strict=True))
        assert f"{changed} of the first 10 products would have another place" in page.inner_text("#change")
        assert page.locator(".differs").count() == changed
        copied = json.loads(page.text_content("#values"))
        weights = {**encoder.bundle.fusion[ALL_SIGNALS].to_dict(), "attention": 0, "containment": 0}
        assert copied == {"window": DEFAULT_WINDOW, "fusion": {ALL_SIGNALS: weights}}
        set_slider(page, "window", 3)
        assert json.loads(page.text_content("#values"))["window"] == 3
        page.click("#reset")
        assert titles_of(page, "reranked") == current
        assert page.inner_text("#change") == ""


def test_a_click_explains_a_product(open_page, address, encoder):
    """A click shows the grid, the score and the region that Python computes; Escape closes and returns the focus."""
    with open_page(address) as page:
        search_for(page)
        row = page.locator("#reranked .product").nth(2)
        title = row.locator(".title").inner_text()
        row.click()
        page.wait_for_selector("dialog .grid")
        explanation = TitleExplainer(encoder.bundle).explain(QUERY, title)
        assert page.inner_text("#details-title") == title
        assert page.locator(".grid").first.locator("thead th").all_inner_texts() == explanation.attention.words.title
        shares = page.locator(".grid").first.locator("td").all_inner_texts()[1:]
        cells = explanation.attention.words.cells.ravel()
        assert [float(share.replace("·", "0")) for share in shares] == pytest.approx(cells, abs=0.006)
        assert f"{explanation.attention.score:.3f}".lstrip("-") in page.inner_text("dialog .sum")
        assert f"distance is {explanation.region.distance:.3f}" in page.inner_text("#details-body")
        page.wait_for_selector("dialog .map")
        assert page.locator(".map .point").count() == 20  # all that are found
        assert page.locator(".map .point.chosen title").text_content() == title
        words = page.get_by_role("img").get_attribute("aria-labelledby")
        assert page.inner_text(f"#{words}").startswith(f"A map of “{QUERY}”, “drill”, “18” and “volt” and 20 products.")
        page.keyboard.press("Escape")
        assert not page.is_visible("dialog")
        assert row.evaluate("element => element === document.activeElement")


def test_the_keyboard_is_enough(open_page, address):
    """Slash, arrows, Enter and Escape lead from the query through both lists to an explanation and back."""
    with open_page(address) as page:
        page.keyboard.type(QUERY)
        page.keyboard.press("Enter")
        page.wait_for_selector("#reranked li")

        def focused():
            return page.evaluate(
                """() => {
                    const { activeElement } = document;
                    const list = activeElement.closest("ol");
                    return list ? [list.id, [...list.children].indexOf(activeElement.parentNode)] : [activeElement.id];
                }"""
            )

        steps = [
            ("ArrowDown", ["reranked", 0]),
            ("ArrowDown", ["reranked", 1]),
            ("ArrowLeft", ["lexical", 1]),
            ("End", ["lexical", 9]),
            ("ArrowRight", ["reranked", 9]),
            ("Home", ["reranked", 0]),
            ("ArrowUp", ["query"]),
            ("ArrowDown", ["reranked", 0]),
            ("Escape", ["query"]),
            ("ArrowDown", ["reranked", 0]),
            ("/", ["query"]),
            ("ArrowDown", ["reranked", 0]),
        ]
        for key, place in steps:
            page.keyboard.press(key)
            assert focused() == place, key
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid"
        page.keyboard.press("Enter")
        page.wait_for_selector("dialog .grid")
        page.keyboard.press("Escape")
        assert focused() == ["reranked", 0]


@pytest.mark.parametrize(("viewport", "scheme"), [(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light")])
def test_axe_finds_nothing_serious(open_page, address, viewport, scheme):
    """The axe checks of accessibility find nothing serious in the lists with open sliders, nor in the dialog."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()

    def blocking(page):
        found = axe.run(page).response["violations"]
        return [(each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in BLOCKING]

    with open_page(address, viewport=viewport, color_scheme=scheme, reduced_motion="reduce") as page:
        search_for(page)
        page.click("#tuning summary")
        set_slider(page, "attention", 0)
        assert blocking(page) == []
        page.locator("#reranked .product").first.click()
        page.wait_for_selector("dialog .map")
        assert blocking(page) == []


def test_a_phone_shows_one_list_at_a_time(open_page, address):
    """At 360 pixels nothing scrolls sideways, a switch shows either list, and buttons are large enough for a finger."""
    with open_page(address, viewport=PHONE, has_touch=True, is_mobile=True) as page:
        search_for(page)
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        assert (page.is_visible("#reranked"), page.is_visible("#lexical")) == (True, False)
        page.tap("#show-lexical")
        assert (page.is_visible("#reranked"), page.is_visible("#lexical")) == (False, True)
        heights = page.locator(".product:visible, .switch button").evaluate_all("all => all.map((e) => e.offsetHeight)")
        assert min(heights) >= 44
        page.locator("#lexical .product").first.tap()
        page.wait_for_selector("dialog .grid")
        assert page.evaluate("document.querySelector('dialog').scrollWidth") <= PHONE["width"]
        page.tap("#close")
        page.set_viewport_size(DESKTOP)
        assert page.is_visible("#reranked")


@pytest.mark.parametrize(("motion", "moves"), [("no-preference", True), ("reduce", False)])
def test_rows_slide_unless_motion_is_reduced(open_page, address, motion, moves):
    """A new order slides the rows to their places, and does not for someone who asked for reduced motion."""
    with open_page(address, reduced_motion=motion) as page:
        search_for(page)
        page.click("#tuning summary")
        set_slider(page, "attention", 0)
        assert (page.evaluate("document.getAnimations().length") > 0) == moves


def test_colours_follow_the_system_until_they_are_chosen(open_page, address):
    """The page is dark where the system is; the button changes that, and the choice is kept."""
    with open_page(address, color_scheme="dark") as page:
        background = "getComputedStyle(document.body).backgroundColor"
        dark = page.evaluate(background)
        page.click("#theme")
        light = page.evaluate(background)
        assert (dark, light) == ("rgb(18, 22, 27)", "rgb(255, 255, 255)")
        page.reload()
        assert page.evaluate(background) == light
