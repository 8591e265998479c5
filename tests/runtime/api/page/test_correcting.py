"""A sentence corrected on the page, and what becomes of it."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Route, expect

from fmalloc_shared.corrections import Correction, read_log
from tests.support.bundles import SENTENCES
from tests.support.page import TEXT, Desk, Site, Visit, answer_with, type_text, visiting

IT, KITCHEN = SENTENCES["it"], SENTENCES["kitchen"]


@pytest.fixture(autouse=True)
def empty_log(desk: Desk) -> None:
    """What other tests sent is put away."""
    for path in desk.corrections.glob("*.jsonl"):
        path.unlink()


def kept(desk: Desk, domain: str = "it") -> list[Correction]:
    path = desk.corrections / f"{domain}.jsonl"
    return [correction for _, correction in read_log(path)] if path.exists() else []


def test_a_sentence_is_corrected_by_keyboard_alone(seat: Visit, desk: Desk) -> None:
    page, keys = seat.page, seat.page.keyboard
    type_text(seat)
    page.locator("#copy").focus()
    keys.press("Tab")
    keys.press("ArrowRight")
    keys.press("Tab")
    expect(page.get_by_role("button", name="Correct a sentence")).to_be_focused()
    keys.press("Enter")
    editor = page.get_by_label("How it should be translated")
    expect(editor).to_be_focused()
    expect(page.get_by_role("group", name="Correct this sentence")).to_be_visible()
    second = desk.translate(TEXT)["translations"][0]["sentences"][1]
    assert seat.text("#corrected-source") == second["source"] == IT[1]
    assert editor.input_value() == second["translation"]
    keys.press("Control+A")
    keys.type("The server could not connect.")
    for key, name in (("Tab", "Send correction"), ("Tab", "Cancel"), ("Shift+Tab", "Send correction")):
        keys.press(key)
        expect(page.get_by_role("button", name=name)).to_be_focused()
        assert page.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"
    keys.press("Enter")
    expect(page.locator("#status")).to_have_text("The correction is kept for the domain it.")
    (found,) = kept(desk)
    assert (found.source, found.target, found.asked) == (IT[1], "The server could not connect.", "it")
    expect(page.locator("#correction")).to_be_hidden()
    expect(page.locator("#output .sentence").nth(1)).to_be_focused()
    assert page.locator("#output .sentence").nth(1).text_content() == "The server could not connect."
    assert "Corrected by you: The server could not connect." in seat.text("#sentence")
    assert page.locator("#output .sentence").nth(1).get_attribute("data-doubt") is None


def test_enter_begins_control_enter_sends_and_escape_leaves(seat: Visit, desk: Desk) -> None:
    page, keys = seat.page, seat.page.keyboard
    type_text(seat)
    first = page.locator("#output .sentence").first
    before = seat.text("#output")
    first.focus()
    keys.press("Enter")
    page.fill("#corrected", "Half")
    keys.press("Escape")
    expect(page.locator("#correction")).to_be_hidden()
    expect(first).to_be_focused()
    assert seat.text("#output") == before and not kept(desk)
    keys.press("Enter")
    assert page.input_value("#corrected") == "Half"
    asked = len([url for url in seat.requests if url.endswith("v1/translate")])
    page.fill("#corrected", "Click the button.")
    keys.press("Control+Enter")
    expect(page.locator("#status")).to_have_text("The correction is kept for the domain it.")
    assert [one.target for one in kept(desk)] == ["Click the button."]
    assert len([url for url in seat.requests if url.endswith("v1/translate")]) == asked


def test_the_editor_goes_along_and_keeps_what_was_typed(seat: Visit) -> None:
    page = seat.page
    type_text(seat)
    spans = page.locator("#output .sentence")
    page.get_by_role("button", name="Correct a sentence").click()
    assert seat.text("#corrected-source") == IT[0]
    page.fill("#corrected", "First")
    spans.nth(2).click()
    assert seat.text("#corrected-source") == IT[2]
    spans.nth(0).click()
    assert page.input_value("#corrected") == "First"
    page.get_by_role("button", name="Cancel").click()
    page.fill("#source", KITCHEN[0])
    expect(page.locator("#badge")).to_have_text("kitchen")
    page.get_by_role("button", name="Correct a sentence").click()
    assert seat.text("#corrected-source") == KITCHEN[0]


def test_a_sentence_that_was_looked_at_stays_chosen(seat: Visit) -> None:
    type_text(seat)
    spans = seat.page.locator("#output .sentence")
    spans.nth(1).click()
    spans.nth(2).hover()
    assert IT[2] in seat.text("#sentence")
    seat.page.get_by_role("button", name="Correct a sentence").hover()
    assert IT[1] in seat.text("#sentence")
    seat.page.get_by_role("button", name="Correct a sentence").click()
    assert seat.text("#corrected-source") == IT[1]
    seat.page.fill("#source", "")
    seat.page.locator("#output").hover()
    assert not seat.page.locator("#correct").is_visible() and not seat.page.locator("#correction").is_visible()


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        (IT[0], "", "a side is empty"),
        (IT[0], IT[0], "the target has the words of the source"),
        ("Die Datei %s ist offen.", "The file is open.", "the target lacks %s of the source"),
    ],
)
def test_what_is_refused_is_told_with_the_reason(
    seat: Visit, desk: Desk, source: str, target: str, reason: str
) -> None:
    page = seat.page
    type_text(seat, source)
    before = seat.text("#output")
    page.get_by_role("button", name="Correct a sentence").click()
    page.fill("#corrected", target)
    page.get_by_role("button", name="Send correction").click()
    expect(page.locator("#status")).to_have_text(f"The correction was not taken: {reason}.")
    expect(page.locator("#status")).to_have_class("wrong")
    expect(page.locator("#corrected")).to_have_value(target)
    assert seat.text("#output") == before and not list(desk.corrections.glob("*.jsonl"))


def test_what_is_known_or_cannot_be_kept_is_told(seat: Visit, desk: Desk) -> None:
    page, status, send = (
        seat.page,
        seat.page.locator("#status"),
        seat.page.get_by_role("button", name="Send correction"),
    )
    for said in ("The correction is kept for the domain it.", "This correction was known already."):
        type_text(seat, f"{IT[0]} ")
        type_text(seat, IT[0])
        page.get_by_role("button", name="Correct a sentence").click()
        page.fill("#corrected", "Click the button.")
        send.click()
        expect(status).to_have_text(said)
    assert len(kept(desk)) == 1
    page.get_by_role("button", name="Correct a sentence").click()
    answer_with(page, "v1/corrections", 507, {"error": "the corrections of it have more than 64 MiB"})
    send.click()
    expect(status).to_have_text(re.compile("^The server cannot answer at the moment: the corrections of it have more"))
    page.unroute("**/v1/corrections")
    page.route("**/v1/corrections", lambda route: route.abort())
    send.click()
    expect(status).to_have_text("The server cannot be reached. Check the connection and try again.")
    expect(send).to_be_enabled()


def test_it_goes_to_the_domain_that_translated(seat: Visit, desk: Desk) -> None:
    page = seat.page
    page.get_by_label("kitchen").check(force=True)
    type_text(seat, IT[0])
    page.get_by_role("button", name="Correct a sentence").click()
    page.fill("#corrected", "Stir the button.")
    page.get_by_role("button", name="Send correction").click()
    expect(page.locator("#status")).to_have_text("The correction is kept for the domain kitchen.")
    assert [one.target for one in kept(desk, "kitchen")] == ["Stir the button."] and not kept(desk)


def test_markup_stays_as_it_is_and_is_never_made_of_text(seat: Visit, desk: Desk) -> None:
    page = seat.page
    page.get_by_label("Format").select_option("html")
    type_text(seat, f"<p>{IT[0]} <b>{IT[1]}</b></p>")
    before = seat.text("#output")
    page.get_by_role("button", name="Correct a sentence").click()
    page.fill("#corrected", "Click <img src=x onerror='window.hacked = 1'>.")
    page.get_by_role("button", name="Send correction").click()
    expect(page.locator("#status")).to_have_text("The correction is kept for the domain it.")
    assert seat.text("#output") == before and "Corrected by you: Click <img" in seat.text("#sentence")
    assert page.locator("main img").count() == 0 and page.evaluate("window.hacked") is None


def test_an_answer_that_comes_late_changes_no_other_text(seat: Visit) -> None:
    page = seat.page
    held: list[Route] = []
    type_text(seat, IT[0])
    page.route("**/v1/corrections", lambda route: held.append(route))
    page.get_by_role("button", name="Correct a sentence").click()
    page.fill("#corrected", "Click the button.")
    with page.expect_request("**/v1/corrections"):
        page.get_by_role("button", name="Send correction").click()
    type_text(seat, KITCHEN[0])
    expect(page.locator("#badge")).to_have_text("kitchen")
    after = seat.text("#output")
    held[0].continue_()
    expect(page.locator("#status")).to_have_text("The correction is kept for the domain it.")
    assert seat.text("#output") == after


def test_only_where_they_are_taken_and_of_one_domain(browser: Browser, site: Site, desk: Desk) -> None:
    with visiting(browser, site) as visit:
        type_text(visit)
        assert not visit.page.locator("#correct").is_visible()
        visit.page.locator("#output .sentence").first.focus()
        visit.page.keyboard.press("Enter")
        assert not visit.page.locator("#correction").is_visible()
    with visiting(browser, desk) as visit:
        type_text(visit)
        expect(visit.page.locator("#correct")).to_be_visible()
        visit.page.get_by_role("button", name="Compare domains").click()
        expect(visit.page.locator("#status")).to_have_text("3 domains compared.")
        assert not visit.page.locator("#correct").is_visible()


@pytest.fixture
def phone(browser: Browser, desk: Desk) -> Iterator[Visit]:
    """The page on a phone."""
    with visiting(browser, desk, viewport={"width": 320, "height": 640}, is_mobile=True, has_touch=True) as visit:
        yield visit


def test_a_phone_corrects_too(phone: Visit, desk: Desk) -> None:
    page = phone.page
    type_text(phone)
    page.locator("#output .sentence").nth(1).tap()
    assert IT[1] in phone.text("#sentence")
    page.get_by_role("button", name="Correct a sentence").tap()
    assert phone.text("#corrected-source") == IT[1]
    page.fill("#corrected", "The server could not connect.")
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    page.get_by_role("button", name="Send correction").tap()
    expect(page.locator("#status")).to_have_text("The correction is kept for the domain it.")
    assert [one.target for one in kept(desk)] == ["The server could not connect."]
