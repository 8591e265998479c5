"""The decision log: one line of JSON per routed request, with domain and reason. `fmalloc routing replay` reads it."""

import logging
import os
import re
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from fmalloc_runtime.logs import request_id
from fmalloc_runtime.routing.router import Route
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.strict import StrictModel

_log = logging.getLogger(__name__)
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
# It may hold text: only owner and group may read it.
_MODE = 0o640
_LINE_END = re.compile(r"\r\n|\n|\r")
_Count = Annotated[int, Field(ge=0)]
_Share = Annotated[float, Field(ge=0, le=1)]


class Decision(StrictModel):
    """One line of the log."""

    version: Literal[1] = 1
    """Of the line."""
    time: str
    """UTC, ISO 8601."""
    request: str | None = None
    """Its id; absent outside a request."""
    asked: str
    """A domain or `auto`."""
    domain: str
    """As in the answer."""
    score: _Share
    """As in the answer."""
    scores: Annotated[dict[str, _Share], Field(min_length=1)]
    """As in the answer."""
    reason: str
    """As in the answer."""
    bundle: str
    """As in the answer."""
    texts: _Count
    """How many were routed together."""
    lines: _Count
    """How many, blank ones left out."""
    characters: _Count
    """How many."""
    text: tuple[str, ...] | None = None
    """Only with `--decisions-text`."""


class DecisionLog:
    """Appends decisions to a file; safe to call from several threads and processes.

    A file that was moved or deleted is opened again under its name, so any log rotation works. A line is written as a
    whole or not at all. If it cannot be written (a full disk), the request does not fail: `lost` counts the line.
    """

    def __init__(self, path: Path | None, keep_text: bool = False) -> None:
        """`path` None: no log. `keep_text`: log source text. FmallocError if the file cannot be opened."""
        self.lost = 0
        self._path = path
        self._keep_text = keep_text
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._failing = False
        if path is not None:
            try:
                self._descriptor = os.open(path, _FLAGS, _MODE)
            except OSError as error:
                raise FmallocError(f"{path}: decisions cannot be logged there: {error.strerror}") from error

    @property
    def on(self) -> bool:
        """Whether decisions are logged."""
        return self._path is not None

    def record(self, asked: str, texts: Sequence[str], route: Route) -> None:
        """Log the route that `texts` took together, with the id of the current request. Never raises."""
        if not self.on:
            return
        line = self._line(asked, texts, route)
        with self._lock:
            try:
                self._write(line)
            except OSError as error:
                self.lost += 1
                if not self._failing:
                    _log.error("%s: decisions are lost: %s", self._path, error)
                self._failing = True
            else:
                self._failing = False

    def close(self) -> None:
        """Close the file; another record opens it again."""
        with self._lock:
            self._close()

    def _line(self, asked: str, texts: Sequence[str], route: Route) -> bytes:
        request = request_id.get()
        decision = Decision.model_construct(
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            request=None if request is None else _encodable(request),
            asked=asked,
            domain=route.domain,
            score=route.score,
            scores=dict(route.scores),
            reason=route.reason,
            bundle=route.bundle,
            texts=len(texts),
            lines=sum(bool(line.strip()) for line in lines_of(texts)),
            characters=sum(map(len, texts)),
            text=tuple(map(_encodable, texts)) if self._keep_text else None,
        )
        return f"{decision.model_dump_json(exclude_none=True)}\n".encode()

    def _write(self, line: bytes) -> None:
        descriptor = self._open()
        written = os.write(descriptor, line)
        if written == len(line):
            return
        end = os.lseek(descriptor, 0, os.SEEK_CUR)
        if os.fstat(descriptor).st_size == end:
            os.ftruncate(descriptor, end - written)
        raise OSError(f"{written} of {len(line)} bytes written: the disk is full")

    def _open(self) -> int:
        """The file under the log's name, opened again if it was replaced."""
        assert self._path is not None
        if self._descriptor is not None:
            try:
                named, opened = self._path.stat(), os.fstat(self._descriptor)
            except FileNotFoundError:
                self._close()
            else:
                if (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino):
                    return self._descriptor
                self._close()
        self._descriptor = os.open(self._path, _FLAGS, _MODE)
        return self._descriptor

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def lines_of(texts: Sequence[str]) -> list[str]:
    """All lines of the texts, including blank ones."""
    return [line for text in texts for line in _LINE_END.split(text)]


def _encodable(text: str) -> str:
    """The text with `?` for lone surrogates, which JSON can hold and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()
