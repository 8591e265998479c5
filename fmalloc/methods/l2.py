"""L2 regularisation towards the model before the task: every parameter is held back alike."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from fmalloc.methods.finetuning import FineTuning, trainable_parameters
from fmalloc.methods.method import MethodSettings
from fmalloc.methods.sequential import Sequential, Start


class Anchored(FineTuning):
    """Minimises the loss + sum_i weight_i (theta_i - theta*_i)^2; theta* is the model before the task.

    `weights`: by parameter, of its shape or scalar, in nats a target token.
    """

    def __init__(self, start: Start, weights: Mapping[str, Tensor | float]) -> None:
        super().__init__(start.model, start.validator, start.settings)
        self.weights = weights
        self.anchors = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    @torch.no_grad()
    def after_backward(self) -> None:
        """Add the penalty's gradient; the loss that is reported stays the text's own."""
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                parameter.grad += 2 * self.weights[name] * (parameter - self.anchors[name])


class L2Settings(MethodSettings):
    """Settings of l2."""

    strength: Annotated[float, Field(ge=0, description="nats a unit of squared distance")] = 0.03


class L2(Sequential):
    """Sequential fine-tuning with loss + strength * |theta - theta*|^2."""

    name = "l2"
    settings_type: ClassVar[type[MethodSettings]] = L2Settings

    def trainable(self, start: Start) -> FineTuning:
        """All parameters, anchored with one strength."""
        return Anchored(start, dict.fromkeys(trainable_parameters(start.model), self.settings.strength))
