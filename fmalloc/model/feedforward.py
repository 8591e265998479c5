"""A feed-forward layer as memory cells: masked as a whole, sliced, or as a read-only and a writable block, gated.

    FFN(x) = c + sum_i m_i * f(k_i . x + b_i) * v_i

with k_i a row of fc1, v_i a column of fc2 and c the bias of fc2 (METHOD: Wu, Liu, Zong, NAACL 2024).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import is_parametrized

from fmalloc.model.architectures import FeedForwardLayer
from fmalloc.model.gate import hard_mask, soft_mask
from fmalloc.model.readonly import Activation, read_only


class CellBlock(NamedTuple):
    """Cells: keys (k, d_model), key biases (k,), values (d_model, k)."""

    keys: Tensor
    biases: Tensor
    values: Tensor

    def select(self, cells: Tensor) -> "CellBlock":
        """Some of the cells, by index."""
        return CellBlock(self.keys[cells].clone(), self.biases[cells].clone(), self.values[:, cells].clone())


def block_of(layer: FeedForwardLayer) -> CellBlock:
    """All cells of an untouched layer."""
    fc1, fc2 = layer.module.fc1, layer.module.fc2
    return CellBlock(fc1.weight.detach(), fc1.bias.detach(), fc2.weight.detach())


class MaskedFeedForward(nn.Module):
    """All cells in one block times a mask; with every cell on it equals the untouched layer bit for bit."""

    mask: Tensor

    def __init__(self, layer: FeedForwardLayer, mask: Tensor) -> None:
        super().__init__()
        self.fc1, self.activation, self.fc2 = layer.module.fc1, layer.module.activation_fn, layer.module.fc2
        self.activation_dropout = layer.module.activation_dropout
        self.register_buffer("mask", mask.to(self.fc1.weight), persistent=False)
        self.register_buffer("fired", torch.zeros_like(mask, dtype=torch.bool), persistent=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden: (batch, length, d_model) -> (batch, length, d_model)."""
        active = self.activation(self.fc1(hidden))
        active = F.dropout(active * self.mask, self.activation_dropout, self.training)
        return self.fc2(active)  # type: ignore[no-any-return]


class GatedFeedForward(nn.Module):
    """Read-only cells are buffers, writable ones parameters; one gate logit per cell, read-only ones first.

    Protected cells are not parameters, so that no gradient, optimizer state or weight decay ever reaches them. Where
    the layer's weights have a private product, cells are read with it, and only the product learns.
    """

    read_keys: Tensor
    read_biases: Tensor
    read_values: Tensor
    output_bias: Tensor
    read: Tensor

    def __init__(self, layer: FeedForwardLayer, read: Tensor, write: CellBlock, gates: Tensor, tau_max: float) -> None:
        """`read`: ids of cells of the layer; `write`: others, by value."""
        super().__init__()
        self.activation: Activation = layer.module.activation_fn
        self.activation_dropout = float(layer.module.activation_dropout)
        for name, tensor in zip(("read_keys", "read_biases", "read_values"), block_of(layer).select(read), strict=True):
            self.register_buffer(name, tensor)
        self.adapted = is_parametrized(layer.module.fc1)
        if self.adapted:
            self.fc1, self.fc2 = layer.module.fc1, layer.module.fc2
            self.register_buffer("read", read)
        bias = layer.module.fc2.bias
        if bias.requires_grad:  # it is private to the task
            self.output_bias = bias
        else:
            self.register_buffer("output_bias", bias.detach())
        self.keys, self.biases, self.values = (nn.Parameter(tensor.clone()) for tensor in write)
        self.gates = nn.Parameter(gates.clone())
        self.tau_max = tau_max
        self.tau: float | None = None

    def mask(self) -> Tensor:
        """(read + written cells,): soft at temperature `tau`, hard when `tau` is None."""
        return hard_mask(self.gates) if self.tau is None else soft_mask(self.gates, self.tau, self.tau_max)

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden: (batch, length, d_model) -> (batch, length, d_model)."""
        mask = self.mask()
        read, write = mask[: len(self.read_keys)], mask[len(self.read_keys) :]
        output = self._read(hidden, read)
        if len(self.keys):
            output = output + self._learned(hidden, CellBlock(self.keys, self.biases, self.values), write)
        return output + self.output_bias

    def _learned(self, hidden: Tensor, block: CellBlock, mask: Tensor) -> Tensor:
        """Cells whose gradient is needed anyway: the mask goes to values, which are fewer than activations."""
        active = F.dropout(self._active(hidden, block.keys, block.biases), self.activation_dropout, self.training)
        return F.linear(active, block.values * mask)

    def _active(self, hidden: Tensor, keys: Tensor, biases: Tensor) -> Tensor:
        return self.activation(F.linear(hidden, keys, biases))

    def _read(self, hidden: Tensor, mask: Tensor) -> Tensor:
        if self.adapted:
            keys, values = self.fc1.weight[self.read], self.fc2.weight[:, self.read]
            return self._learned(hidden, CellBlock(keys, self.read_biases, values), mask)
        block = (self.read_keys, self.read_biases, self.read_values)
        if not (self.training and self.activation_dropout):
            return read_only(hidden, *block, mask, self.activation)
        active = self._active(hidden, self.read_keys, self.read_biases) * mask
        return F.linear(F.dropout(active, self.activation_dropout, self.training), self.read_values)


def replace(layer: FeedForwardLayer, module: nn.Module) -> None:
    """Let `module` compute the whole feed-forward layer; the model's own forward pass calls it as fc1."""
    layer.module.fc1 = module
    layer.module.activation_fn = nn.Identity()
    layer.module.fc2 = nn.Identity()
    layer.module.activation_dropout = 0.0


def write_cells(layer: FeedForwardLayer, cells: Tensor, block: CellBlock) -> None:
    """Overwrite some cells of an untouched layer."""
    fc1, fc2 = layer.module.fc1, layer.module.fc2
    with torch.no_grad():
        fc1.weight[cells] = block.keys.to(fc1.weight)
        fc1.bias[cells] = block.biases.to(fc1.bias)
        fc2.weight[:, cells] = block.values.to(fc2.weight)


def add_cells(layer: FeedForwardLayer, keys: Tensor) -> None:
    """Widen an untouched layer by cells with these keys (n, d_model), whose biases and values are 0."""
    own, bias = block_of(layer), layer.module.fc2.bias.detach().clone()
    biases, values = own.biases.new_zeros(len(keys)), own.values.new_zeros(own.values.shape[0], len(keys))
    layer.module.fc1 = linear(torch.cat([own.keys, keys.to(own.keys)]), torch.cat([own.biases, biases]))
    layer.module.fc2 = linear(torch.cat([own.values, values], dim=1), bias)


def slice_cells(layer: FeedForwardLayer, mask: Tensor) -> None:
    """Keep the cells that are on, physically; a layer may end with none."""
    cells = mask.nonzero().flatten()
    kept = block_of(layer).select(cells)
    bias = layer.module.fc2.bias.detach().clone()
    layer.module.fc1 = linear(kept.keys, kept.biases)
    layer.module.fc2 = linear(kept.values, bias)


def linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A frozen layer of weight (out, in) and bias (out,); either size may be 0."""
    linear = nn.Linear(1, 1)
    linear.out_features, linear.in_features = weight.shape
    linear.weight = nn.Parameter(weight, requires_grad=False)
    linear.bias = nn.Parameter(bias, requires_grad=False)
    return linear
