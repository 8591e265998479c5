"""Errors in the shape of each dialect."""

import json

import pytest

from fmalloc_runtime import errors
from fmalloc_runtime.api.answers import answer_error
from fmalloc_runtime.api.dialects import deepl as deepl_fields
from fmalloc_runtime.api.dialects import libretranslate as libretranslate_fields
from fmalloc_runtime.errors import (
    BodyTooLargeError,
    EngineError,
    InputTooLongError,
    NotReadyError,
    OverloadedError,
    QuotaExceededError,
    RateLimitedError,
    RequestError,
    UnauthorizedError,
    status_of,
)
from fmalloc_shared.errors import FmallocError


def kinds(kind: type[FmallocError]) -> list[type[FmallocError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in kinds(child))]


def test_one_table_knows_the_status_of_every_error() -> None:
    for kind in kinds(RequestError):
        if kind not in (RequestError, errors.BusyError):
            assert 400 <= status_of(kind.__new__(kind)) < 500, kind
    assert status_of(InputTooLongError("")) == 400
    assert status_of(NotReadyError()) == 503
    assert status_of(FmallocError()) == 500


@pytest.mark.parametrize(
    ("error", "libretranslate", "deepl"),
    [
        (BodyTooLargeError("long"), 413, 413),
        (UnauthorizedError("who"), 403, 403),
        (RateLimitedError("often", 2.2), 429, 429),
        (OverloadedError("full", 0.0), 429, 529),
        (QuotaExceededError("used"), 456, 456),
        (NotReadyError("soon"), 503, 503),
    ],
)
def test_each_dialect_has_its_own_shape_and_statuses(error: FmallocError, libretranslate: int, deepl: int) -> None:
    answer = answer_error(error, libretranslate_fields.DIALECT)
    assert (answer.status_code, json.loads(bytes(answer.body))) == (libretranslate, {"error": str(error)})
    answer = answer_error(error, deepl_fields.DIALECT)
    assert (answer.status_code, json.loads(bytes(answer.body))) == (deepl, {"message": str(error)})


def test_a_busy_server_says_when_to_come_again() -> None:
    assert answer_error(RateLimitedError("", 2.2), deepl_fields.DIALECT).headers["retry-after"] == "3"
    assert answer_error(OverloadedError("", 0.0), deepl_fields.DIALECT).headers["retry-after"] == "1"
    assert "retry-after" not in answer_error(NotReadyError(""), deepl_fields.DIALECT).headers


def test_a_client_that_sends_too_much_is_cut_off() -> None:
    assert answer_error(BodyTooLargeError(""), deepl_fields.DIALECT).headers["connection"] == "close"


def test_faults_of_the_server_are_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    answer = answer_error(EngineError("/secret/path broke"), libretranslate_fields.DIALECT)
    assert answer.status_code == 500 and b"secret" not in bytes(answer.body)
    assert "/secret/path broke" in caplog.text
