"""The methods on all domains in turn: which runs there are, how one is done, and several beside each other.

A run is one method, one order of the domains and one seed. Those that results/experiment.json has already, of the same
base, text and settings, are not repeated, so that an experiment can be spread over days and machines.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.common import machine
from benchmarks.experiment.rates import with_rates
from benchmarks.experiment.setting import Setting
from fmalloc.learning.create import create_store
from fmalloc.learning.preflight import read_inputs
from fmalloc.learning.run import Run
from fmalloc.methods import METHODS, method_of
from fmalloc.methods.comparison.compare import Plan
from fmalloc.methods.comparison.record import Comparison
from fmalloc.methods.comparison.run import base_scores, make_method, settings_bytes
from fmalloc.methods.fmalloc import Fmalloc, created_name
from fmalloc.recipe import Recipe
from fmalloc.store.store import Store, writing
from fmalloc_shared.commands.progress import console
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256_files, write_atomically

# These get every order and seed; the others one of each.
MAIN = ("single", "sequential", "mixed", "fmalloc", "fmalloc-private")
_COMMON, _BASE_SCORES, _RUNS = "common", "base-scores", "runs"


@dataclass(frozen=True)
class Named:
    """A run: `order` counts the orders of the domains from 1, the recipe's and its reverse."""

    method: str
    order: int = 1
    seed: int = 1

    @property
    def name(self) -> str:
        """For folders and tables."""
        return f"{self.method}-{self.order}-{self.seed}"


def wanted(methods: Sequence[str], orders: int, seeds: int) -> list[Named]:
    """All runs, what the table needs most first: the main methods, their other order, the other methods, more seeds."""
    main = [name for name in MAIN if name in methods]
    ordered = [name for name in main if method_of(name).ordered]
    found = [Named(name) for name in main]
    found += [Named(name, order) for order in range(2, orders + 1) for name in ordered]
    found += [Named(name) for name in METHODS if name in methods and name not in main]
    return found + [Named(name, 1, seed) for seed in range(2, seeds + 1) for name in main]


@dataclass(frozen=True)
class Runs:
    """`rates`: of `Search.of`, by method. `known`: the records of earlier runs, as `learn` returns them."""

    setting: Setting
    rates: Mapping[str, Mapping[str, Any]]
    known: Sequence[Mapping[str, Any]] = ()

    def learn(self, names: Iterable[Named], jobs: int) -> list[dict[str, Any]]:
        """The records of all these runs: known, kept in the work folder, or learned now, `jobs` at once.

        Other known runs of the same settings follow. A record: method, order, seed, `settings` (SHA-256 of all that
        decides), `machine` and `comparison`.
        """
        run = read_inputs(self._recipe(1, 1), self.setting.work, room=0)
        kept = {(r["method"], r["order"], r["seed"], r["settings"]): dict(r) for r in self.known}
        others = [one for one in (Named(*key[:3]) for key in kept) if self._key(run, one) in kept]
        names = list(dict.fromkeys([*names, *others]))
        if left := len(kept) - len(others):
            console.print(f"{left} earlier runs are left out: they had other settings, base or text")
        keys = {one: self._key(run, one) for one in names}
        found = {one: kept[key] for one, key in keys.items() if key in kept}
        for one in names:
            if one not in found and (path := self._record(one)).is_file():
                record = json.loads(path.read_text())
                if record["settings"] == keys[one][-1]:
                    found[one] = record
        missing = [one for one in names if one not in found]
        console.print(f"{len(found)} of {len(names)} runs are known; to learn: {', '.join(o.name for o in missing)}")
        if missing:
            self._prepare(run, {one.method for one in missing})
            write_atomically(self._rates_file, json.dumps(self.rates).encode())
            with ThreadPoolExecutor(jobs) as pool:
                list(pool.map(lambda one: self._apart(one, jobs), missing))
        return [found[one] if one in found else json.loads(self._record(one).read_text()) for one in names]

    def one(self, named: Named) -> None:
        """Learn a run here and now, and keep its record."""
        recipe = self._recipe(named.order, named.seed)
        output = self.setting.work / _RUNS / named.name
        output.mkdir(parents=True, exist_ok=True)
        for shared in self._common(recipe).glob("*"):
            if not (output / shared.name).exists():
                (output / shared.name).symlink_to(shared.resolve())
        before = os.getloadavg()[0]
        plan = Plan.of(recipe, [named.method], [[task.name for task in recipe.tasks]], output)
        comparison = plan.compare()
        method, order, seed, settings = self._key(plan.run, named)
        record = {
            "method": method,
            "order": order,
            "seed": seed,
            "settings": settings,
            "machine": machine() | {"load_average_before": before, "device": str(plan.run.device.torch)},
            "comparison": comparison.model_dump(mode="json"),
        }
        write_atomically(self._record(named), json.dumps(record).encode())

    def store_of(self, named: Named) -> Path | None:
        """Where a run of F-MALLOC has its store; None: it was learned on another machine, or never."""
        return next(iter(sorted((self.setting.work / _RUNS / named.name).glob(f"{named.method}-*/store"))), None)

    def _apart(self, named: Named, jobs: int) -> None:
        """In a process of its own, with its share of the cores; what it prints is kept beside it if there are more."""
        setting = self.setting
        command = [sys.executable, "-m", "benchmarks.experiment.one", named.method, str(named.order), str(named.seed)]
        command += ["--base", str(setting.base), "--corpora", str(setting.corpora), "--work", str(setting.work)]
        command += ["--recipe", str(setting.recipe), "--rates", str(self._rates_file)]
        if setting.updates:
            command += ["--updates", str(setting.updates)]
        environment = os.environ.copy()
        if jobs > 1:
            environment["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // jobs))
        log = setting.work / _RUNS / f"{named.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        console.print(f"{named.name}: begins" + (f", {log}" if jobs > 1 else ""))
        with log.open("ab") as kept:
            ended = subprocess.run(
                command, env=environment, stdout=kept if jobs > 1 else None, stderr=subprocess.STDOUT
            )
        if ended.returncode:
            raise FmallocError(f"{named.name}: ended with {ended.returncode}; see {log}")
        console.print(f"{named.name}: done")

    @property
    def _rates_file(self) -> Path:
        """Where the processes read the rates."""
        return self.setting.work / "rates.json"

    def _recipe(self, order: int, seed: int) -> Recipe:
        plain = self.setting.read({"learning.seed": seed})
        tasks = plain.tasks if order == 1 else plain.tasks[::-1]
        return plain.model_copy(update={"methods": with_rates(plain, self.rates), "tasks": tasks})

    def _key(self, run: Run, named: Named) -> tuple[str, int, int, str]:
        """Of a run: equal if its results are."""
        own = replace(run, recipe=self._recipe(named.order, named.seed))
        decisive = settings_bytes(own, make_method(own, named.method, self.setting.work))
        base = json.dumps(sha256_files(self.setting.base), sort_keys=True).encode()
        return named.method, named.order, named.seed, hashlib.sha256(decisive + base).hexdigest()

    def _record(self, named: Named) -> Path:
        return self.setting.work / _RUNS / named.name / "record.json"

    def _prepare(self, run: Run, methods: Iterable[str]) -> None:
        """What several runs share: scores of the untouched base, and the pruned store that F-MALLOC begins with."""
        common = self._common(run.recipe)
        base_scores(run, common / _BASE_SCORES)
        for recipe in (self._pruned(name) for name in methods if issubclass(method_of(name), Fmalloc)):
            if not Store.exists(created := common / created_name(recipe)):
                with writing(created):
                    create_store(replace(run, recipe=recipe.model_copy(update={"store": created})))

    def _pruned(self, method: str) -> Recipe:
        """The recipe as a variant of F-MALLOC reads it."""
        recipe, variant = self._recipe(1, 1), method_of(method)
        assert issubclass(variant, Fmalloc)
        return variant.variant(recipe, variant.settings_type.model_validate(recipe.methods.get(method, {})))

    def _common(self, recipe: Recipe) -> Path:
        """A folder of its own for each base, text and measure."""
        decisive = recipe.model_dump_json(exclude={"learning", "methods", "tasks", "store"})
        folders = (recipe.general, *(task.data for task in sorted(recipe.tasks, key=lambda task: task.name)))
        texts = [sha256_files(path) for path in (recipe.base, *folders)]
        return (
            self.setting.work / f"{_COMMON}-{hashlib.sha256((decisive + json.dumps(texts)).encode()).hexdigest()[:12]}"
        )


def by_seed(records: Sequence[Mapping[str, Any]]) -> dict[int, Comparison]:
    """The runs of each seed in one comparison, as they were asked for."""
    found: dict[int, Comparison] = {}
    for record in records:
        comparison = Comparison.model_validate_json(json.dumps(record["comparison"]))
        if (kept := found.get(record["seed"])) is not None:
            comparison = kept.model_copy(update={"runs": [*kept.runs, *comparison.runs]})
        found[record["seed"]] = comparison
    return found
