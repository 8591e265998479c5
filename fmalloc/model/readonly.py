"""Read-only cells in training: a frozen block of a feed-forward layer, of which backward needs only inputs and masks.

A feed-forward layer is wide, so that on a processor reading and writing its activations takes as long as its matrix
products. Here they pass in blocks of rows that stay in the cache, and only the input of the activation is kept. The
mask goes to weights, which are fewer than activations.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Activation = Callable[[Tensor], Tensor]

_CACHED = 2**18  # activations of a block of rows: a megabyte


class _ReadOnly(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, hidden: Tensor, keys: Tensor, biases: Tensor, values: Tensor, mask: Tensor, activation: Activation
    ) -> Tensor:
        rows, masked = _rows(hidden, keys), (values * mask).to(values.dtype)
        inner, output = hidden.new_empty(len(hidden), len(keys)), hidden.new_empty(len(hidden), len(values))
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            torch.addmm(biases, hidden[part], keys.T, out=inner[part])
            torch.mm(activation(inner[part]), masked.T, out=output[part])
        if any(context.needs_input_grad):
            context.save_for_backward(inner, keys, values, mask)
            context.activation = activation
        return output

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None, None, Tensor, None]:
        inner, keys, values, mask = context.saved_tensors
        gradient, rows = gradients[0], _rows(gradients[0], keys)
        of_hidden = gradient.new_empty(len(inner), keys.shape[1]) if context.needs_input_grad[0] else None
        of_mask, masked = torch.zeros_like(mask), (keys * mask[:, None]).to(keys.dtype)
        for start in range(0, len(inner), rows):
            part = slice(start, start + rows)
            of_active = gradient[part] @ values
            with torch.enable_grad():
                entered = inner[part].detach().requires_grad_()
                active = context.activation(entered)
            of_mask += (active.detach() * of_active).sum(0)
            if of_hidden is not None:
                (of_entered,) = torch.autograd.grad(active, entered, of_active)
                torch.mm(of_entered, masked, out=of_hidden[part])
        return of_hidden, None, None, None, of_mask, None


def _rows(hidden: Tensor, keys: Tensor) -> int:
    return max(1, _CACHED // max(1, len(keys))) if hidden.device.type == "cpu" else max(1, len(hidden))


def read_only(
    hidden: Tensor, keys: Tensor, biases: Tensor, values: Tensor, mask: Tensor, activation: Activation
) -> Tensor:
    """sum_i m_i * f(k_i . x + b_i) * v_i with gradients of hidden (..., d_model) and mask (k,) only.

    keys: (k, d_model), biases: (k,), values: (d_model, k). Under autocast the products are in its precision.
    """
    if torch.is_autocast_enabled(hidden.device.type):
        kind = torch.get_autocast_dtype(hidden.device.type)
        hidden, keys, biases, values = (tensor.to(kind) for tensor in (hidden, keys, biases, values))
    flat = hidden.reshape(-1, hidden.shape[-1])
    output: Tensor = _ReadOnly.apply(flat, keys, biases, values, mask, activation)  # type: ignore[no-untyped-call]
    return output.view(hidden.shape)
