"""Answers and errors in the format of each dialect."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, Field
from starlette.responses import Response

from fmalloc_runtime.api.bodies import JSON
from fmalloc_runtime.errors import BusyError, NothingServedError, OverloadedError, status_of
from fmalloc_runtime.routing.router import Route
from fmalloc_shared.errors import FmallocError

_log = logging.getLogger(__name__)
_FAILED = "the server failed to answer; see its log"
_UNSERVED = "nothing is served yet: /readyz and the log say why"


class ErrorAnswer(BaseModel):
    """What went wrong and what is expected."""

    error: str


class MessageAnswer(BaseModel):
    """What went wrong and what is expected."""

    message: str


class RouteAnswer(BaseModel):
    """The domain of the text with its probability and the reason, and the bundle that serves it."""

    name: str
    score: float = Field(description="posterior probability of the domain")
    scores: dict[str, float] = Field(description="posterior probability of each domain that is served")
    reason: str
    bundle: str

    @classmethod
    def of(cls, route: Route) -> "RouteAnswer":
        """The answer for a route."""
        return cls(
            name=route.domain, score=route.score, scores=dict(route.scores), reason=route.reason, bundle=route.bundle
        )


@dataclass(frozen=True)
class Dialect:
    """A protocol: its name, the format of its errors, its status for an overloaded server, and if it takes forms."""

    name: str
    error: type[ErrorAnswer] | type[MessageAnswer] = ErrorAnswer
    overloaded: int = 429
    forms: bool = False


def answer(content: BaseModel, status: int = 200) -> Response:
    """A JSON answer with the fields that are set."""
    return Response(content.model_dump_json(exclude_unset=True), status, media_type=JSON)


def answer_error(error: FmallocError, dialect: Dialect) -> Response:
    """The answer to an error. Details of the server's own faults go to the log only."""
    status = dialect.overloaded if isinstance(error, OverloadedError) else status_of(error)
    if status == 500:
        _log.error("a request failed", exc_info=error)
    hidden = _FAILED if status == 500 else _UNSERVED if isinstance(error, NothingServedError) else None
    response = answer_problem(hidden or str(error), status, dialect)
    if isinstance(error, BusyError):
        response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if status == 413:
        response.headers["Connection"] = "close"
    return response


def answer_problem(problem: str, status: int, dialect: Dialect, headers: Mapping[str, str] | None = None) -> Response:
    """An error answer in this dialect."""
    (name,) = dialect.error.model_fields
    response = answer(dialect.error.model_validate({name: problem}), status)
    response.headers.update(headers or {})
    return response
