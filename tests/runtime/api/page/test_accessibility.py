"""The page for everybody: by keyboard alone, on a phone, enlarged, in the dark, and when the server refuses."""

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.support.bundles import SENTENCES
from tests.support.page import TEXT, Desk, Site, Visit, answer_with, type_text, visiting

IT = SENTENCES["it"]
LONG = f"{TEXT} {'x' * 200}"
SCREENS = {
    "phone": {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True},
    "enlarged fourfold": {"viewport": {"width": 320, "height": 256}, "device_scale_factor": 4},
    "enlarged twofold": {"viewport": {"width": 640, "height": 400}, "device_scale_factor": 2},
}
# Contrast of text and its ground by WCAG 2's formula, for every element with text of its own. The ground is that of the
# nearest element that paints one.
CONTRASTS = """() => {
    const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
    const light = colour => numbers(colour).slice(0, 3).map(part => part / 255)
        .map(part => part <= .04045 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4)
        .reduce((sum, part, at) => sum + part * [.2126, .7152, .0722][at], 0);
    const paints = element => numbers(getComputedStyle(element).backgroundColor)[3] !== 0;
    const ground = element => paints(element) || !element.parentElement ? element : ground(element.parentElement);
    const spoken = node => node.nodeType === Node.TEXT_NODE && node.data.trim();
    const visible = element => element.checkVisibility() && !element.closest('#mirror');
    return [...document.querySelectorAll('body *')]
        .filter(element => visible(element) && (element.placeholder || [...element.childNodes].some(spoken)))
        .map(element => {
            const colours = [getComputedStyle(element).color, getComputedStyle(ground(element)).backgroundColor];
            const [dark, bright] = colours.map(light).sort((one, other) => one - other);
            return [`${element.tagName}.${element.id}${element.className}`, (bright + .05) / (dark + .05)];
        });
}"""
UNNAMED = """[...document.querySelectorAll('input, select, textarea, button, a')]
    .filter(control => ![control, ...control.labels || []].some(named => named.textContent.trim()))
    .map(control => control.outerHTML)"""
OUTLINE = """getComputedStyle(document.activeElement.closest('.chip, .pane:has(textarea:focus)')
    || document.activeElement).outlineWidth"""


def focused(visit: Visit) -> str:
    """What has the focus: its id, or its value or text."""
    found: str = visit.page.evaluate(
        "(e => e.id || (e.type === 'radio' && e.value) || (e.className || e.textContent))(document.activeElement)"
    )
    return found


def test_everything_works_by_keyboard_alone(visit: Visit) -> None:
    page, keys = visit.page, visit.page.keyboard
    order = []
    while len(order) < 20 and "primary" not in order:
        keys.press("Tab")
        order.append(focused(visit))
        if order[-1] == "source":
            keys.type(IT[0])
            keys.press("Control+Enter")
            expect(page.locator("#badge")).to_have_text("it")
        assert page.evaluate(OUTLINE) == "3px", order
    assert order == ["API guide", "OpenAPI", "auto", "compare", "source", "live", "format", "alternatives", "primary"]
    keys.press("Tab")
    assert focused(visit) == "copy"
    keys.press("Tab")
    assert focused(visit) == "sentence on"
    while focused(visit) != "auto":
        keys.press("Shift+Tab")
    keys.press("ArrowRight")
    assert focused(visit) == "general"
    expect(page.locator("#badge")).to_have_text("general")
    keys.press("Tab")
    keys.press("Enter")
    expect(page.locator("#compare")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#status")).to_have_text("3 domains compared.")
    assert focused(visit) == "compare"


def test_sentences_are_one_stop_and_arrows_move_among_them(visit: Visit) -> None:
    type_text(visit)
    spans = visit.page.locator("#output .sentence")
    spans.first.focus()
    for sentence in (1, 2, 2):
        visit.page.keyboard.press("ArrowRight")
        expect(spans.nth(sentence)).to_be_focused()
        assert IT[sentence] in visit.text("#sentence")
    visit.page.keyboard.press("ArrowLeft")
    expect(spans.nth(1)).to_be_focused()
    assert [span.get_attribute("tabindex") for span in spans.all()] == ["-1", "0", "-1"]
    assert spans.nth(1).get_attribute("aria-describedby") == "sentence"


def test_controls_have_names_and_results_are_announced(visit: Visit) -> None:
    type_text(visit)
    assert visit.page.evaluate(UNNAMED) == []
    assert visit.page.get_by_label("German").get_attribute("id") == "source"
    assert visit.page.locator("#source").get_attribute("lang") == "de"
    assert visit.page.locator("#output").get_attribute("lang") == "en"
    assert visit.page.locator("#output").get_attribute("aria-live") == "polite"
    assert visit.page.get_by_role("group", name="Domain").get_by_role("radio").count() == 4
    assert visit.page.get_by_role("status").first.text_content() == visit.text("#status") != ""


@pytest.mark.parametrize("screen", SCREENS)
def test_no_screen_scrolls_sideways(browser: Browser, site: Site, screen: str) -> None:
    settings: dict[str, Any] = SCREENS[screen]
    with visiting(browser, site, **settings) as visit:
        page, width = visit.page, settings["viewport"]["width"]
        page.wait_for_selector("#chips input")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        type_text(visit, LONG)
        page.get_by_label("Alternatives").select_option("2")
        expect(page.locator("#more li")).to_have_count(2)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        page.get_by_role("button", name="Compare domains").click()
        expect(page.locator("#status")).to_have_text("3 domains compared.")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        answer_with(page, "v1/translate", 403, {"error": "no API key"})
        page.get_by_role("button", name="Translate").click()
        expect(page.locator("#key")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(browser: Browser, site: Site, scheme: Any) -> None:
    with visiting(browser, site, color_scheme=scheme) as visit:
        page = visit.page
        page.wait_for_selector("#chips input")
        found = dict(page.evaluate(CONTRASTS))
        type_text(visit)
        page.locator("#output .sentence").first.hover()
        found |= dict(page.evaluate(CONTRASTS))
        page.get_by_role("button", name="Compare domains").click()
        expect(page.locator("#columns mark").first).to_be_visible()
        answer_with(page, "v1/translate", 400, {"error": "nothing to do"})
        page.get_by_role("button", name="Translate").click()
        expect(page.locator("#status")).to_have_class("wrong")
        found |= dict(page.evaluate(CONTRASTS))
        assert len(found) > 20 and min(found.values()) >= 4.5, min(found.items(), key=lambda pair: pair[1])
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
        assert (int(ground) > 200) == (scheme == "light")


def test_a_key_is_asked_for_and_kept_in_the_tab(browser: Browser, site: Site) -> None:
    with visiting(browser, site, "keyed/") as visit:
        page = visit.page
        expect(page.get_by_label("API key")).to_be_focused()
        expect(page.get_by_role("alert")).to_contain_text("This server asks for an API key.")
        page.keyboard.type("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("The server does not know this API key.")
        page.get_by_label("API key").fill(site.key)
        page.get_by_role("button", name="Use key").click()
        expect(page.locator("#key-form")).to_be_hidden()
        type_text(visit)
        assert page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [1, 0, ""]
        assert site.key not in page.url + page.content()
        page.reload()
        type_text(visit)
    with visiting(browser, site, "keyed/") as another:
        expect(another.page.get_by_label("API key")).to_be_visible()


def test_a_busy_server_says_when_to_come_back(browser: Browser, site: Site) -> None:
    with visiting(browser, site, "scarce/") as visit:
        type_text(visit, IT[0])
        visit.page.fill("#source", IT[1])
        expect(visit.page.locator("#status")).to_have_text(
            re.compile(r"^The server takes no more at the moment\. Try again in \d+ seconds?\.$")
        )
        assert visit.page.locator("#form").get_attribute("aria-busy") == "false"


def test_refusals_are_told_in_plain_words(visit: Visit) -> None:
    page, status = visit.page, visit.page.locator("#status")
    type_text(visit)
    page.get_by_label("Alternatives").select_option("3")
    expect(status).to_have_text("The server cannot take this: alternatives is 3: at most 2 are allowed.")
    page.get_by_label("Alternatives").select_option("0")
    expect(status).to_have_text(re.compile("Translated by"))
    page.fill("#source", "Wort " * 1_100)
    page.keyboard.press("Control+Enter")
    expect(status).to_have_text(
        re.compile(r"^The server cannot take this: the text has 5500 characters, at most 5000 ")
    )
    answer_with(page, "v1/translate", 502, "a proxy's page")
    page.keyboard.press("Control+Enter")
    expect(status).to_have_text("The server cannot answer at the moment: status 502.")
    page.route("**/v1/translate", lambda route: route.abort())
    page.keyboard.press("Control+Enter")
    expect(status).to_have_text("The server cannot be reached. Check the connection and try again.")
    page.unroute("**/v1/translate")
    page.fill("#source", IT[0])
    expect(status).to_have_text(re.compile("Translated by"))
    assert status.get_attribute("class") == ""


def test_a_server_that_was_away_at_first_is_found_again(browser: Browser, site: Site) -> None:
    with visiting(browser, site, "docs") as visit:
        visit.page.route("**/v1/domains", lambda route: route.abort())
        visit.page.goto(site.url)
        expect(visit.page.locator("#status")).to_have_class("wrong")
        visit.page.unroute("**/v1/domains")
        type_text(visit)
        expect(visit.page.locator("#chips input")).to_have_count(4)


@pytest.fixture(scope="module")
def furnished(desk: Desk) -> Desk:
    """A desk with a glossary of a long name."""
    desk.keep_glossary("Terms of " + 20 * "the house ", {"Datei": "dossier"})
    return desk


def furnish(visit: Visit) -> None:
    """Have all of the desk shown: terms, doubt, the editor, a file that is translated and one that is refused."""
    page = visit.page
    page.get_by_label("Glossary").select_option(index=1)
    type_text(visit)
    expect(page.locator("#output .term")).to_have_count(1)
    page.get_by_role("button", name="Correct a sentence").click()
    texts = [("a.txt", TEXT), (f"{'x' * 100}.pdf", TEXT)]
    files: Any = [{"name": name, "mimeType": "text/plain", "buffer": text.encode()} for name, text in texts]
    page.set_input_files("#file", files)
    expect(page.locator("#jobs .wrong")).to_be_visible()
    expect(page.locator("#jobs a")).to_be_visible()
    page.fill("#corrected", IT[0])
    page.get_by_role("button", name="Send correction").click()
    expect(page.locator("#status")).to_have_class("wrong")


@pytest.mark.parametrize("screen", SCREENS)
def test_no_screen_scrolls_sideways_at_the_desk(browser: Browser, furnished: Desk, screen: str) -> None:
    settings: dict[str, Any] = SCREENS[screen]
    with visiting(browser, furnished, **settings) as visit:
        furnish(visit)
        assert visit.page.evaluate("document.documentElement.scrollWidth") == settings["viewport"]["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_marked_stands_out_from_its_ground(browser: Browser, furnished: Desk, scheme: Any) -> None:
    with visiting(browser, furnished, color_scheme=scheme) as visit:
        furnish(visit)
        assert visit.page.locator("[data-doubt]").count() > 0
        found = dict(visit.page.evaluate(CONTRASTS))
        visit.page.evaluate("document.querySelector('#files').classList.add('dragged')")
        found |= dict(visit.page.evaluate(CONTRASTS))
        assert len(found) > 30 and min(found.values()) >= 4.5, min(found.items(), key=lambda pair: pair[1])


def test_what_is_at_the_desk_has_names(browser: Browser, furnished: Desk) -> None:
    with visiting(browser, furnished) as visit:
        page = visit.page
        furnish(visit)
        assert page.evaluate(UNNAMED) == []
        assert page.get_by_label("Glossary").get_attribute("id") == "glossary"
        assert page.get_by_label("Choose files").get_attribute("type") == "file"
        editor = page.get_by_role("group", name="Correct this sentence").get_by_role("textbox")
        assert editor.get_attribute("lang") == "en" and editor.get_attribute("aria-describedby") == "corrected-source"
        assert page.get_by_role("status").count() == 2


def test_the_desk_is_reached_in_order_by_tab(browser: Browser, furnished: Desk) -> None:
    with visiting(browser, furnished) as visit:
        furnish(visit)
        visit.page.locator("#chips :checked").focus()
        order = []
        while len(order) < 20 and "file" not in order:
            visit.page.keyboard.press("Tab")
            order.append(focused(visit))
            assert visit.page.evaluate(OUTLINE) == "3px", order
    assert order[:3] == ["glossary", "compare", "source"]
    assert order[-6:] == ["copy", "sentence on", "corrected", "send", "cancel", "file"]
