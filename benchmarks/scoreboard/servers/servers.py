"""Servers under load that comes by the clock: fmalloc, a small wrapper of CTranslate2, and LibreTranslate."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from benchmarks.common import once
from benchmarks.scoreboard.servers.libretranslate import LibreTranslate
from benchmarks.serving.load import Call, Outcome, closed_loop, open_loop, percentiles, poisson
from benchmarks.serving.process import launch, make_live
from fmalloc_shared.commands.progress import console
from fmalloc_shared.errors import FmallocError

# The first is as it is by default; padded sentences of unequal length share a batch, and change each other's last bits.
OWN, PADDED = "fmalloc", "fmalloc --no-exact"
BOUNDS = (0.2, 1.0)
CLIENTS = (1, 4, 16, 64)
# Of what a server answers at most; the last is twice what it can take.
_SHARES = (0.5, 0.9, 2.0)
_LONG_LINES = 8
# Of each domain, and how often, where servers take turns; a first repeat is not counted.
_LINES_IN_TURN, _REPEATS = 32, 3
_PATIENCE = 120.0


@dataclass(frozen=True)
class Setting:
    """`bundles` of the served domains, their plain lines by domain, and a whole model for the others.

    `seconds` of each load; `libretranslate`: how to start it, None: left out.
    """

    bundles: Mapping[str, Path]
    lines: Mapping[str, Sequence[str]]
    copy: Path
    work: Path
    seconds: float
    libretranslate: LibreTranslate | None


@dataclass(frozen=True)
class Started:
    """A server; `first`: seconds from its start to its first answer."""

    url: str
    first: float
    process: psutil.Process


Start = Callable[[Setting], AbstractContextManager[Started]]


def measure_servers(setting: Setting) -> dict[str, Any]:
    """Most answers per second of all in turns, then each server by itself; what is kept in `work` stays as it is."""
    servers: dict[str, Start] = {
        OWN: _fmalloc,
        PADDED: partial(_fmalloc, flags=("--no-exact",)),
        "CTranslate2 wrapper": _wrapper,
    }
    if setting.libretranslate:
        servers["LibreTranslate"] = _libretranslate
    measured = setting.work / "measured"
    turns = once(measured / "turns.json", partial(_in_turns, servers, setting))
    found = {
        name: once(measured / f"{name.replace(' ', '-')}.json", partial(_measure, name, start, setting))
        for name, start in servers.items()
    }
    return {
        "servers": found,
        "turns": turns,
        "bounds_seconds": list(BOUNDS),
        "seconds": setting.seconds,
        "shares": list(_SHARES),
    }


def _in_turns(servers: Mapping[str, Start], setting: Setting) -> dict[str, dict[str, list[float]]]:
    """Answers per second to sixteen clients, by kind of text and server: one figure per repeat, all servers running."""
    found: dict[str, dict[str, list[float]]] = {}
    lines = {name: of[:_LINES_IN_TURN] for name, of in setting.lines.items()}
    with ExitStack() as stack:
        running = {name: stack.enter_context(start(setting)) for name, start in servers.items()}
        for kind, bodies in kinds_of(lines).items():
            calls, rates = [Call(0.0, "/translate", body) for body in bodies], found.setdefault(kind, {})
            for repeat in range(_REPEATS + 1):
                for name, server in running.items():
                    rate = _rate(closed_loop(server.url, calls, 16))
                    if repeat:
                        rates.setdefault(name, []).append(rate)
            console.print(f"{kind}: {', '.join(f'{name} {max(of):.1f}' for name, of in rates.items())}", markup=False)
    return found


def ratios_of(rates: Mapping[str, Sequence[float]], name: str) -> list[float]:
    """Of fmalloc to another server, in each repeat."""
    return [own / other for own, other in zip(rates[OWN], rates[name], strict=True)]


def kinds_of(lines: Mapping[str, Sequence[str]]) -> dict[str, list[dict[str, Any]]]:
    """Bodies of requests: single sentences, texts of several, HTML, and sentences of all domains mixed."""
    first = next(iter(lines.values()))
    texts = ["\n".join(first[start : start + _LONG_LINES]) for start in range(0, len(first), _LONG_LINES)]
    mixed = [line for group in zip(*lines.values(), strict=False) for line in group]
    return {
        "short": [_body(line) for line in first],
        "long": [_body(text) for text in texts],
        "html": [_body(f"<p>{line}</p>") | {"format": "html"} for line in first],
        "mixed domains": [_body(line) for line in mixed],
    }


def _body(text: str) -> dict[str, Any]:
    return {"q": [text], "source": "de", "target": "en", "format": "text"}


def _measure(name: str, start: Start, setting: Setting) -> dict[str, Any]:
    console.print(f"{name} …", markup=False)
    with start(setting) as server:
        rows, crowds = dict[str, dict[str, Any]](), dict[str, Any]()
        for kind, bodies in kinds_of(setting.lines).items():
            calls = [Call(0.0, "/translate", body) for body in bodies]
            closed_loop(server.url, calls[:16], 4)
            most = _rate(closed_loop(server.url, calls, 16))
            rows[kind] = {"most_per_second": most}
            for share in _SHARES:
                arrivals = enumerate(poisson(share * most, setting.seconds, seed=7))
                load = [Call(due, "/translate", bodies[number % len(bodies)]) for number, due in arrivals]
                rows[kind][str(share)] = _latency(open_loop(server.url, load)) if load else None
        short = [Call(0.0, "/translate", body) for body in kinds_of(setting.lines)["short"]]
        for clients in CLIENTS:
            outcomes = closed_loop(server.url, short, clients)
            crowds[str(clients)] = {"per_second": _rate(outcomes), **_latency(outcomes)}
        resident = server.process.memory_info().rss / 1e6
    return {"first_answer_seconds": server.first, "resident_mb": resident, "loads": rows, "clients": crowds}


def _rate(outcomes: Sequence[Outcome]) -> float:
    answered = [outcome for outcome in outcomes if outcome.status == 200]
    if not answered:
        raise FmallocError(f"the server answered nothing: {outcomes[0].status} {outcomes[0].answer}")
    return len(answered) / max(outcome.ended for outcome in outcomes)


def _latency(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    answered = [outcome.seconds for outcome in outcomes if outcome.status == 200]
    lasted = max(outcome.ended for outcome in outcomes)
    return {
        "calls": len(outcomes),
        "answered": len(answered),
        "refused": sum(outcome.status in (429, 503) for outcome in outcomes),
        "seconds": percentiles(answered),
        "goodput": {str(bound): sum(seconds <= bound for seconds in answered) / lasted for bound in BOUNDS},
    }


@contextmanager
def _fmalloc(setting: Setting, flags: Sequence[str] = ()) -> Iterator[Started]:
    bundles = setting.work / "bundles"
    if not (bundles / "live.json").exists():
        for path in setting.bundles.values():
            shutil.copytree(path, bundles / path.name, dirs_exist_ok=True)
        make_live(bundles, {domain: path.name for domain, path in setting.bundles.items()})
    port, began = _free_port(), time.perf_counter()
    process = launch(bundles, setting.work / "server.log", "--port", port, *flags)
    with _ended(process):
        yield _ready(f"http://127.0.0.1:{port}", process, began, setting)


@contextmanager
def _wrapper(setting: Setting) -> Iterator[Started]:
    port, began = _free_port(), time.perf_counter()
    tokenizer = next(iter(setting.bundles.values()))
    command = [sys.executable, "-m", "benchmarks.scoreboard.servers.wrapper", setting.copy, tokenizer, port]
    process = subprocess.Popen([*map(str, command)], env={**os.environ, "OMP_NUM_THREADS": "1"})
    with _ended(process):
        yield _ready(f"http://127.0.0.1:{port}", process, began, setting)


@contextmanager
def _libretranslate(setting: Setting) -> Iterator[Started]:
    assert setting.libretranslate
    port = _free_port()
    command, began = setting.libretranslate.command(port), time.perf_counter()
    with (setting.work / "libretranslate.log").open("ab") as log:
        process = subprocess.Popen(command, env=setting.libretranslate.environment, stdout=log, stderr=log)
    with _ended(process):
        yield _ready(f"http://127.0.0.1:{port}", process, began, setting)


@contextmanager
def _ended(process: "subprocess.Popen[Any]") -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _ready(url: str, process: "subprocess.Popen[Any]", began: float, setting: Setting) -> Started:
    """Ask until there is an answer."""
    body = json.dumps(kinds_of(setting.lines)["short"][0]).encode()
    request = urllib.request.Request(f"{url}/translate", body, {"Content-Type": "application/json"})
    while time.perf_counter() - began < _PATIENCE and process.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE):
                return Started(url, time.perf_counter() - began, psutil.Process(process.pid))
        except urllib.error.HTTPError as error:
            raise FmallocError(f"{url}: {error.code} {error.read().decode()}") from error
        except OSError:
            time.sleep(0.02)
    raise FmallocError(f"{url}: no answer; see the logs in {setting.work}")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
