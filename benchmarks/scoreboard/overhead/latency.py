"""How long a sentence waits: as load grows, when domains take turns in little memory, and while bundles are swapped."""

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from benchmarks.scoreboard.overhead.capacity import AT_ONCE, Setting, all_answered, body, call
from benchmarks.serving.beside import beside
from benchmarks.serving.load import Call, Outcome, closed_loop, open_loop, percentiles, poisson
from benchmarks.serving.process import Server, make_live, serving
from fmalloc_runtime.bundle.bundle import LiveIndex
from fmalloc_shared.errors import FmallocError

_RATES = (0.25, 0.5, 0.75, 0.9, 1.1)
_SECONDS = 20.0
_BOUND_SECONDS = 1.0
_BUCKETS = ((0, 60), (60, 120), (120, 10_000))
_SWITCHES = 21
_SWAP_SECONDS = 2.0


def measure_latency(setting: Setting) -> list[dict[str, Any]]:
    """Single sentences arriving by chance, at shares of what the server reaches at most."""
    with serving(setting.bundles, setting.work / "server.log") as server:
        most = _most(server, setting)
        return [
            {"share": share, "rate": share * most, **_latency(open_loop(server.url, _load(setting, share * most)))}
            for share in _RATES
        ]


def measure_switch(setting: Setting) -> dict[str, Any]:
    """One line for a domain whose model is in memory, and for one that has to be loaded for it, in turns."""
    names = sorted(setting.texts)
    largest = max(_size(setting.bundles / name) for name in LiveIndex.of(setting.bundles).domains.values())
    seconds: dict[str, list[float]] = {"loaded": [], "to_load": []}
    routing: list[float] = []
    with serving(setting.bundles, setting.work / "server.log", "--memory", largest) as server:
        for turn in range(_SWITCHES):
            domain = names[turn % len(names)]
            for kind in ("to_load", "loaded"):
                call = Call(0, "/v1/translate", body([setting.texts[domain][0]], domain, setting))
                (outcome,) = closed_loop(server.url, [call], 1)
                all_answered([outcome])
                seconds[kind].append(outcome.seconds)
                routing.append(outcome.answer["seconds"]["route"])
    return {"domains": names, "memory_bytes": largest, "seconds": seconds, "route_seconds": routing}


def measure_swap(setting: Setting) -> dict[str, Any]:
    """The same load with live.json changed every two seconds between two bundles of each domain, and without."""
    bundles = setting.work / "swapped"
    shutil.rmtree(bundles, ignore_errors=True)
    shutil.copytree(setting.bundles, bundles)
    here = LiveIndex.of(bundles).domains
    there = {
        domain: next((p.name for p in sorted(bundles.glob(f"{domain}@*")) if p.name != name), name)
        for domain, name in here.items()
    }
    if here == there:
        raise FmallocError(f"{setting.bundles}: expected a second bundle of at least one domain beside the live one")
    rows = {}
    with serving(bundles, setting.work / "server.log", "--poll-seconds", 0.2) as server:
        load = _load(setting, _most(server, setting) / 2)
        for name, swaps in (("quiet", 0), ("swapping", round(_SECONDS / _SWAP_SECONDS))):
            with beside(partial(_swap, bundles, (there, here), swaps)):
                outcomes = open_loop(server.url, load)
            served = {outcome.answer["domain"]["bundle"] for outcome in outcomes if outcome.status == 200}
            rows[name] = {**_latency(outcomes), "bundles": sorted(served), "swaps": swaps}
    return rows


def _most(server: Server, setting: Setting) -> float:
    """Single sentences per second in a closed loop, after one turn to warm up."""
    calls = [call([line], setting) for line in setting.lines]
    closed_loop(server.url, calls, AT_ONCE)
    return len(calls) / max(outcome.ended for outcome in closed_loop(server.url, calls, AT_ONCE))


def _load(setting: Setting, rate: float) -> list[Call]:
    arrivals = enumerate(poisson(rate, _SECONDS, seed=5))
    return [call([setting.lines[number % len(setting.lines)]], setting, due) for number, due in arrivals]


def _swap(bundles: Path, sides: Sequence[Mapping[str, str]], times: int, ended: Event) -> None:
    for turn in range(times):
        if ended.wait(_SWAP_SECONDS):
            return
        make_live(bundles, sides[turn % 2])


def _latency(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    answered = [outcome for outcome in outcomes if outcome.status == 200]
    in_time = [outcome for outcome in answered if outcome.seconds <= _BOUND_SECONDS]
    lasted = max(outcome.ended for outcome in outcomes)
    by_length = {
        f"{low}-{high} characters": percentiles(
            [outcome.seconds for outcome in answered if low <= len(outcome.call.body["text"][0]) < high]
        )
        for low, high in _BUCKETS
    }
    return {
        "calls": len(outcomes),
        "answered": len(answered),
        "refused": sum(outcome.status in (429, 503) for outcome in outcomes),
        "other": sum(outcome.status not in (200, 429, 503) for outcome in outcomes),
        "seconds": percentiles([outcome.seconds for outcome in answered]),
        "seconds_by_length": by_length,
        "goodput": len(in_time) / lasted,
        "goodput_bound_seconds": _BOUND_SECONDS,
        "seconds_raw": [round(outcome.seconds, 4) for outcome in outcomes],
    }


def _size(bundle: Path) -> int:
    return sum(path.stat().st_size for path in (bundle / "model").iterdir())
