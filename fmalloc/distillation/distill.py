"""Distil a model into a student with fewer decoder layers: its text, its layers, its budget, and the training loop."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fmalloc.corpus import Pair
from fmalloc.distillation.distiller import Distiller
from fmalloc.distillation.plan import Plan
from fmalloc.distillation.settings import UNLIMITED, DistillationSettings, Limit
from fmalloc.distillation.student import check_depth, choose_layers, depth_of, free, parameters_of, student_of
from fmalloc.model.architectures import feed_forward_layers
from fmalloc.model.devices import Device
from fmalloc.model.objective import nll
from fmalloc.model.text.batches import Batch, Batches, Example, TrainingBatches, encode
from fmalloc.store.records import CurvePoint
from fmalloc.training.loop import Training
from fmalloc.training.pace import seconds_per_update, updates_in
from fmalloc.training.validation import Validator
from fmalloc_shared.commands.progress import console
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair

# Pairs of dev on which decoder layers are compared.
_COMPARED = 64


@dataclass(frozen=True)
class Teacher:
    """The model to learn from, without cells that are off, and how text is encoded for it."""

    model: Any
    tokenizer: Any
    languages: LanguagePair


@dataclass(frozen=True)
class Start:
    """A shallow model to begin with, which becomes the student, and which decoder layers of the teacher's it has."""

    model: Any
    layers: tuple[int, ...]


@dataclass(frozen=True)
class DistillationText:
    """Sentence pairs to learn from, of the domain and `general` (may be none), and `dev` to choose the best state by.

    Targets are references or the teacher's translations.
    """

    domain: Sequence[Pair]
    general: Sequence[Pair]
    dev: Sequence[Pair]


@dataclass(frozen=True)
class Student:
    """What distillation gave: its tensors by name, cells by feed-forward layer, and the curve of its `updates`.

    `layers`: the teacher's decoder layers that it began with. `teacher_nll`: on dev, nats per target token.
    """

    layers: tuple[int, ...]
    tensors: dict[str, Tensor]
    cells: dict[str, int]
    updates: int
    curve: list[CurvePoint]
    teacher_nll: float


class MixedBatches:
    """Batches of the domain, and among them as many of general text as `share` says."""

    def __init__(self, domain: Batches, general: Batches, share: float) -> None:
        self._domain, self._general, self._share = domain, general, share

    def batch(self, update: int) -> Batch:
        """The batch of an update, counted from 0."""
        general = math.floor(update * self._share)
        if math.floor((update + 1) * self._share) > general:
            return self._general.batch(general)
        return self._domain.batch(update - general)


def distill(
    teacher: Teacher,
    text: DistillationText,
    settings: DistillationSettings,
    device: Device,
    work: Path,
    name: str,
    start: Start | None = None,
    limit: Limit = UNLIMITED,
) -> Student:
    """Distil, or go on where a run with the same input and `work` folder, which exists, was stopped or paused.

    `name`: of the domain. `start`: instead of the teacher's own layers. `limit`: how far it learns for now. On one
    machine and number of threads the same input gives the same numbers if the budget is in updates; one in minutes
    becomes updates by the pace at the beginning.

    Raises:
        FmallocError: the teacher is too shallow, the text has no pair that is short enough, or training diverges.
        KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM came; the present state is saved.
    """
    check_depth(settings.depth, depth_of(teacher.model))
    teacher.model.to(device.torch).eval().requires_grad_(False)
    dev = _encoded(teacher, text.dev, settings, f"{name} dev")
    batches = _batches(teacher, text, settings, name)
    validator = Validator(teacher.tokenizer, teacher.languages, dev, (), device, settings.batch_tokens)
    path = work / "plan.json"
    plan = Plan.find(path)
    if start:
        layers, student = start.layers, free(start.model)
    else:
        layers = plan.layers if plan else _layers(teacher, dev, settings, device, name)
        student = student_of(teacher.model, layers)
    distiller = Distiller(student, teacher.model, validator, settings.learning_rate)
    if not plan:
        updates = settings.updates
        if settings.minutes is not None:
            updates = updates_in(settings.minutes, seconds_per_update(distiller, batches, device))
        plan = Plan(layers=layers, updates=updates).keep(path)
    distiller.rounded_from = settings.rounded_from(plan.updates)
    checkpoint = work / "checkpoint.safetensors"
    training = Training(distiller, batches, settings.schedule(plan.updates), device, checkpoint, f"distilling {name}")
    paused = settings.paused_at(plan.updates, limit.share)
    if not limit.pauses:
        distiller.rounded_at = limit.last(settings.rounded_share)
    training.run(lambda update: update >= paused or limit.passed())
    tensors = {key: tensor.detach().cpu() for key, tensor in parameters_of(distiller.model).items()}
    cells = {layer.name: layer.width for layer in feed_forward_layers(distiller.model)}
    pad = teacher.tokenizer.pad_token_id
    taught = nll(teacher.model, dev, device, batch_tokens=settings.batch_tokens, pad=pad)
    return Student(layers, tensors, cells, training.progress.update, training.progress.curve, taught)


def _batches(teacher: Teacher, text: DistillationText, settings: DistillationSettings, name: str) -> Batches:
    """Of the domain's text, with general text among it if there is any."""
    parts = [
        TrainingBatches(examples, settings.batch_tokens, teacher.tokenizer.pad_token_id, settings.seed)
        for examples in (
            _encoded(teacher, text.domain, settings, f"{name} text"),
            _encoded(teacher, text.general, settings, f"{name} general text") if text.general else (),
        )
        if examples
    ]
    return MixedBatches(parts[0], parts[1], settings.general_share) if len(parts) > 1 else parts[0]


def _encoded(teacher: Teacher, pairs: Sequence[Pair], settings: DistillationSettings, name: str) -> Sequence[Example]:
    """FmallocError if no pair is short enough."""
    longest = min(settings.maximum_length, teacher.model.config.max_position_embeddings - 2)
    encoded = encode(teacher.tokenizer, pairs, teacher.languages, maximum_length=longest)
    console.print(f"{name}: {encoded.described(longest)}")
    if not encoded.examples:
        raise FmallocError(f"{name}: none of {len(pairs)} pairs has at most {longest} tokens per side")
    return encoded.examples


def _layers(
    teacher: Teacher, dev: Sequence[Example], settings: DistillationSettings, device: Device, name: str
) -> tuple[int, ...]:
    """The decoder layers to begin with."""
    compared, pad = dev[:_COMPARED], teacher.tokenizer.pad_token_id

    def loss(model: Any) -> float:
        return nll(model, compared, device, batch_tokens=settings.batch_tokens, pad=pad)

    layers = choose_layers(teacher.model, settings.depth, loss)
    console.print(f"{name}: the student begins with the decoder layers {', '.join(map(str, layers))}, counted from 0")
    return layers
