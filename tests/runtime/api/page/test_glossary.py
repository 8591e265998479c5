"""A glossary chosen on the page: whose it is, what it does to translations, and how its terms are marked."""

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.bundles import SENTENCES
from tests.support.page import Desk, Site, Visit, answer_with, type_text, visiting

IT = SENTENCES["it"]
OFFICE = {"Datei": "dossier", "Schaltfläche": "knob"}
TEXT = f"{IT[0]} {IT[1]}"
# How a mark is drawn, without its colours.
LINES = """selector => (style => [style.textDecorationLine, style.textDecorationStyle])(
    getComputedStyle(document.querySelector(selector)))"""


@pytest.fixture(scope="module", autouse=True)
def glossaries(desk: Desk) -> None:
    desk.keep_glossary("Office", OFFICE)
    desk.keep_glossary("The other way", {"file": "Datei"}, languages="en de")
    desk.keep_glossary("One's", {"Datei": "folio"}, key=desk.key)


def options(page: Page) -> list[str]:
    return page.locator("#glossary option").all_text_contents()


def test_none_is_chosen_at_first_and_one_changes_the_translation(seat: Visit, desk: Desk) -> None:
    page = seat.page
    expect(page.get_by_label("Glossary")).to_be_visible()
    assert options(page) == ["None", "Office"] and page.get_by_label("Glossary").input_value() == ""
    type_text(seat, TEXT)
    freely = seat.text("#output")
    assert freely == desk.translate(TEXT)["translations"][0]["text"] and page.locator(".term").count() == 0
    page.get_by_label("Glossary").select_option("Office")
    expect(page.locator("#output .term")).to_have_count(2)
    assert seat.text("#output") == desk.translate(TEXT, glossary=OFFICE)["translations"][0]["text"] != freely
    assert sorted(term.lower() for term in page.locator("#output .term").all_text_contents()) == ["dossier", "knob"]
    assert page.locator("#mirror .term").all_text_contents() == ["Schaltfläche", "Datei"]
    page.get_by_label("Glossary").select_option("None")
    expect(page.locator("#output")).to_have_text(freely)
    expect(page.locator(".term, .lost")).to_have_count(0)
    assert not page.locator("#legend .term").is_visible()


def test_terms_are_told_by_a_line_and_in_words(seat: Visit) -> None:
    page = seat.page
    page.get_by_label("Glossary").select_option("Office")
    type_text(seat, TEXT)
    for selector in ("#mirror .term", "#output .term", "#legend .term"):
        assert page.evaluate(LINES, selector) == ["underline", "solid"], selector
    assert "term of the glossary" in seat.text("#legend")
    assert "2 terms of the glossary." in seat.text("#status")
    page.locator("#output .sentence").first.hover()
    assert re.search("Terms: Schaltfläche → knob; Datei → dossier.", seat.text("#sentence"), re.IGNORECASE)
    source = page.locator("#mirror .term").first.bounding_box()
    assert source is not None
    page.mouse.move(source["x"] + 3, source["y"] + source["height"] / 2)
    expect(page.locator("#output .on")).to_have_count(1)


def test_a_term_that_the_translation_lacks_is_told_apart(seat: Visit) -> None:
    page = seat.page
    source, translation = "😀 Datei und Maus 😀", "😀 my dossier 😀"
    sentence = {"source": source, "translation": translation, "log_probability": -1}
    terms = [[[2, 7], [5, 12]], [[12, 16], None]]
    found = {"text": f" {translation}", "alternatives": [], "sentences": [sentence | {"terms": terms}]}
    domain = {"name": "it", "score": 1, "scores": {"it": 1}, "reason": "detected", "bundle": "it@0"}
    answer_with(page, "v1/translate", 200, {"translations": [found], "domain": domain, "seconds": {}})
    type_text(seat, source)
    assert page.locator("#mirror .term").all_text_contents() == ["Datei"]
    assert page.locator("#output .term").all_text_contents() == ["dossier"]
    assert page.locator("#mirror .lost").all_text_contents() == ["Maus"]
    assert page.evaluate(LINES, "#mirror .lost") == ["underline", "wavy"]
    assert seat.text("#output") == f" {translation}" and "that the translation lacks" in seat.text("#legend")
    assert "2 terms of the glossary, 1 not in the translation." in seat.text("#status")
    page.locator("#output .sentence").hover()
    assert "Datei → dossier; Maus → not in the translation." in seat.text("#sentence")


def test_terms_are_marked_among_tags(seat: Visit) -> None:
    page = seat.page
    page.get_by_label("Format").select_option("html")
    page.get_by_label("Glossary").select_option("Office")
    type_text(seat, IT[0].replace("die Datei", "die <b>Datei</b>"))
    assert page.locator("#mirror .term").all_text_contents() == ["Schaltfläche", "Datei"]
    assert [term.lower() for term in page.locator("#output .term").all_text_contents()].count("dossier") == 1
    assert "<b>" in seat.text("#output")


def test_domains_are_compared_with_it(seat: Visit, desk: Desk) -> None:
    page = seat.page
    page.get_by_label("Glossary").select_option("Office")
    type_text(seat, TEXT)
    page.get_by_role("button", name="Compare domains").click()
    expect(page.locator("#status")).to_have_text("3 domains compared.")
    found = [desk.translate(TEXT, domain=name, glossary=OFFICE)["translations"][0]["text"] for name in SENTENCES]
    assert page.locator("#columns .result").all_text_contents() == found


def test_a_key_has_its_own_and_another_none(browser: Browser, desk: Desk) -> None:
    with visiting(browser, desk, "keyed/") as visit:
        page = visit.page
        for key, names in ((desk.key, ["None", "One's"]), (desk.other_key, ["None"])):
            page.get_by_label("API key").fill(key)
            page.get_by_role("button", name="Use key").click()
            expect(page.locator("#key-form")).to_be_hidden()
            expect(page.locator("#glossary option")).to_have_text(names)
            assert page.locator("#glossary-label").is_visible() == (len(names) > 1)
            page.evaluate("sessionStorage.clear()")
            page.fill("#source", IT[0])
            expect(page.locator("#key-form")).to_be_visible()


def test_a_server_that_keeps_none_shows_none(browser: Browser, desk: Desk, site: Site) -> None:
    with visiting(browser, desk, "bare/") as visit:
        type_text(visit)
        for hidden in ("#glossary-label", "#files", "#correct", "#legend .term"):
            assert not visit.page.locator(hidden).is_visible(), hidden
        assert not [url for url in visit.requests if "glossaries" in url]


def test_a_glossary_that_is_gone_is_told(seat: Visit) -> None:
    seat.page.get_by_label("Glossary").evaluate("select => { select.options[1].value = 'gone' }")
    seat.page.get_by_label("Glossary").select_option("Office")
    seat.page.fill("#source", TEXT)
    expect(seat.page.locator("#status")).to_have_text("The server cannot take this: no glossary 'gone' of this key.")


def test_pieces_that_are_cut_are_the_text(seat: Visit) -> None:
    script = "async pairs => { const m = await import('./static/words.js'); return pairs.map(p => m.cut(...p)) }"
    cases = [["a b c", [[2, 3]]], ["😀 x 😀", [[4, 5], [0, 1]]], ["abc", [[0, 2], [1, 3]]], ["", []], ["ab", [[0, 2]]]]
    assert seat.page.evaluate(script, cases) == [
        ["a ", "b", " c"],
        ["", "😀", " x ", "😀", ""],
        ["", "ab", "c"],
        [""],
        ["", "ab", ""],
    ]


def test_it_is_chosen_and_its_terms_are_looked_at_by_keyboard_alone(seat: Visit) -> None:
    page, keys = seat.page, seat.page.keyboard
    type_text(seat, TEXT)
    page.locator("#chips :checked").focus()
    keys.press("Tab")
    expect(page.get_by_label("Glossary")).to_be_focused()
    keys.press("O")
    expect(page.locator("#output .term")).to_have_count(2)
    page.locator("#copy").focus()
    keys.press("Tab")
    expect(page.locator("#output .sentence").first).to_be_focused()
    assert re.search("Terms: Schaltfläche → knob; Datei → dossier.", seat.text("#sentence"), re.IGNORECASE)


def test_a_phone_shows_terms_too(browser: Browser, desk: Desk) -> None:
    with visiting(browser, desk, viewport={"width": 320, "height": 640}, is_mobile=True, has_touch=True) as phone:
        page = phone.page
        page.get_by_label("Glossary").select_option("Office")
        type_text(phone, TEXT)
        page.locator("#output .term").last.tap()
        assert re.search("Terms: Schaltfläche → knob; Datei → dossier.", phone.text("#sentence"), re.IGNORECASE)
        assert page.evaluate("document.documentElement.scrollWidth") == 320
