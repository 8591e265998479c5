"""Whether the server lives and can translate, and its figures."""

from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from fmalloc_runtime.api.answers import Dialect, answer
from fmalloc_runtime.api.backend import Backend
from fmalloc_runtime.api.operation import Operation

DIALECT = Dialect("Health")


class Status(BaseModel):
    """In one word."""

    status: str


class Served(BaseModel):
    """A domain's bundle, and whether its model is in memory."""

    bundle: str
    loaded: bool


class Ready(BaseModel):
    """What is served; `failure`: why the last change of live.json was not taken over, if so."""

    status: str
    domains: dict[str, Served]
    failure: str | None


class Health:
    """Its handlers."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    @property
    def operations(self) -> list[Operation]:
        """What it serves."""
        return [
            Operation("GET", "/livez", "The process answers", self.live, DIALECT, response=Status),
            Operation("GET", "/readyz", "Something is served", self.ready, DIALECT, response=Ready),
            Operation("GET", "/health", "The same in short, as LibreTranslate", self.health, DIALECT, response=Status),
            Operation("GET", "/metrics", "Figures for Prometheus", self.metrics, DIALECT),
        ]

    async def live(self, _request: Request) -> Response:
        """The process answers."""
        return answer(Status(status="live"))

    async def ready(self, _request: Request) -> Response:
        """503 until something is served."""
        registry = self._backend.service.registry
        snapshot = registry.snapshot()
        domains = {
            name: Served(bundle=bundle.name, loaded=snapshot.loaded(name) is not None)
            for name, bundle in sorted(snapshot.bundles.items())
        }
        return answer(Ready(status="ready", domains=domains, failure=registry.failure))

    async def health(self, _request: Request) -> Response:
        """503 until something is served."""
        self._backend.service.registry.snapshot()
        return answer(Status(status="ok"))

    async def metrics(self, _request: Request) -> Response:
        """Prometheus' text format."""
        return Response(self._backend.service.metrics.exposition(), media_type=CONTENT_TYPE_LATEST)
