"""Phases with many connections: clients that are slow on purpose, and very many at once."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from itertools import cycle, islice
from threading import Thread

import psutil

from benchmarks.serving.load import Call, Outcome, open_loop, percentiles, poisson
from benchmarks.serving.process import Server
from benchmarks.soak.background import repeat, until
from benchmarks.soak.phase import Record, Setting
from benchmarks.soak.raw import connect, head, message, read_reply

_SLOW = 100  # of each kind but those that never read, who cost the server what they make it answer first
_UNREADING = 20
_HEADER_SECONDS, _BODY_SECONDS = 3.0, 5.0
_SLACK_SECONDS = 5.0
_ARRIVAL_SECONDS = 2.0
_DRIP_SECONDS = 0.5
_RATE, _LOAD_SECONDS = 15.0, 6.0
# Slow clients cost the event loop something, and the client's side of all this shares the machine.
FACTOR, _FLOOR_SECONDS = 3.0, 0.1
_CONNECTIONS = 1000
_DIFFERENT = 12
_TIMES_UNREAD = 100
_BUFFERED = 4096


def slow(setting: Setting, record: Record) -> None:
    """Clients that drip heads and bodies, say nothing, or never read: all are cut off, and others do not notice."""
    sending: tuple[_Client, ...] = (_silent, _dripping_head, _dripping_body, _dripping_chunks)
    counts = dict.fromkeys(sending, setting.times(_SLOW))
    counts[_never_reading] = setting.times(_UNREADING)
    load = _load(setting)
    flags = ("--header-seconds", _HEADER_SECONDS, "--body-seconds", _BODY_SECONDS)
    with setting.serve(*flags) as server:

        def crowd(turn: int) -> None:
            quiet = _p99(record, open_loop(server.url, load))
            ended: Counter[str] = Counter()
            thread = Thread(target=lambda: ended.update(asyncio.run(_all(server, counts))))
            thread.start()
            crowded = _p99(record, open_loop(server.url, load))
            thread.join()
            record.facts[f"slow_{turn}"] = {"quiet_p99": quiet, "p99": crowded, "ended": dict(sorted(ended.items()))}
            bound = FACTOR * max(quiet, _FLOOR_SECONDS)
            record.check(f"p99 at most {FACTOR:g} times that without slow clients", crowded <= bound, (quiet, crowded))
            record.check("slow clients are cut off", not any("kept" in how for how in ended), ended)
            gone = until(lambda: _connections(server) == 0, _BODY_SECONDS + 2 * _SLACK_SECONDS)
            record.check("their connections are closed", gone is not None, _connections(server))

        repeat(server, record, setting.truth.calls, crowd)
        record.facts["slow_clients"] = sum(counts.values())


def crowded(setting: Setting, record: Record) -> None:
    """A thousand connections, all open before any of them asks."""
    shortest = sorted(_singles(setting), key=lambda call: len(call.body["q"]))[:_DIFFERENT]
    calls = list(islice(cycle(shortest), _CONNECTIONS))
    with setting.serve() as server:

        def crowd(turn: int) -> None:
            began = time.monotonic()
            outcomes = asyncio.run(_at_once(server.url, calls))
            statuses = record.judge(outcomes, allowed=(429, 503))
            refused = [outcome for outcome in outcomes if outcome.status in (429, 503)]
            record.check("all are answered", statuses.total() == _CONNECTIONS and 0 not in statuses, statuses)
            record.check("who is refused is told when to come again", all(outcome.retry_after for outcome in refused))
            record.facts[f"crowd_{turn}"] = {
                "answered": statuses[200],
                "refused": len(refused),
                "seconds": round(time.monotonic() - began, 1),
            }

        repeat(server, record, setting.truth.calls, crowd)
    record.facts["connections"] = _CONNECTIONS


async def _at_once(url: str, calls: Sequence[Call]) -> list[Outcome]:
    """Connect for every call, then send them all; then read."""
    connections = [await connect(url) for _ in calls]
    began = time.monotonic()
    for (_, writer), call in zip(connections, calls, strict=True):
        writer.write(message(call))

    async def reply(reader: asyncio.StreamReader, call: Call) -> Outcome:
        return (await read_reply(reader)).outcome(call, time.monotonic() - began)

    try:
        replies = [reply(reader, call) for (reader, _), call in zip(connections, calls, strict=True)]
        return list(await asyncio.gather(*replies))
    finally:
        for _, writer in connections:
            writer.transport.abort()


_Client = Callable[[str], Coroutine[None, None, str]]


async def _all(server: Server, counts: Mapping[_Client, int]) -> Counter[str]:
    """So many clients of each kind, who come within a few seconds and stay together; how they ended."""

    async def client(kind: _Client, delay: float) -> str:
        await asyncio.sleep(delay)
        limit = _HEADER_SECONDS + _BODY_SECONDS + 2 * _SLACK_SECONDS
        try:
            async with asyncio.timeout(limit):
                how = await kind(server.url)
        except TimeoutError:
            how = "kept"
        except OSError:
            how = "cut off"
        return f"{getattr(kind, '__name__', '').strip('_')}: {how}"

    clients = [
        client(kind, _ARRIVAL_SECONDS * number / count) for kind, count in counts.items() for number in range(count)
    ]
    return Counter(await asyncio.gather(*clients))


async def _silent(url: str) -> str:
    reader, writer = await connect(url)
    try:
        return "answered" if await reader.read(1) else "cut off"
    finally:
        writer.transport.abort()


async def _dripping_head(url: str) -> str:
    return await _drip(url, b"", b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Drip: " + b"x" * 1000)


async def _dripping_body(url: str) -> str:
    start = head("POST", "/translate", ["Content-Type: application/json", "Content-Length: 5000"])
    return await _drip(url, start, b" " * 5000)


async def _dripping_chunks(url: str) -> str:
    start = head("POST", "/v1/translate", ["Content-Type: application/json", "Transfer-Encoding: chunked"])
    return await _drip(url, start, b"1\r\n \r\n" * 1000)


async def _drip(url: str, start: bytes, rest: bytes) -> str:
    """Send `start` at once and the rest byte by byte until the server has had enough."""
    reader, writer = await connect(url)
    reply = asyncio.create_task(read_reply(reader))
    try:
        writer.write(start)
        for byte in rest:
            writer.write(bytes([byte]))
            if (await asyncio.wait((reply,), timeout=_DRIP_SECONDS))[0]:
                break
        status = (await reply).status
        return f"answered {status}" if status else "cut off"
    finally:
        reply.cancel()
        writer.transport.abort()


async def _never_reading(url: str) -> str:
    """Ask for a long answer over and over and read none; the server ends it, or not."""
    reader, writer = await connect(url, buffered=_BUFFERED)
    try:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(head("GET", "/openapi.json", []) * _TIMES_UNREAD)
        began = time.monotonic()
        while time.monotonic() - began < _BODY_SECONDS + _SLACK_SECONDS:
            await asyncio.sleep(_DRIP_SECONDS)
            writer.write(b" ")
            if writer.is_closing():
                return "cut off"
        return "kept"
    finally:
        del reader
        writer.transport.abort()


def _load(setting: Setting) -> list[Call]:
    arrivals = poisson(_RATE, _LOAD_SECONDS, seed=6)
    return [Call(due, call.path, call.body) for due, call in zip(arrivals, cycle(_singles(setting)), strict=False)]


def _singles(setting: Setting) -> list[Call]:
    """Requests of one sentence as plain text, or of one with a tag."""
    return [call for call in setting.truth.calls if isinstance(call.body.get("q"), str)]


def _p99(record: Record, outcomes: Sequence[Outcome]) -> float:
    record.judge(outcomes)
    return percentiles([outcome.seconds for outcome in outcomes])["p99"] or 0.0


def _connections(server: Server) -> int:
    found = psutil.Process(server.process.pid).net_connections("tcp")
    return sum(connection.status == psutil.CONN_ESTABLISHED for connection in found)
