"""Health checks and metrics: /livez, /readyz, /health, /metrics."""

from dataclasses import dataclass

from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from fmalloc_runtime.api.answers import Dialect, answer
from fmalloc_runtime.api.backend import Backend
from fmalloc_runtime.api.operation import Operation
from fmalloc_runtime.errors import NothingServedError, NotReadyError

DIALECT = Dialect("Health")


class Status(BaseModel):
    """The state in one word."""

    status: str


class Served(BaseModel):
    """A domain's bundle, and whether its model is in memory."""

    bundle: str
    loaded: bool


class Ready(BaseModel):
    """What is served. `failure`: why the last change of live.json was not applied, if so.

    The status alone for clients that may not see more.
    """

    status: str
    domains: dict[str, Served] = {}
    failure: str | None = None


@dataclass(frozen=True)
class Health:
    """The handlers of this dialect."""

    backend: Backend

    @property
    def operations(self) -> list[Operation]:
        """All operations."""
        return [
            Operation("GET", "/livez", "The process answers", self.live, DIALECT, None, Status),
            Operation("GET", "/readyz", "Bundles are served", self.ready, DIALECT, None, Ready),
            Operation("GET", "/health", "The same in short, as LibreTranslate", self.health, DIALECT, None, Status),
            Operation("GET", "/metrics", "Metrics for Prometheus", self.metrics, DIALECT, statuses={403}),
        ]

    async def live(self, _request: Request) -> Response:
        """The process answers."""
        return answer(Status(status="live"))

    async def ready(self, request: Request) -> Response:
        """503 until bundles are served."""
        registry, sees = self.backend.service.registry, self.backend.may_see(request, "ready")
        try:
            snapshot = registry.snapshot()
        except NothingServedError as error:
            if sees:
                raise NotReadyError(str(error)) from error
            raise
        if not sees:
            return answer(Ready(status="ready"))
        domains = {
            name: Served(bundle=bundle.name, loaded=snapshot.loaded(name) is not None)
            for name, bundle in sorted(snapshot.bundles.items())
        }
        return answer(Ready(status="ready", domains=domains, failure=registry.failure))

    async def health(self, _request: Request) -> Response:
        """503 until bundles are served."""
        self.backend.service.registry.snapshot()
        return answer(Status(status="ok"))

    async def metrics(self, request: Request) -> Response:
        """Metrics in Prometheus' text format."""
        self.backend.check_may_see(request, "metrics")
        return Response(self.backend.service.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)
