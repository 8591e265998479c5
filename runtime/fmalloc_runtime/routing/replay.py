"""Replays a decision log, to see what other bundles or another threshold would change."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Column, Table

from fmalloc_runtime.bundle.bundle import Bundle, LiveIndex
from fmalloc_runtime.routing.costs import ROUTING_COSTS_FILE, RoutingCosts
from fmalloc_runtime.routing.decisions import Decision, lines_of
from fmalloc_runtime.routing.router import AUTO, THRESHOLD, Router, detect
from fmalloc_shared.commands.command import echo
from fmalloc_shared.commands.terminal import Terminal
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import open_plain
from fmalloc_shared.names import GENERAL

_SHOWN_PROBLEMS = 5
# In bytes; a decision holds at most the text of a request.
_LONGEST_LINE = 2**24


@dataclass(frozen=True)
class Setup:
    """What decisions are replayed with: the router if bundles are given, the costs if they are known."""

    threshold: float
    origin: str
    router: Router | None = None
    costs: RoutingCosts | None = None
    stale: str | None = None

    @classmethod
    def of(cls, bundles: Path | None, threshold: float | None) -> "Setup":
        """`threshold` None: that of routing.json, else the default. FmallocError if a bundle is damaged."""
        index = None if bundles is None else LiveIndex.of(bundles)
        costs = None if bundles is None else RoutingCosts.of(bundles)
        value, origin = THRESHOLD, "by default"
        if threshold is not None:
            value, origin = threshold, "by --threshold"
        elif costs is not None:
            value, origin = costs.threshold, f"by {ROUTING_COSTS_FILE}"
        if bundles is None or index is None:
            return cls(value, origin)
        counts = {domain: Bundle.read(bundles / name).routing() for domain, name in index.domains.items()}
        if not counts:
            raise FmallocError(f"{bundles}: no domain is live, so nothing can be routed")
        router = Router(counts, index.domains, value, origin)
        return cls(value, origin, router, costs, costs.stale(index.domains) if costs else None)

    def decide(self, decision: Decision) -> tuple[str, Mapping[str, float], bool]:
        """Domain and posteriors now, and whether the text was routed again; otherwise the logged posteriors decide."""
        if decision.asked != AUTO:
            return decision.asked, decision.scores, False
        if self.router is not None and decision.text is not None:
            route = self.router.route(lines_of(decision.text))
            return route.domain, route.scores, True
        domain, _ = detect(decision.scores, bool(decision.lines), self.threshold, self.origin)
        return domain, decision.scores, False

    def cost(self, chosen: str, scores: Mapping[str, float]) -> float | None:
        """Expected loss of a decision in points, if the posteriors are true; None if the matrix lacks a domain."""
        if self.costs is None or not {chosen, *scores} <= set(self.costs.bundles):
            return None
        return sum(score * self.costs.cost(domain, chosen) for domain, score in scores.items())


@dataclass
class Replay:
    """Counts of decisions as logged and as replayed; sums of losses in points over `priced` decisions."""

    decisions: int = 0
    asked: int = 0
    routed_again: int = 0
    not_served: int = 0
    logged: Counter[str] = field(default_factory=Counter)
    replayed: Counter[str] = field(default_factory=Counter)
    changed: Counter[tuple[str, str]] = field(default_factory=Counter)
    detected: Counter[str] = field(default_factory=Counter)
    detected_now: Counter[str] = field(default_factory=Counter)
    priced: int = 0
    lost: float = 0.0
    lost_now: float = 0.0

    def add(self, decision: Decision, setup: Setup) -> None:
        """Replay one decision."""
        domain, scores, again = setup.decide(decision)
        self.decisions += 1
        self.routed_again += again
        self.logged[decision.domain] += 1
        self.replayed[domain] += 1
        if domain != decision.domain:
            self.changed[decision.domain, domain] += 1
        if decision.asked != AUTO:
            self.asked += 1
            self.not_served += setup.router is not None and domain not in setup.router.domains
            return
        self.detected[decision.domain] += 1
        self.detected_now[domain] += 1
        before, now = setup.cost(decision.domain, scores), setup.cost(domain, scores)
        if before is not None and now is not None:
            self.priced += 1
            self.lost += before
            self.lost_now += now

    def record(self, setup: Setup) -> dict[str, Any]:
        """The content of --json."""
        cost = None
        if setup.costs is not None and self.priced:
            lost, now = self.lost / self.priced, self.lost_now / self.priced
            cost = {"metric": setup.costs.metric, "decisions": self.priced, "logged": lost, "replayed": now}
        domains = sorted({*self.logged, *self.replayed})
        return {
            "decisions": self.decisions,
            "asked_for": self.asked,
            "asked_for_not_served": self.not_served,
            "routed_again": self.routed_again,
            "threshold": setup.threshold,
            "threshold_origin": setup.origin,
            "domains": {name: {"logged": self.logged[name], "replayed": self.replayed[name]} for name in domains},
            "changed": [
                {"from": before, "to": after, "decisions": count}
                for (before, after), count in sorted(self.changed.items(), key=lambda item: (-item[1], item[0]))
            ],
            "general_share": {"logged": _share(self.detected), "replayed": _share(self.detected_now)},
            "expected_loss": cost,
            "stale": setup.stale,
        }


def evaluate(log: Path, bundles: Path | None, threshold: float | None, *, as_json: bool) -> None:
    """Replay a log and print the result; FmallocError if it has no decisions."""
    setup = Setup.of(bundles, threshold)
    replay = Replay()
    for decision in read_decisions(log):
        replay.add(decision, setup)
    if not replay.decisions:
        raise FmallocError(f"{log}: expected at least one decision")
    record = replay.record(setup)
    if as_json:
        echo(json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False))
    else:
        _show(record)


def read_decisions(path: Path) -> Iterator[Decision]:
    """The decisions of a log in order; FmallocError, after the last one, names malformed lines."""
    problems = []
    count = 0
    try:
        with open_plain(path) as file:
            for number, line in enumerate(iter(partial(file.readline, _LONGEST_LINE), b""), start=1):
                if len(line) == _LONGEST_LINE:
                    raise FmallocError(f"{path}:{number}: a line of {_LONGEST_LINE} bytes or more is no decision")
                try:
                    yield Decision.parse(line, f"{path}:{number}")
                except FmallocError as error:
                    count += 1
                    if count <= _SHOWN_PROBLEMS:
                        problems.append(str(error))
    except OSError as error:
        raise FmallocError(f"{path}: cannot be read: {error.strerror}") from error
    if problems:
        more = f"\nand {count - _SHOWN_PROBLEMS} more lines" if count > _SHOWN_PROBLEMS else ""
        raise FmallocError("\n".join(problems) + more)


def _share(detected: Counter[str]) -> float | None:
    """Share of `general` among the router's own decisions; None without any."""
    total = detected.total()
    return detected[GENERAL] / total if total else None


def _show(record: Mapping[str, Any]) -> None:
    console = Terminal(markup=False, soft_wrap=True, highlight=False)
    table = Table("domain", *(Column(name, justify="right") for name in ("logged", "now")))
    for name, counts in record["domains"].items():
        table.add_row(name, str(counts["logged"]), str(counts["replayed"]))
    console.print(table)
    console.print(
        f"{record['decisions']} decisions, {record['asked_for']} of them asked for, {record['routed_again']} routed "
        f"again from text; threshold {record['threshold']:.2f} {record['threshold_origin']}"
    )
    shares = record["general_share"]
    if shares["logged"] is not None:
        console.print(f"{GENERAL}, if no domain was asked for: {shares['logged']:.1%}, now {shares['replayed']:.1%}")
    changed = record["changed"]
    console.print(f"{sum(change['decisions'] for change in changed)} decisions change")
    for change in changed:
        console.print(f"  {change['decisions']} from {change['from']} to {change['to']}")
    if record["asked_for_not_served"]:
        console.print(f"{record['asked_for_not_served']} asked for a domain that is no longer served")
    if (loss := record["expected_loss"]) is not None:
        console.print(
            f"expected loss, {loss['metric']} per decision over {loss['decisions']}: {loss['logged']:.3f}, "
            f"now {loss['replayed']:.3f}"
        )
    if record["stale"]:
        console.print(record["stale"])
