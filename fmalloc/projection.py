"""The loss of a frozen output projection, without ever holding the logits of a whole batch.

A vocabulary of 60,000 makes the logits the largest tensors of training by far, and reading and writing them several
times a good part of its time. The projection is frozen, so all that backward needs is the gradient of its input, which
a block of rows yields as soon as its logits are there.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

_BLOCK = 2**21  # logits held at a time: a few megabytes stay in a processor's cache


class Projection(NamedTuple):
    """weight (vocabulary, d_model) and bias (vocabulary,), or None."""

    weight: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, model: Any) -> "Projection | None":
        """The model's projection if it is frozen and stands right behind `model.model`.

        FSMT's is a part of its decoder, and what wraps a model (peft) has no body of its own.
        """
        if not hasattr(model, "lm_head") or not hasattr(model.model, "decoder") or model.lm_head.weight.requires_grad:
            return None
        bias = getattr(model, "final_logits_bias", model.lm_head.bias)
        if bias is not None and bias.requires_grad:
            return None
        return cls(model.lm_head.weight, None if bias is None else bias.flatten())


class _SmoothedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, smoothing: float
    ) -> Tensor:
        vocabulary = len(weight)
        ones = hidden.new_full((vocabulary,), 1 / vocabulary)
        mean_row, mean_bias = ones.to(weight) @ weight, bias.mean() if bias is not None else 0.0
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        gradient = torch.empty_like(hidden) if context.needs_input_grad[0] else None
        step = max(1, _BLOCK // vocabulary)
        for start in range(0, len(hidden), step):
            rows, wanted = hidden[start : start + step], target[start : start + step]
            logits = F.linear(rows, weight, bias).float()
            log_sum = logits.logsumexp(1)
            chosen = logits.gather(1, wanted[:, None])[:, 0]
            smooth = (rows @ mean_row).float() + mean_bias
            total += (log_sum - (1 - smoothing) * chosen - smoothing * smooth).sum()
            if gradient is not None:
                probabilities = logits.sub_(log_sum[:, None]).exp_().to(weight.dtype)
                part = probabilities @ weight
                part -= (1 - smoothing) * weight[wanted] + smoothing * mean_row
                gradient[start : start + step] = part
        if gradient is not None:
            context.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        (gradient,) = context.saved_tensors
        return gradient * gradients[0].to(gradient.dtype), None, None, None, None


def smoothed_sum(hidden: Tensor, projection: Projection, target: Tensor, label_smoothing: float) -> Tensor:
    """Label-smoothed cross-entropy, summed, in nats; hidden: (positions, d_model), target: (positions,)."""
    weight, bias = projection
    if torch.is_autocast_enabled(hidden.device.type):
        kind = torch.get_autocast_dtype(hidden.device.type)
        hidden, weight, bias = hidden.to(kind), weight.to(kind), None if bias is None else bias.to(kind)
    loss: Tensor = _SmoothedLoss.apply(hidden, weight, bias, target, label_smoothing)  # type: ignore[no-untyped-call]
    return loss
