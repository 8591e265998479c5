"""Requests as bytes on a socket, as rude as they come."""

import asyncio
import json
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from benchmarks.serving.load import Call, Outcome

_LINE_LIMIT = 2**20


@dataclass(frozen=True)
class Reply:
    """An answer; status 0 and no headers where the connection ended without one."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def outcome(self, call: Call, seconds: float) -> Outcome:
        """The same, as the load generator has it."""
        try:
            answer = json.loads(self.body)
        except ValueError:
            answer = self.body.decode(errors="replace")
        return Outcome(call, self.status, seconds, seconds, answer, self.headers.get("retry-after"))


NO_REPLY = Reply(0, {}, b"")


async def connect(url: str, buffered: int | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the server at `url`; the system takes about `buffered` bytes of answers that are not read."""
    parts = urlsplit(url)
    connection = socket.socket()
    if buffered is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffered)
    connection.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(connection, (parts.hostname, parts.port))
    except BaseException:
        connection.close()
        raise
    return await asyncio.open_connection(sock=connection, limit=_LINE_LIMIT)


async def send(url: str, message: bytes, seconds: float) -> Reply:
    """Send a message on a connection of its own and wait so long for the answer, or for the connection's end."""
    try:
        reader, writer = await connect(url)
    except OSError:
        return NO_REPLY
    try:
        with suppress(OSError):
            writer.write(message)
            await writer.drain()
        async with asyncio.timeout(seconds):
            return await read_reply(reader, message.startswith(b"HEAD "))
    except TimeoutError:
        return NO_REPLY
    finally:
        writer.transport.abort()


async def read_reply(reader: asyncio.StreamReader, bare: bool = False) -> Reply:
    """The next answer; `bare`: to HEAD, so without a body."""
    status, headers, body = 0, dict[str, str](), b""
    try:
        while status < 200:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            status = int(head[0].split()[1])
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head if line)}
        if not bare:
            length = headers.get("content-length")
            body = await (reader.read() if length is None else reader.readexactly(int(length)))
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, IndexError):
        return NO_REPLY
    return Reply(status, headers, body)


def message(call: Call, *, method: str = "POST", close: bool = True) -> bytes:
    """The bytes of a request, on a connection that ends with it or goes on."""
    content = json.dumps(call.body).encode()
    headers = ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return head(method, call.path, [*headers, *(["Connection: close"] if close else [])]) + content


def head(method: str, path: str, headers: Sequence[str]) -> bytes:
    """Of a request, up to its body."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()
