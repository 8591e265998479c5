"""Dynamic knowledge distillation (Cao et al. 2021): the more was learned before, the more the teacher counts."""

from typing import Annotated, ClassVar

from pydantic import Field

from fmalloc.methods.finetuning import FineTuning
from fmalloc.methods.kd import Distilled
from fmalloc.methods.method import MethodSettings
from fmalloc.methods.sequential import Sequential, Start


class DynamicKdSettings(MethodSettings):
    """Settings of dynamic-kd."""

    decay: Annotated[float, Field(gt=0, le=1, description="of a stage's weight with every later stage")] = 0.999


class DynamicKd(Sequential):
    """Sequential fine-tuning in which the model before the task teaches with the weight of `teacher_weight`."""

    name = "dynamic-kd"
    settings_type: ClassVar[type[MethodSettings]] = DynamicKdSettings

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
