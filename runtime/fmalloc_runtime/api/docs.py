"""The documentation page at /docs: own static files that draw /openapi.json."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

_STATIC = Path(__file__).parent / "static"
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def docs_routes() -> list[BaseRoute]:
    """The page and its two files."""
    return [
        _file("/docs", "docs.html"),
        _file("/docs/docs.js", "docs.js"),
        _file("/docs/docs.css", "docs.css"),
    ]


def _file(path: str, name: str) -> Route:
    async def serve(_request: Request) -> Response:
        return FileResponse(_STATIC / name, headers=_HEADERS)

    return Route(path, serve)
