"""The pages at `/` and `/docs` and their files at `/static/`, all held in memory; nothing else is served."""

from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_FOLDER = files(__package__) / "page"
_PAGES = {"/": "index.html", "/docs": "docs.html"}
# The operating system's table may give these suffixes types that browsers refuse.
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src 'self'; script-src 'self'; style-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_HEADERS = {
    # Revalidated each time, so that a new release never mixes with files of the one before.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True)
class _File:
    content: bytes
    media_type: str
    etag: str

    def answer(self, request: Request) -> Response:
        """The file, or 304 if the client has it already."""
        headers = {**_HEADERS, "ETag": self.etag}
        held = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
        if self.etag in held or "*" in held:
            return Response(status_code=304, headers=headers)
        return Response(self.content, headers=headers, media_type=self.media_type)


def page_routes() -> list[Route]:
    """Routes of the pages; their files are read once, here."""
    found = _read()
    pages = {path: found.pop(name) for path, name in _PAGES.items()}

    async def page(request: Request) -> Response:
        return pages[request.scope["route"].path].answer(request)

    async def static(request: Request) -> Response:
        file = found.get(request.path_params["name"])
        if file is None:
            raise HTTPException(404)
        return file.answer(request)

    return [*(Route(path, page) for path in _PAGES), Route("/static/{name}", static)]


def _read() -> dict[str, _File]:
    read = {}
    for entry in _FOLDER.iterdir():
        media_type = next((kind for suffix, kind in _TYPES.items() if entry.name.endswith(suffix)), None)
        if media_type:
            content = entry.read_bytes()
            read[entry.name] = _File(content, media_type, f'"{sha256(content).hexdigest()[:32]}"')
    return read
