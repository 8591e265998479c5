"""One task of a recipe: learned, scored and committed."""

import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np

from fmalloc.allocation import Allocation
from fmalloc.architectures import feed_forward_layers, load_base
from fmalloc.cells import GENERAL_OWNER, Cells
from fmalloc.create import routing_bytes
from fmalloc.job import Job, Scorer
from fmalloc.learn import Learner, learn
from fmalloc.memory import Memory, memory_bytes
from fmalloc.models import load_sliced, overlay, slice_masks
from fmalloc.progress import console
from fmalloc.recipe import LearningSettings, TaskSettings
from fmalloc.records import DataRecord, Score, TaskRecord, samples_bytes
from fmalloc.store import Store
from fmalloc.taskdata import TaskData, watched
from fmalloc.work import claim_work
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.names import GENERAL


def learn_task(job: Job, store: Store, task: TaskSettings) -> TaskRecord:
    """Learn, score and commit one task; a task that exists as the recipe says is left as it is."""
    settings, data = job.settings_of(task), job.data_of(task.name)
    work = store.path / ".work" / task.name
    if existing := {record.name: record for record in store.tasks()}.get(task.name):
        _check_same(store, existing, settings, data)
        shutil.rmtree(work, ignore_errors=True)  # left by a run that was killed between commit and clean-up
        console.print(f"{task.name}: learned already")
        return existing
    claim_work(work, {"settings": settings, "data": {part: record.sha256 for part, record in data.items()}})
    earlier = store.tasks()
    learner = _learner(job, store, task)
    curve, best = learn(learner, task.name, job.device, work)
    memories = learner.memories()
    reads = [record.name for record in earlier if _reads(memories, store.memory(record.name))]

    def load(domain: str) -> tuple[Any, Any]:
        if domain != task.name:
            return load_sliced(store, domain if domain in {record.name for record in earlier} else GENERAL)
        model, tokenizer = load_base(store.base, job.languages)
        overlay(model, [*(store.memory(name) for name in reads), memories])
        slice_masks(model, {layer: memory.mask for layer, memory in memories.items()})
        return model, tokenizer

    scores = Scorer(job, work, task.name).score(load)
    corpus = job.corpora[task.name]
    staged = work / "staged"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    (staged / "memory.safetensors").write_bytes(memory_bytes(memories))
    (staged / "routing.safetensors").write_bytes(routing_bytes(corpus))
    (staged / "samples.jsonl").write_bytes(samples_bytes(corpus.dev[: job.recipe.samples]))
    record = store.commit(
        staged,
        name=task.name,
        order=max((record.order for record in earlier), default=GENERAL_OWNER) + 1,
        reads=reads,
        settings=settings,
        data=data,
        scores=scores,
        dev=Score(bleu=best.bleu, chrf=best.chrf),
        curve=curve,
    )
    shutil.rmtree(work)
    return record


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


def _learner(job: Job, store: Store, task: TaskSettings) -> Learner:
    settings = job.recipe.learning_of(task)
    table, earlier = store.cells(), store.tasks() if settings.reads == "earlier" else ()
    model, tokenizer = load_base(store.base, job.languages)
    overlay(model, [store.memory(record.name) for record in earlier])
    allocations = {}
    for layer in feed_forward_layers(model):
        owned = [table.owned(layer.name, record.order) for record in earlier]
        allocations[layer.name] = Allocation(
            width=layer.width,
            general=table.owned(layer.name, GENERAL_OWNER),
            earlier=np.sort(np.concatenate([*owned, np.empty(0, dtype=np.int64)])),
            writable=_offered(table.free(layer.name), settings),
        )
    if not any(len(allocation.writable) for allocation in allocations.values()):
        raise FmallocError(f"{store.path}: no free cell is left for task {task.name!r}")
    data = TaskData.of(job, task.name, tokenizer, settings)
    names = [GENERAL, *(record.name for record in store.tasks())]
    watch = watched(job, tokenizer, names, settings)

    def watch_stored(_model: Any) -> dict[str, float]:
        return watch.nll(lambda name: load_sliced(store, name)[0].to(job.device.torch))

    validator = data.validator(job, tokenizer, settings, watch_stored)
    return Learner(model, allocations, data.batches(tokenizer, settings), validator, settings)


def _offered(free: Cells, settings: LearningSettings) -> Cells:
    """The task's share of the free cells, drawn by its seed; the others are kept for later tasks."""
    count = round(settings.share * len(free))
    return np.sort(np.random.default_rng(settings.seed).permutation(free)[:count])
