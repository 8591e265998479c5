"""The phase in which the server is asked to end while it works."""

import asyncio
import signal
import time
from collections.abc import Sequence

from benchmarks.serving.load import Call, Outcome
from benchmarks.serving.process import Server
from benchmarks.soak.phase import Record, Setting
from benchmarks.soak.raw import connect, message, read_reply

_ENDINGS = 3
_CLIENTS = 40
_DRAIN_SECONDS = 30.0
_SHORT_DRAIN_SECONDS = 0.3


def ended(setting: Setting, record: Record) -> None:
    """SIGTERM under load: what was accepted is answered, within the time for it, and the exit status tells."""
    seconds = []
    for _ in range(setting.times(_ENDINGS)):
        with setting.serve("--drain-seconds", _DRAIN_SECONDS) as server:
            outcomes, status, took = asyncio.run(_end(server, setting.truth.calls, _CLIENTS))
        statuses = record.judge(outcomes)
        record.check("all that was accepted is answered", statuses[200] == _CLIENTS, statuses)
        record.check("it ends with status 0 in time", status == 0 and took < _DRAIN_SECONDS, (status, took))
        seconds.append(round(took, 2))
    documents = [call for call in setting.truth.calls if call.path == "/v1/translate"]
    with setting.serve("--drain-seconds", _SHORT_DRAIN_SECONDS) as server:
        outcomes, status, took = asyncio.run(_end(server, documents, 10 * _CLIENTS))
        record.judge(outcomes, allowed=(0, 503))
    record.check("work that is cut off is told by status 1", status == 1 and took < 5.0, (status, took))
    record.facts |= {"seconds_to_end": seconds, "seconds_to_end_cut_off": round(took, 2)}


async def _end(server: Server, calls: Sequence[Call], clients: int) -> tuple[list[Outcome], int, float]:
    """Send so many calls, a connection each, and SIGTERM once all are accepted: answers, exit status, seconds."""
    asked = [calls[number % len(calls)] for number in range(clients)]
    connections = [await connect(server.url) for _ in asked]
    began = time.monotonic()
    for (_, writer), call in zip(connections, asked, strict=True):
        writer.write(message(call, close=False))
    await asyncio.to_thread(_await_accepted, server)
    signalled = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    status = asyncio.create_task(asyncio.to_thread(server.process.wait, 2 * _DRAIN_SECONDS))
    replies = await asyncio.gather(*(read_reply(reader) for reader, _ in connections))
    took = (await status, time.monotonic() - signalled)
    outcomes = [reply.outcome(call, time.monotonic() - began) for reply, call in zip(replies, asked, strict=True)]
    for _, writer in connections:
        writer.transport.abort()
    return outcomes, *took


def _await_accepted(server: Server) -> None:
    """Return when the server has read all that was sent before: it reads connections in the order they came in."""
    for _ in range(2):
        server.get("/livez")
