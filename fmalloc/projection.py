"""The loss of a frozen output projection, without ever holding the logits of a whole batch.

A vocabulary of 60,000 makes the logits the largest tensors of training by far, and reading and writing them several
times a good part of its time. The projection is frozen, so all that backward needs is the gradient of its input: the
row of weights expected under the softmax less that of the reference, which blocks of columns add up to.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

# Logits held at a time: a few megabytes stay in a processor's cache.
_BLOCK = {"cpu": 2**20}
_BLOCK_ELSEWHERE = 2**26


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
        mean_row, mean_bias = weight.mean(0), bias.mean() if bias is not None else 0.0
        log_sum, expected = _softmax(hidden, weight, bias, expects=context.needs_input_grad[0])
        wanted = weight[target]
        chosen = (hidden.float() * wanted.float()).sum(1) + (bias[target] if bias is not None else 0.0)
        smooth = (hidden @ mean_row).float() + mean_bias
        if expected is not None:
            context.save_for_backward((expected - (1 - smoothing) * wanted - smoothing * mean_row).to(hidden.dtype))
        return (log_sum - (1 - smoothing) * chosen - smoothing * smooth).sum()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        (gradient,) = context.saved_tensors
        return gradient * gradients[0].to(gradient.dtype), None, None, None, None


def _softmax(hidden: Tensor, weight: Tensor, bias: Tensor | None, *, expects: bool) -> tuple[Tensor, Tensor | None]:
    """Log of each row's sum of exponentials, and the row of weights expected under its softmax, in float32.

    Columns pass in blocks; sums relate to the largest logit so far (Milakov & Gimelshein 2018, online softmax).
    """
    rows, width = hidden.shape
    largest = torch.full((rows,), torch.finfo(torch.float32).min, device=hidden.device)
    total = torch.zeros_like(largest)
    expected = torch.zeros(rows, width, device=hidden.device) if expects else None
    step = max(1, _BLOCK.get(hidden.device.type, _BLOCK_ELSEWHERE) // max(1, rows))
    for start in range(0, len(weight), step):
        block = weight[start : start + step]
        logits = F.linear(hidden, block, None if bias is None else bias[start : start + step]).float()
        before, largest = largest, torch.maximum(largest, logits.amax(1))
        shrunk, powers = torch.exp(before - largest), logits.sub_(largest[:, None]).exp_()
        total = total * shrunk + powers.sum(1)
        if expected is not None:
            expected.mul_(shrunk[:, None]).add_(powers.to(block.dtype) @ block)
    return largest + total.log(), None if expected is None else expected.div_(total[:, None])


def smoothed_sum(hidden: Tensor, projection: Projection, target: Tensor, label_smoothing: float) -> Tensor:
    """Label-smoothed cross-entropy, summed, in nats; hidden: (positions, d_model), target: (positions,)."""
    weight, bias = projection
    if torch.is_autocast_enabled(hidden.device.type):
        kind = torch.get_autocast_dtype(hidden.device.type)
        hidden, weight, bias = hidden.to(kind), weight.to(kind), None if bias is None else bias.to(kind)
    loss: Tensor = _SmoothedLoss.apply(hidden, weight, bias, target, label_smoothing)  # type: ignore[no-untyped-call]
    return loss
