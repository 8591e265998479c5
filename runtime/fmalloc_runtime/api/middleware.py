"""Middleware of every request: request ids, metrics and the access log, a limit on bodies, and CORS if it is on."""

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fmalloc_runtime import logs
from fmalloc_runtime.api.bodies import DISCARDED, FORM_BYTES
from fmalloc_runtime.errors import OverloadedError, SlowClientError
from fmalloc_runtime.metrics import Metrics
from fmalloc_runtime.settings import Settings

REQUEST_ID = "X-Request-ID"
_WELL_FORMED_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")
_PROBES = frozenset({"/livez", "/readyz", "/health", "/metrics", "/v2/health/live", "/v2/health/ready"})
_OTHER = "other"
# Where documents are uploaded.
DOCUMENTS = "/v2/document"
_RETRY_SECONDS = 1.0
_access = logging.getLogger(logs.ACCESS)


def middleware(settings: Settings, metrics: Metrics) -> list[Middleware]:
    """All middleware, outermost first."""
    found = [Middleware(RequestIds), Middleware(Measured, metrics=metrics)]
    if settings.cors:
        found.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(settings.cors),
                allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
                allow_headers=["Authorization", "Content-Type", REQUEST_ID],
                expose_headers=[REQUEST_ID, "Retry-After"],
            )
        )
    found.append(
        Middleware(
            BodiesBudget,
            limit=settings.bodies_limit,
            body_limits={
                "": settings.body_limit,
                DOCUMENTS: min(settings.document_limit + FORM_BYTES, settings.bodies_limit),
            },
            seconds=settings.body_seconds,
            metrics=metrics,
        )
    )
    return found


class RequestIds:
    """Answers with the client's X-Request-ID if it is well-formed, else with a new one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        offered = Headers(scope=scope).get(REQUEST_ID, "")
        identity = offered if _WELL_FORMED_ID.fullmatch(offered) else uuid4().hex
        scope["facts"] = logs.begin(identity)

        async def tagged(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID] = identity
            await send(message)

        return await self._app(scope, receive, tagged)


class Measured:
    """Counts, times and logs requests by path template; an unexpected error is logged and answered with 500."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began = time.perf_counter()
        status = 499  # as proxies log it: the client disconnected before there was an answer

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception:
            begun, status = status != 499, 500
            _access.exception("the server failed")
            if begun:
                raise
            text = "the server failed to answer; see its log"
            await JSONResponse({"error": text, "message": text}, 500)(scope, receive, send)
        finally:
            self._note(scope, status, time.perf_counter() - began)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        path = getattr(scope.get("route"), "path", _OTHER)
        self._metrics.requests.labels(path, str(status)).inc()
        self._metrics.request_seconds.labels(path).observe(seconds)
        facts = {"method": scope["method"], "path": path, "status": status, "seconds": round(seconds, 4)}
        level = logging.DEBUG if path in _PROBES and status < 400 else logging.INFO
        _access.log(level, "answered", extra={**facts, **_facts(scope)})


class BodiesBudget:
    """Limits the bytes of all bodies in memory, and the time that one may take to arrive.

    Reading a body beyond the limits raises OverloadedError or SlowClientError. A body counts with what is kept of it:
    at most as many bytes as `body_limits` says for its path, or for ''; that is at most `limit`, so that a single body
    always has room.
    """

    def __init__(
        self, app: ASGIApp, limit: int, body_limits: Mapping[str, int], seconds: float, metrics: Metrics
    ) -> None:
        self._app = app
        self._limit = limit
        self._body_limits = body_limits
        self._seconds = seconds
        self._metrics = metrics
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._seconds
        more, held, received = _has_body(scope), 0, 0
        limit = self._body_limits.get(scope["path"], self._body_limits[""])

        async def counted() -> Message:
            nonlocal more, held, received
            if not more:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                self._metrics.refused.labels("slow").inc()
                raise SlowClientError(f"the body did not arrive within {self._seconds:g} seconds") from None
            received += len(message.get("body", b""))
            more = bool(message.get("more_body", False))
            # A body that is too long or not wanted is not kept: the rest of it is read and discarded.
            kept = received <= limit and DISCARDED not in scope
            grown = (received if kept else 0) - held
            if self._held + grown > self._limit:
                self._metrics.refused.labels("bodies").inc()
                raise OverloadedError("the server has no room for more request bodies now: try again", _RETRY_SECONDS)
            held += grown
            self._held += grown
            return message

        async def closing(message: Message) -> None:
            if message["type"] == "http.response.start" and more:
                # Otherwise a client that goes on sending would keep the connection.
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        try:
            await self._app(scope, counted, closing)
        finally:
            self._held -= held


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _facts(scope: Scope) -> Mapping[str, object]:
    facts: Mapping[str, object] = scope.get("facts", {})
    return facts
