"""Knowledge distillation from the model before the task (Li & Hoiem 2016), and its dynamic form (Cao et al. 2021)."""

import copy
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from fmalloc.methods.finetuning import FineTuning
from fmalloc.methods.method import MethodSettings
from fmalloc.methods.sequential import Sequential, Start
from fmalloc.model.objective import logits, smoothed_cross_entropy
from fmalloc.model.text.batches import Batch


class Distilled(FineTuning):
    """Minimises (1 - weight) * cross-entropy + weight * KL(teacher || student), both a mean over target tokens.

    The teacher is the model before the task; it sees the task's batches, without dropout.
    """

    def __init__(self, start: Start, weight: float) -> None:
        super().__init__(start.model, start.validator, start.settings)
        self.teacher, self.weight = copy.deepcopy(start.model).requires_grad_(False).eval(), weight

    def loss(self, batch: Batch) -> Tensor:
        """Of the task's references and of the teacher's distributions."""
        scores = logits(self.model, batch)
        with torch.no_grad():
            taught = F.log_softmax(batch.of_tokens(logits(self.teacher, batch)), dim=-1)
        divergence = F.kl_div(
            F.log_softmax(batch.of_tokens(scores), dim=-1), taught, log_target=True, reduction="batchmean"
        )
        hard = smoothed_cross_entropy(scores, batch, self.settings.label_smoothing)
        return (1 - self.weight) * hard + self.weight * divergence


class KdSettings(MethodSettings):
    """Settings of kd."""

    weight: Annotated[float, Field(ge=0, le=1, description="of the teacher; 0 is sequential fine-tuning")] = 0.5


class Kd(Sequential):
    """Sequential fine-tuning in which the model before the task teaches with a fixed weight."""

    name = "kd"
    settings_type = KdSettings

    def trainable(self, start: Start) -> FineTuning:
        """All parameters, distilled."""
        return Distilled(start, self.settings.weight)


class DynamicKdSettings(MethodSettings):
    """Settings of dynamic-kd."""

    decay: Annotated[float, Field(gt=0, le=1, description="of a stage's weight with every later stage")] = 0.999


class DynamicKd(Sequential):
    """Sequential fine-tuning in which the model before the task teaches with the weight of `teacher_weight`."""

    name = "dynamic-kd"
    settings_type = DynamicKdSettings

    def trainable(self, start: Start) -> FineTuning:
        """All parameters, distilled; general text was the first stage."""
        return Distilled(start, teacher_weight(len(start.earlier) + 2, self.settings.decay))


def teacher_weight(stage: int, decay: float) -> float:
    """The teacher's weight at a stage, counted from 1, as in F-MALLOC's comparison.

    With stages weighed 1, decay, decay^2, ... from the newest to the oldest, the earlier ones' part of the whole:
    decay (1 - decay^(stage-1)) / (1 - decay^stage); (stage - 1) / stage without decay.
    """
    weights = [decay**age for age in range(stage)]
    return sum(weights[1:]) / sum(weights)
