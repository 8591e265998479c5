"""The HTTP app: LibreTranslate's /translate and /languages with `domain` added, and health checks."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as Endpoint

from fmalloc_runtime.bundle import Languages
from fmalloc_runtime.errors import NotReadyError, UnsupportedLanguagesError, status_of
from fmalloc_runtime.languages import language_name
from fmalloc_runtime.registry import Registry
from fmalloc_runtime.requests import Limits, TranslationRequest
from fmalloc_runtime.router import AUTO, Route
from fmalloc_shared.errors import FmallocError

_log = logging.getLogger(__name__)
_WORKERS = 16


def create_app(registry: Registry, limits: Limits | None = None) -> Starlette:
    """The app over a registry; what is not loaded yet is loaded when the app starts."""
    handlers = _Handlers(registry, limits or Limits())
    return Starlette(
        routes=[
            Endpoint("/translate", handlers.translate, methods=["POST"]),
            Endpoint("/languages", handlers.languages),
            Endpoint("/livez", handlers.live),
            Endpoint("/readyz", handlers.ready),
            Endpoint("/health", handlers.health),
        ],
        exception_handlers={
            FmallocError: _answer_error,
            HTTPException: _answer_http_error,
            Exception: _answer_bug,
        },
        lifespan=handlers.lifespan,
    )


class _Handlers:
    def __init__(self, registry: Registry, limits: Limits) -> None:
        self._registry = registry
        self._limits = limits
        self._workers = CapacityLimiter(_WORKERS)

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        try:
            await run_sync(self._registry.snapshot)
        except NotReadyError as error:
            _log.error("nothing to serve yet: %s", error)
        yield

    async def translate(self, request: Request) -> Response:
        wanted = await TranslationRequest.read(request, self._limits)
        return JSONResponse(await run_sync(self._translate, wanted, limiter=self._workers))

    def _translate(self, wanted: TranslationRequest) -> dict[str, Any]:
        snapshot = self._registry.snapshot()
        _check_languages(wanted, snapshot.languages)
        texts, route = snapshot.translate(wanted.texts, wanted.domain)
        answer: dict[str, Any] = {
            "translatedText": texts if wanted.is_list else texts[0],
            "domain": _shown_route(route),
        }
        if wanted.source == AUTO:
            # Clients expect the language; there is only one, so nothing was detected and confidence is none.
            detected = {"language": snapshot.languages.source, "confidence": 0.0}
            answer["detectedLanguage"] = [detected for _ in texts] if wanted.is_list else detected
        return answer

    async def languages(self, _request: Request) -> Response:
        pair = (await run_sync(self._registry.snapshot)).languages
        return JSONResponse(
            [
                {"code": pair.source, "name": language_name(pair.source), "targets": [pair.target]},
                {"code": pair.target, "name": language_name(pair.target), "targets": []},
            ]
        )

    async def live(self, _request: Request) -> Response:
        return JSONResponse({"status": "live"})

    async def ready(self, _request: Request) -> Response:
        snapshot = await run_sync(self._registry.snapshot)
        domains = {domain: item.bundle.name for domain, item in snapshot.translators.items()}
        return JSONResponse({"status": "ready", "domains": domains, "failure": self._registry.failure})

    async def health(self, _request: Request) -> Response:
        await run_sync(self._registry.snapshot)
        return JSONResponse({"status": "ok"})


def _check_languages(wanted: TranslationRequest, pair: Languages) -> None:
    if wanted.source not in (AUTO, pair.source) or wanted.target != pair.target:
        raise UnsupportedLanguagesError(
            f"{wanted.source[:20]} to {wanted.target[:20]} is not supported: "
            f"use source {pair.source} or {AUTO} and target {pair.target}"
        )


def _shown_route(route: Route) -> dict[str, Any]:
    return {
        "name": route.domain,
        "score": route.score,
        "scores": dict(route.scores),
        "reason": route.reason,
        "bundle": route.bundle,
    }


async def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, FmallocError)
    status = status_of(error)
    if status == 500:
        return await _answer_bug(request, error)
    headers = {"Connection": "close"} if status == 413 else None
    return JSONResponse({"error": str(error)}, status, headers)


async def _answer_http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _answer_bug(request: Request, error: Exception) -> Response:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return JSONResponse({"error": "the server failed to answer; its log says why"}, 500)
