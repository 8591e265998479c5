"""A new version of a domain may begin as a copy of an older one: its cells, its mask and its private parameters."""

import numpy as np
import torch
from torch import Tensor

from fmalloc.learning.cells.allocation import Allocation
from fmalloc.learning.learner import Learner
from fmalloc.model.feedforward import GatedFeedForward
from fmalloc.store.cells import Mask
from fmalloc.store.store import Store
from fmalloc.store.tensors import Memory


def begin_as(learner: Learner, store: Store, task: str) -> None:
    """Let a learner begin where a task ended, as far as its cells fit into those that it may write.

    If they all do, its hard model is that of the task, to the bit but for the order of its cells.
    """
    memories, private = store.memory(task), store.private(task)
    draw = torch.Generator().manual_seed(learner.settings.seed)
    with torch.no_grad():
        for name, module in learner.gated.items():
            allocation, memory = learner.allocations[name], memories[name]
            _switch(module.gates, allocation, memory.mask, draw)
            _copy(module, len(allocation.read), memory)
        for name, parameter in learner.private.items():
            if name not in private:
                continue
            # Layers may have been widened, and additions may have a higher rank now: what is new adds nothing yet.
            values = torch.from_numpy(private[name])
            place = parameter[tuple(map(slice, values.shape))]
            if place.shape == values.shape:
                place.copy_(values)


def _switch(gates: Tensor, allocation: Allocation, mask: Mask, draw: torch.Generator) -> None:
    """Gates of what is read are open where the mask is; layers may have been widened since it was learned."""
    wide = np.zeros(allocation.width, dtype=np.bool_)
    wide[: len(mask)] = mask
    is_on = torch.from_numpy(wide[allocation.read]).to(gates.device)
    read = gates[: len(is_on)]
    closed = -torch.randn(len(is_on), generator=draw).abs().to(gates.device)
    read.copy_(torch.where(is_on, read.abs(), closed))


def _copy(module: GatedFeedForward, read: int, memory: Memory) -> None:
    """Claimed cells into the first writable ones, with open gates; where there are fewer, those of largest values.

    All other gates are closed, whatever the settings say of a first version's: it begins with what was known.
    """
    count = min(len(memory.cells), len(module.keys))
    largest = np.argsort(-np.linalg.norm(memory.fc2_weight, axis=0), kind="stable")
    chosen = np.sort(largest[:count])
    module.keys[:count] = torch.from_numpy(memory.fc1_weight[chosen]).to(module.keys)
    module.biases[:count] = torch.from_numpy(memory.fc1_bias[chosen]).to(module.biases)
    module.values[:, :count] = torch.from_numpy(np.ascontiguousarray(memory.fc2_weight[:, chosen])).to(module.values)
    copied, others = module.gates[read : read + count], module.gates[read + count :]
    copied.copy_(copied.abs())
    others.copy_(-others.abs())
