"""Half fine-tuning (Hui et al. 2024): every task trains a random half of the matrices and leaves the other as it is."""

from collections import defaultdict
from typing import Any

import numpy as np
from torch import Tensor, nn

from fmalloc.methods.finetuning import FineTuning
from fmalloc.methods.sequential import Sequential, Start
from fmalloc.model.assembly import module_of, trainable_parameters


class Hft(Sequential):
    """Sequential fine-tuning of half the modules of every category, drawn anew for each task.

    A category is what one block has of a kind: the four projections of an attention, the two matrices of a
    feed-forward layer, a layer's norms; an odd number is rounded up, so that a single module (embeddings) is trained.
    """

    name = "hft"

    def trainable(self, start: Start) -> FineTuning:
        """The task's half; the seed and the number of earlier tasks decide which."""
        half = chosen_half(start.model, np.random.default_rng([start.settings.seed, len(start.earlier)]))
        return FineTuning(start.model, start.validator, start.settings, half)

    def kept(self, start: Start, _trainable: FineTuning) -> dict[str, Tensor]:
        """Both halves: what earlier tasks trained stays."""
        return dict(trainable_parameters(start.model))


def chosen_half(model: Any, random: np.random.Generator) -> dict[str, nn.Parameter]:
    """Parameters of half the modules of each category, rounded up."""
    parameters = trainable_parameters(model)
    categories = defaultdict[tuple[str, type], list[str]](list)
    for module in dict.fromkeys(map(module_of, parameters)):
        categories[module_of(module), type(model.get_submodule(module))].append(module)
    chosen = set[str]()
    for modules in categories.values():
        chosen |= {modules[index] for index in random.permutation(len(modules))[: (len(modules) + 1) // 2]}
    return {name: parameter for name, parameter in parameters.items() if module_of(name) in chosen}
