"""The report in Chromium: it asks for nothing, fits a phone, and no table is cut on paper."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from fmalloc.report.page import report_page
from tests.support.reports import add_task, comparison, empty_store

_PAPER = {"width": 680, "height": 1000}
_WIDER_THAN_THE_PAGE = """() => [...document.querySelectorAll("table, svg, p, h2")]
    .filter(node => node.getBoundingClientRect().right > innerWidth + 1).map(node => node.textContent.slice(0, 40))"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on twelve domains and a comparison."""
    folder = tmp_path_factory.mktemp("report")
    store = empty_store(folder / "store")
    for index in range(12):
        add_task(store, f"domain-{index}", (3, 2, 1))
    (folder / "report.html").write_text(report_page(store, comparison()), encoding="utf-8")
    return folder / "report.html"


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Page]:
    """The report, open; it has asked for nothing but itself, and nobody has complained."""
    context = browser.new_context()
    page, requests, complaints = context.new_page(), [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(report.as_uri())
    yield page
    assert requests == [report.as_uri()] and not complaints
    context.close()


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_page_never_scrolls_sideways(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_no_table_is_cut_on_paper(page: Page) -> None:
    page.set_viewport_size(_PAPER)
    page.emulate_media(media="print")
    assert page.evaluate(_WIDER_THAN_THE_PAGE) == []
    assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"


def test_pictures_and_tables_have_names(page: Page) -> None:
    pictures = page.locator("svg:not([aria-hidden])")
    named = page.locator("svg[role=img][aria-label], svg[role=img]:has(> title)")
    assert pictures.count() == named.count() > 50
    assert page.locator("table:not(:has(th[scope=col]))").count() == 0
    assert page.locator("tbody tr:not(:has(th[scope=row]))").count() == 0


def test_bars_show_each_owners_share(page: Page) -> None:
    bar = page.get_by_role("img", name="encoder.0: domain-0 3, domain-1 3", exact=False)
    widths = bar.locator("rect").evaluate_all("rects => rects.map(rect => rect.getBoundingClientRect().width)")
    assert len(widths) == 13
    assert all(width == pytest.approx(sum(widths) * 3 / 40, rel=0.02) for width in widths[:12])
    fills = bar.locator("rect").evaluate_all("rects => rects.map(rect => rect.getAttribute('fill'))")
    assert len(set(fills)) == 13 and fills[8] == "url(#hatch-8)"
