"""Query strings and bodies of requests, read up to a limit, as named values."""

import gc
import json
import reprlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from python_multipart.multipart import parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from fmalloc_runtime.errors import BadRequestError, BodyTooLargeError, UnsupportedMediaTypeError

JSON = "application/json"
URL_ENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
FORMS = (URL_ENCODED, MULTIPART)
# A client that is still sending does not read the answer yet: what it sends is discarded up to these limits.
_DRAIN_BYTES = 128 * 2**20
_DRAIN_SECONDS = 10.0
# Fields per form: each costs memory far beyond its bytes.
_FORM_FIELDS = 20_000


@dataclass(frozen=True)
class Sent:
    """The values of a request by name; those of a form are lists of strings, in their order."""

    values: Mapping[str, Any]
    is_form: bool


async def read_sent(request: Request, limit: int, *, forms: bool = True) -> Sent:
    """Read a request: a JSON object, or a query string and a form together.

    Raises BodyTooLargeError beyond `limit` bytes, UnsupportedMediaTypeError for other content types, BadRequestError
    for malformed bodies.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await _read_body(request, limit)
    if kind == JSON and (body or request.method == "POST"):
        return Sent(_json_object(body), is_form=False)
    if not forms or (body and kind not in FORMS):
        expected = " or ".join((JSON, *FORMS) if forms else (JSON,))
        raise UnsupportedMediaTypeError(f"content type {shown(kind)}: expected {expected}")
    pairs = _url_encoded(request.scope.get("query_string", b""), "the query string")
    if kind == URL_ENCODED:
        pairs += _url_encoded(body, "the body")
    elif kind == MULTIPART and body:
        pairs += await _multipart(request, body)
    return Sent(_by_name(pairs), is_form=True)


def shown(value: object) -> str:
    """A value as error messages quote it: bounded in length and depth."""
    return _SHORT.repr(value)


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2
        self.maxstring = self.maxother = self.maxlong = 80


_SHORT = _Short()


async def _read_body(request: Request, limit: int) -> bytes:
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
        if received > limit + _DRAIN_BYTES or time.monotonic() > deadline:
            break
    if received > limit:
        raise BodyTooLargeError(f"the body is larger than {limit} bytes, the limit for a request")
    return bytes(body)


def _json_object(body: bytes) -> Mapping[str, Any]:
    try:
        with _uncollected():
            found = json.loads(body.decode(), object_pairs_hook=_object, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the body is not JSON in UTF-8: {error}") from error
    if not isinstance(found, dict):
        raise BadRequestError(f"the body is {shown(found)}: expected a JSON object")
    return found


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without garbage collection, which would traverse the growing lists of a body again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


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
    async def replay() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    boundary = parse_options_header(request.headers["content-type"])[1].get(b"boundary", b"")
    try:
        body.decode()
        form = await Request(request.scope, replay).form(
            max_files=0, max_fields=_FORM_FIELDS, max_part_size=len(body) + 1
        )
    except (HTTPException, UnicodeDecodeError) as error:
        problem = error.detail if isinstance(error, HTTPException) else error
        raise BadRequestError(f"the body is not a form of text fields in UTF-8: {problem}") from error
    if b"--" + boundary + b"--" not in body:
        raise BadRequestError(f"the body is not a whole form: it ends before the last boundary, {shown(boundary)}--")
    return [(name, value) for name, value in form.multi_items() if isinstance(value, str)]


def _by_name(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found
