"""The learning rate of each method, by the same search for all: lowest NLL on one domain's dev set.

Every method is tried at its rate in the recipe (else its own default), and at a third and three times that; the search
goes on past an end that is best, as long as that helps. Methods that learn a first task in the same way share a rate.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmarks.common import once
from benchmarks.experiment.setting import Setting
from fmalloc.learning.preflight import read_inputs
from fmalloc.learning.run import Run
from fmalloc.methods import method_of
from fmalloc.methods.comparison.run import learn_once, make_method, settings_bytes
from fmalloc.recipe import Recipe
from fmalloc.training.divergence import DivergedError
from fmalloc_shared.commands.progress import console

Found = dict[str, dict[str, Any]]

# A first task is learned by the one as by the other.
AS = {
    "sequential": "single",
    "mixed": "single",
    "fmalloc-exclusive": "fmalloc",
    "fmalloc-tfidf": "fmalloc",
}
_STEP = 3.0
_MOST = 6  # rates of one method
_PRIVATE = "private_learning_rate"


@dataclass(frozen=True)
class Search:
    """Which domain rates are searched on, and in how many updates."""

    setting: Setting
    updates: int
    domain: str

    def of(self, methods: Sequence[str], known: Mapping[str, Mapping[str, Any]] = MappingProxyType({})) -> Found:
        """By method: `rate`, the chosen one, `tried`, the lowest dev NLL by rate (null: it diverged), and `settings`.

        `known`: rates found earlier, which stand where the settings are those that they were found with.
        """
        first = dict.fromkeys(AS.get(name, name) for name in methods)
        kept = self.standing(known)
        found = {name: kept.get(name) or self._search(name) for name in first}
        return {name: found[AS.get(name, name)] | ({"as": AS[name]} if name in AS else {}) for name in methods}

    def standing(self, known: Mapping[str, Mapping[str, Any]]) -> Found:
        """Those of known rates whose search would be the same today."""
        return {
            name: dict(chosen)
            for name, chosen in known.items()
            if chosen.get("settings") == self._settings(AS.get(name, name))
        }

    def _settings(self, name: str) -> str:
        """SHA-256 of all that decides what a search finds, but the base."""
        return hashlib.sha256(settings_bytes(self._run, make_method(self._run, name, self.setting.work))).hexdigest()

    def _search(self, name: str) -> dict[str, Any]:
        start = default_rate(self.setting.read(), name)
        tried = dict[float, float | None]()
        for rate in (start, start / _STEP, start * _STEP):
            tried[rate] = self._tried(name, rate)
        while len(tried) < _MOST and (further := _past_the_end(tried)) is not None:
            tried[further] = self._tried(name, further)
        best = lowest(tried)
        console.print(f"{name}: dev NLL by rate {tried}, so {best:.2g}", markup=False)
        found = {f"{rate:.3g}": nll for rate, nll in sorted(tried.items())}
        return {"rate": best, "tried": found, "settings": self._settings(name)}

    def _tried(self, name: str, rate: float) -> float | None:
        folder = self.setting.work / "rates" / f"{name}-{self._settings(name)[:12]}" / f"{rate:.3g}"
        found: float | None = once(folder / "nll.json", lambda: self._measured(name, rate, folder))
        return found

    def _measured(self, name: str, rate: float, folder: Path) -> float | None:
        recipe = self._run.recipe
        own = recipe.model_copy(update={"methods": with_rates(recipe, {name: {"rate": rate}})})
        try:
            learned = learn_once(make_method(replace(self._run, recipe=own), name, folder), recipe.tasks[0], ())
        except DivergedError:
            return None
        return min(point.nll for point in learned.curve)

    @cached_property
    def _run(self) -> Run:
        return read_inputs(self.setting.alone(self.domain, self.updates), self.setting.work, room=0)


def default_rate(recipe: Recipe, name: str) -> float:
    """The rate of a method without a search."""
    settings = method_of(name).settings_type.model_validate(recipe.methods.get(name, {}))
    return settings.learning_rate or recipe.learning.learning_rate


def with_rates(recipe: Recipe, rates: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The recipe's `methods` section with rates that were found."""
    found = {name: dict(settings) for name, settings in recipe.methods.items()}
    for name, chosen in rates.items():
        own = found.setdefault(name, {})
        changes = getattr(method_of(name), "changes", {})
        if _PRIVATE in changes:  # private parameters follow the cells
            factor = chosen["rate"] / default_rate(recipe, name)
            own["learning"] = own.get("learning", {}) | {_PRIVATE: changes[_PRIVATE] * factor}
        own["learning_rate"] = chosen["rate"]
    return found


def lowest(tried: Mapping[float, float | None]) -> float:
    """The rate of the lowest NLL; the smallest where all diverged."""
    known = {rate: nll for rate, nll in tried.items() if nll is not None}
    return min(known, key=lambda rate: known[rate]) if known else min(tried)


def _past_the_end(tried: Mapping[float, float | None]) -> float | None:
    """A rate to try next if the best is the smallest or the largest that was tried."""
    best = lowest(tried)
    if best == min(tried):
        return best / _STEP
    return best * _STEP if best == max(tried) else None
