"""Weights rounded as engines store them in int8, in the forward pass of a model that goes on learning.

A row w of a matrix becomes round(w s) / s with s = 127 / max |w|, as in CTranslate2's int8 models: a scale per output
of a linear layer, and per token of an embedding. Gradients pass as if nothing was rounded (straight-through estimator,
Bengio et al. 2013).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

_LARGEST = 127.0


def rounded(weight: Tensor) -> Tensor:
    """A matrix (rows, columns) as int8 with a scale per row has it."""
    if not weight.numel():
        return weight
    scale = _LARGEST / weight.abs().amax(dim=1, keepdim=True)
    scale = torch.where(torch.isfinite(scale), scale, 1.0)  # of a row of zeros
    return torch.round(weight * scale) / scale


def straight_through(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The matrices among the parameters, rounded, with gradients to the parameters themselves."""
    return {name: tensor + (rounded(tensor) - tensor).detach() for name, tensor in _matrices(parameters)}


@contextmanager
def held_rounded(parameters: Mapping[str, Tensor]) -> Iterator[None]:
    """Within this context the matrices among the parameters are rounded."""
    kept = {name: tensor.detach().clone() for name, tensor in _matrices(parameters)}
    with torch.no_grad():
        for name in kept:
            parameters[name].copy_(rounded(kept[name]))
    try:
        yield
    finally:
        with torch.no_grad():
            for name, tensor in kept.items():
                parameters[name].copy_(tensor)


def _matrices(parameters: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    return ((name, tensor) for name, tensor in parameters.items() if tensor.dim() == 2 and len(tensor) > 1)
