"""What every request passes through, with an app of a few lines behind it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from fmalloc_runtime import logs
from fmalloc_runtime.api.middleware import middleware
from fmalloc_runtime.errors import OverloadedError, SlowClientError, status_of
from fmalloc_runtime.metrics import Metrics
from fmalloc_runtime.settings import Settings
from fmalloc_shared.errors import FmallocError


async def length(request: Request) -> Response:
    logs.note(client="weblate", characters=3)
    return JSONResponse({"length": len(await request.body()), "id": logs.request_id.get()})


async def unread(_request: Request) -> Response:
    return PlainTextResponse("no", 415)


async def bug(_request: Request) -> Response:
    raise ZeroDivisionError("the app's own")


async def refuse(_request: Request, error: Exception) -> Response:
    assert isinstance(error, FmallocError)
    return JSONResponse({"error": str(error)}, status_of(error))


def app(metrics: Metrics | None = None, **settings: Any) -> Starlette:
    return Starlette(
        routes=[
            Route("/length", length, methods=["POST"]),
            Route("/unread", unread, methods=["POST"]),
            Route("/models/{name}", length),
            Route("/livez", length),
            Route("/bug", bug),
        ],
        middleware=middleware(Settings(**settings), metrics or Metrics()),
        exception_handlers={FmallocError: refuse},
    )


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def client(metrics: Metrics) -> Iterator[TestClient]:
    with TestClient(app(metrics)) as client:
        yield client


def test_a_sane_request_id_is_taken_over_and_answered(client: TestClient) -> None:
    answer = client.post("/length", content=b"x", headers={"X-Request-ID": "trace-1/a:b=c"})
    assert answer.headers["x-request-id"] == answer.json()["id"] == "trace-1/a:b=c"


@pytest.mark.parametrize("offered", ["", "a b", "x" * 129, 'x"y', "-x", "\tx\x01", "é"])
def test_others_are_replaced(client: TestClient, offered: str) -> None:
    answer = client.post("/length", content=b"x", headers={"X-Request-ID": offered.encode("latin-1")})
    made = answer.headers["x-request-id"]
    assert len(made) == 32 and made.isalnum() and made == answer.json()["id"]


def test_requests_are_counted_by_path_template(client: TestClient, metrics: Metrics) -> None:
    for path in ("/models/it", "/models/law", "/livez", "/nothing", "/no/such/path"):
        client.get(path)
    client.post("/length", content=b"abc")
    client.get("/length")

    def count(endpoint: str, status: str) -> float | None:
        labels = {"endpoint": endpoint, "status": status}
        return metrics.registry.get_sample_value("fmalloc_requests_total", labels)

    assert count("/models/{name}", "200") == 2 and count("/length", "200") == 1
    assert count("other", "404") == 2 and count("/length", "405") == 1
    seconds = metrics.registry.get_sample_value("fmalloc_request_seconds_count", {"endpoint": "/models/{name}"})
    assert seconds == 2


def test_the_access_log_has_facts_and_no_paths_of_clients(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logs.ACCESS)
    client.post("/length?q=secret", content=b"secret", headers={"Authorization": "DeepL-Auth-Key secret"})
    client.get("/secret")
    client.get("/livez")
    posted, missed = caplog.records
    assert "secret" not in caplog.text and not any("secret" in str(vars(record)) for record in caplog.records)
    facts = vars(posted)
    assert (facts["method"], facts["path"], facts["status"]) == ("POST", "/length", 200)
    assert (facts["client"], facts["characters"]) == ("weblate", 3) and 0 <= facts["seconds"] < 5
    assert (vars(missed)["path"], vars(missed)["status"]) == ("other", 404)


def test_a_bug_is_logged_once_and_answered_without_its_details(
    client: TestClient, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    answer = client.get("/bug", headers={"X-Request-ID": "r1"})
    assert answer.status_code == 500 and answer.headers["x-request-id"] == "r1"
    text = "the server failed to answer; see its log"
    assert answer.json() == {"error": text, "message": text}
    assert caplog.text.count("ZeroDivisionError: the app's own") == 1
    labels = {"endpoint": "/bug", "status": "500"}
    assert metrics.registry.get_sample_value("fmalloc_requests_total", labels) == 1


def test_cors_is_off_until_it_is_asked_for(client: TestClient) -> None:
    headers = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    assert client.options("/length", headers=headers).status_code == 405
    assert "access-control-allow-origin" not in client.get("/livez", headers=headers).headers
    with TestClient(app(cors=("https://a.example",))) as open_:
        asked = open_.options("/length", headers=headers)
        assert asked.status_code == 200 and asked.headers["access-control-allow-origin"] == "https://a.example"
        assert open_.get("/livez", headers=headers).headers["access-control-allow-origin"] == "https://a.example"
        other = open_.get("/livez", headers={"Origin": "https://b.example"})
        assert "access-control-allow-origin" not in other.headers


def test_a_body_that_nobody_read_closes_the_connection(client: TestClient) -> None:
    assert client.post("/unread", content=b"x").headers["connection"] == "close"
    assert "connection" not in client.post("/length", content=b"x").headers
    assert "connection" not in client.get("/livez").headers


async def ask(server: Starlette, *chunks: bytes, pause: float = 0.0, hold: float = 0.0) -> httpx.Response:
    """POST chunks, with a pause before each one and a longer one before the last."""

    async def content() -> AsyncIterator[bytes]:
        for chunk in chunks:
            await asyncio.sleep(pause)
            yield chunk
        await asyncio.sleep(hold)

    transport = httpx.ASGITransport(server)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.post("/length", content=content())


def test_a_body_that_trickles_is_408() -> None:
    metrics = Metrics()
    server = app(metrics, body_seconds=0.2)
    slow = anyio.run(lambda: ask(server, *[b"x"] * 50, pause=0.05))
    assert slow.status_code == 408 and slow.headers["connection"] == "close"
    assert slow.json() == {"error": "the body did not arrive within 0.2 seconds"}
    assert metrics.registry.get_sample_value("fmalloc_refused_total", {"reason": "slow"}) == 1
    assert anyio.run(lambda: ask(server, b"x", b"y")).json()["length"] == 2


def test_all_bodies_together_are_bounded() -> None:
    server = app(bodies_limit=1000, body_limit=800)

    async def together() -> tuple[httpx.Response, httpx.Response, httpx.Response]:
        first = asyncio.create_task(ask(server, b"x" * 700, hold=0.3))
        await asyncio.sleep(0.1)
        second, third = await ask(server, b"x" * 400), await ask(server, b"x" * 200)
        return await first, second, third

    first, second, third = anyio.run(together)
    assert (first.status_code, second.status_code, third.status_code) == (200, 429, 200)
    assert "no room for more request bodies" in second.json()["error"]
    assert anyio.run(lambda: ask(server, b"x" * 800)).status_code == 200, "what was held was let go"


def test_what_is_dropped_of_a_body_does_not_count() -> None:
    """How large one may be is decided where it is read."""
    server = app(bodies_limit=1000, body_limit=800)
    assert anyio.run(lambda: ask(server, *[b"x" * 700] * 5)).json()["length"] == 3500


def test_errors_of_the_middleware_have_their_status() -> None:
    assert status_of(SlowClientError("")) == 408 and status_of(OverloadedError("", 1)) == 429
