"""What a student learns: at every target position the distribution of its teacher (Hinton et al. 2015).

On references and, since a student that small cannot follow all of them, on the teacher's own translations (Kim and Rush
2016), as word-level distillation on both. In the last part of the updates weights are rounded as int8 rounds them.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from fmalloc.distillation.rounding import held_rounded, straight_through
from fmalloc.distillation.student import keep_start_row_zero
from fmalloc.model.assembly import trainable_parameters
from fmalloc.model.objective import forward
from fmalloc.model.text.batches import Batch
from fmalloc.store.records import CurvePoint
from fmalloc.training.trainable import Trainable
from fmalloc.training.validation import Validator


class Distiller(Trainable):
    """Every parameter of a student. It is validated with rounded weights, as it will serve.

    rounded_from: the update, counted from 0, from which on it also learns with them, if not from `rounded_at` on
    already, a time of time.monotonic.
    """

    pretrained = False
    rounded_from: float = math.inf
    rounded_at: float = math.inf

    def __init__(self, student: Any, teacher: Any, validator: Validator, rate: float) -> None:
        device = validator.device.torch
        self.model, self.teacher, self.validator = student.to(device), teacher.to(device), validator
        self.rate, self._rounds = rate, False
        self.parameters = trainable_parameters(student)

    def tensors(self) -> dict[str, Tensor]:
        """All parameters; tied ones once."""
        return dict(self.parameters)

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam over everything."""
        return torch.optim.Adam(self.parameters.values(), lr=self.rate, betas=(0.9, 0.98), fused=True)

    def before_update(self, update: int) -> None:
        """Dropout for the student only."""
        self._rounds = update >= self.rounded_from or time.monotonic() >= self.rounded_at
        self.model.train()

    def loss(self, batch: Batch) -> Tensor:
        """KL(teacher || student), the mean over target positions."""
        with torch.no_grad():
            taught = _log_probs(self.teacher, self.teacher.config, batch)
        learned = _log_probs(self._computed(), self.model.config, batch)
        return F.kl_div(learned, taught, log_target=True, reduction="batchmean")

    def _computed(self) -> Callable[..., Any]:
        if not self._rounds:
            return self.model  # type: ignore[no-any-return]
        weights = straight_through(self.parameters)
        return lambda **inputs: functional_call(self.model, weights, (), inputs)

    def after_update(self) -> None:
        """Marian's start stays zero."""
        keep_start_row_zero(self.model)

    def validate(self, update: int) -> CurvePoint:
        """NLL on dev, with rounded weights."""
        with held_rounded(self.parameters):
            return self.validator.point(self.model, update)


def _log_probs(model: Callable[..., Any], config: Any, batch: Batch) -> Tensor:
    """Float32 (target tokens, vocabulary)."""
    scores = batch.of_tokens(forward(model, config, batch).logits)
    return F.log_softmax(scores.float(), dim=-1)
