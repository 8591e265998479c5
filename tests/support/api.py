"""A real server over tiny bundles, in a thread of the test process, and a client for it."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from fmalloc_runtime.access.gatekeeper import Gatekeeper
from fmalloc_runtime.api.app import create_app
from fmalloc_runtime.batching.service import Service
from fmalloc_runtime.settings import Settings
from tests.support.bundles import SENTENCES

LINE = SENTENCES["it"][0]
PAIR = {"source": "de", "target": "en"}


@dataclass(frozen=True)
class Served:
    """A running server."""

    url: str
    client: httpx.Client
    service: Service


@contextmanager
def serving(bundles: Path, *, load: bool = True, **changes: Any) -> Iterator[Served]:
    """Serve on a free port; `changes` of the settings."""
    settings = Settings(bundles=bundles, device="cpu", workers=1, threads=1, **changes)
    service = Service.of(settings)
    if load:
        service.registry.load()
    gate = Gatekeeper(settings, service.metrics)
    config = uvicorn.Config(create_app(service, settings, gate), log_config=None, access_log=False, ws="none")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
                yield Served(url, client, service)
        finally:
            server.should_exit = True
            thread.join(20)
            service.close()
            gate.close()


def wait_until(condition: Any, seconds: float = 10.0) -> None:
    """Return when `condition()` holds; fail if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)
