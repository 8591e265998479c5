"""The page on a server, and a browser at it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from starlette.applications import Starlette
from starlette.routing import Mount

from fmalloc_runtime.access.gatekeeper import Gatekeeper
from fmalloc_runtime.access.keys import add_key
from fmalloc_runtime.api.app import create_app
from fmalloc_runtime.batching.service import Service
from fmalloc_runtime.settings import Settings
from tests.support.bundles import make_live, write_bundle
from tests.support.estimates import write_judged_bundle
from tests.support.page import Desk, Site, Visit, running, visiting


@pytest.fixture(scope="module")
def site(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The server, in a thread."""
    keys = tmp_path_factory.mktemp("keys") / "keys.json"
    key = add_key(keys, "reader", {})
    common = {"bundles": bundles, "device": "cpu", "workers": 1, "threads": 1}
    settings = {
        "/keyed": Settings(**common, keys=keys),
        "/scarce": Settings(**common, requests_per_minute=2),
        "": Settings(**common, text_limit=5_000, alternatives_limit=2),
    }
    with mounted(settings) as url:
        yield Site(url, key)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Another, with all that a translator's desk has."""
    folder = tmp_path_factory.mktemp("desk")
    bundles, keys, corrections = folder / "bundles", folder / "keys.json", folder / "corrections"
    bundles.mkdir()
    judged = write_judged_bundle(bundles, "it", intercept=8.6, log_probability=5.0)
    make_live(bundles, write_bundle(bundles, "general", seed=0), judged, write_bundle(bundles, "kitchen", seed=2))
    common = {"bundles": bundles, "device": "cpu", "workers": 1, "threads": 1, "glossaries": folder / "glossaries"}
    settings = {
        "/keyed": Settings(**common, keys=keys),
        "/bare": Settings(**(common | {"glossaries": None}), documents=0),
        "": Settings(**common, corrections=corrections, document_limit=20_000),
    }
    one, other = (add_key(keys, name, {}) for name in ("one", "other"))
    with mounted(settings) as url:
        yield Desk(url, one, other, corrections)


@contextmanager
def mounted(settings: dict[str, Settings]) -> Iterator[str]:
    """One service with these settings by path; the last are its own."""
    with ExitStack() as stack:
        service = stack.enter_context(Service.open(settings[""]))
        mounts = []
        for path, chosen in settings.items():
            gate = stack.enter_context(Gatekeeper.open(chosen, service.metrics))
            mounts.append(Mount(path, create_app(service, chosen, gate)))
        yield stack.enter_context(running(Starlette(routes=mounts)))


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Visit]:
    """The page on a desk, ready to translate."""
    with visiting(browser, site) as visit:
        visit.page.wait_for_selector("#chips input")
        yield visit


@pytest.fixture
def seat(browser: Browser, desk: Desk) -> Iterator[Visit]:
    """The page at the translator's desk."""
    with visiting(browser, desk) as visit:
        visit.page.wait_for_selector("#chips input")
        yield visit
