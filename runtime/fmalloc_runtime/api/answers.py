"""Answers in the shape that each dialect's clients read."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, Field
from starlette.responses import Response

from fmalloc_runtime.api.bodies import JSON
from fmalloc_runtime.errors import BusyError, OverloadedError, status_of
from fmalloc_runtime.routing.router import Route
from fmalloc_shared.errors import FmallocError

_log = logging.getLogger(__name__)
_FAILED = "the server failed to answer; its log says why"


class ErrorAnswer(BaseModel):
    """What went wrong and what would be right."""

    error: str


class MessageAnswer(BaseModel):
    """What went wrong and what would be right."""

    message: str


class RouteAnswer(BaseModel):
    """The domain that the text took, how sure that was and why, and the bundle that serves it."""

    name: str
    score: float = Field(description="posterior probability of the domain")
    scores: dict[str, float] = Field(description="posterior probability of every domain served")
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
    """Whose protocol it is, in which shape it tells errors, and how it says that the server is overloaded."""

    name: str
    error: type[ErrorAnswer] | type[MessageAnswer] = ErrorAnswer
    overloaded: int = 429


def answer(content: BaseModel, status: int = 200) -> Response:
    """JSON of the fields that were set."""
    return Response(content.model_dump_json(exclude_unset=True), status, media_type=JSON)


def answer_error(error: FmallocError, dialect: Dialect) -> Response:
    """The answer for an error; the log alone has the details of what is the server's own fault."""
    status = dialect.overloaded if isinstance(error, OverloadedError) else status_of(error)
    if status == 500:
        _log.error("a request failed", exc_info=error)
    response = answer_problem(_FAILED if status == 500 else str(error), status, dialect)
    if isinstance(error, BusyError):
        response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if status == 413:
        response.headers["Connection"] = "close"
    return response


def answer_problem(problem: str, status: int, dialect: Dialect, headers: Mapping[str, str] | None = None) -> Response:
    """An error of this dialect."""
    (name,) = dialect.error.model_fields
    response = answer(dialect.error.model_validate({name: problem}), status)
    response.headers.update(headers or {})
    return response
