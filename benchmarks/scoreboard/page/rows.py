"""Rows of results/bench.json as a page needs them: one figure per column, and who is beaten by whom."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

OURS = "fmalloc"


@dataclass(frozen=True)
class Row:
    """A model on one domain with so many threads. None: not measured, or without meaning for random weights.

    `words`: source words per second in batches, text to text; of random weights those of as many target tokens as the
    base writes. `reached`: share of the bound, one sentence at a time and in batches.
    """

    name: str
    group: str
    untrained: bool
    bleu: float | None
    chrf: float | None
    p50: float
    p90: float
    p99: float
    words: float
    words_ratio: tuple[float, float, float]
    latency_ratio: tuple[float, float, float]
    tokens: float
    disk: float
    resident: float | None
    joules: float | None
    reached: tuple[float, float]
    sentences: int


def rows_of(domain: Mapping[str, Any], threads: str) -> list[Row]:
    """Of a domain, as they were measured."""
    entries = domain["speed"][threads]["entries"]
    base = entries[0]
    per_word = sum(base["tokens"]["targets"]) / base["words"]
    found = []
    for entry in entries:
        quality = domain["quality"].get(entry["model"], {})
        rates, times = entry["words_per_second"], entry["times_as_fast"]
        tokens = entry["target_tokens_per_second"]
        untrained = entry["untrained"]
        found.append(
            Row(
                name=entry["model"],
                group=entry["group"],
                untrained=untrained,
                bleu=quality.get("bleu"),
                chrf=quality.get("chrf"),
                **{name: entry["latency_ms"][name] for name in ("p50", "p90", "p99")},
                words=tokens / per_word if untrained else rates["batched"],
                words_ratio=_ratio(times["batched"]),
                latency_ratio=_ratio(times["single"]),
                tokens=tokens,
                disk=entry["disk_bytes"] / 1e6,
                resident=entry["memory_bytes"] and entry["memory_bytes"] / 1e6,
                joules=entry["joules_per_1000_words"],
                reached=(entry["limits"]["single"]["reached"], entry["limits"]["batched"]["reached"]),
                sentences=entry["sentences"],
            )
        )
    return found


def _ratio(given: Mapping[str, float]) -> tuple[float, float, float]:
    return given["median"], given["least"], given["most"]


@dataclass(frozen=True)
class Loss:
    """Where a row of others beats the best of ours among those that translate at least as well."""

    what: str
    other: Row
    ours: Row | None
    factor: float | None


# By how much the other's figure must be the better one. Speeds are those of the same rounds, in units of the first row.
_MARGIN = 1.03
_FIGURES: Mapping[str, Callable[[Row], float]] = {
    "ms per sentence": lambda row: row.latency_ratio[0],
    "words/s": lambda row: row.words_ratio[0],
    "MB on disk": lambda row: 1 / row.disk,
}


def losses(rows: Sequence[Row]) -> list[Loss]:
    """Of every figure, others of the same quality or a better one that ours do not reach; and of quality itself."""
    own = [row for row in rows if row.group == OURS and row.bleu is not None]
    found = []
    for other in rows:
        if other.group == OURS or other.bleu is None:
            continue
        as_good = [row for row in own if row.bleu is not None and row.bleu >= other.bleu]
        if not as_good:
            found.append(Loss("BLEU", other, max(own, key=lambda row: row.bleu or 0, default=None), None))
            continue
        for what, figure in _FIGURES.items():
            best = max(as_good, key=figure)
            factor = figure(other) / figure(best)
            if factor > _MARGIN:
                found.append(Loss(what, other, best, factor))
    return found
