"""A DomainModel as a transformers model, which calibration and parity checks run."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from fmalloc.model.architectures import feed_forward_layers
from fmalloc.model.feedforward import linear
from fmalloc_export.domain.model import DomainModel


def with_cells(base: Any, domain: DomainModel) -> Any:
    """A copy of `base` that computes with the cells of `domain`; every target token can still be written."""
    model = copy.deepcopy(base)
    set_cells(model, domain)
    return model


def set_cells(model: Any, domain: DomainModel) -> None:
    """Replace the cells of a transformers model; cells that the domain switches off are left out."""
    for layer, block in zip(feed_forward_layers(model), domain.feed_forward, strict=True):
        kept = block.select(block.mask.nonzero()[0])
        weights = (kept.fc1_weight, kept.fc1_bias, kept.fc2_weight, kept.fc2_bias)
        fc1_weight, fc1_bias, fc2_weight, fc2_bias = (torch.from_numpy(weight.copy()) for weight in weights)
        layer.module.fc1 = linear(fc1_weight, fc1_bias)
        layer.module.fc2 = linear(fc2_weight, fc2_bias)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch and BLAS on one thread: sums of floats depend on the number of threads, a model's bytes must not."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
