"""What a task may read and write of each layer, and how its cells and gates start."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fmalloc.learning.cells.tfidf import CellScores, best_cells
from fmalloc.model.architectures import feed_forward_layers
from fmalloc.model.feedforward import CellBlock
from fmalloc.model.gate import GENERAL_START
from fmalloc.model.objective import logits
from fmalloc.model.text.batches import Batch
from fmalloc.store.cells import Cells


@dataclass(frozen=True)
class Allocation:
    """Cells of a layer: those a task reads (general and earlier tasks') and those it may write; ids ascending."""

    width: int
    general: Cells
    earlier: Cells
    writable: Cells

    @property
    def read(self) -> Cells:
        """All read-only cells, general ones first."""
        return np.concatenate([self.general, self.earlier])


def offered_cells(free: Cells, share: float, seed: int, scores: CellScores | None = None) -> Cells:
    """A share of a layer's free cells, ids ascending; the others are kept for later tasks.

    The cells of highest score if there are scores, and drawn by the seed otherwise.
    """
    count = round(share * len(free))
    if scores is not None:
        return best_cells(scores, count, among=free)
    return np.sort(np.random.default_rng(seed).permutation(free)[:count])


def fresh_blocks(
    model: Any, allocations: Mapping[str, Allocation], batches: Sequence[Batch], seed: int
) -> dict[str, CellBlock]:
    """Cells that fire on the domain from the first step and change nothing until learned.

    Keys are the domain's own inputs to the layer, centred and scaled to the layer's mean key norm; biases undo the
    centring; values are 0. The model must be the untouched dense one in evaluation mode.
    """
    inputs: dict[str, list[Tensor]] = {name: [] for name in allocations}
    layers = feed_forward_layers(model)
    handles = []
    for layer in layers:

        def note(_module: Any, arguments: tuple[Tensor], name: str = layer.name) -> None:
            inputs[name].append(arguments[0].flatten(0, -2).float().cpu())

        handles.append(layer.module.fc1.register_forward_pre_hook(note))
    with torch.inference_mode():
        for batch in batches:
            logits(model, batch.on(model.device, model.config))
    for handle in handles:
        handle.remove()
    generator = torch.Generator().manual_seed(seed)
    blocks = {}
    for layer in layers:
        seen = torch.cat(inputs[layer.name]).clone()
        centre = seen.mean(0)
        count = len(allocations[layer.name].writable)
        chosen = seen[torch.randint(len(seen), (count,), generator=generator)] - centre
        norm = layer.module.fc1.weight.norm(dim=1).mean().cpu()
        keys = chosen / chosen.norm(dim=1, keepdim=True).clamp_min(1e-6) * norm
        values = torch.zeros(layer.module.fc2.weight.shape[0], count)
        blocks[layer.name] = CellBlock(keys, -keys @ centre, values)
    return blocks


def initial_gates(allocation: Allocation, generator: torch.Generator, *, is_open: bool = False) -> Tensor:
    """-|N(0,1)| everywhere, +10 on general cells: a task begins with nothing but general knowledge.

    `is_open`: +|N(0,1)| on writable cells, which the task then holds at first and gives back where they are no use.
    """
    gates = -torch.randn(len(allocation.read) + len(allocation.writable), generator=generator).abs()
    if is_open:
        gates[len(allocation.read) :].neg_()
    gates[: len(allocation.general)] = GENERAL_START
    return gates
