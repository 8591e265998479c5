"""The results of fmalloc bench: figures of each model, as a record and as tables."""

import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from rich.table import Column, Table

from fmalloc_export.bench.rounds import Measured, half_width
from fmalloc_export.bench.runner import Runner
from fmalloc_runtime import machine
from fmalloc_shared import __version__
from fmalloc_shared.commands.terminal import Terminal

# Words of a source, by which latency is told apart.
_LENGTHS = (10, 20, 40)
_QUANTILES = ("p50", "p90", "p99")
_METRICS = {"bleu": "BLEU", "chrf": "chrF"}
_MISSING = "–"


def record(
    runners: Sequence[Runner], measured: Sequence[Measured], lines: Sequence[str], references: Sequence[str] | None
) -> list[dict[str, Any]]:
    """Figures of each model; those that were not measured are None. Seconds of every round and sentence come along."""
    words = [len(line.split()) for line in lines]
    first = measured[0]
    found = []
    for runner, own in zip(runners, measured, strict=True):
        contestant = runner.contestant
        entry: dict[str, Any] = {
            "model": contestant.name,
            "kind": contestant.kind,
            "path": str(contestant.path),
            "threads": contestant.threads or None,
            "beam_size": contestant.beam_size,
            "load_seconds": runner.load_seconds,
            "first_sentence_ms": 1000 * runner.first_seconds,
            "disk_bytes": contestant.disk_bytes(),
            "memory_bytes": runner.memory(),
            "latency_ms": _latency(own, words),
            "words_per_second": {
                "single": _rate(sum(words), [sum(seconds) for seconds in own.single]),
                "batched": _rate(sum(words), own.batched),
            },
            "target_tokens_per_second": _token_rate(own),
            "times_as_fast": {
                "single": _ratio([sum(s) for s in first.single], [sum(s) for s in own.single]),
                "batched": _ratio(first.batched, own.batched),
            },
            "half_width": max(map(half_width, own.rounds())),
            "seconds": {
                "single": own.single,
                "batched": own.batched,
                "decoded": [sum(decoded.seconds) for decoded in own.decoded],
            },
        }
        found.append(entry | (_quality(own.texts, references) if references else {}))
    return found


def described_machine() -> dict[str, Any]:
    """Where it was measured, and with what."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cpus": machine.cpus(),
        "memory_bytes": machine.memory(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "fmalloc": __version__,
    }


def _latency(own: Measured, words: Sequence[int]) -> dict[str, Any] | None:
    if not own.single:
        return None
    # Of each sentence the median over rounds: quantiles are then of sentences, and not of interruptions.
    times = [1000 * statistics.median(seconds) for seconds in zip(*own.single, strict=True)]
    grouped: dict[str, list[float]] = {}
    for time, count in sorted(zip(times, words, strict=True), key=itemgetter(1)):
        grouped.setdefault(_length(count), []).append(time)
    return _quantiles(times) | {"by_length": {name: _quantiles(chosen) for name, chosen in grouped.items()}}


def _length(words: int) -> str:
    fitting = next((most for most in _LENGTHS if words <= most), None)
    return f"over {_LENGTHS[-1]} words" if fitting is None else f"to {fitting} words"


def _quantiles(times: Sequence[float]) -> dict[str, float | int]:
    cuts = statistics.quantiles(times, n=100, method="inclusive") if len(times) > 1 else [times[0]] * 99
    return {"sentences": len(times), "p50": cuts[49], "p90": cuts[89], "p99": cuts[98]}


def _rate(words: int, seconds: Sequence[float]) -> float | None:
    return words / statistics.median(seconds) if seconds else None


def _token_rate(own: Measured) -> float | None:
    """As CTranslate2 states throughput: target tokens per second in batches, tokenisation excluded."""
    if not own.decoded:
        return None
    return statistics.median(sum(found.targets) / sum(found.seconds) for found in own.decoded)


def _ratio(baseline: Sequence[float], own: Sequence[float]) -> dict[str, float] | None:
    """Median over rounds with its extremes."""
    if not own:
        return None
    ratios = sorted(theirs / ours for theirs, ours in zip(baseline, own, strict=True))
    return {"median": statistics.median(ratios), "least": ratios[0], "most": ratios[-1]}


def _quality(texts: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    # Imported here: without references nothing needs sacreBLEU.
    from fmalloc.evaluation.significance import METRICS, Statistics

    return {metric: Statistics.of(metric, texts, references).score() for metric in METRICS}


def show(entries: Sequence[Mapping[str, Any]], batch: int, console: Terminal | None = None) -> None:
    """Print tables: speed, latency by length, and the rest."""
    console = console or Terminal(markup=False, highlight=False)
    ways = [way for way in ("single", "batched") if entries[0]["words_per_second"][way] is not None]
    latency = _QUANTILES if entries[0]["latency_ms"] else ()
    titles = {"single": "words/s", "batched": f"words/s by {batch}"}
    decoded = (f"tokens/s by {batch}",) if entries[0]["target_tokens_per_second"] else ()
    names = (*(f"{name} ms" for name in latency), *(title for way in ways for title in (titles[way], "×")), *decoded)
    speed = _table(names)
    for entry in entries:
        rates, times = entry["words_per_second"], entry["times_as_fast"]
        cells = [f"{entry['latency_ms'][name]:.1f}" for name in latency]
        cells += [cell for way in ways for cell in (f"{rates[way]:,.0f}", f"{times[way]['median']:.2f}")]
        cells += [f"{entry['target_tokens_per_second']:,.0f}"] if decoded else []
        speed.add_row(*_row(entry), *cells)
    console.print(speed)
    if latency:
        lengths = entries[0]["latency_ms"]["by_length"]
        table = _table(f"p50 ms, {name} ({found['sentences']})" for name, found in lengths.items())
        for entry in entries:
            by_length = entry["latency_ms"]["by_length"]
            table.add_row(*_row(entry), *(f"{by_length[name]['p50']:.1f}" for name in lengths))
        console.print(table)
    metrics = [metric for metric in ("bleu", "chrf") if metric in entries[0]]
    table = _table(("load s", "first ms", "memory MB", "disk MB", *map(_METRICS.__getitem__, metrics)))
    for entry in entries:
        memory = entry["memory_bytes"]
        table.add_row(
            *_row(entry),
            f"{entry['load_seconds']:.2f}",
            f"{entry['first_sentence_ms']:.0f}",
            _MISSING if memory is None else f"{memory / 1e6:,.0f}",
            f"{entry['disk_bytes'] / 1e6:,.1f}",
            *(f"{entry[metric]:.1f}" for metric in metrics),
        )
    console.print(table)


def _table(names: Iterable[str]) -> Table:
    return Table(Column("model", overflow="fold"), "threads", *(Column(name, justify="right") for name in names))


def _row(entry: Mapping[str, Any]) -> tuple[str, str]:
    return entry["model"], str(entry["threads"] or "all")
