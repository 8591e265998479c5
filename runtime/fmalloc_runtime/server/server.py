"""The server process: where it listens and how it stops."""

import asyncio
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType

import uvicorn

from fmalloc_runtime import logs, machine
from fmalloc_runtime.access.gatekeeper import Gatekeeper
from fmalloc_runtime.batching.service import Service
from fmalloc_runtime.metrics import Metrics
from fmalloc_runtime.server.connections import bounded
from fmalloc_runtime.settings import Settings
from fmalloc_shared.commands.command import echo
from fmalloc_shared.errors import FmallocError

_log = logging.getLogger(__name__)
_BACKLOG = 2048
_STOPPING = (signal.SIGTERM, signal.SIGINT)


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT. The exit status of the process: 1 if work was cut off at the end, else 0.

    The port is bound first and listened on once everything is loaded: a port in use is reported at once, and nobody
    connects to a server that is not ready. Raises FmallocError if the server cannot start.
    """
    from fmalloc_runtime.api.app import create_app

    logs.configure(settings.log_format, settings.log_level)
    machine.raise_open_files()
    machine.take_short_turns()
    metrics = Metrics()
    with (
        Gatekeeper.open(settings, metrics) as gate,
        _bound(settings.host, settings.port) as listener,
        Service.open(settings, metrics) as service,
    ):
        server = _Server(_config(create_app(service, settings, gate), settings), settings.drain_seconds)
        with server.stopped_by_signals():
            _listen(listener)
            host, port = listener.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            echo(f"listening on http://{shown}:{port}", err=True)
            server.run(sockets=[listener])
    return 1 if server.cut_off else 0


class _Server(uvicorn.Server):  # type: ignore[misc]
    """Stops at the first signal once all requests are answered, at the second at once; then returns to its caller."""

    def __init__(self, config: uvicorn.Config, drain_seconds: float) -> None:
        super().__init__(config)
        self.cut_off = 0
        self._drain_seconds = drain_seconds

    @contextmanager
    def stopped_by_signals(self) -> Iterator[None]:
        """Stop at SIGTERM and SIGINT inside the block, even before the server runs."""
        before = {number: signal.signal(number, self._stop) for number in _STOPPING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def capture_signals(self) -> AbstractContextManager[None]:
        """Do nothing: uvicorn's version ends the process by the signal that it has handled."""
        return nullcontext()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let requests finish, for at most the drain time."""
        timer = asyncio.get_running_loop().call_later(self._drain_seconds, self._cut_off)
        await super().shutdown(sockets)
        timer.cancel()

    def _cut_off(self) -> None:
        self.cut_off = len(self.server_state.tasks)
        _log.error("%d requests were cut off after %g seconds", self.cut_off, self._drain_seconds)
        # uvicorn would log a traceback for each of them.
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
    # asyncio turns off Nagle's algorithm, which delays answers by 40 ms, only if the protocol is named.
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
