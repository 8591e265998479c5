"""What a phase of the soak is given, and what it reports."""

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from benchmarks.serving.load import Outcome
from benchmarks.serving.process import Server, make_live, serving
from benchmarks.soak.truth import Truth

# A server that is not at fault may say these: too much at once (429, DeepL's 529), not ready (503).
ANNOUNCED = frozenset({503, 529})
# glibc shares one arena between all threads and gives freed memory back at once, so that what stays resident is in use.
# Left to itself it keeps about 100 MB more, and an arena a thread fragments for a while: that would hide a leak.
ALLOCATOR = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "262144",
    "MALLOC_TRIM_THRESHOLD_": "1048576",
}
_WITH_RETRY = frozenset({429, 529})
_SAMPLES = 5


@dataclass(frozen=True)
class Setting:
    """`bundles`: a copy that a phase may spoil; `here`, `there`: two bundles of each domain, `here` live at first.

    `log`: where servers log; `amount`: how much of everything, 1 for a soak of five minutes.
    """

    source: Path
    bundles: Path
    here: Mapping[str, str]
    there: Mapping[str, str]
    truth: Truth
    work: Path
    log: Path
    amount: float

    def times(self, count: int) -> int:
        """So many at an amount of 1, at least one."""
        return max(1, round(count * self.amount))

    def serve(self, *flags: object) -> AbstractContextManager[Server]:
        """A server of the bundles, until the block ends."""
        return serving(self.bundles, self.log, *flags, environment=ALLOCATOR)

    def restore(self, *names: str) -> None:
        """Make these bundles what they were, all of them and live.json without names."""
        for name in names or [path.name for path in self.source.iterdir() if path.is_dir()]:
            shutil.rmtree(self.bundles / name, ignore_errors=True)
            shutil.copytree(self.source / name, self.bundles / name)
        if not names:
            make_live(self.bundles, self.here)


class Record:
    """Counts of a phase, what it measured, and the checks that it has to pass."""

    def __init__(self, truth: Truth) -> None:
        self.checks: dict[str, bool] = {}
        self.facts: dict[str, Any] = {}
        self._truth = truth
        self._statuses: Counter[int] = Counter()
        self._wrong: list[str] = []
        self._samples: dict[str, list[str]] = {}

    def check(self, name: str, met: bool, why: object = "") -> None:
        """Note whether something came true; once false, it stays so."""
        self.checks[name] = self.checks.get(name, True) and met
        if not met:
            self._sample(name, str(why))
            click.echo(f"  not met: {name} {why}"[:500], err=True)

    def judge(self, outcomes: Iterable[Outcome], allowed: Iterable[int] = (200,)) -> Counter[int]:
        """Compare translations with the truth, and statuses with those that are `allowed`; count both."""
        statuses: Counter[int] = Counter()
        for outcome in outcomes:
            statuses[outcome.status] += 1
            if outcome.status == 200 and (problem := self._truth.problem(outcome)):
                self._wrong.append(problem)
            if outcome.status not in {200, *allowed}:
                self.check(f"statuses are among {sorted({200, *allowed})}", False, f"{outcome.status} {outcome.answer}")
            if outcome.status in _WITH_RETRY:
                self.check("who is refused is told when to come again", outcome.retry_after is not None)
        self.count(statuses)
        return statuses

    def count(self, statuses: Mapping[int, int]) -> None:
        """Add answers by status, 0 for none; they have no truth."""
        self._statuses.update(statuses)

    def look_back(self, server: Server) -> None:
        """Check what the server itself has counted and logged."""
        for name, value in server.metrics().items():
            if name.startswith("fmalloc_requests_total") and value:
                status = int(name.partition('status="')[2].partition('"')[0])
                self.check("no unannounced 5xx", status < 500 or status in ANNOUNCED, f"{value:.0f} times {name}")
        logged = server.log.read_text(errors="replace").splitlines()
        found = [line for line in logged if line.startswith("Traceback") or "the server failed" in line]
        self.facts["tracebacks"] = len(found)
        self.check("nothing unforeseen is logged", not found, f"{len(found)} tracebacks in {server.log}")

    def report(self) -> dict[str, Any]:
        """All of it, as JSON holds it."""
        unannounced = sum(
            count for status, count in self._statuses.items() if status >= 500 and status not in ANNOUNCED
        )
        self.check("no wrong answers", not self._wrong, self._wrong[:1])
        self.check("no unannounced 5xx", not unannounced, unannounced)
        return {
            "statuses": {str(status): count for status, count in sorted(self._statuses.items())},
            "unannounced": unannounced,
            "wrong": len(self._wrong),
            "wrong_samples": self._wrong[:_SAMPLES],
            "checks": self.checks,
            "not_met": self._samples,
            "passed": all(self.checks.values()),
            **self.facts,
        }

    def _sample(self, name: str, why: str) -> None:
        samples = self._samples.setdefault(name, [])
        if len(samples) < _SAMPLES:
            samples.append(why[:500])
