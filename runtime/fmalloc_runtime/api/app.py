"""The HTTP app: all dialects on one service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from fmalloc_runtime.access.gatekeeper import Gatekeeper
from fmalloc_runtime.api.answers import answer_problem
from fmalloc_runtime.api.backend import Backend
from fmalloc_runtime.api.dialects.deepl import DeepL
from fmalloc_runtime.api.dialects.documents import DeepLDocuments
from fmalloc_runtime.api.dialects.glossaries import DeepLGlossaries
from fmalloc_runtime.api.dialects.health import Health
from fmalloc_runtime.api.dialects.inference import Inference
from fmalloc_runtime.api.dialects.libretranslate import LibreTranslate
from fmalloc_runtime.api.dialects.memories import Memories
from fmalloc_runtime.api.dialects.native import Native
from fmalloc_runtime.api.middleware import middleware
from fmalloc_runtime.api.openapi import openapi_route
from fmalloc_runtime.api.operation import routes
from fmalloc_runtime.api.page import page_routes
from fmalloc_runtime.batching.documents import Documents
from fmalloc_runtime.batching.service import Service
from fmalloc_runtime.corrections.log import CorrectionLog
from fmalloc_runtime.glossaries.store import GlossaryStore
from fmalloc_runtime.settings import Settings


def create_app(service: Service, settings: Settings, gate: Gatekeeper) -> Starlette:
    """The app; the caller opens and closes `service` and `gate`.

    Raises FmallocError if corrections or glossaries cannot be kept.
    """
    corrections = CorrectionLog(settings.corrections, settings.corrections_limit)
    glossaries = GlossaryStore(settings.glossaries, settings.glossaries_limit)
    backend = Backend(service, settings, gate, corrections, glossaries)
    documents = Documents(service, settings, gate.give_back)
    operations = [
        operation
        for dialect in (LibreTranslate, DeepL, DeepLGlossaries, Native, Memories, Inference, Health)
        for operation in dialect(backend).operations
    ]
    if settings.documents:
        operations += DeepLDocuments(backend, documents).operations
    by_path = {operation.path: operation.dialect for operation in operations}

    async def refuse(request: Request, error: Exception) -> Response:
        """Answer 404 and 405 in the route's dialect; for unknown paths, with the error fields of all dialects."""
        assert isinstance(error, HTTPException)
        dialect = by_path.get(getattr(request.scope.get("route"), "path", ""))
        if dialect is None:
            text = error.detail
            return JSONResponse({"error": text, "message": text}, error.status_code, error.headers)
        return answer_problem(error.detail, error.status_code, dialect, error.headers)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await documents.close()

    app = Starlette(
        routes=[
            *routes(operations),
            openapi_route(operations, backend),
            *(page_routes() if settings.page else ()),
        ],
        middleware=middleware(settings, service.metrics),
        exception_handlers={HTTPException: refuse},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app
