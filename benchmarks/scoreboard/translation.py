"""Translation: every contender on the test set of each domain, in turn, with quality beside speed and size."""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.common import once
from benchmarks.scoreboard.contenders.contender import Contender, Field
from benchmarks.scoreboard.energy import Meter, Metered
from benchmarks.scoreboard.limits import Machine
from fmalloc.evaluation.significance import METRICS, Statistics
from fmalloc_export.bench.report import record
from fmalloc_export.bench.rounds import LINES_IN_TURN, Measured, half_width, measure
from fmalloc_export.bench.runner import Runner
from fmalloc_shared.commands.progress import bar, console

BATCH = 32


@dataclass(frozen=True)
class Amount:
    """How much is measured.

    `sentences`: per round; `slow`: of contenders that take long; `scored`: for quality. `minutes`: after which no more
    rounds begin; `spread`: as of rounds.measure.
    """

    sentences: int = 50
    slow: int = 8
    scored: int = 200
    minutes: float = 6.0
    spread: float = 0.03
    beam_size: int = 4
    threads: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Test:
    """Sources and references of a domain."""

    sources: Sequence[str]
    references: Sequence[str]


def measure_domain(field: Field, test: Test, amount: Amount, work: Path) -> dict[str, Any]:
    """Quality, and speed by threads, of all contenders; what is kept in `work` is not measured again."""
    quality = {
        row.name: once(work / "quality" / f"{_file_name(row.name)}.json", partial(score, row, test, amount))
        for row in field.contenders
        if not row.untrained
    }
    speed = {
        str(threads): once(work / f"threads-{threads}.json", partial(measure_threads, field, test, amount, threads))
        for threads in amount.threads
    }
    return {
        "quality": quality,
        "speed": speed,
        "left_out": field.left_out,
        "sentences": {
            "measured": min(amount.sentences, len(test.sources)),
            "slow": min(amount.slow, len(test.sources)),
        },
        "scored": min(amount.scored, len(test.sources)),
    }


def score(row: Contender, test: Test, amount: Amount) -> dict[str, float]:
    """BLEU and chrF, and tokens per sentence on both sides."""
    console.print(f"scoring {row.name}", markup=False)
    sources = list(test.sources[: amount.scored])
    with _running(row.at(max(amount.threads), amount.beam_size), sources[0]) as runner:
        texts = runner.translate(sources, BATCH).texts
    references = test.references[: amount.scored]
    return {metric: Statistics.of(metric, texts, references).score() for metric in METRICS}


def measure_threads(field: Field, test: Test, amount: Amount, threads: int) -> dict[str, Any]:
    """Speed of all, of those that are slow on fewer sentences, with the first contender beside them each time."""
    before, load = Machine.measured(threads), os.getloadavg()[0]
    rows = [row.at(threads, amount.beam_size) for row in field.contenders]
    fast, slow = [row for row in rows if not row.slow], [row for row in rows if row.slow]
    entries = _measured(fast, test.sources[: amount.sentences], amount, threads)
    if slow:
        entries += _measured([fast[0], *slow], test.sources[: amount.slow], amount, threads)[1:]
    machine = before.best(Machine.measured(threads))
    for entry, row in zip(entries, [*fast, *slow], strict=True):
        entry |= _limits(row, machine, entry)
    return {
        "entries": entries,
        "lines_in_turn": LINES_IN_TURN,
        "machine": _machine(machine),
        "load_average": [load, os.getloadavg()[0]],
    }


def _measured(rows: Sequence[Contender], sources: Sequence[str], amount: Amount, threads: int) -> list[dict[str, Any]]:
    meter = Meter.find()
    with ExitStack() as stack:
        runners = []
        for row in rows:
            console.print(f"loading {row.name}", markup=False)
            runners.append(stack.enter_context(_running(row, sources[0])))
        metered = [Metered(runner, meter) for runner in runners]
        with bar(f"rounds, {threads} thread{'s' if threads > 1 else ''}", None) as advance:
            found = measure(
                metered,
                sources,
                batch=BATCH,
                single=True,
                batched=True,
                decoded=True,
                spread=amount.spread,
                seconds=60 * amount.minutes,
                advance=advance,
            )
        entries = record(runners, found, sources, None)
    for entry, row, own, power in zip(entries, rows, found, metered, strict=True):
        entry |= _described(row, own, sources, power)
    return entries


def _described(row: Contender, own: Measured, sources: Sequence[str], power: Metered) -> dict[str, Any]:
    words = sum(len(line.split()) for line in sources)
    joules = sorted(power.joules)
    return {
        "group": row.group,
        "level": row.level,
        "untrained": row.untrained,
        "sentences": len(sources),
        "words": words,
        "rounds": len(own.single),
        "spread": max(map(half_width, own.rounds())),
        "tokens": {"sources": own.decoded[0].sources, "targets": own.decoded[0].targets},
        "joules_per_1000_words": 1000 * joules[len(joules) // 2] / words if joules else None,
        "joules_missing": power.meter.reason,
        "path": None,
    }


def _limits(row: Contender, machine: Machine, entry: dict[str, Any]) -> dict[str, Any]:
    """What the machine would reach with the same tokens, and the share of it that was reached."""
    tokens, work = entry["tokens"], row.work()
    found = {}
    for name, batch in (("single", 1), ("batched", BATCH)):
        least = work.seconds(machine, tokens["sources"], tokens["targets"], batch)
        bound = entry["words"] / least
        found[name] = {"words_per_second": bound, "reached": entry["words_per_second"][name] / bound}
    return {"limits": found, "work": work.record()}


def _machine(machine: Machine) -> dict[str, Any]:
    return {
        "threads": machine.threads,
        "operations_per_second": machine.products,
        "copied_bytes_per_second": {str(size): rate for size, rate in machine.copies.items()},
    }


def _running(row: Contender, first: str) -> Any:
    return Runner.start(row.contestant, first, row.command)


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)


def forget(work: Path) -> None:
    """Measure anew: what was kept of measurements goes, contenders stay."""
    for path in sorted(work.rglob("*.json")):
        path.unlink()
