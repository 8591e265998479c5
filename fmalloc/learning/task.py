"""One task of a recipe: learned, scored and committed."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fmalloc.learning.allocation import Allocation, offered_cells
from fmalloc.learning.create import routing_bytes
from fmalloc.learning.data import TaskData, watched
from fmalloc.learning.learner import Learner
from fmalloc.learning.run import Run, Scorer, claim_work
from fmalloc.learning.tfidf import CellScores, cell_scores
from fmalloc.model.architectures import feed_forward_layers, load_base
from fmalloc.model.assembly import load_sliced, overlay, slice_masks
from fmalloc.model.batches import encode
from fmalloc.model.devices import environment_of
from fmalloc.model.private import fold
from fmalloc.progress import console
from fmalloc.recipe import LearningSettings, TaskPlan
from fmalloc.store.cells import GENERAL_OWNER
from fmalloc.store.records import CurvePoint, DataRecord, Score, TaskRecord, samples_bytes
from fmalloc.store.store import PRIVATE_FILE, Store
from fmalloc.store.tensors import Memory, memory_bytes, private_bytes
from fmalloc.training.distributed import Group
from fmalloc.training.loop import Training
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.names import GENERAL


def learn_task(run: Run, store: Store, plan: TaskPlan, *, finish: bool = False) -> TaskRecord:
    """Learn, score and commit one task; a task that exists as the recipe says is left as it is.

    With `finish`, one that was interrupted is not learned further: its best state so far is scored and committed.
    """
    settings, data, group = run.settings_of(plan), run.data_of(plan.name), Group.current()
    work = store.path / ".work" / plan.name
    if existing := {record.name: record for record in store.tasks()}.get(plan.name):
        group.on_first(lambda: _check_same(store, existing, settings, data))
        # A run that was killed between commit and clean-up leaves it.
        group.on_first(lambda: shutil.rmtree(work, ignore_errors=True))
        console.print(f"{plan.name}: learned already")
        return existing
    claim = {"settings": settings, "data": {part: record.sha256 for part, record in data.items()}}
    group.on_first(lambda: claim_work(work, claim, keep=finish))
    learner = _learner(run, store, plan)
    curve, best = _train(run, plan, learner, work, finish=finish)
    group.on_first(lambda: _commit(run, store, plan, learner, curve, best))
    return store.task(plan.name)


def _train(
    run: Run, plan: TaskPlan, learner: Learner, work: Path, *, finish: bool
) -> tuple[Sequence[CurvePoint], CurvePoint]:
    """Train to the end, or `finish` what was interrupted: the curve, and its point of the best state.

    The learner then holds the best state.
    """
    training = Training(
        learner,
        learner.batches,
        plan.schedule,
        run.device,
        work / "checkpoint.safetensors",
        f"task {plan.name}",
        advice="; fmalloc train --finish commits the best state of it instead",
        events=run.recipe.tensorboard / plan.name if run.recipe.tensorboard else None,
    )
    if finish:
        training.finish()
    else:
        training.run()
    curve = training.progress.curve
    learner.report(plan.name, curve)
    return curve, curve[training.progress.best]


def _commit(
    run: Run, store: Store, plan: TaskPlan, learner: Learner, curve: Sequence[CurvePoint], best: CurvePoint
) -> None:
    """Score the state that the learner holds on every test set, and put it into the store."""
    work, earlier = store.path / ".work" / plan.name, store.tasks()
    memories, private = learner.memories(), learner.private_parameters()
    reads = [record.name for record in earlier if _reads(memories, store.memory(record.name))]

    def load(domain: str) -> tuple[Any, Any]:
        if domain != plan.name:
            return load_sliced(store, domain if domain in {record.name for record in earlier} else GENERAL)
        model, tokenizer = load_base(store.base, run.languages)
        overlay(model, [*(store.memory(name) for name in reads), memories])
        fold(model, private)
        slice_masks(model, {layer: memory.mask for layer, memory in memories.items()})
        return model, tokenizer

    scores = Scorer(run, work / "scores", plan.name).row(load)
    corpus = run.corpora[plan.name]
    staged = work / "staged"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    (staged / "memory.safetensors").write_bytes(memory_bytes(memories))
    if private:
        (staged / PRIVATE_FILE).write_bytes(private_bytes(private))
    (staged / "routing.safetensors").write_bytes(routing_bytes(corpus))
    (staged / "samples.jsonl").write_bytes(samples_bytes(corpus.dev[: run.recipe.samples]))
    store.commit(
        staged,
        name=plan.name,
        order=max((record.order for record in earlier), default=GENERAL_OWNER) + 1,
        reads=reads,
        private=plan.learning.private,
        settings=run.settings_of(plan),
        data=run.data_of(plan.name),
        dropped={reason: found.pairs for reason, found in corpus.report.dropped.items()},
        scores=scores,
        dev=Score(bleu=best.bleu, chrf=best.chrf),
        curve=curve,
        environment=environment_of(run.device),
    )
    shutil.rmtree(work)


def _check_same(store: Store, record: TaskRecord, settings: Mapping[str, Any], data: Mapping[str, DataRecord]) -> None:
    learned = LearningSettings().model_dump() | record.settings  # with settings that are younger than the store
    changed = [
        f"{key} {learned.get(key)!r}, not {value!r}" for key, value in settings.items() if learned.get(key) != value
    ]
    changed += [f"other {part} data" for part in data if record.data.get(part) != data[part]]
    if changed:
        raise FmallocError(
            f"{store.path}: task {record.name!r} exists already, learned with {'; '.join(changed)}. "
            "A task is never written again: restore the recipe, or give the new task another name"
        )


def _reads(memories: Mapping[str, Memory], owner: Mapping[str, Memory]) -> bool:
    return any(bool(memory.mask[owner[layer].cells].any()) for layer, memory in memories.items())


def _learner(run: Run, store: Store, plan: TaskPlan) -> Learner:
    settings = plan.learning
    table, earlier = store.cells(), store.tasks() if settings.reads == "earlier" else ()
    model, tokenizer = load_base(store.base, run.languages)
    overlay(model, [store.memory(record.name) for record in earlier])
    data = TaskData.of(run, plan.name, tokenizer, settings)
    scores = _tfidf(run, model.to(run.device.torch), tokenizer, data, settings) if settings.allocator == "tfidf" else {}
    allocations, offered = {}, _share(run, store, settings)
    for layer in feed_forward_layers(model):
        owned = [table.owned(layer.name, record.order) for record in earlier]
        allocations[layer.name] = Allocation(
            width=layer.width,
            general=table.owned(layer.name, GENERAL_OWNER),
            earlier=np.sort(np.concatenate([*owned, np.empty(0, dtype=np.int64)])),
            writable=offered_cells(table.free(layer.name), offered, settings.seed, scores.get(layer.name)),
        )
    if not (settings.private or any(len(allocation.writable) for allocation in allocations.values())):
        raise FmallocError(
            f"{store.path}: no free cell is left for task {plan.name!r}; set learning.private, which takes none, or "
            "learn it into another store of the same base with a larger sparsity"
        )
    names = [GENERAL, *(record.name for record in store.tasks())]
    watch = watched(run, tokenizer, names, settings)

    def watch_stored(_model: Any) -> dict[str, float]:
        return watch.nll(lambda name: load_sliced(store, name)[0].to(run.device.torch))

    validator = data.validator(run, tokenizer, settings, watch_stored)
    return Learner(model, allocations, data.batches(tokenizer, settings), validator, settings)


def _share(run: Run, store: Store, settings: LearningSettings) -> float:
    """Of the free cells; an even one leaves as many to each of the recipe's tasks that are not learned yet."""
    if settings.share != "even":
        return settings.share
    learned = {record.name for record in store.tasks()}
    return 1 / sum(task.name not in learned for task in run.recipe.tasks)


def _tfidf(run: Run, model: Any, tokenizer: Any, data: TaskData, settings: LearningSettings) -> dict[str, CellScores]:
    """TF-IDF of every cell on the task's text against general text."""
    general = encode(tokenizer, run.corpora[GENERAL].train, run.languages, maximum_length=settings.maximum_length)
    return cell_scores(model, data.train, general.examples, pad=tokenizer.pad_token_id, seed=settings.seed)
