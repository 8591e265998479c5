"""A server that the tests of one process share, and the page on a server."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.live.translator import Translator
from tests.support.api import LINE, Served, serving
from tests.support.bundles import CPU, bundle_of


@pytest.fixture(scope="session")
def served(bundles: Path) -> Iterator[Served]:
    """A server without keys, shared by all tests: limits are small, nothing in it may be changed."""
    with serving(bundles, body_limit=20_000, text_limit=5_000) as running:
        yield running


@pytest.fixture(scope="session")
def client(served: Served) -> httpx.Client:
    """Its client."""
    return served.client


@pytest.fixture(scope="session")
def expected(bundles: Path) -> str:
    """What the domain `it` makes of LINE."""
    return Translator.load(Bundle.open(bundle_of(bundles, "it")), CPU).translate([LINE])[0].text
