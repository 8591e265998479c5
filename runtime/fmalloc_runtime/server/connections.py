"""HTTP connections with limits: uvicorn has none for slow clients, nor for bodies in very many pieces."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.h11_impl import H11Protocol

# A piece of one byte costs the event loop as much as one of 64 KiB: so many are taken per turn of it.
_PIECES_AT_ONCE = 64
# So many pieces are allowed in any body, and one more for so many bytes.
_PIECES = 1_000
_BYTES_PER_PIECE = 128


def bounded(head_seconds: float, read_seconds: float) -> type[asyncio.Protocol]:
    """A protocol for uvicorn that bounds what one client can cost.

    It disconnects clients that take longer to send a head or to read an answer, and refuses bodies in too many pieces.
    """

    class BoundedProtocol(H11Protocol):  # type: ignore[misc]
        _head: asyncio.TimerHandle | None = None
        _reader: asyncio.TimerHandle | None = None
        conn: Any

        def __init__(self, *arguments: Any, **keywords: Any) -> None:
            super().__init__(*arguments, **keywords)
            self.conn = _Pieces(self.conn)

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self.flow = _Flow(transport)
            self._head = self._cut_off_after(head_seconds)

        def data_received(self, data: bytes) -> None:
            if self._idle() and self._head is None:
                self._head = self._cut_off_after(head_seconds)
            super().data_received(data)
            if self._head is not None and not self._idle():
                self._head.cancel()
                self._head = None

        def handle_events(self) -> None:
            if self.transport.is_closing():
                return
            self.conn.left = _PIECES_AT_ONCE
            try:
                super().handle_events()
            except h11.LocalProtocolError:  # what is wrong comes after the answer: there is nothing more to say
                self.transport.abort()
                return
            self.flow.held = not self.conn.left
            if self.flow.held:
                self.flow.pause_reading()
                asyncio.get_running_loop().call_soon(self._go_on)

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

        def _go_on(self) -> None:
            """Take more of what has been received, and then of what has not."""
            self.flow.held = False
            if not self.transport.is_closing():
                self.flow.resume_reading()
                self.handle_events()

        def _idle(self) -> bool:
            return self.cycle is None or bool(self.cycle.response_complete)

        def _cut_off_after(self, seconds: float) -> asyncio.TimerHandle:
            return asyncio.get_running_loop().call_later(seconds, self.transport.abort)

    return BoundedProtocol


class _Pieces:
    """An h11 connection that stops after `left` pieces of a body, as if there were no more data yet.

    A body in too many pieces is an error of the client's.
    """

    def __init__(self, connection: h11.Connection) -> None:
        self.left = 0
        self._connection = connection
        self._count = 0
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def next_event(self) -> Any:
        """The next event, as of h11."""
        if not self.left:
            return h11.NEED_DATA
        event = self._connection.next_event()
        if isinstance(event, h11.Request):
            self._count = self._size = 0
        elif isinstance(event, h11.Data):
            self.left -= 1
            self._count += 1
            self._size += len(event.data)
            if self._count > _PIECES + self._size // _BYTES_PER_PIECE:
                raise h11.RemoteProtocolError(f"the body comes in pieces of {self._size / self._count:.1f} bytes")
        return event


class _Flow(FlowControl):  # type: ignore[misc]
    """Reads no more while `held`."""

    held = False

    def resume_reading(self) -> None:
        """Read on, unless it is held."""
        if not self.held:
            super().resume_reading()
