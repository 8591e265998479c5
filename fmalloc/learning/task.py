"""One task of a recipe: learned, scored and committed."""

import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fmalloc.corpus import Pair
from fmalloc.learning.annotation.annotated import FILE, annotate, read_annotated
from fmalloc.learning.cells.allocation import Allocation, offered_cells
from fmalloc.learning.cells.tfidf import CellScores, cell_scores
from fmalloc.learning.cells.warm import begin_as
from fmalloc.learning.create import routing_bytes
from fmalloc.learning.data import TaskData, watched
from fmalloc.learning.learner import Learner
from fmalloc.learning.run import Run, claim_work
from fmalloc.learning.scoring import Scorer, files_with, with_known
from fmalloc.model.architectures import feed_forward_layers
from fmalloc.model.assembly import load_grown, load_sliced, overlay, slice_masks
from fmalloc.model.devices import Device, environment_of
from fmalloc.model.private import Tensors, fold
from fmalloc.model.text.batches import encode
from fmalloc.recipe import LearningSettings, TaskPlan
from fmalloc.store.cells import GENERAL_OWNER
from fmalloc.store.chain.versions import domain_of
from fmalloc.store.invariants import PRIVATE_FILE
from fmalloc.store.records import CurvePoint, Score, TaskRecord, samples_bytes
from fmalloc.store.store import Store
from fmalloc.store.tensors import Memory, memory_bytes, private_bytes
from fmalloc.store.verification import WORK
from fmalloc.training.distributed import Group
from fmalloc.training.loop import Training
from fmalloc.training.pace import seconds_per_update, updates_in
from fmalloc_shared.commands.progress import console
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import write_atomically
from fmalloc_shared.names import GENERAL

# Of the free cells, to a task that a recipe says no share for: domains that are not thought of yet want some.
_MOST_OFFERED = 0.5


def learn_task(run: Run, store: Store, plan: TaskPlan, *, finish: bool = False) -> TaskRecord:
    """Learn, score and commit one task; a task that exists as the recipe says is left as it is.

    With `finish`, one that was interrupted is not learned further: its best state so far is scored and committed.
    """
    settings, data, group = run.settings_of(plan), run.data_of(plan.name), Group.current()
    work = store.path / WORK / plan.stored_as
    if not plan.renewal and store.versions(plan.name):
        group.on_first(lambda: check_same(run, store, plan.name))
        # A run that was killed between commit and clean-up leaves this.
        group.on_first(store.state_head)
        group.on_first(lambda: shutil.rmtree(work, ignore_errors=True))
        console.print(f"{plan.name}: learned already")
        return store.task(store.resolve(plan.name))
    claim = {"settings": settings, "data": {part: record.sha256 for part, record in data.items()}}
    group.on_first(lambda: claim_work(work, claim, keep=finish))
    learner = _learner(run, store, plan)
    curve, best = _train(run, plan, learner, work, finish=finish)
    _commit(run, store, plan, learner, curve, best)
    return store.task(plan.stored_as)


def _fit_to_minutes(plan: TaskPlan, learner: Learner, device: Device, work: Path) -> None:
    """Where minutes are given, plan no more updates than fit, by the pace of the first; a run that goes on keeps them.

    All processes of a group plan the same.
    """
    if plan.learning.minutes is None:
        return
    path, group = work / "updates.json", Group.current()
    known = group.on_first(lambda: json.loads(path.read_bytes()) if path.is_file() else None)
    if known is None:
        seconds = group.largest(round(1000 * seconds_per_update(learner, learner.batches, device))) / 1000
        known = min(plan.schedule.updates, updates_in(plan.learning.minutes, max(seconds, 0.001)))
        group.on_first(lambda: write_atomically(path, json.dumps(known).encode()))
        console.print(f"{plan.name}: {known} updates in {plan.learning.minutes:g} minutes, {seconds:.2f} s each")
    learner.settings = plan.fitted(known).learning


def _train(
    run: Run, plan: TaskPlan, learner: Learner, work: Path, *, finish: bool
) -> tuple[Sequence[CurvePoint], CurvePoint]:
    """Train to the end, or `finish` what was interrupted: the curve, and its point of the best state.

    The learner then holds the best state.
    """
    _fit_to_minutes(plan, learner, run.device, work)
    training = Training(
        learner,
        learner.batches,
        learner.settings.schedule(),
        run.device,
        work / "checkpoint.safetensors",
        f"task {plan.stored_as}",
        advice="; fmalloc train --finish commits the best state of it instead",
        events=run.recipe.tensorboard / plan.stored_as if run.recipe.tensorboard else None,
    )
    if finish:
        training.finish()
    else:
        training.run()
    curve = training.progress.curve
    learner.report(plan.stored_as, curve)
    return curve, curve[training.progress.best]


def _commit(
    run: Run, store: Store, plan: TaskPlan, learner: Learner, curve: Sequence[CurvePoint], best: CurvePoint
) -> None:
    """Score the state that the learner holds on every test set, and put it into the store.

    All processes of a group score, and the first one writes.
    """
    group = Group.current()
    work, earlier = store.path / WORK / plan.stored_as, _others(store, plan)
    memories, private = learner.memories(), learner.private_parameters()
    reads = [record.name for record in earlier if _reads(memories, store.memory(record.name))]

    def load(domain: str) -> tuple[Any, Any]:
        if domain != plan.name:
            return load_sliced(store, store.chain().current.get(domain, GENERAL))
        model, tokenizer = load_grown(store, languages=run.languages)
        overlay(model, [*(store.memory(name) for name in reads), memories])
        fold(model, private)
        slice_masks(model, {layer: memory.mask for layer, memory in memories.items()})
        return model, tokenizer

    staged = work / "staged"
    group.on_first(lambda: _stage(run, plan.name, memories, private, staged))
    known = (store.description.general_scores, *(record.scores for record in store.tasks()))
    files = files_with(store, plan.stored_as, reads, staged)
    scores = Scorer(run, work / "scores", plan.stored_as, known).row(load, files)
    if plan.renewal:
        scores = with_known(scores, store, plan.name)

    def commit() -> None:
        store.commit(
            staged,
            name=plan.stored_as,
            reads=reads,
            private=plan.learning.private,
            settings=run.settings_of(plan),
            data=run.data_of(plan.name),
            dropped={reason: found.pairs for reason, found in run.corpora[plan.name].report.dropped.items()},
            scores=scores,
            dev=Score(bleu=best.bleu, chrf=best.chrf),
            curve=curve,
            environment=environment_of(run.device),
        )
        shutil.rmtree(work)

    group.on_first(commit)


def _stage(run: Run, name: str, memories: Mapping[str, Memory], private: Tensors, staged: Path) -> None:
    """Write all of a task's files but its record into the folder `staged`."""
    corpus = run.corpora[name]
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    (staged / "memory.safetensors").write_bytes(memory_bytes(memories))
    if private:
        (staged / PRIVATE_FILE).write_bytes(private_bytes(private))
    (staged / "routing.safetensors").write_bytes(routing_bytes(corpus))
    (staged / "samples.jsonl").write_bytes(samples_bytes(corpus.dev[: run.recipe.samples]))


def check_same(run: Run, store: Store, domain: str) -> None:
    """Raise FmallocError unless some version of a learned domain was learned as the recipe says."""
    plan, current = run.plans[domain], store.resolve(domain)
    if any(not differences(run, plan, record) for record in store.versions(domain)):
        return
    changed = differences(run, plan, store.task(current))
    raise FmallocError(
        f"{store.path}: task {current!r} exists already, learned with {'; '.join(changed)}. A task is never written "
        f"again: restore the recipe, give the new task another name, or learn a new version with `fmalloc relearn "
        f"{store.path} {domain} --data …`"
    )


def differences(run: Run, plan: TaskPlan, record: TaskRecord) -> list[str]:
    """How settings and data that a task was learned with differ from a plan; in words.

    What the recipe leaves open may have been otherwise: defaults change from version to version.
    """
    settings, data = run.settings_of(plan), run.data_of(plan.name)
    stated = plan.stated | (settings.keys() - LearningSettings.model_fields.keys())
    learned = LearningSettings().model_dump() | record.settings  # with settings that are younger than the store
    changed = [
        f"{key} {learned.get(key)!r}, not {value!r}"
        for key, value in settings.items()
        if key in stated and learned.get(key) != value
    ]
    return changed + [f"other {part} data" for part in data if record.data.get(part) != data[part]]


def _reads(memories: Mapping[str, Memory], owner: Mapping[str, Memory]) -> bool:
    return any(bool(memory.mask[owner[layer].cells].any()) for layer, memory in memories.items())


def _learner(run: Run, store: Store, plan: TaskPlan) -> Learner:
    settings = plan.learning
    table, earlier = store.cells(), _others(store, plan) if settings.reads == "earlier" else ()
    model, tokenizer = load_grown(store, languages=run.languages)
    overlay(model, [store.memory(record.name) for record in earlier])
    further = _annotated(run, plan, model, tokenizer, store.path / WORK / plan.stored_as)
    data = TaskData.of(run, plan.name, tokenizer, settings, further)
    scores = _tfidf(run, model.to(run.device.torch), tokenizer, data, settings) if settings.allocator == "tfidf" else {}
    allocations, offered = {}, share_of(run, {domain_of(record.name) for record in store.tasks()}, settings)
    for layer in feed_forward_layers(model):
        owned = [table.owned(layer.name, record.order) for record in earlier]
        allocations[layer.name] = Allocation(
            width=layer.width,
            general=table.owned(layer.name, GENERAL_OWNER),
            earlier=np.sort(np.concatenate([*owned, np.empty(0, dtype=np.int64)])),
            writable=offered_cells(table.free(layer.name), offered, settings.seed, scores.get(layer.name)),
        )
    if not (settings.private or any(len(allocation.writable) for allocation in allocations.values())):
        raise FmallocError(no_free_cell(store.path, plan.name))
    current = {domain_of(record.name): record.name for record in _others(store, plan)}
    watch = watched(run, tokenizer, [GENERAL, *current], settings)

    def watch_stored(_model: Any) -> dict[str, float]:
        return watch.nll(lambda domain: load_sliced(store, current.get(domain, GENERAL))[0].to(run.device.torch))

    validator = data.validator(run, tokenizer, settings, watch_stored)
    learner = Learner(model, allocations, data.batches(tokenizer, settings), validator, settings)
    if plan.renewal and plan.renewal.begun_as:
        begin_as(learner, store, plan.renewal.begun_as[0])
    return learner


def _annotated(run: Run, plan: TaskPlan, model: Any, tokenizer: Any, work: Path) -> list[Pair]:
    """Pairs with annotated sources, where the task is to learn from some."""
    if not plan.learning.annotates:
        return []
    path, group = work / FILE, Group.current()
    text = run.corpora[plan.name].train
    group.on_first(lambda: annotate(path, model, tokenizer, text, run.languages, plan.learning, run.device))
    return read_annotated(path)


def _others(store: Store, plan: TaskPlan) -> tuple[TaskRecord, ...]:
    """The current versions of other domains: they, and no older ones, can be read, so that those can be dropped."""
    return tuple(record for record in store.served() if domain_of(record.name) != plan.name)


def no_free_cell(store: Path, name: str) -> str:
    """What to do about a task for which a store has no cell."""
    return (
        f"{store}: no free cell is left for task {name!r}; `fmalloc grow {store} --cells 512` adds some, and "
        "learning.private takes none"
    )


def share_of(run: Run, learned: Collection[str], settings: LearningSettings) -> float:
    """Of the free cells; an even one leaves as many to each of the recipe's tasks that are not learned yet."""
    if isinstance(settings.share, float):
        return settings.share
    even = 1.0 if run.only else 1 / max(1, sum(task.name not in learned for task in run.recipe.tasks))
    return even if settings.share == "even" or run.only else min(_MOST_OFFERED, even)


def _tfidf(run: Run, model: Any, tokenizer: Any, data: TaskData, settings: LearningSettings) -> dict[str, CellScores]:
    """TF-IDF of every cell on the task's text against general text."""
    text, longest = run.corpora[GENERAL].train, settings.maximum_length
    general = encode(tokenizer, text, run.languages, maximum_length=longest, cache=run.cache)
    return cell_scores(model, data.train, general.examples, pad=tokenizer.pad_token_id, seed=settings.seed)
