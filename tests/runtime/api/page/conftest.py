"""The page on a server, and a browser at it."""

from collections.abc import Iterator
from contextlib import ExitStack
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
from tests.support.page import Site, Visit, running, visiting


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
    with ExitStack() as stack:
        service = stack.enter_context(Service.open(settings[""]))
        mounts = []
        for path, chosen in settings.items():
            gate = stack.enter_context(Gatekeeper.open(chosen, service.metrics))
            mounts.append(Mount(path, create_app(service, chosen, gate)))
        yield Site(stack.enter_context(running(Starlette(routes=mounts))), key)


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Visit]:
    """The page on a desk, ready to translate."""
    with visiting(browser, site) as visit:
        visit.page.wait_for_selector("#chips input")
        yield visit
