"""How long and how to optimise."""

from dataclasses import dataclass
from typing import Literal

Selection = Literal["bleu", "nll"]


@dataclass(frozen=True)
class Schedule:
    """How long and how to optimise (inverse square root after a linear warm-up), and which state is the best."""

    updates: int
    batch_tokens: int
    learning_rate: float
    warmup_updates: int
    validate_every: int
    maximum_length: int
    label_smoothing: float
    seed: int
    patience: int | None = None
    clip_norm: float | None = None
    select_by: Selection = "nll"
