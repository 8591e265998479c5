"""What a client asks for: bodies read up to a limit, fields checked one by one."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.types import Message

from fmalloc_runtime.errors import BadRequestError, BodyTooLargeError, UnsupportedMediaTypeError
from fmalloc_runtime.router import AUTO

_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
# A client that is still sending does not read our answer: what it sends is dropped for a while, then it is cut off.
_DRAIN_BYTES = 128 * 2**20
_DRAIN_SECONDS = 10.0


@dataclass(frozen=True)
class Limits:
    """Of one request: bytes of its body, characters of all its texts."""

    body: int = 2 * 2**20
    characters: int = 200_000


@dataclass(frozen=True)
class TranslationRequest:
    """The checked fields of POST /translate."""

    texts: tuple[str, ...]
    is_list: bool
    source: str
    target: str
    domain: str

    @classmethod
    async def read(cls, request: Request, limits: Limits) -> "TranslationRequest":
        """Read and check a request; RequestError says what is wrong."""
        return cls.of(await _read_fields(request, limits.body), limits)

    @classmethod
    def of(cls, fields: Mapping[str, Any], limits: Limits) -> "TranslationRequest":
        """Check fields in the shape of LibreTranslate; unknown ones (api_key, say) are ignored."""
        if "q" not in fields:
            raise BadRequestError("q is missing: send the text to translate, or a list of texts")
        q = fields["q"]
        texts = tuple(q) if isinstance(q, list) else (q,)
        for number, text in enumerate(texts, start=1):
            _check_text(f"q[{number}]" if isinstance(q, list) else "q", text)
        if (characters := sum(map(len, texts))) > limits.characters:
            raise BodyTooLargeError(f"q has {characters} characters, at most {limits.characters} are allowed")
        if (wanted := fields.get("format", "text")) != "text":
            raise BadRequestError(f"format {_shown(wanted)} is not supported: use text")
        if (alternatives := fields.get("alternatives", 0)) not in (0, "0", ""):
            raise BadRequestError(f"alternatives {_shown(alternatives)} is not supported: use 0")
        return cls(
            texts,
            isinstance(q, list),
            _string(fields, "source"),
            _string(fields, "target"),
            _string(fields, "domain", AUTO),
        )


def _check_text(name: str, text: object) -> None:
    if not isinstance(text, str):
        raise BadRequestError(f"{name} is {_shown(text)}: expected a string")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadRequestError(f"{name} holds half a surrogate pair at character {error.start}") from error


def _string(fields: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = fields.get(name, default)
    if value is None:
        raise BadRequestError(f"{name} is missing: expected a language code")
    if not isinstance(value, str) or not value:
        raise BadRequestError(f"{name} is {_shown(value)}: expected a string")
    return value


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


async def _read_fields(request: Request, limit: int) -> Mapping[str, Any]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and kind not in _FORMS:
        raise UnsupportedMediaTypeError(f"content type {kind!r}: expected application/json or {' or '.join(_FORMS)}")
    body = await _read_body(request, limit)
    return _json_fields(body) if kind == "application/json" else await _form_fields(request, body)


async def _read_body(request: Request, limit: int) -> bytes:
    body = bytearray()
    received = 0
    deadline = time.monotonic() + _DRAIN_SECONDS
    async for chunk in request.stream():
        received += len(chunk)
        if received <= limit:
            body += chunk
            continue
        body.clear()
        if received > limit + _DRAIN_BYTES or time.monotonic() > deadline:
            break
    if received > limit:
        raise BodyTooLargeError(f"the body is larger than {limit} bytes")
    return bytes(body)


def _json_fields(body: bytes) -> Mapping[str, Any]:
    try:
        fields = json.loads(body.decode())
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the body is not JSON in UTF-8: {error}") from error
    if not isinstance(fields, dict):
        raise BadRequestError(f"the body is {_shown(fields)}: expected a JSON object")
    return fields


async def _form_fields(request: Request, body: bytes) -> Mapping[str, Any]:
    async def replay() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    form = await Request(request.scope, replay).form(max_files=0, max_part_size=len(body) + 1)
    return _fields_of(form)


def _fields_of(form: FormData) -> dict[str, Any]:
    fields: dict[str, Any] = dict(form)
    texts = form.getlist("q")
    if len(texts) > 1:
        fields["q"] = texts
    return fields
