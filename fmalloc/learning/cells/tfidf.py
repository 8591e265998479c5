"""TF-IDF of memory cells: which ones a task's text uses and general text does not (Lin et al. 2025)."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fmalloc.model.architectures import FeedForwardLayer, feed_forward_layers
from fmalloc.model.objective import logits
from fmalloc.model.text.batches import IGNORED, Batch, Example, TrainingBatches
from fmalloc.store.cells import Cells

# Of both texts. Small: the larger batches are, the more alike is what they use.
_BATCHES = 100
_BATCH_TOKENS = 200

Mass = NDArray[np.float64]
CellScores = NDArray[np.float64]


def tfidf(task: Mass, background: Mass) -> CellScores:
    """score(i) = c(i) / sum_j c(j) * log((B + 1) / (background batches in which i is active + 1)), of shape (width,).

    task, background: (batches, width), the activation mass of each cell in each batch; c sums it over batches. A cell
    is active in a batch that gives it more than the mean cell.
    """
    used = task.sum(0)
    active = (background > background.mean(1, keepdims=True)).sum(0)
    return np.asarray(used / max(used.sum(), np.finfo(np.float64).tiny) * np.log((len(background) + 1) / (active + 1)))


def best_cells(scores: CellScores, count: int, among: Cells) -> Cells:
    """The `count` cells of highest score among some, ties by index; ids ascending."""
    order = np.argsort(-scores[among], kind="stable")
    return np.sort(among[order[:count]])


def cell_scores(
    model: Any, task: Sequence[Example], background: Sequence[Example], *, pad: int, seed: int
) -> dict[str, CellScores]:
    """TF-IDF of every cell by layer, from seeded batches of both texts. The model must be an untouched dense one."""
    of_task, of_background = (
        activation_mass(model, (batches.batch(index) for index in range(_BATCHES)))
        for batches in (TrainingBatches(text, _BATCH_TOKENS, pad, seed) for text in (task, background))
    )
    return {layer: tfidf(of_task[layer], of_background[layer]) for layer in of_task}


def activation_mass(model: Any, batches: Iterable[Batch]) -> dict[str, Mass]:
    """Sum of |activation| of each cell over each batch's tokens, by layer: float64 of shape (batches, width)."""
    masks: dict[str, Tensor] = {}
    mass: dict[str, list[Tensor]] = {}
    handles = []
    for layer in feed_forward_layers(model):
        mass[layer.name] = []
        handles.append(layer.module.fc2.register_forward_pre_hook(_summing(layer, masks, mass)))
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for batch in batches:
            moved = batch.on(model.device, model.config)
            masks |= {"encoder": moved.source_mask.bool(), "decoder": moved.target != IGNORED}
            logits(model, moved)
    model.train(was_training)
    for handle in handles:
        handle.remove()
    return {name: torch.stack(found).cpu().numpy() for name, found in mass.items()}


def _summing(
    layer: FeedForwardLayer, masks: Mapping[str, Tensor], mass: Mapping[str, list[Tensor]]
) -> Callable[[Any, tuple[Tensor]], None]:
    def add(_module: Any, inputs: tuple[Tensor]) -> None:
        active = layer.batch_first(inputs[0])[masks[layer.stack]]
        mass[layer.name].append(active.abs().double().sum(0))

    return add
