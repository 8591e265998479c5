"""The pages' files: how they are served, that they fit together, and that they hold nothing from elsewhere."""

import re
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from fmalloc_runtime.api.page import page_routes
from tests.support import ROOT
from tests.support.api import serving

FOLDER = ROOT / "runtime" / "fmalloc_runtime" / "api" / "page"
FILES = sorted(FOLDER.iterdir())
TEXTS = {file.name: file.read_text(encoding="utf-8") for file in FILES}
SCRIPTS = {name: text for name, text in TEXTS.items() if name.endswith(".js")}
PAGES = {"/": "index.html", "/docs": "docs.html"}
PATHS = {path: TEXTS[name] for path, name in PAGES.items()} | {
    f"/static/{name}": text for name, text in TEXTS.items() if name not in PAGES.values()
}
TYPES = {"/": "text/html", "/docs": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
VOID = {"input", "img", "link", "meta"}
OPTIONAL_END = {"option"}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(Starlette(routes=list(page_routes()))) as client:
        yield client


@pytest.mark.parametrize("path", PATHS)
def test_files_have_types_policies_and_tags(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200 and answer.text == PATHS[path]
    expected = next(kind for suffix, kind in TYPES.items() if path.endswith(suffix))
    assert answer.headers["content-type"] in (f"{expected}; charset=utf-8", expected)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-cache"
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'" and policy["frame-ancestors"] == policy["form-action"] == "'none'"
    assert not any("unsafe" in part for part in policy.values())
    head = client.head(path)
    assert head.status_code == 200 and head.content == b"" and head.headers["etag"] == answer.headers["etag"]
    assert client.post(path).status_code == 405


def test_a_file_that_the_client_has_is_not_sent_again(client: TestClient) -> None:
    tags = {path: client.get(path).headers["etag"] for path in PATHS}
    assert len(set(tags.values())) == len(PATHS) and all(re.fullmatch(r'"[0-9a-f]{32}"', tag) for tag in tags.values())
    for held in (tags["/"], f"W/{tags['/']}", f'"other", {tags["/"]}', "*"):
        answer = client.get("/", headers={"If-None-Match": held})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tags["/"])
        assert "content-security-policy" in answer.headers
    assert client.get("/", headers={"If-None-Match": tags["/static/style.css"]}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/static/",
        "/static/nothing.js",
        "/static/index.html",
        "/static/../page.py",
        "/static/%2e%2e/page.py",
        "/static/%2e%2e%2fpage.py",
        "/static/..%2f..%2fserver.py",
        "/static/..%5cpage.py",
        "/static//etc/passwd",
        "/static/%00",
        "/index.html",
    ],
)
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_the_server_has_the_page_where_it_is_wanted(bundles: Path) -> None:
    for wanted, status in ((True, 200), (False, 404)):
        with serving(bundles, load=False, page=wanted) as running:
            assert [running.client.get(path).status_code for path in PATHS] == [status] * len(PATHS)
            assert running.client.get("/static/../api/page.py").status_code == 404


def test_the_pages_are_small() -> None:
    docs = {file for file in FILES if file.stem == "docs"}
    assert len(docs) == 3
    assert sum(file.stat().st_size for file in docs) < 9_000
    assert sum(file.stat().st_size for file in {*FILES} - docs) < 45_000


class _Reader(HTMLParser):
    """Checks that elements close in order; collects attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID | OPTIONAL_END:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        assert not data.strip() or self.open[-1] not in ("script", "style"), "inline script or style"


def read_page(name: str = "index.html") -> _Reader:
    """A parsed page."""
    reader = _Reader()
    reader.feed(TEXTS[name])
    reader.close()
    assert reader.open == []
    return reader


LINKED = {
    "index.html": {"docs", "openapi.json", "static/icon.svg", "static/script.js", "static/style.css"},
    "docs.html": {"openapi.json", "static/icon.svg", "static/docs.js", "static/docs.css"},
}


@pytest.mark.parametrize("page", LINKED)
def test_a_page_is_well_formed_and_all_that_it_refers_to_exists(page: str) -> None:
    attributes = read_page(page).attributes
    names = [name for _, name, _ in attributes]
    assert not [name for name in names if name.startswith("on") or name == "style"]
    ids = [value for _, name, value in attributes if name == "id"]
    assert len(ids) == len(set(ids))
    referred = {value for _, name, value in attributes if name in ("for", "aria-describedby", "aria-labelledby")}
    assert bool(referred) == (page == "index.html") and referred <= set(ids)
    linked = {value for _, name, value in attributes if name in ("src", "href")}
    assert linked == LINKED[page]
    assert {f"/{name}" for name in linked if name.startswith("static/")} <= set(PATHS)


def test_scripts_refer_to_what_exists() -> None:
    ids = {value for _, name, value in read_page().attributes if name == "id"}
    for name, text in SCRIPTS.items():
        imported = set(re.findall(r'from "\./([^"]+)"', text))
        assert imported <= set(SCRIPTS), name
        for module in imported:
            for wanted in re.findall(rf'import {{ ([^}}]+) }} from "\./{module}"', text):
                assert all(
                    re.search(rf"export [\w ]+ {re.escape(item)}(?!\w)", TEXTS[module]) for item in wanted.split(", ")
                ), wanted
        assert set(re.findall(r'(?:\$|\bon)\("([\w-]+)"', text)) <= ids, name
    reached = {"script.js", "docs.js"} | {
        name for text in SCRIPTS.values() for name in re.findall(r'from "\./([^"]+)"', text)
    }
    assert reached == set(SCRIPTS)


def test_nothing_comes_from_elsewhere_and_markup_is_never_made_of_text() -> None:
    for name, text in TEXTS.items():
        found = set(re.findall(r"(?:https?:)?//[\w.]+\.\w+[\w./]*", text))
        assert found <= {"http://www.w3.org/2000/svg"}, name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            name
        )
        assert not re.search(r"localStorage|indexedDB|document\.cookie|@import|url\(", text), name


def test_the_wheel_holds_the_page() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    data = project["tool"]["setuptools"]["package-data"]
    held = {
        file
        for package, patterns in data.items()
        for pattern in patterns
        for file in (ROOT / "runtime" / package.replace(".", "/")).glob(pattern)
    }
    assert set(FILES) - held == set()
