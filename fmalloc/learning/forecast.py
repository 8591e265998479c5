"""How long a run will take on the machine at hand: each kind of step is tried for a moment, nothing is written."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fmalloc.corpus import spread
from fmalloc.evaluation.evaluate import translate
from fmalloc.learning.annotation.alignment import TRIED, aligned
from fmalloc.learning.annotation.annotated import MOST
from fmalloc.learning.cells.allocation import Allocation
from fmalloc.learning.data import TaskData
from fmalloc.learning.importance import FIRST_LOOK, divergence
from fmalloc.learning.learner import Learner
from fmalloc.learning.run import Run
from fmalloc.model.architectures import feed_forward_layers, load_base
from fmalloc.model.text.batches import TrainingBatches, encode
from fmalloc.model.text.tokens import set_languages
from fmalloc.recipe import TaskPlan
from fmalloc.training.pace import now, seconds_per_update, updates_in
from fmalloc_shared.names import GENERAL

# Sentences that are translated, and pairs that are encoded or aligned, to see how long it takes.
_TRANSLATED, _ENCODED, _ALIGNED = 16, 1000, 32


@dataclass(frozen=True)
class Step:
    """Seconds that a step takes, from `least` to `most`, and why."""

    name: str
    least: float
    most: float
    because: str

    def __str__(self) -> str:
        times = list(dict.fromkeys(map(_readable, (self.least, self.most))))
        return f"{self.name}: {' to '.join(times)} ({self.because})"


def forecast(run: Run, learned: Collection[str] | None) -> Sequence[Step]:
    """The steps of a run that are still to be done; `learned`: tasks in the store, None if it is to be made."""
    todo = [plan for name, plan in run.plans.items() if name not in (learned or ())]
    steps = [] if learned is not None else [_importance(run)]
    paces: dict[Any, float] = {}
    for plan in todo:
        if plan.learning.terminology:
            steps.append(_aligning(run, plan))
        steps.append(_task(run, plan, paces))
    rows = [run.tests()] * 2 if learned is None else []
    tests = [name for row in rows for name in row] + [plan.name for plan in todo]
    if tests:
        steps.append(_scores(run, tests))
    return steps


def _importance(run: Run) -> Step:
    settings = run.recipe.importance
    model, tokenizer = load_base(run.recipe.base, run.languages)
    model.to(run.device.torch).train()
    batches = TrainingBatches(_examples(run, GENERAL, tokenizer), settings.batch_tokens, tokenizer.pad_token_id, 1)
    weights = [layer.module.fc1.bias.requires_grad_() for layer in feed_forward_layers(model)]

    def measure(number: int) -> None:
        with run.device.autocast():
            total = divergence(model, batches.batch(number).on(run.device.torch, model.config))
        torch.autograd.grad(total, weights)

    measure(0)
    began = now(run.device)
    measure(1)
    seconds = now(run.device) - began
    fewest = min(FIRST_LOOK, settings.batches) if settings.stable else settings.batches
    many = f"{fewest} to {settings.batches}" if fewest < settings.batches else f"{fewest}"
    return Step(
        "importance",
        fewest * seconds,
        settings.batches * seconds,
        f"{many} batches of {seconds:.1f} s{', until ranks are stable' if settings.stable else ''}",
    )


def _task(run: Run, plan: TaskPlan, paces: dict[Any, float]) -> Step:
    """A task's training; those with the same settings are taken to be as fast as each other."""
    settings = plan.learning
    ranks = (settings.private_rank, settings.embedding_rank)
    kind = (settings.batch_tokens, settings.maximum_length, settings.reads, *settings.private, *ranks)
    if kind not in paces:
        paces[kind] = _pace(run, plan)
    seconds, updates = paces[kind], plan.schedule.updates
    if settings.minutes is not None:
        updates = min(updates, updates_in(settings.minutes, seconds))
    because = f"at most {updates:,} updates of {seconds:.2f} s, and validations"
    return Step(f"task {plan.name}", updates * seconds, updates * seconds, because)


def _aligning(run: Run, plan: TaskPlan) -> Step:
    model, tokenizer = load_base(run.recipe.base, run.languages)
    set_languages(tokenizer, run.languages)
    train, longest = run.corpora[plan.name].train, plan.learning.maximum_length
    few = spread(train, _ALIGNED)
    began = time.perf_counter()
    with run.device.autocast():
        aligned(model.to(run.device.torch).eval(), tokenizer, few, longest=longest)
    # The pairs that say which layer aligns best are read twice.
    seconds = (time.perf_counter() - began) / (2 * len(few))
    pairs = min(MOST, len(train))
    whole = (pairs + min(TRIED, pairs)) * seconds
    return Step(f"terminology of {plan.name}", whole, whole, f"{pairs:,} pairs to align, of {seconds:.3f} s")


def _pace(run: Run, plan: TaskPlan) -> float:
    """Seconds per update in a model of which the last cells of every layer are free."""
    model, tokenizer = load_base(run.recipe.base, run.languages)
    allocations = {}
    for layer in feed_forward_layers(model):
        cells, none = np.arange(layer.width), np.empty(0, dtype=np.int64)
        free = round(run.recipe.sparsity * layer.width)
        allocations[layer.name] = Allocation(
            layer.width, cells[: layer.width - free], none, cells[layer.width - free :]
        )
    examples = _examples(run, plan.name, tokenizer, plan.learning.maximum_length)
    data = TaskData(examples, examples[:1], ())
    validator = data.validator(run, tokenizer, plan.learning, lambda _model: {})
    batches = data.batches(tokenizer, plan.learning)
    return seconds_per_update(Learner(model, allocations, batches, validator, plan.learning), batches, run.device)


def _scores(run: Run, tests: Sequence[str]) -> Step:
    settings = run.recipe.evaluation
    model, tokenizer = load_base(run.recipe.base, run.languages)
    model.to(run.device.torch)
    sources = [pair.source for pair in spread(run.corpora[tests[-1]].test, _TRANSLATED)]
    began = time.perf_counter()
    translate(model, tokenizer, sources, run.languages, beam_size=settings.beam_size)
    seconds = (time.perf_counter() - began) / max(1, len(sources))
    sentences = sum(len(run.corpora[name].test[: settings.sentences]) for name in tests)
    because = f"{sentences:,} sentences, beam {settings.beam_size}, of {seconds:.2f} s"
    return Step("scores", sentences * seconds, sentences * seconds, because)


def _examples(run: Run, name: str, tokenizer: Any, maximum_length: int | None = None) -> Any:
    longest = maximum_length or run.recipe.learning.maximum_length
    pairs = spread(run.corpora[name].train, _ENCODED)
    return encode(tokenizer, pairs, run.languages, maximum_length=longest).examples


def _readable(seconds: float) -> str:
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * 3600 else f"{seconds / 3600:.1f} h"
