"""Sentences that probably need editing: shaded, and said in words."""

import re

from playwright.sync_api import Browser, expect

from tests.support.bundles import SENTENCES
from tests.support.page import TEXT, Desk, Visit, type_text, visiting

WHERE = ("#output", "#legend", "#sentence", "#status")


def test_doubtful_sentences_are_shaded_by_their_estimates(seat: Visit, desk: Desk) -> None:
    type_text(seat)
    spans = seat.page.locator("#output .sentence")
    estimates = [one["needs_editing"] for one in desk.translate(TEXT)["translations"][0]["sentences"]]
    levels = [str((estimate >= 0.5) + (estimate >= 0.8)) if estimate >= 0.5 else None for estimate in estimates]
    assert len(set(levels)) > 1, estimates
    assert [span.get_attribute("data-doubt") for span in spans.all()] == levels
    grounds = {
        level: span.evaluate("span => getComputedStyle(span).backgroundColor")
        for level, span in zip(levels, spans.all(), strict=True)
    }
    assert len(set(grounds.values())) == len(grounds) and grounds[None] == "rgba(0, 0, 0, 0)"
    lines = [span.evaluate("span => getComputedStyle(span).textDecorationStyle") for span in spans.all()]
    assert lines == ["dashed" if level else "solid" for level in levels]


def test_doubt_is_said_in_words_and_never_called_quality(seat: Visit, desk: Desk) -> None:
    type_text(seat)
    estimates = [one["needs_editing"] for one in desk.translate(TEXT)["translations"][0]["sentences"]]
    doubtful = sum(estimate >= 0.5 for estimate in estimates)
    words = f"{doubtful} of 3 sentences probably need{'s' if doubtful == 1 else ''} editing."
    expect(seat.page.get_by_role("status").filter(has_text="Translated by")).to_contain_text(words)
    assert seat.page.get_by_role("mark").count() == doubtful
    for number, estimate in enumerate(estimates):
        seat.page.locator("#output .sentence").nth(number).focus()
        shown = seat.text("#sentence")
        assert f"Needs editing: {round(estimate * 100 + 1e-9)} % likely, by an estimate" in shown
        assert ("Doubtful." in shown) == (estimate >= 0.5)
    assert "probably needs editing" in seat.text("#legend")
    assert not re.search("quality", " ".join(map(seat.text, WHERE)), re.IGNORECASE)


def test_a_domain_without_an_estimate_shades_nothing(seat: Visit) -> None:
    type_text(seat, " ".join(SENTENCES["kitchen"][:2]))
    expect(seat.page.locator("#badge")).to_have_text("kitchen")
    assert seat.page.locator("[data-doubt]").count() == 0 and not seat.page.locator("#legend").is_visible()
    seat.page.locator("#output .sentence").first.hover()
    assert "Needs editing" not in seat.text("#sentence") and "Log-probability" in seat.text("#sentence")


def test_doubt_is_found_by_keyboard(seat: Visit) -> None:
    type_text(seat)
    seat.page.locator("#copy").focus()
    seat.page.keyboard.press("Tab")
    for _ in range(3):
        doubtful = seat.page.evaluate("'doubt' in document.activeElement.dataset")
        assert ("Doubtful." in seat.text("#sentence")) == doubtful
        seat.page.keyboard.press("ArrowRight")


def test_a_phone_says_it_too(browser: Browser, desk: Desk) -> None:
    with visiting(browser, desk, viewport={"width": 320, "height": 640}, is_mobile=True, has_touch=True) as phone:
        type_text(phone)
        phone.page.locator("[data-doubt]").first.tap()
        assert "Doubtful." in phone.text("#sentence") and "probably needs editing" in phone.text("#legend")
