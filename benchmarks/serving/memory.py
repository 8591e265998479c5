"""How fast a translation memory answers, and what it finds: `python -m benchmarks.serving.memory --corpora DIR`.

Writes results/memory.json. A memory is made of train of each domain, and asked for the sources of test. Every answer is
compared with that of RapidFuzz over all pairs, which misses none. No model is involved.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from benchmarks.common import Goal, versions, write_results
from fmalloc_runtime.memory.file import check_memory, write_memory
from fmalloc_runtime.memory.folding import folded
from fmalloc_runtime.memory.memory import Memory
from fmalloc_shared.commands.command import Command

# Least similarity of each band, in per cent: as translators are paid by.
_BANDS = (100, 95, 85, 75, 50)
_LEAST, _OFFERED = 50.0, 75
_MOST_MILLISECONDS, _LEAST_FOUND = 50.0, 0.95
_T = TypeVar("_T")


@click.command(cls=Command)
@click.option("--corpora", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--domain", "domains", multiple=True, default=("law", "koran"), show_default=True, help="Repeat it.")
@click.option("--pairs", type=click.IntRange(min=1), default=10_000, show_default=True, help="Of train, at most.")
@click.option("--lines", type=click.IntRange(min=1), default=300, show_default=True, help="Of each test set.")
def main(corpora: Path, domains: tuple[str, ...], pairs: int, lines: int) -> None:
    """Measure translation memories on real text."""
    measured = {domain: _measure(corpora / domain, pairs, lines) for domain in domains}
    goals = [goal for domain, found in measured.items() for goal in _goals(domain, found)]
    write_results("memory", {"versions": versions("rapidfuzz", "numpy"), "domains": measured}, goals)
    for goal in goals:
        click.echo(f"{goal['name']}: {goal['value']} (goal {goal['goal']}, {'met' if goal['met'] else 'not met'})")


def _measure(corpus: Path, most: int, lines: int) -> dict[str, Any]:
    pairs = _read(corpus / "train.tsv")[:most]
    asked = [source for source, _ in _read(corpus / "test.tsv")[:lines]]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memory.sqlite"
        kept, seconds_to_write = _timed(lambda: write_memory(path, pairs))
        _, seconds_to_check = _timed(lambda: check_memory(path, kept))
        memory = Memory(path)
        memory.similar(asked[0], _LEAST, 5)
        found = [_timed(lambda text=text: memory.similar(text, _LEAST, 5)) for text in asked]  # type: ignore[misc]
        exact = [_timed(lambda text=text: memory.exact([text])) for text in asked]  # type: ignore[misc]
        size = path.stat().st_size
    texts = [folded(source) for source, _ in pairs]
    compared = [_timed(lambda text=text: _best(folded(text), texts)) for text in asked]  # type: ignore[misc]
    ours = [matches[0].similarity if matches else 0.0 for matches, _ in found]
    every = [round(similarity, 1) for similarity, _ in compared]
    offered = [at for at, similarity in enumerate(every) if similarity >= _OFFERED]
    return {
        "pairs": kept,
        "megabytes": round(size / 1e6, 2),
        "megabytes_of_text": round(sum(len(part.encode()) for pair in pairs for part in pair) / 1e6, 2),
        "seconds_to_write": round(seconds_to_write, 2),
        "milliseconds_to_check": round(1000 * seconds_to_check, 1),
        "sources": len(asked),
        "share_per_band": _bands(every),
        "best_match_found": {
            "from_75": round(sum(ours[at] >= every[at] for at in offered) / max(len(offered), 1), 4),
            "from_50": round(
                sum(mine >= best for mine, best in zip(ours, every, strict=True) if best >= _LEAST)
                / max(sum(best >= _LEAST for best in every), 1),
                4,
            ),
        },
        "fuzzy_milliseconds": _percentiles([seconds for _, seconds in found]),
        "exact_milliseconds": _percentiles([seconds for _, seconds in exact]),
        "every_pair_milliseconds": _percentiles([seconds for _, seconds in compared]),
        "fuzzy_milliseconds_raw": [round(1000 * seconds, 3) for _, seconds in found],
    }


def _read(path: Path) -> list[tuple[str, str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [(source, target) for source, target, *_ in (line.split("\t") for line in lines)]


def _timed(work: Callable[[], _T]) -> tuple[_T, float]:
    began = time.perf_counter()
    found = work()
    return found, time.perf_counter() - began


def _best(text: str, texts: Sequence[str]) -> float:
    best = process.extractOne(
        text, texts, scorer=Levenshtein.normalized_similarity, processor=None, score_cutoff=_LEAST / 100
    )
    return 100 * best[1] if best else 0.0


def _bands(similarities: Sequence[float]) -> dict[str, float]:
    """Share of the sources whose best match is in each band; `none`: below them all."""
    ends = (100.1, *_BANDS)
    found = {
        "exact" if low == 100 else f"{low} to {high}": round(
            sum(low <= similarity < high for similarity in similarities) / len(similarities), 4
        )
        for high, low in zip(ends, _BANDS, strict=False)
    }
    return found | {"none": round(sum(one < _BANDS[-1] for one in similarities) / len(similarities), 4)}


def _percentiles(seconds: Sequence[float]) -> dict[str, float]:
    return {f"p{percent}": round(1000 * float(np.percentile(seconds, percent)), 3) for percent in (50, 99)}


def _goals(domain: str, found: dict[str, Any]) -> list[Goal]:
    slow, best = found["fuzzy_milliseconds"]["p99"], found["best_match_found"]["from_75"]
    return [
        Goal(name=f"{domain}: fuzzy match, p99, ms", value=slow, goal="50 or less", met=slow <= _MOST_MILLISECONDS),
        Goal(name=f"{domain}: best match found, from 75 %", value=best, goal="0.95 or more", met=best >= _LEAST_FOUND),
    ]


if __name__ == "__main__":
    main()
