"""How well and how fast text is routed; `python -m benchmarks.serving.routing --corpora DIR` writes its result file.

DIR holds one folder per domain, `general` among them, with train.tsv, dev.tsv and test.tsv (source TAB target). Counts
come from train, decisions are made on the sources of test: line by line, and over documents of 2, 5 and 10 lines in a
row. Beside them what a linear classifier of the same n-grams reaches.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.common import Goal, versions, write_results
from benchmarks.serving.linear import measure_linear
from fmalloc_runtime.routing.router import THRESHOLD, Route, Router
from fmalloc_shared.commands.command import Command
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.names import GENERAL
from fmalloc_shared.ngrams import NgramCounts

_DOCUMENT_LINES = (1, 2, 5, 10)
_TIMED_SENTENCES = 2_000
_TENTHS = 10


@click.command(cls=Command)
@click.option("--corpora", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--lines", type=click.IntRange(min=1), default=12_000, show_default=True, help="Of train, per domain.")
def main(corpora: Path, lines: int) -> None:
    """Measure routing on real text."""
    domains = sorted(path.name for path in corpora.iterdir() if (path / "train.tsv").is_file())
    if GENERAL not in domains:
        raise FmallocError(f"{corpora}: expected a folder {GENERAL} among the domains, found {', '.join(domains)}")
    train = {domain: _evenly(_sources(corpora / domain / "train.tsv"), lines) for domain in domains}
    counts = {domain: NgramCounts.of(sources) for domain, sources in train.items()}
    router = Router(counts, dict.fromkeys(domains, "bundle@000000000000"))
    dev, tests = (
        {domain: _sources(corpora / domain / f"{part}.tsv") for domain in domains} for part in ("dev", "test")
    )
    accuracy = [_measure(router, tests, count) for count in _DOCUMENT_LINES]
    microseconds = _time(router, [line for sources in tests.values() for line in sources])
    write_results(
        "routing",
        {
            "versions": versions("numpy"),
            "train_lines": {domain: counts[domain].sentences for domain in domains},
            "threshold": THRESHOLD,
            "accuracy": accuracy,
            "linear": measure_linear(train, dev, tests, _DOCUMENT_LINES),
            "route_microseconds": _percentiles(microseconds),
            "route_microseconds_raw": microseconds,
        },
        goals := _goals(accuracy, _percentiles(microseconds)),
    )
    for goal in goals:
        click.echo(f"{goal['name']}: {goal['value']} (goal {goal['goal']}, {'met' if goal['met'] else 'not met'})")


def _sources(path: Path) -> list[str]:
    with path.open(encoding="utf-8") as file:
        return [line.rstrip("\n").split("\t")[0] for line in file]


def _evenly(lines: Sequence[str], wanted: int) -> list[str]:
    if len(lines) <= wanted:
        return list(lines)
    return [lines[index] for index in np.linspace(0, len(lines) - 1, wanted).astype(int)]


def _measure(router: Router, tests: Mapping[str, Sequence[str]], count: int) -> dict[str, object]:
    """Decisions on documents of `count` lines: `best` is the likeliest domain, `served` what the router chose."""
    routes = {
        domain: [router.route(lines[i : i + count]) for i in range(0, len(lines) - count + 1, count)]
        for domain, lines in tests.items()
    }
    best = {domain: [_best(route) for route in found] for domain, found in routes.items()}
    served = {domain: [route.domain for route in found] for domain, found in routes.items()}
    right = [route.scores[domain] for domain, found in routes.items() for route in found]
    of_domains = [(domain, chosen) for domain in served if domain != GENERAL for chosen in served[domain]]
    return {
        "lines": count,
        "documents": sum(map(len, routes.values())),
        "best": _accuracy(best),
        "served": _accuracy(served),
        "served_to_a_wrong_domain": _share(chosen not in (domain, GENERAL) for domain, chosen in of_domains),
        "calibration": _calibration(routes),
        "log_loss_nats": round(-float(np.mean(np.log([max(score, 1e-9) for score in right]))), 4),
        "served_general_to_a_domain": _share(chosen != GENERAL for chosen in served[GENERAL]),
        "confusion": {domain: dict(sorted(Counter(chosen).items())) for domain, chosen in best.items()},
        "scores_raw": {domain: [round(route.scores[domain], 4) for route in found] for domain, found in routes.items()},
    }


def _calibration(routes: Mapping[str, Sequence[Route]]) -> dict[str, Any]:
    """How often the likeliest domain is right, by its score in tenths, and the expected calibration error.

    The error is the mean gap of score and share that is right, weighted by decisions (Naeini et al., 2015).
    """
    decided = [
        (max(route.scores.values()), _best(route) == domain) for domain, found in routes.items() for route in found
    ]
    tenths = [[pair for pair in decided if _tenth(pair[0]) == tenth] for tenth in range(_TENTHS)]
    rows = [
        {
            "from": tenth / _TENTHS,
            "decisions": len(pairs),
            "score": round(float(np.mean([score for score, _ in pairs])), 4),
            "right": round(float(np.mean([right for _, right in pairs])), 4),
        }
        for tenth, pairs in enumerate(tenths)
        if pairs
    ]
    error = sum(row["decisions"] * abs(row["score"] - row["right"]) for row in rows) / len(decided)
    return {"tenths": rows, "expected_error": round(error, 4)}


def _tenth(score: float) -> int:
    return min(int(score * _TENTHS), _TENTHS - 1)


def _best(route: Route) -> str:
    return max(route.scores, key=lambda domain: route.scores[domain])


def _accuracy(chosen: Mapping[str, Sequence[str]]) -> float:
    return _share(choice == domain for domain, choices in chosen.items() for choice in choices)


def _share(hits: Iterable[bool]) -> float:
    found = list(hits)
    return round(sum(found) / len(found), 4)


def _time(router: Router, lines: Sequence[str]) -> list[float]:
    """Microseconds of each decision about one sentence, n-grams counted."""
    taken = []
    for line in _evenly(lines, _TIMED_SENTENCES):
        start = time.perf_counter()
        router.route([line])
        taken.append(round((time.perf_counter() - start) * 1e6, 1))
    return taken


def _percentiles(microseconds: Sequence[float]) -> dict[str, float]:
    return {f"p{q}": round(float(np.percentile(microseconds, q)), 1) for q in (50, 90, 99)}


def _goals(accuracy: Sequence[Mapping[str, Any]], percentiles: Mapping[str, float]) -> list[Goal]:
    by_lines = {row["lines"]: row for row in accuracy}
    sentence, document = float(str(by_lines[1]["best"])), float(str(by_lines[10]["best"]))
    error = max(row["calibration"]["expected_error"] for row in accuracy)
    p50 = percentiles["p50"] / 1e3
    return [
        Goal(name="accuracy by sentence", value=sentence, goal=">= 0.90", met=sentence >= 0.90),
        Goal(name="accuracy over 10 lines", value=document, goal=">= 0.995", met=document >= 0.995),
        Goal(name="expected calibration error, largest of the lengths", value=error, goal="<= 0.02", met=error <= 0.02),
        Goal(name="router milliseconds a sentence, p50", value=round(p50, 4), goal="< 1", met=p50 < 1),
    ]


if __name__ == "__main__":
    main()
