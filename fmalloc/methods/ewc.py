"""Regularisation towards the model before the task.

Elastic weight consolidation (Kirkpatrick et al. 2017), online (Schwarz et al. 2018), holds each parameter by its
importance to earlier domains; `l2` holds all of them alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from fmalloc.methods.finetuning import FineTuning
from fmalloc.methods.method import MethodSettings
from fmalloc.methods.sequential import Sequential, Start
from fmalloc.model.assembly import trainable_parameters
from fmalloc.model.objective import logits
from fmalloc.model.text.batches import IGNORED, Example, collate
from fmalloc.recipe import TaskSettings
from fmalloc_shared.names import GENERAL

_FISHER = "fisher."


class Anchored(FineTuning):
    """Minimises the loss + sum_i weight_i (theta_i - theta*_i)^2; theta* is the model before the task.

    `weights`: by parameter, of its shape or scalar, in nats per target token.
    """

    def __init__(self, start: Start, weights: Mapping[str, Tensor | float]) -> None:
        super().__init__(start.model, start.validator, start.settings)
        self.weights = weights
        self.anchors = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    @torch.no_grad()
    def after_backward(self) -> None:
        """Add the penalty's gradient; the reported loss stays that of the text."""
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                parameter.grad += 2 * self.weights[name] * (parameter - self.anchors[name])


class L2Settings(MethodSettings):
    """Settings of l2."""

    strength: Annotated[float, Field(ge=0, description="nats per unit of squared distance")] = 0.03


class L2(Sequential):
    """Sequential fine-tuning with loss + strength * |theta - theta*|^2."""

    name = "l2"
    settings_type = L2Settings

    def trainable(self, start: Start) -> FineTuning:
        """All parameters, anchored with one strength."""
        return Anchored(start, dict.fromkeys(trainable_parameters(start.model), self.settings.strength))


class EwcSettings(MethodSettings):
    """Settings of ewc."""

    strength: Annotated[float, Field(ge=0, description="lambda; 1 weighs an earlier token as one of the task")] = 300.0
    decay: Annotated[float, Field(ge=0, le=1, description="of the Fisher information with every task")] = 1.0
    pairs: Annotated[int, Field(ge=1, description="per domain, to estimate its Fisher information on")] = 200


class Ewc(Sequential):
    """Sequential fine-tuning with loss + strength/2 * sum_i F_i (theta_i - theta*_i)^2.

    theta* is the model before the task. F is the diagonal of the empirical Fisher information of one target token,
    summed over the domains so far, general text included; F becomes decay * F + F(task) after a task.
    """

    name = "ewc"
    settings_type = EwcSettings

    def start(self, task: TaskSettings, earlier: Sequence[str]) -> Start:
        """Before the first task, the Fisher information of general text is estimated."""
        start = super().start(task, earlier)
        return start if earlier else replace(start, left=self._fisher(start, GENERAL))

    def trainable(self, start: Start) -> FineTuning:
        """All parameters, anchored by importance."""
        half, device = self.settings.strength / 2, self.run.device.torch
        weights = {name.removeprefix(_FISHER): half * fisher.to(device) for name, fisher in start.left.items()}
        return Anchored(start, weights)

    def leave(self, start: Start, _trainable: FineTuning) -> dict[str, Tensor]:
        """The accumulated Fisher information."""
        new = self._fisher(start, start.task.name)
        return {name: self.settings.decay * start.left[name] + fisher for name, fisher in new.items()}

    def _fisher(self, start: Start, domain: str) -> dict[str, Tensor]:
        examples = self.kept_examples(start, domain, self.settings.pairs)
        fisher = fisher_information(start.model, examples, start.tokenizer.pad_token_id)
        return {f"{_FISHER}{name}": tensor.cpu() for name, tensor in fisher.items()}


def fisher_information(model: Any, examples: Sequence[Example], pad: int) -> Mapping[str, Tensor]:
    """Diagonal empirical Fisher information per target token: sum over pairs of (d log p(y|x) / d theta)^2 / tokens.

    Without dropout, and one pair at a time: the square of a batch's gradient is not the sum of its pairs' squares.
    """
    model.eval()
    parameters = {name: p.requires_grad_(True) for name, p in trainable_parameters(model).items()}
    totals = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    tokens = 0
    for example in examples:
        batch = collate([example], pad).on(model.device, model.config)
        loss = F.cross_entropy(logits(model, batch)[0], batch.target[0], ignore_index=IGNORED, reduction="sum")
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        for total, gradient in zip(totals.values(), gradients, strict=True):
            if gradient is not None:
                total += gradient.square()
        tokens += batch.target_tokens
    return {name: total / tokens for name, total in totals.items()}
