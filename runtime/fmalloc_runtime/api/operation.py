"""One HTTP operation: its handler, and everything that its documentation says."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
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
# Any operation can fail, or find that nothing is served.
_ANYTIME = frozenset({500, 503})
_WITH_BODY = frozenset({400, 408, 413, 415, 429})
_WITH_KEY = frozenset({403, 429})


@dataclass(frozen=True)
class Operation:
    """`request`: fields of the body, or of the query string with GET and DELETE.

    `response`: of success, None for one in `media`. `statuses`: statuses of failure besides those that follow from the
    rest. `keyed`: an operation without request fields needs a key, as all that have some do. `upload`: the request is a
    form with a file. `success`: its status.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    summary: str
    handler: Handler
    dialect: Dialect
    request: type[Fields] | None = None
    response: type[BaseModel] | None = None
    statuses: Collection[int] = ()
    keyed: bool = False
    upload: bool = False
    media: str = "text/plain"
    success: Literal[200, 201, 204] = 200

    @property
    def needs_key(self) -> bool:
        """Whether clients need a key where the server has keys."""
        return self.keyed or self.request is not None

    @property
    def errors(self) -> list[int]:
        """All statuses of failure, ascending."""
        found = _ANYTIME | {*self.statuses}
        if self.request is not None:
            found |= _WITH_BODY
        if self.needs_key:
            found |= _WITH_KEY
        return sorted(found)

    async def serve(self, request: Request) -> Response:
        """The handler's answer, or an error in this dialect."""
        try:
            return await self.handler(request)
        except FmallocError as error:
            return answer_error(error, self.dialect)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it; proxies log this status


def routes(operations: Iterable[Operation]) -> list[BaseRoute]:
    """One route per path, so that 405 lists all methods of the path."""
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        by_path.setdefault(operation.path, {})[operation.method] = operation
    return [Route(path, _endpoint(methods), methods=list(methods)) for path, methods in by_path.items()]


def _endpoint(methods: Mapping[str, Operation]) -> Handler:
    async def serve(request: Request) -> Response:
        return await methods["GET" if request.method == "HEAD" else request.method].serve(request)

    return serve
