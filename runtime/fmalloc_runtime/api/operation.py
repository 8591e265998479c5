"""One HTTP operation: what serves it, and all that its documentation says."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from fmalloc_runtime.api.answers import Dialect, answer_error
from fmalloc_runtime.api.fields import Fields
from fmalloc_shared.errors import FmallocError

Handler = Callable[[Request], Awaitable[Response]]
# A server can fail, or have nothing to serve, whatever it is asked.
_ANYTIME = frozenset({500, 503})
_WITH_BODY = frozenset({400, 408, 413, 415, 429})
_WITH_KEY = frozenset({403, 429})


@dataclass(frozen=True)
class Operation:
    """`request`: fields of the body, or of the query string with GET; `response`: of 200, None for plain text.

    `keyed`: whether it asks for a key. `statuses`: others than those that follow from the rest.
    """

    method: Literal["GET", "POST"]
    path: str
    summary: str
    handler: Handler
    dialect: Dialect
    request: type[Fields] | None = None
    response: type[BaseModel] | None = None
    forms: bool = False
    keyed: bool = False
    statuses: frozenset[int] = frozenset()

    @property
    def errors(self) -> list[int]:
        """All statuses of failure that it can answer with, ascending."""
        found = _ANYTIME | self.statuses
        if self.request is not None:
            found |= _WITH_BODY
        if self.keyed:
            found |= _WITH_KEY
        return sorted(found)

    async def serve(self, request: Request) -> Response:
        """The handler's answer, or this dialect's for what went wrong."""
        try:
            return await self.handler(request)
        except FmallocError as error:
            return answer_error(error, self.dialect)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it; proxies log this status for it


def routes(operations: Iterable[Operation]) -> list[BaseRoute]:
    """A route for each path, so that a wrong method is told all that are right."""
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    return [Route(path, _endpoint(methods), methods=list(methods)) for path, methods in by_path.items()]


def _endpoint(methods: Mapping[str, Operation]) -> Handler:
    async def serve(request: Request) -> Response:
        return await methods["GET" if request.method == "HEAD" else request.method].serve(request)

    return serve
