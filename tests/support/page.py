"""The page on a real server over tiny bundles, and a browser that notes what it asks for and complains about."""

import json
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from playwright.sync_api import Browser, ConsoleMessage, Page, Route, expect, sync_playwright
from starlette.applications import Starlette

from tests.support.bundles import SENTENCES
from tests.support.needs import skip_without

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
TEXT = f"{SENTENCES['it'][0]} {SENTENCES['it'][1]}\n\n{SENTENCES['it'][2]}"
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_PATIENCE_MILLISECONDS, _PAUSE_MILLISECONDS = 10_000, 100


@dataclass(frozen=True)
class Site:
    """A server with the page three times: open to all, for `key` alone (`keyed/`), and scarce (`scarce/`)."""

    url: str
    key: str

    def translate(self, text: str, **fields: Any) -> dict[str, Any]:
        """What the server answers."""
        answer = httpx.post(f"{self.url}v1/translate", json={"text": text, **fields}, trust_env=False)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@dataclass(frozen=True)
class Desk(Site):
    """A server that keeps glossaries, for two keys (`keyed/`), and corrections, in a folder; `it` has an estimate."""

    other_key: str
    corrections: Path

    def keep_glossary(self, name: str, entries: dict[str, str], *, key: str = "", languages: str = "de en") -> None:
        """Make a glossary."""
        source, target = languages.split()
        lines = "\n".join("\t".join(entry) for entry in entries.items())
        fields = {"name": name, "source_lang": source, "target_lang": target, "entries": lines}
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        url = f"{self.url}{'keyed/' if key else ''}v2/glossaries"
        assert httpx.post(url, json=fields, headers=headers, trust_env=False).status_code == 201


@dataclass
class Visit:
    """A page in the browser, the URLs that it asked for, and what it complained about."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Note requests, console errors and uncaught errors from now on."""
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def text(self, selector: str) -> str:
        """The text of an element as it is in the document, white space and all."""
        return self.page.locator(selector).text_content() or ""

    def _note(self, message: ConsoleMessage) -> None:
        # A browser reports every request that fails as an error by itself; what the page makes of it is tested.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource:"):
            self.complaints.append(message.text)


def type_text(visit: Visit, text: str = TEXT) -> None:
    """Type, and wait for the translation."""
    visit.page.fill("#source", text)
    expect(visit.page.locator("#status")).to_have_text(re.compile("Translated by|compared"))


def answer_with(page: Page, path: str, status: int, content: Any, **headers: str) -> None:
    """Let the next requests for a path be answered like this, whatever was said before."""
    answered: list[str] = []

    def fulfil(route: Route) -> None:
        answered.append(route.request.url)
        route.fulfill(status=status, headers=headers, content_type="application/json", body=json.dumps(content))

    page.route(f"**/{path}", fulfil)
    # A browser that is short of time lets requests through for a moment longer.
    for _ in range(_PATIENCE_MILLISECONDS // _PAUSE_MILLISECONDS):
        page.evaluate("path => fetch(path, { method: 'POST' }).then(() => 0, () => 0)", path)
        if answered:
            return
        page.wait_for_timeout(_PAUSE_MILLISECONDS)
    raise AssertionError(f"{path}: requests are not caught")


@contextmanager
def running(app: Starlette) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, ws="none", lifespan="off"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join(20)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium without a window; skips where there is none."""
    if CHROMIUM is None:
        skip_without("browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS))
        yield browser
        browser.close()


@contextmanager
def visiting(browser: Browser, site: Site, path: str = "", **context: Any) -> Iterator[Visit]:
    """A visit to the page; at its end nothing may have left the origin and nobody may have complained."""
    opened = browser.new_context(**context)
    opened.set_default_timeout(_PATIENCE_MILLISECONDS)
    visit = Visit(opened.new_page())
    visit.watch()
    try:
        visit.page.goto(f"{site.url}{path}")
        yield visit
        assert visit.requests and all(url.startswith(site.url) for url in visit.requests), visit.requests
        assert not visit.complaints
    finally:
        opened.close()
