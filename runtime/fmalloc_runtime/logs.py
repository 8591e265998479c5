"""Log lines as text or JSON, each with the id of its request.

Lines hold names, counts and times, never source text or keys.
"""

import logging
import logging.config
import sys
from contextvars import ContextVar
from typing import Any, Literal

from fmalloc_runtime import __name__ as package
from fmalloc_shared.errors import printable

ACCESS = f"{package}.access"
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
FACTS = ("method", "path", "status", "seconds", "client", "domain", "characters", "request_id")
_facts: ContextVar[dict[str, Any] | None] = ContextVar("facts", default=None)


def begin(identity: str) -> dict[str, Any]:
    """Give this task's log lines the id from now on; returns the mapping in which `note` collects facts."""
    facts: dict[str, Any] = {}
    request_id.set(identity)
    _facts.set(facts)
    return facts


def note(**facts: str | int | float) -> None:
    """Add some of FACTS to the access-log line of the current request, if there is one."""
    noted = _facts.get()
    if noted is not None:
        noted.update(facts)


class RequestId(logging.Filter):
    """Adds the request's id to records of a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep all records."""
        if (identity := request_id.get()) is not None:
            record.request_id = identity
        return True


class TextFormatter(logging.Formatter):
    """`2026-01-02 03:04:05,678 INFO message key=value …`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The line and its traceback, if there is one; what is unprintable in them is escaped."""
        return printable(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        """The line, without a traceback."""
        facts = [f"{name}={vars(record)[name]}" for name in FACTS if name in vars(record)]
        # A client chooses the path: it must not begin a line of its own.
        return " ".join([super().formatMessage(record), *(fact.replace("\n", "\\n") for fact in facts)])


def configure(style: Literal["text", "json"], level: str) -> None:
    """Send all logging of the process, including uvicorn's, to standard error; our access log replaces uvicorn's."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "filters": {"request_id": {"()": RequestId}},
            "formatters": {"line": {"()": _json_formatter if style == "json" else TextFormatter}},
            "handlers": {
                "stderr": {
                    "class": "logging.StreamHandler",
                    "stream": sys.stderr,
                    "formatter": "line",
                    "filters": ["request_id"],
                }
            },
            "root": {"level": "WARNING", "handlers": ["stderr"]},
            "loggers": {package: {"level": level.upper()}, "uvicorn.access": {"level": "CRITICAL"}},
        }
    )
    logging.captureWarnings(True)


def _json_formatter() -> logging.Formatter:
    from pythonjsonlogger.json import JsonFormatter

    class Printable(JsonFormatter):  # type: ignore[misc, unused-ignore]
        def format(self, record: logging.LogRecord) -> str:
            return printable(super().format(record))

    return Printable(
        "%(levelname)s %(name)s %(message)s",
        rename_fields={"levelname": "level", "name": "logger"},
        timestamp="time",
        json_ensure_ascii=False,
    )
