"""The annealed gate on memory cells and its compensated gradient (Serra et al. 2018, HAT)."""

from typing import Any

import torch
from torch import Tensor

GATE_LIMIT = 10.0
GENERAL_START = 10.0


def temperature(update: int, anneal_updates: int, tau_max: float) -> float:
    """tau of an update counted from 0: linear from 1/tau_max to tau_max over a cycle, then again from the start."""
    progress = (update % anneal_updates) / max(1, anneal_updates - 1)
    return 1 / tau_max + (tau_max - 1 / tau_max) * progress


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, logits: Tensor, tau: float, tau_max: float) -> Tensor:
        context.save_for_backward(logits)
        context.tau_max = tau_max
        return torch.sigmoid(tau * logits)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (logits,) = context.saved_tensors
        open_share = torch.sigmoid(logits)
        return context.tau_max * open_share * (1 - open_share) * gradients[0], None, None


def soft_mask(logits: Tensor, tau: float, tau_max: float) -> Tensor:
    """sigmoid(tau * logits), whose gradient is tau_max * sigmoid'(logits) * dL/dm whatever tau is; shape kept."""
    return _Gate.apply(logits, tau, tau_max)  # type: ignore[no-any-return, no-untyped-call]


def hard_mask(logits: Tensor) -> Tensor:
    """1 where the logit is positive, 0 elsewhere."""
    return (logits > 0).to(logits.dtype)
