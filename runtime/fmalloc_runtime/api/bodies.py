"""Query strings and bodies of requests, read up to a limit, as named values."""

import asyncio
import json
import reprlib
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

from anyio.to_thread import run_sync
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from fmalloc_runtime.batching.collection import uncollected
from fmalloc_runtime.errors import BadRequestError, BodyTooLargeError, UnsupportedMediaTypeError

JSON = "application/json"
URL_ENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
FORMS = (URL_ENCODED, MULTIPART)
# A form may have so many bytes besides its file.
FORM_BYTES = 64 * 2**10
# A client that is still sending does not read the answer yet: what it sends is discarded up to these limits.
DRAIN_BYTES = 128 * 2**20
_DRAIN_SECONDS = 10.0
# Fields per form: each costs memory far beyond its bytes.
_FORM_FIELDS = 20_000
# A larger body is not parsed on the event loop.
_INLINE_BYTES = 32 * 2**10
# In the scope of a request whose body is read to no use.
DISCARDED = "fmalloc.discarded"


@dataclass(frozen=True)
class Sent:
    """The values of a request by name; those of a form are lists of strings, in their order."""

    values: Mapping[str, Any]
    is_form: bool
    is_large: bool = False

    def text(self, name: str) -> str | None:
        """A value, the first one of a form; None if it is not a string."""
        value = self.values.get(name)
        value = value[0] if self.is_form and value else value
        return value if isinstance(value, str) else None


async def read_sent(request: Request, limit: int, *, forms: bool = True, drain: int = DRAIN_BYTES) -> Sent:
    """Read a request: a JSON object, or a query string and a form together.

    `drain`: bytes of a body that are read all the same after it is too long. Raises BodyTooLargeError beyond `limit`
    bytes, UnsupportedMediaTypeError for other content types, BadRequestError for malformed bodies.
    """
    body = await _read_body(request, limit, drain)
    parse = partial(parsed, request, body, forms=forms)
    large = len(body) > _INLINE_BYTES
    return Sent(*(await run_sync(parse) if large or _kind(request) == MULTIPART else parse()), is_large=large)


@dataclass(frozen=True)
class UploadedFile:
    """A file of a form, with the name that the client gave it."""

    name: str
    content: bytes


async def read_upload(request: Request, size: int) -> tuple[Sent, UploadedFile]:
    """Read a form with one file, named `file`, of at most `size` bytes; errors as of read_sent."""
    if _kind(request) != MULTIPART:
        raise UnsupportedMediaTypeError(f"content type {shown(_kind(request))}: expected {MULTIPART} with a file")
    body = await _read_body(request, size + FORM_BYTES, DRAIN_BYTES)
    return await run_sync(_uploaded, request, body, size)


def _uploaded(request: Request, body: bytes, size: int) -> tuple[Sent, UploadedFile]:
    form = asyncio.run(_form(request, body, files=1))
    name, content = "", None
    for field, value in form:
        if isinstance(value, UploadFile):
            with value.file as file:
                name, content = value.filename or "", file.read() if field == "file" else None
    if content is None:
        raise BadRequestError("file is missing: expected a form with one file, named file")
    if len(content) > size:
        raise BodyTooLargeError(f"the file has {len(content)} bytes, at most {size} are allowed")
    pairs = _url_encoded(request.scope.get("query_string", b""), "the query string")
    pairs += [(name, value) for name, value in form if isinstance(value, str)]
    return Sent(_by_name(pairs), is_form=True), UploadedFile(name, content)


async def discard(request: Request, limit: int) -> None:
    """Read up to `limit` bytes of a body that nobody wants: its client reads no answer while it is still sending."""
    request.scope[DISCARDED] = True
    async for chunk in request.stream():
        limit -= len(chunk)
        if limit < 0:
            break


def shown(value: object) -> str:
    """A value as error messages quote it: bounded in length and depth."""
    return _SHORT.repr(value)


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2
        self.maxstring = self.maxother = self.maxlong = 80


_SHORT = _Short()


async def _read_body(request: Request, limit: int, drain: int) -> bytes:
    body = bytearray()
    received = 0
    deadline = time.monotonic() + _DRAIN_SECONDS
    async for chunk in request.stream():
        received += len(chunk)
        if received <= limit:
            body += chunk
            deadline = time.monotonic() + _DRAIN_SECONDS
            continue
        body.clear()
        if received > limit + drain or time.monotonic() > deadline:
            break
    if received > limit:
        raise BodyTooLargeError(f"the body is larger than {limit} bytes, the limit for a request")
    return bytes(body)


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def parsed(request: Request, body: bytes, *, forms: bool) -> tuple[Mapping[str, Any], bool]:
    """The values of a request by name, and whether they are those of a form."""
    kind = _kind(request)
    if kind == JSON and (body or request.method not in ("GET", "DELETE")):
        return _json_object(body), False
    if not forms or (body and kind not in FORMS):
        expected = " or ".join((JSON, *FORMS) if forms else (JSON,))
        raise UnsupportedMediaTypeError(f"content type {shown(kind)}: expected {expected}")
    pairs = _url_encoded(request.scope.get("query_string", b""), "the query string")
    if kind == URL_ENCODED:
        pairs += _url_encoded(body, "the body")
    elif kind == MULTIPART and body:
        pairs += asyncio.run(_multipart(request, body))  # Starlette's parser is asynchronous for the sake of files
    return _by_name(pairs), True


def _json_object(body: bytes) -> Mapping[str, Any]:
    try:
        # A small body makes few objects, and to leave the block costs more than to read it.
        with uncollected() if len(body) > _INLINE_BYTES else nullcontext():
            found = json.loads(body.decode(), object_pairs_hook=_object, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the body is not JSON in UTF-8: {error}") from error
    if not isinstance(found, dict):
        raise BadRequestError(f"the body is {shown(found)}: expected a JSON object")
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise ValueError(f"{shown(counts.most_common(1)[0][0])} is given twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _url_encoded(encoded: bytes, where: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            encoded.decode(), keep_blank_values=True, errors="strict", max_num_fields=_FORM_FIELDS, separator="&"
        )
    except ValueError as error:
        raise BadRequestError(f"{where} is not URL-encoded UTF-8 of at most {_FORM_FIELDS} fields: {error}") from error


async def _multipart(request: Request, body: bytes) -> list[tuple[str, str]]:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise BadRequestError(f"the body is not a form of text fields in UTF-8: {error}") from error
    return [(name, value) for name, value in await _form(request, body) if isinstance(value, str)]


async def _form(request: Request, body: bytes, files: int = 0) -> list[tuple[str, str | UploadFile]]:
    """The fields of a form, and at most so many files of it, which stay in memory."""

    async def replay() -> AsyncGenerator[bytes, None]:
        yield body

    boundary = parse_options_header(request.headers["content-type"])[1].get(b"boundary", b"")
    if boundary and b"--" + boundary + b"--" not in body:
        raise BadRequestError(f"the body is not a whole form: it ends before the last boundary, {shown(boundary)}--")
    parser = MultiPartParser(
        request.headers, replay(), max_files=files, max_fields=_FORM_FIELDS, max_part_size=len(body) + 1
    )
    parser.spool_max_size = len(body) + 1
    try:
        form = await parser.parse()
    except (MultiPartException, UnicodeDecodeError, KeyError) as error:
        what = f"{files} file and text fields" if files else "text fields in UTF-8"
        problem = error.message if isinstance(error, MultiPartException) else error
        raise BadRequestError(f"the body is not a form of {what}: {problem}") from error
    return form.multi_items()


def _by_name(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found
