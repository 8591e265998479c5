"""Load on a server: open loop (arrivals by the clock, whatever the answers do) and closed loop (so many at once)."""

import asyncio
import json
import random
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

_TIMEOUT = aiohttp.ClientTimeout(total=300)
_KEEP_ALIVE_SECONDS = 2.0


@dataclass(frozen=True)
class Call:
    """A request to make: `due` in seconds from the start of the run (0 in a closed loop)."""

    due: float
    path: str
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What became of a call. `seconds` run from when it was due: waiting for a free connection counts.

    `status` is 0 where the connection failed. `retry_after`: the header, where there is one.
    """

    call: Call
    status: int
    seconds: float
    ended: float
    answer: Any
    retry_after: str | None = None


def poisson(rate: float, seconds: float, seed: int) -> Iterator[float]:
    """Arrival times within `seconds` of independent clients, `rate` a second on average."""
    draw = random.Random(seed)
    at = draw.expovariate(rate)
    while at < seconds:
        yield at
        at += draw.expovariate(rate)


def open_loop(url: str, calls: Sequence[Call]) -> list[Outcome]:
    """Make each call when it is due."""
    return asyncio.run(_open_loop(url, calls))


def closed_loop(url: str, calls: Iterable[Call], at_once: int) -> list[Outcome]:
    """Make the calls one after another on `at_once` connections, each as soon as one is free."""
    return asyncio.run(_closed_loop(url, calls, at_once))


def percentiles(values: Sequence[float]) -> dict[str, float | None]:
    """p50, p90 and p99 by nearest rank; None without values."""
    ordered = sorted(values)
    return {
        f"p{share}": ordered[max(-(-share * len(ordered) // 100) - 1, 0)] if ordered else None for share in (50, 90, 99)
    }


async def _open_loop(url: str, calls: Sequence[Call]) -> list[Outcome]:
    async with _session() as session:
        began = time.perf_counter()

        async def later(call: Call) -> Outcome:
            await asyncio.sleep(max(began + call.due - time.perf_counter(), 0))
            return await _make(session, url, call, began, began + call.due)

        return list(await asyncio.gather(*(later(call) for call in calls)))


async def _closed_loop(url: str, calls: Iterable[Call], at_once: int) -> list[Outcome]:
    waiting = iter(calls)
    outcomes: list[Outcome] = []
    async with _session() as session:
        began = time.perf_counter()

        async def client() -> None:
            for call in waiting:
                outcomes.append(await _make(session, url, call, began, time.perf_counter()))

        await asyncio.gather(*(client() for _ in range(at_once)))
    return outcomes


def _session() -> aiohttp.ClientSession:
    # An idle connection is left before the server closes it, which would fail a request that is on its way just then.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_SECONDS)
    return aiohttp.ClientSession(timeout=_TIMEOUT, connector=connector)


async def _make(session: aiohttp.ClientSession, url: str, call: Call, began: float, due: float) -> Outcome:
    status, answer, retry_after = 0, None, None
    try:
        async with session.post(f"{url}{call.path}", json=call.body) as response:
            raw = await response.read()
            status, answer = response.status, json.loads(raw)
            retry_after = response.headers.get("Retry-After")
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        answer = repr(error)
    ended = time.perf_counter()
    return Outcome(call, status, ended - due, ended - began, answer, retry_after)
