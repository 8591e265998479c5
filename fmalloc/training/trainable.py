"""What a run trains: the parameters, the loss, and hooks around each update."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from fmalloc.model.text.batches import Batch
from fmalloc.store.records import CurvePoint


class Trainable(ABC):
    """What a run trains; the hooks run in the order in which they stand here.

    model: what computes, a model of transformers; pretrained: whether it should translate from the start.
    """

    model: Any
    pretrained = True

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Every tensor that training changes, by name: what checkpoints and the best state hold."""

    @abstractmethod
    def optimizer(self) -> torch.optim.Optimizer:
        """An optimizer whose groups hold the peak learning rates; the schedule scales them."""

    def before_update(self, update: int) -> None:  # noqa: B027
        """Prepare the forward pass of an update, counted from 0."""

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """What is minimised: a mean over the batch's target tokens, in nats."""

    def after_backward(self) -> None:  # noqa: B027
        """Change gradients before the optimizer sees them."""

    def after_update(self) -> None:  # noqa: B027
        """Bring parameters back to where they are allowed."""

    @abstractmethod
    def validate(self, update: int) -> CurvePoint:
        """Score the state as it would be used."""
