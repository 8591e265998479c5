"""k-FPF (Zhao et al. 2023): k times per task, the parameters most prone to forgetting are tuned on replayed pairs."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Annotated, Any

import torch
from pydantic import Field

from fmalloc.methods.finetuning import FineTuning
from fmalloc.methods.method import MethodSettings
from fmalloc.methods.sequential import Sequential, Start
from fmalloc.model.assembly import module_of, trainable_parameters
from fmalloc.model.objective import smoothed_loss
from fmalloc.model.text.batches import Batch, Example, TrainingBatches
from fmalloc_shared.names import GENERAL

_SENSITIVITY_BATCHES = 8


@dataclass(frozen=True)
class Rhythm:
    """When to replay: at the end of each of `periods` equal parts of the updates, for `share` of it."""

    updates: int
    periods: int
    share: float

    def replays(self, update: int) -> bool:
        """Whether an update, counted from 0, is one of replay."""
        return (update + 0.5) * self.periods / self.updates % 1 > 1 - self.share


class PeriodicBatches(TrainingBatches):
    """The task's batches, and in updates of replay batches of the kept pairs."""

    def __init__(
        self, own: Sequence[Example], kept: Sequence[Example], rhythm: Rhythm, batch_tokens: int, pad: int, seed: int
    ) -> None:
        super().__init__(own, batch_tokens, pad, seed)
        self.kept, self.rhythm = TrainingBatches(kept, batch_tokens, pad, seed), rhythm

    def batch(self, update: int) -> Batch:
        """The batch of an update, counted from 0."""
        return self.kept.batch(update) if self.rhythm.replays(update) else super().batch(update)


class ForgettingPrioritised(FineTuning):
    """Updates of replay change the parameters of the `prone` modules alone."""

    def __init__(self, start: Start, prone: Collection[str], rhythm: Rhythm) -> None:
        super().__init__(start.model, start.validator, start.settings)
        self.rhythm, self.replaying = rhythm, False
        self.left_alone = [p for name, p in self.parameters.items() if module_of(name) not in prone]

    def before_update(self, update: int) -> None:
        """Note whether this is an update of replay."""
        super().before_update(update)
        self.replaying = self.rhythm.replays(update)

    def after_backward(self) -> None:
        """Drop the gradients of the other modules, so that the optimizer skips them."""
        if self.replaying:
            for parameter in self.left_alone:
                parameter.grad = None


class KFpfSettings(MethodSettings):
    """Settings of k-fpf."""

    k: Annotated[int, Field(ge=1, description="phases of replay per task")] = 5
    share: Annotated[float, Field(ge=0, lt=1, description="of the task's updates that replay")] = 0.25
    pairs: Annotated[int, Field(ge=1, description="kept per domain")] = 200
    modules: Annotated[float, Field(gt=0, le=1, description="share of the modules that replay trains")] = 0.5


class KFpf(Sequential):
    """Sequential fine-tuning, interrupted by k phases of forgetting-prioritised fine-tuning.

    A phase replays batches of kept pairs: the same number per domain so far, general text and the task included. It
    trains the most sensitive modules: those with the largest mean |d loss / d theta| on the task's first batches, under
    the model before the task. These are what the task would move first. Replay counts towards the task's updates.
    """

    name = "k-fpf"
    settings_type = KFpfSettings

    def trainable(self, start: Start) -> FineTuning:
        """All parameters, or in replay the sensitive ones."""
        own = start.data.batches(start.tokenizer, start.settings)
        first = (own.batch(index).on(start.model.device, start.model.config) for index in range(_SENSITIVITY_BATCHES))
        prone = most_sensitive(start.model, first, self.settings.modules)
        return ForgettingPrioritised(start, prone, self._rhythm(start))

    def batches(self, start: Start) -> TrainingBatches:
        """The task's own pairs, and the kept ones in replay."""
        domains, settings = (GENERAL, *start.earlier, start.task.name), start.settings
        kept = [example for name in domains for example in self.kept_examples(start, name, self.settings.pairs)]
        pad = start.tokenizer.pad_token_id
        return PeriodicBatches(start.data.train, kept, self._rhythm(start), settings.batch_tokens, pad, settings.seed)

    def _rhythm(self, start: Start) -> Rhythm:
        return Rhythm(start.settings.schedule().updates, self.settings.k, self.settings.share)


def most_sensitive(model: Any, batches: Iterable[Batch], share: float) -> set[str]:
    """Names of that share of the modules, rounded up, with the largest mean absolute gradient of the loss."""
    model.eval()
    parameters = {name: p.requires_grad_(True) for name, p in trainable_parameters(model).items()}
    sums: dict[str, Any] = dict.fromkeys(map(module_of, parameters), 0.0)
    sizes = dict.fromkeys(map(module_of, parameters), 0)
    for name, parameter in parameters.items():
        sizes[module_of(name)] += parameter.numel()
    for batch in batches:
        loss = smoothed_loss(model, batch, 0.0)
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                sums[module_of(name)] += gradient.abs().sum().double()
    ranked = sorted(sums, key=lambda module: -float(sums[module]) / sizes[module])
    return set(ranked[: ceil(share * len(ranked))])
