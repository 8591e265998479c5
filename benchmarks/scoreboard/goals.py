"""What the scoreboard should show, part by part."""

import statistics
from collections.abc import Mapping
from typing import Any

from benchmarks.common import Goal
from benchmarks.scoreboard.overhead.overhead import goals_of_overhead
from benchmarks.scoreboard.page.rows import losses, rows_of
from benchmarks.scoreboard.servers.servers import OWN, PADDED, ratios_of

_UNITS = ("at batch 1, base in int8 = 1", "in batches, base in int8 = 1", "at batch 1, PyTorch = 1")
# By the same figures; None: no goal.
_AIMS = {
    "-O2, CTranslate2 int8": (3.5, None, 15),
    "-O2, ONNX Runtime int8": (3.5, None, 15),
    "2 decoder layers, CTranslate2 int8": (8, 5, 30),
}


def goals_of(part: str, payload: Mapping[str, Any]) -> list[Goal]:
    """Of what a part measured."""
    measures = {
        "translation": _translation,
        "domains": _domains,
        "shape": _shape,
        "servers": _servers,
        "overhead": goals_of_overhead,
    }
    return measures[part](payload)


def _translation(payload: Mapping[str, Any]) -> list[Goal]:
    found: list[Goal] = []
    for domain, measured in payload["domains"].items():
        for threads in measured["speed"]:
            beaten = len(losses(rows_of(measured, threads)))
            name = f"{domain}, {threads} thread{'s' if threads != '1' else ''}: where others that translate as well win"
            found.append({"name": name, "value": beaten, "goal": "0", "met": not beaten})
    return found


def _domains(payload: Mapping[str, Any]) -> list[Goal]:
    growth = payload["growth_mb"]
    if growth["full copies"] is None:
        return []
    value = round(growth["fmalloc, packed"] / growth["full copies"], 2)
    name = "disk of a further domain, packed, in units of a full copy"
    return [{"name": name, "value": value, "goal": "< 1", "met": value < 1}]


def _shape(payload: Mapping[str, Any]) -> list[Goal]:
    """Of the fewest threads."""
    rows = {row.name: row for row in rows_of(payload, min(payload["speed"], key=int))}
    pytorch = rows["base, PyTorch float32"].latency_ratio[0]
    found: list[Goal] = []
    for name, aims in _AIMS.items():
        one, many = rows[name].latency_ratio[0], rows[name].words_ratio[0]
        for what, ratio, least in zip(_UNITS, (one, many, one / pytorch), aims, strict=True):
            if least:
                title = f"{payload['shape']['name']} shape, {name}: speed {what}"
                found.append({"name": title, "value": round(ratio, 2), "goal": f">= {least}", "met": ratio >= least})
    return found


def _servers(payload: Mapping[str, Any]) -> list[Goal]:
    found: list[Goal] = []
    for kind, rates in payload["turns"].items():
        for name in (name for name in rates if name not in (OWN, PADDED)):
            value = round(statistics.median(ratios_of(rates, name)), 2)
            title = f"{kind}: answers per second at most, {name} = 1"
            found.append({"name": title, "value": value, "goal": ">= 1", "met": value >= 1})
    return found
