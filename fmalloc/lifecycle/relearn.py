"""fmalloc relearn: a new version of a domain claims cells while the present one serves, and then takes its place."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fmalloc.learning.preflight import read_inputs
from fmalloc.learning.run import Run
from fmalloc.learning.task import differences, learn_task, no_free_cell, share_of
from fmalloc.lifecycle.freeing import complete, readers_of
from fmalloc.model.architectures import base_bytes
from fmalloc.recipe import LearningSettings, Recipe, Renewal, TaskPlan, TaskSettings, read_recipe, validate_recipe
from fmalloc.store.chain.versions import domain_of, named, number_of
from fmalloc.store.records import TaskRecord
from fmalloc.store.store import Store, writing
from fmalloc.store.verification import WORK
from fmalloc.training.distributed import processes
from fmalloc.training.interrupts import Interrupts
from fmalloc_shared.commands.progress import console
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.names import GENERAL, check_name

# What follows from the number of updates, unless it was set.
FITTED = ("warmup_updates", "anneal_updates", "validate_every")


@dataclass(frozen=True)
class Request:
    """What to learn anew: a domain of the store at `path`, from the text at `data`.

    `recipe`: with other domains' text, to be scored too, and other settings than those that the current version was
    learned with. `overrides`: keys of a recipe, dotted ones inside their section. `warm`: begin as a copy of the
    current version.
    """

    path: Path
    domain: str
    data: Path
    recipe: Path | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    warm: bool = True

    def read(self, store: Store, *, dry_run: bool = False) -> Run:
        """Check and read all inputs; FmallocError as of `fmalloc train`, or if the domain was never learned."""
        check_name(self.domain)
        current = store.task(_learned(store, self.domain))
        recipe = self._of_recipe(store) if self.recipe else self._of_record(store, current)
        texts = None if self.recipe else {self.domain: self.data}
        room = int(2 * base_bytes(store.base) * recipe.sparsity)
        run = read_inputs(recipe, self.path, room, dry_run=dry_run, texts=texts)
        if tuple(run.languages) != tuple(store.description.languages):
            raise FmallocError(
                f"{self.path}: translates {_pair(store.description.languages)}, not {_pair(run.languages)}"
            )
        if run.plans[self.domain].learning.allocator == "tfidf" and GENERAL not in run.corpora:
            raise FmallocError(
                f"{self.domain}: was learned with allocator tfidf, which compares its text with general text: give "
                "--recipe, whose `general` names that"
            )
        return run

    def _of_record(self, store: Store, record: TaskRecord) -> Recipe:
        settings = {key: value for key, value in record.settings.items() if key in LearningSettings.model_fields}
        if "learning.updates" in self.overrides and "updates" in settings:
            fitted = LearningSettings().fitted(settings["updates"]).model_dump()
            settings = {key: value for key, value in settings.items() if key not in FITTED or value != fitted[key]}
        settings.pop("rate_scale", None)  # of that version alone
        languages = store.description.languages
        content = {
            **self._places(store),
            "general": str(self.data),
            "languages": {"source": languages.source, "target": languages.target},
            "learning": settings,
            "tasks": [{"name": self.domain, "data": str(self.data)}],
        }
        content |= {key: record.settings[key] for key in ("evaluation", "samples") if key in record.settings}
        return validate_recipe(content | dict(self.overrides), f"settings of {record.name}")

    def _of_recipe(self, store: Store) -> Recipe:
        assert self.recipe is not None
        recipe = read_recipe(self.recipe, {**self._places(store), **self.overrides})
        mine = next((task for task in recipe.tasks if task.name == self.domain), None)
        renewed = TaskSettings(name=self.domain, data=self.data, learning=mine.learning if mine else {})
        others = [task for task in recipe.tasks if task.name != self.domain]
        return recipe.model_copy(update={"tasks": [*others, renewed]})

    def _places(self, store: Store) -> dict[str, Any]:
        return {"base": str(store.base), "store": str(self.path), "sparsity": store.description.sparsity}

    def plan(self, run: Run, store: Store) -> TaskPlan:
        """How the next version is learned."""
        links = (link for link in store.chain().links if link.kind in ("task", "freed"))
        number = 1 + max(number_of(link.name) for link in links if domain_of(link.name) == self.domain)
        current = store.task(_learned(store, self.domain))
        begun_as = (current.name, *current.begun_as) if self.warm else ()
        return replace(run.plans[self.domain], renewal=Renewal(named(self.domain, number), begun_as))


def relearn(
    path: Path,
    domain: str,
    data: Path,
    *,
    recipe: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    warm: bool = True,
    make_current: bool = True,
    finish: bool = False,
    dry_run: bool = False,
) -> TaskRecord:
    """Learn a new version of a domain; see Request. The newest is not learned again from the same text and settings.

    `make_current`: otherwise the version that is current is held. `finish`: one that was interrupted is not learned
    further. `dry_run`: only say what would be done. Returns the record of the new version, or of the current one.
    """
    request = Request(path, domain, data, recipe, overrides or {}, warm)
    with processes() as group, Interrupts():
        run = group.alike(lambda: request.read(Store.open(path), dry_run=dry_run))
        if dry_run:
            return group.alike(lambda: _explain(request, run, Store.open(path)))
        with writing(path) if group.first else nullcontext():
            group.on_first(lambda: _settle(Store.open(path)))
            store = Store.open(path)
            found = _learned_so(request, run, store)
            if found is None:
                plan = request.plan(run, store)
                group.alike(lambda: _say_room(run, store, plan))
                if not make_current:
                    group.on_first(lambda: store.choose(store.resolve(domain), hold=True))
                found = learn_task(run, store, plan, finish=finish)
            name = found.name
            group.on_first(lambda: _place(store, name, make_current=make_current))
    return found


def _learned(store: Store, domain: str) -> str:
    """The current version; FmallocError if there is none."""
    if domain == GENERAL:
        raise FmallocError(
            f"{store.path}: {GENERAL} is the pruned base, which all domains read; it cannot be learned anew"
        )
    return store.resolve(domain)


def _settle(store: Store) -> None:
    complete(store)
    store.verify()


def _learned_so(request: Request, run: Run, store: Store) -> TaskRecord | None:
    """The newest version, if it was learned from the same text with the same settings."""
    newest = store.versions(request.domain)[-1]
    if bool(newest.begun_as) != request.warm or differences(run, run.plans[request.domain], newest):
        return None
    console.print(f"{newest.name}: learned already from this text")
    return newest


def _place(store: Store, name: str, *, make_current: bool) -> None:
    shutil.rmtree(store.path / WORK / name, ignore_errors=True)
    if make_current:
        store.choose(name)
    domain, current = domain_of(name), store.resolve(domain_of(name))
    console.print(f"{domain}: version {number_of(current)} is current", markup=False)


def _say_room(run: Run, store: Store, plan: TaskPlan) -> None:
    """Say before anything is learned that the new version has fewer cells than the current one, and what helps.

    Raises FmallocError if it has none and needs some.
    """
    current, table = store.task(store.resolve(plan.name)), store.cells()
    learned = {domain_of(task.name) for task in store.tasks()}
    share = share_of(run, learned, plan.learning)
    offered = {layer: round(share * count) for layer, count in table.free_count().items()}
    claimed = table.count(current.order)
    advice = [f"`fmalloc drop {store.path} {named}` ({cells} cells)" for named, cells in _droppable(store)]
    if not plan.learning.private and not any(offered.values()):
        more = "".join(f"; {line}" for line in advice)
        raise FmallocError(f"{no_free_cell(store.path, plan.stored_as)}{more}")
    missing = {layer: claimed[layer] - count for layer, count in offered.items() if claimed[layer] > count}
    if missing:
        advice.insert(0, f"`fmalloc grow {store.path} --cells {max(missing.values())}`")
        console.print(
            f"room: {len(missing)} of {len(offered)} layers have fewer free cells than version "
            f"{number_of(current.name)} of {plan.name} claims; the new one is learned with what is left. More room: "
            f"{'; '.join(advice)}",
            markup=False,
        )


def _droppable(store: Store) -> Iterator[tuple[str, int]]:
    """Versions that are not current and that nobody reads, as users name them, and their cells."""
    served = {task.name for task in store.served()}
    for task in store.tasks():
        if task.name not in served and not readers_of(store, [task.name]):
            cells = sum(store.cells().count(task.order).values())
            yield f"{domain_of(task.name)}@{number_of(task.name)}", cells


def _explain(request: Request, run: Run, store: Store) -> TaskRecord:
    plan, corpus = request.plan(run, store), run.corpora[request.domain]
    current = store.task(store.resolve(request.domain))
    begin = f"as a copy of version {number_of(current.name)}" if request.warm else "as any task does"
    sizes = f"{len(corpus.train)} train, {len(corpus.dev)} dev, {len(corpus.test)} test pairs"
    console.print(
        f"{plan.stored_as}: to be learned in {plan.learning.updates} updates, begins {begin} ({sizes})", markup=False
    )
    _say_room(run, store, plan)
    return current


def _pair(languages: Any) -> str:
    return "-".join(languages)
