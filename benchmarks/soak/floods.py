"""Phases with too much of everything: huge bodies, more work than fits, clients that leave it behind."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from benchmarks.serving.load import Call, closed_loop
from benchmarks.soak.background import await_idle, repeat, steady, watched
from benchmarks.soak.phase import Record, Setting
from benchmarks.soak.raw import connect, head, message, read_reply

_BODY_BYTES = 100 * 10**6
_BODIES = 12  # of each kind at once: as many as still leave room for the bodies of others
_PIECE = b"x" * 50_000
# What all bodies together may take by default is 64 MiB; copies while they are parsed take as much again.
PEAK_MB = 192.0
_QUEUE_CHARACTERS = 20_000
_AT_ONCE = 150
_FLOOD_SECONDS = 5.0
_LEAVING = 150


def huge_bodies(setting: Setting, record: Record) -> None:
    """Bodies of 100 MB, many at once, while others ask on: refused, and the memory stays bounded.

    408 where the machine cannot take so much in before a body's time is over.
    """
    with setting.serve() as server:

        def flood(turn: int) -> None:
            with watched(server) as memory, steady(server, record, setting.truth.calls, at_once=1):
                before = memory.peak
                statuses = asyncio.run(_bodies(server.url))
            record.count(statuses)
            record.facts[f"bodies_{turn}"] = {str(status): count for status, count in sorted(statuses.items())}
            record.check("huge bodies are refused", set(statuses) <= {408, 413, 429, 529}, statuses)
            record.check(f"memory peaks at most {PEAK_MB:g} MB higher", memory.peak - before <= PEAK_MB, memory.peak)

        repeat(server, record, setting.truth.calls, flood)
    record.facts |= {"body_bytes": _BODY_BYTES, "bodies_at_once": 2 * _BODIES}


def overloaded(setting: Setting, record: Record) -> None:
    """Far more than the queue takes, then clients that leave before they are answered; then all is as before."""
    documents = [call for call in setting.truth.calls if call.path == "/v1/translate"]
    with setting.serve("--queue-characters", _QUEUE_CHARACTERS) as server:

        def flood(turn: int) -> None:
            until = time.monotonic() + _FLOOD_SECONDS
            endless = itertools.takewhile(lambda _: time.monotonic() < until, itertools.cycle(setting.truth.calls))
            statuses = record.judge(closed_loop(server.url, endless, _AT_ONCE), allowed=(429, 529))
            record.check(
                "too much is refused, and the rest answered", statuses[429] > 0 and statuses[200] > 0, statuses
            )
            record.facts[f"overload_{turn}"] = {str(status): count for status, count in sorted(statuses.items())}
            asyncio.run(_leave(server.url, documents, setting.times(_LEAVING)))
            await_idle(server, record)

        repeat(server, record, setting.truth.calls, flood)
        left = server.metrics().get('fmalloc_requests_total{endpoint="/v1/translate",status="499"}', 0)
    record.facts["clients_that_left"] = left
    record.check("clients that leave are noticed", left > 0, left)


async def _bodies(url: str) -> Counter[int]:
    kinds = (_long_body, _endless_chunks)
    return Counter(await asyncio.gather(*(kind(url) for kind in kinds for _ in range(_BODIES))))


async def _long_body(url: str) -> int:
    start = head("POST", "/translate", ["Content-Type: application/json", f"Content-Length: {_BODY_BYTES}"])
    return await _pour(url, start, _PIECE, b"")


async def _endless_chunks(url: str) -> int:
    start = head("POST", "/v1/translate", ["Content-Type: application/json", "Transfer-Encoding: chunked"])
    return await _pour(url, start, b"%x\r\n%b\r\n" % (len(_PIECE), _PIECE), b"0\r\n\r\n")


async def _pour(url: str, start: bytes, piece: bytes, end: bytes) -> int:
    """Send `start`, pieces up to 100 MB, and `end`, or stop when there is an answer; its status."""
    reader, writer = await connect(url)
    reply = asyncio.create_task(read_reply(reader))
    try:
        writer.write(start)
        with suppress(OSError):
            for _ in range(_BODY_BYTES // len(_PIECE)):
                if reply.done():
                    break
                writer.write(piece)
                await writer.drain()
            writer.write(end)
        async with asyncio.timeout(60):
            return (await reply).status
    finally:
        reply.cancel()
        writer.transport.abort()


async def _leave(url: str, calls: Sequence[Call], count: int) -> None:
    """Send requests and hang up a moment later, each a little later than the one before."""

    async def client(number: int) -> None:
        with suppress(OSError):
            _, writer = await connect(url)
            writer.write(message(calls[number % len(calls)], close=False))
            await asyncio.sleep(0.02 + number * 0.005)
            writer.transport.abort()

    await asyncio.gather(*(client(number) for number in range(count)))
