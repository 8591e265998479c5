"""Log lines in both forms, with the request they belong to."""

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Literal

import pytest

from fmalloc_runtime import logs


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """What is on standard error; the process' logging is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield lambda: capsys.readouterr().err
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    for name in ("fmalloc_runtime", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def answered() -> None:
    """What a request logs, in a context of its own."""

    def request() -> None:
        facts = logs.begin("r-1")
        logs.note(domain="it", characters=12)
        logging.getLogger("fmalloc_runtime.batching.service").info("half way")
        logging.getLogger(logs.ACCESS).info("answered", extra={"status": 200, **facts})

    copy_context().run(request)
    logging.getLogger("fmalloc_runtime.live.registry").warning("Grüße")


def test_json_lines(written: Callable[[], str]) -> None:
    logs.configure("json", "info")
    answered()
    lines = written()
    half, access, other = [json.loads(line) for line in lines.splitlines()]
    assert half.pop("time") and half == {
        "level": "INFO",
        "logger": "fmalloc_runtime.batching.service",
        "message": "half way",
        "request_id": "r-1",
    }
    assert (access["status"], access["domain"], access["characters"]) == (200, "it", 12)
    assert access["request_id"] == "r-1" and access["logger"] == "fmalloc_runtime.access"
    assert other["message"] == "Grüße" and "request_id" not in other
    assert "Grüße" in lines


def test_text_lines(written: Callable[[], str]) -> None:
    logs.configure("text", "info")
    answered()
    half, access, other = written().splitlines()
    assert half.endswith(" INFO half way request_id=r-1")
    assert access.endswith(" INFO answered status=200 domain=it characters=12 request_id=r-1")
    assert other.endswith(" WARNING Grüße")


@pytest.mark.parametrize("style", ["text", "json"])
def test_tracebacks_and_warnings_and_uvicorn_go_the_same_way(style: str, written: Callable[[], str]) -> None:
    logs.configure(style, "info")  # type: ignore[arg-type]
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("uvicorn.error").exception("it failed")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", stacklevel=1)
    logging.getLogger("uvicorn.access").info("127.0.0.1 - GET /?q=secret")
    logging.getLogger("httpx").info("chatter")
    lines = written()
    assert "it failed" in lines and "ValueError: broken" in lines and "old" in lines
    assert "secret" not in lines and "chatter" not in lines
    if style == "json":
        records = [json.loads(line) for line in lines.splitlines()]
        assert [record["level"] for record in records] == ["ERROR", "WARNING"]


def test_the_level(written: Callable[[], str]) -> None:
    logs.configure("text", "error")
    answered()
    assert written() == ""


def test_facts_without_a_request_go_nowhere() -> None:
    copy_context().run(logs.note, domain="it")
    assert logs.request_id.get() is None


@pytest.mark.parametrize("style", ["json", "text"])
def test_lines_are_printable_and_one_each(style: Literal["json", "text"], written: Callable[[], str]) -> None:
    logs.configure(style, "info")
    extra = {"path": "/x\n2026 ERROR \x1b[2J", "client": "\x9b2J"}
    logging.getLogger(logs.ACCESS).info("answered \x1b[2J", extra=extra)
    (line,) = written().splitlines()
    assert "\x1b" not in line and "\x9b" not in line
    if style == "json":
        assert json.loads(line)["path"] == extra["path"]
