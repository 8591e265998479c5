"""HTTP connections with time limits: uvicorn has none for the head of a request or for a slow reader."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol


def bounded(head_seconds: float, read_seconds: float) -> type[asyncio.Protocol]:
    """A protocol for uvicorn that disconnects clients that take longer to send a head or to read an answer."""

    class BoundedProtocol(H11Protocol):  # type: ignore[misc]
        _head: asyncio.TimerHandle | None = None
        _reader: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self._head = self._cut_off_after(head_seconds)

        def data_received(self, data: bytes) -> None:
            if self._idle() and self._head is None:
                self._head = self._cut_off_after(head_seconds)
            super().data_received(data)
            if self._head is not None and not self._idle():
                self._head.cancel()
                self._head = None

        def pause_writing(self) -> None:
            super().pause_writing()
            self._reader = self._cut_off_after(read_seconds)

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._reader is not None:
                self._reader.cancel()

        def connection_lost(self, error: Exception | None) -> None:
            for timer in (self._head, self._reader):
                if timer is not None:
                    timer.cancel()
            super().connection_lost(error)

        def _idle(self) -> bool:
            return self.cycle is None or bool(self.cycle.response_complete)

        def _cut_off_after(self, seconds: float) -> asyncio.TimerHandle:
            return asyncio.get_running_loop().call_later(seconds, self.transport.abort)

    return BoundedProtocol
