"""Files on the page: chosen or dropped, uploaded, told how far they are, and saved."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Download, Page, Route, expect

from tests.support.bundles import SENTENCES
from tests.support.page import Desk, Visit, answer_with, visiting

LINES = SENTENCES["it"][:3]
NAMES = [
    ("manual.docx", "manual.en.docx"),
    ("manual.de.docx", "manual.en.docx"),
    ("app_de.arb", "app_en.arb"),
    ("app-de_AT.po", "app-en.po"),
    ("DE.po", "DE.en.po"),
    ("node.txt", "node.en.txt"),
    (".txt", ".txt.en"),
    ("a.b.de.xliff", "a.b.en.xliff"),
    ("none", "none.en"),
]
# Drops a file of this name and text on an element, or only drags it over.
DROP = """([kinds, selector, name, text]) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([text], name));
    for (const kind of kinds) document.querySelector(selector).dispatchEvent(
        new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
}"""


def file(name: str, text: str = "\n".join(LINES)) -> Any:
    return {"name": name, "mimeType": "text/plain", "buffer": text.encode()}


def content(download: Download) -> str:
    return Path(download.path()).read_text(encoding="utf-8")


def wait_until(page: Page, condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Let the page go on until something holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        page.wait_for_timeout(20)


def rows(page: Page) -> list[str]:
    return page.locator("#jobs li").all_inner_texts()


@pytest.fixture
def wanted(desk: Desk) -> list[str]:
    """What the lines become, translated as a file is."""
    return [desk.translate(line, domain="it")["translations"][0]["text"] for line in LINES]


def test_a_file_is_chosen_by_keyboard_translated_and_saved(seat: Visit, wanted: list[str]) -> None:
    page = seat.page
    page.get_by_label("Choose files").focus()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"
    with page.expect_file_chooser() as chooser:
        page.evaluate("new Promise(requestAnimationFrame)")  # until the browser knows that it shall not open a window
        page.keyboard.press("Enter")
    assert chooser.value.is_multiple()
    with page.expect_download() as saved:
        chooser.value.set_files([file("manual.txt")])
    assert saved.value.suggested_filename == "manual.en.txt"
    assert content(saved.value) == "\n".join(wanted)
    expect(page.locator("#jobs li")).to_have_text("manual.txtTranslated: manual.en.txt")
    expect(page.get_by_role("status").filter(has_text="saved as")).to_have_text(
        "manual.txt: translated, saved as manual.en.txt."
    )
    expect(page.locator("#jobs progress")).to_have_count(0)
    link = page.get_by_role("link", name="manual.en.txt")
    link.focus()
    with page.expect_download() as again:
        page.keyboard.press("Enter")
    assert content(again.value) == content(saved.value)
    assert page.input_value("#file") == ""


def test_a_file_is_dropped_anywhere(seat: Visit, wanted: list[str]) -> None:
    page = seat.page
    page.evaluate(DROP, [["dragover"], "#source", "app_de.txt", LINES[0]])
    expect(page.locator("#files")).to_have_class("dragged")
    page.evaluate(DROP, [["dragleave"], "#source", "app_de.txt", LINES[0]])
    expect(page.locator("#files")).to_have_class("")
    with page.expect_download() as saved:
        page.evaluate(DROP, [["dragover", "drop"], "#source", "app_de.txt", LINES[0]])
    assert (saved.value.suggested_filename, content(saved.value)) == ("app_en.txt", wanted[0])
    expect(page.locator("#files")).to_have_class("")
    assert page.input_value("#source") == ""


def test_the_chosen_domain_and_glossary_apply(seat: Visit, desk: Desk) -> None:
    desk.keep_glossary("For files", {"Datei": "dossier"})
    page = seat.page
    page.reload()
    page.get_by_label("kitchen").check(force=True)
    page.get_by_label("Glossary").select_option("For files")
    with page.expect_download() as saved:
        page.set_input_files("#file", [file("a.txt")])
    fields = {"domain": "kitchen", "glossary": {"Datei": "dossier"}}
    expected = [desk.translate(line, **fields)["translations"][0]["text"] for line in LINES]
    assert content(saved.value) == "\n".join(expected) and "dossier" in expected[0].lower()


def test_several_files_go_one_after_another(seat: Visit) -> None:
    page = seat.page
    downloads: list[Download] = []
    page.on("download", lambda download: downloads.append(download))
    with page.expect_download(lambda download: download.suggested_filename == "c.en.txt"):
        page.set_input_files("#file", [file("a.txt"), file("b.pdf"), file("c.txt", LINES[0])])
    expect(page.locator("#jobs a")).to_have_count(2)
    expect(page.locator("#jobs .wrong")).to_have_count(1)
    assert [row.split()[0] for row in rows(page)] == ["c.txt", "b.pdf", "a.txt"]
    uploads = [url for url in seat.requests if url.endswith("v2/document")]
    assert len(uploads) == 3
    assert [one.suggested_filename for one in downloads] == ["a.en.txt", "c.en.txt"]


def test_it_is_told_how_far_a_file_is(seat: Visit) -> None:
    page = seat.page
    states: list[dict[str, Any]] = [{"status": "queued"}]

    def answer(route: Route) -> None:
        if states:
            route.fulfill(json={"document_id": "x", **states[-1]})
        else:
            route.continue_()

    page.route(re.compile("/v2/document/[0-9a-f]+$"), answer)
    page.set_input_files("#file", [file("a.txt")])
    state, bar = page.locator("#jobs .state"), page.get_by_role("progressbar", name="a.txt")
    expect(state).to_have_text("In the server's queue …")
    expect(bar).not_to_have_attribute("value", re.compile("."))
    states.append({"status": "translating", "seconds_remaining": 1})
    expect(state).to_have_text("Translating, about 1 second left …")
    states.append({"status": "translating", "seconds_remaining": 40})
    expect(state).to_have_text("Translating, about 40 seconds left …")
    assert 0 < float(bar.get_attribute("value") or 0) < 0.5
    assert seat.text("#file-status") == "a.txt: being translated."
    with page.expect_download():
        states.clear()
    expect(page.locator("#jobs a")).to_have_text("a.en.txt")


def test_a_busy_server_is_asked_again(seat: Visit) -> None:
    page, state = seat.page, seat.page.locator("#jobs .state")
    asked: list[Route] = []

    def answer(route: Route) -> None:
        asked.append(route)
        if len(asked) == 1:
            route.fulfill(status=529, headers={"Retry-After": "1"}, json={"message": "no room"})
        elif len(asked) == 3:
            route.abort()
        elif len(asked) > 4:
            route.continue_()

    page.route(re.compile("/v2/document"), answer)
    with page.expect_download() as saved:
        page.set_input_files("#file", [file("a.txt")])
        expect(state).to_have_text("The server takes no more at the moment. Trying again …")
        wait_until(page, lambda: len(asked) == 2)
        asked[1].continue_()
        expect(state).to_have_text("The server cannot be reached. Trying again …")
        wait_until(page, lambda: len(asked) == 4)
        asked[3].continue_()
    assert saved.value.suggested_filename == "a.en.txt"
    uploads = [route for route in asked if route.request.url.endswith("/document")]
    assert len(uploads) == 2


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.pdf", "x", "The server cannot take this: a.pdf: translate what it was made from."),
        ("a.txt", "x" * 20_001, "The server cannot take this: the file has 20001 bytes, at most 20000 are allowed."),
        ("a.json", "{", re.compile(r"^The server cannot take this: a\.json: .+\.$")),
    ],
)
def test_refusals_are_told_in_plain_words(seat: Visit, name: str, text: str, said: str | re.Pattern[str]) -> None:
    seat.page.set_input_files("#file", [file(name, text)])
    expect(seat.page.locator("#jobs .wrong .state")).to_have_text(said)
    expect(seat.page.locator("#jobs progress")).to_have_count(0)
    assert seat.text("#file-status") == f"{name}: {seat.text('#jobs .state')}"


def test_a_file_that_fails_is_told_why_and_the_next_is_translated(seat: Visit) -> None:
    failed = {"document_id": "x", "status": "error", "error_message": "<b>a unit</b> is too long"}
    page = seat.page
    page.route(re.compile("/v2/document/[0-9a-f]+$"), lambda route: route.fulfill(json=failed), times=1)
    with page.expect_download() as saved:
        page.set_input_files("#file", [file("<i>.txt"), file("b.txt")])
    assert saved.value.suggested_filename == "b.en.txt"
    assert rows(page)[1].split("\n")[0].startswith("<i>.txt")
    assert page.locator("#jobs .wrong .state").text_content() == (
        "The server cannot take this: <b>a unit</b> is too long."
    )
    assert page.locator("#jobs i").count() == 0


def test_a_server_that_cannot_be_reached_is_told(seat: Visit) -> None:
    seat.page.route("**/v2/document", lambda route: route.abort())
    seat.page.set_input_files("#file", [file("a.txt")])
    expect(seat.page.locator("#jobs .wrong")).to_contain_text("The server cannot be reached.")


def test_files_go_with_the_key(browser: Browser, desk: Desk) -> None:
    with visiting(browser, desk, "keyed/") as visit:
        page = visit.page
        assert not page.locator("#files").is_visible()
        page.get_by_label("API key").fill(desk.key)
        page.get_by_role("button", name="Use key").click()
        expect(page.locator("#files")).to_be_visible()
        with page.expect_download():
            page.set_input_files("#file", [file("a.txt")])
        answer_with(page, "v2/document", 403, {"message": "an API key is required"})
        page.set_input_files("#file", [file("b.txt")])
        expect(page.locator("#jobs .wrong")).to_contain_text("The server does not know this API key.")


def test_names_fit(seat: Visit) -> None:
    script = """async names => {
        const { translatedName } = await import('./static/files.js');
        return names.map(name => translatedName(name, { source: 'de', target: 'en' }));
    }"""
    assert seat.page.evaluate(script, [name for name, _ in NAMES]) == [name for _, name in NAMES]


def test_while_domains_are_compared_files_rest(seat: Visit) -> None:
    page = seat.page
    expect(page.locator("#files")).to_be_visible()
    page.get_by_role("button", name="Compare domains").click()
    expect(page.locator("#files")).to_be_hidden()
    page.evaluate(DROP, [["dragover", "drop"], "#source", "a.txt", LINES[0]])
    assert rows(page) == []
    page.get_by_role("button", name="Compare domains").click()
    expect(page.locator("#files")).to_be_visible()


@pytest.fixture
def phone(browser: Browser, desk: Desk) -> Iterator[Visit]:
    """The page on a phone."""
    with visiting(browser, desk, viewport={"width": 320, "height": 640}, is_mobile=True, has_touch=True) as visit:
        yield visit


def test_a_phone_translates_files_too(phone: Visit) -> None:
    page = phone.page
    with page.expect_file_chooser() as chooser:
        page.get_by_label("Choose files").tap()
    with page.expect_download() as saved:
        chooser.value.set_files([file(f"{'manual' * 12}.txt"), file(f"{'x' * 80}.pdf")])
    assert saved.value.suggested_filename.endswith("manual.en.txt")
    expect(page.locator("#jobs .wrong")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 320
