"""From settings to a running server: what it is made of, where it listens, how it stops."""

import asyncio
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType

import click
import uvicorn

from fmalloc_runtime import logs, machine
from fmalloc_runtime.access.gatekeeper import Gatekeeper
from fmalloc_runtime.access.keys import Keys
from fmalloc_runtime.batching.admission import Admission
from fmalloc_runtime.batching.batcher import Batcher
from fmalloc_runtime.batching.service import Service
from fmalloc_runtime.live.registry import Registry
from fmalloc_runtime.live.translator import EngineSettings
from fmalloc_runtime.metrics import Metrics
from fmalloc_runtime.routing.decisions import DecisionLog
from fmalloc_runtime.server.connections import bounded
from fmalloc_runtime.settings import Settings
from fmalloc_shared.errors import FmallocError

_log = logging.getLogger(__name__)
_BACKLOG = 2048
_STOPPING = (signal.SIGTERM, signal.SIGINT)
_CLOSE_SECONDS = 1.0


def build(settings: Settings) -> Service:
    """All that translates, not loaded yet: `service.registry.load()` does that."""
    workers = workers_of(settings)
    engines = EngineSettings(settings.device, settings.compute_type, settings.threads, workers)
    metrics = Metrics()
    registry = Registry(settings.bundles, engines, settings.memory, settings.preload, metrics)
    batcher = Batcher(workers, settings.batch_tokens, settings.batch_wait, metrics, exact=settings.exact)
    decisions = DecisionLog(settings.decisions, settings.decisions_text)
    return Service(registry, batcher, Admission(settings.queue_characters, metrics), metrics, decisions)


def workers_of(settings: Settings) -> int:
    """How many batches run at once."""
    if settings.workers:
        return settings.workers
    if settings.device == "cuda" or (settings.device == "auto" and machine.cuda_devices()):
        return 1
    return max(1, int(machine.cpus()) // max(settings.threads, 1))


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; the process's exit status: 1 if work was cut off at the end, else 0.

    The port is taken first and listened on when all is loaded, so that a port in use is known at once and nobody
    connects to a server that is not ready. Raises FmallocError if the server cannot start.
    """
    from fmalloc_runtime.api.app import create_app

    logs.configure(settings.log_format, settings.log_level)
    machine.raise_open_files()
    keys = Keys(settings.keys) if settings.keys else None
    with _bound(settings.host, settings.port) as listener:
        service = build(settings)
        gate = Gatekeeper(keys, settings, service.metrics)
        try:
            service.registry.load()
            server = _Server(_config(create_app(service, settings, gate), settings), settings.drain_seconds)
            with service.registry.watch(settings.poll_seconds), server.stopped_by_signals():
                _listen(listener)
                host, port = listener.getsockname()[:2]
                shown = f"[{host}]" if ":" in host else host
                click.echo(f"listening on http://{shown}:{port}", err=True)
                server.run(sockets=[listener])
        finally:
            service.batcher.close(_CLOSE_SECONDS)
            service.decisions.close()
            gate.close()
    return 1 if server.cut_off else 0


class _Server(uvicorn.Server):  # type: ignore[misc]
    """Stops at the first signal when all is answered, at the second at once; then leaves the process to its caller."""

    def __init__(self, config: uvicorn.Config, drain_seconds: float) -> None:
        super().__init__(config)
        self.cut_off = 0
        self._drain_seconds = drain_seconds

    @contextmanager
    def stopped_by_signals(self) -> Iterator[None]:
        """Stop for SIGTERM and SIGINT inside the block, also before the server runs."""
        before = {number: signal.signal(number, self._stop) for number in _STOPPING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def capture_signals(self) -> AbstractContextManager[None]:
        """Nothing: uvicorn's own way ends the process by the signal that it has handled."""
        return nullcontext()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let requests finish for as long as the drain takes at most."""
        timer = asyncio.get_running_loop().call_later(self._drain_seconds, self._cut_off)
        await super().shutdown(sockets)
        timer.cancel()

    def _cut_off(self) -> None:
        self.cut_off = len(self.server_state.tasks)
        _log.error("%d requests were cut off after %g seconds", self.cut_off, self._drain_seconds)
        # Each of them would be logged with a traceback.
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        self.force_exit = True
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        for again in _STOPPING:
            signal.signal(again, signal.SIG_DFL)
        _log.info("%s: finishing what has begun", signal.Signals(number).name)
        self.should_exit = True


def _config(app: object, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=bounded(settings.header_seconds, settings.body_seconds),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=_BACKLOG,
        limit_concurrency=settings.connections,
        timeout_keep_alive=settings.keep_alive_seconds,
    )


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    # With the protocol named, asyncio turns off Nagle's algorithm, which would hold answers back for 40 ms.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise _taken(host, port, error) from error
    with listener:
        yield listener


def _listen(listener: socket.socket) -> None:
    try:
        listener.listen(_BACKLOG)
    except OSError as error:
        host, port = listener.getsockname()[:2]
        raise _taken(host, port, error) from error


def _taken(host: str, port: int, error: OSError) -> FmallocError:
    return FmallocError(f"cannot listen on {host}:{port}: {error.strerror}: choose another --host or --port")
