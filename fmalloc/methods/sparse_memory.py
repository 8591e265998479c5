"""Sparse memory finetuning: a task changes only the cells that it uses and general text does not (Lin et al. 2025)."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from fmalloc.learning.cells.tfidf import best_cells, cell_scores
from fmalloc.methods.finetuning import FineTuning
from fmalloc.methods.method import BASE, MethodSettings
from fmalloc.methods.sequential import Sequential, Start
from fmalloc.model.architectures import feed_forward_layers, load_base
from fmalloc.model.feedforward import CellBlock, GatedFeedForward, block_of, replace, write_cells
from fmalloc.model.gate import GENERAL_START
from fmalloc.model.text.batches import encode
from fmalloc.recipe import LearningSettings
from fmalloc.training.validation import Validator
from fmalloc_shared.names import GENERAL

_CELLS = "cells"


class SparseMemorySettings(MethodSettings):
    """How many cells change, and by which optimizer: plain SGD forgets less than AdamW."""

    learning_rate: Annotated[float | None, Field(gt=0, description="instead of the recipe's")] = 1.0
    optimizer: Literal["sgd", "adamw"] = "sgd"
    share: Annotated[float, Field(gt=0, le=1, description="of each layer's cells, by highest TF-IDF")] = 0.1


class SparseMemory(Sequential):
    """One model for all tasks, changed in place; a state is the cells that its task changed."""

    name = "sparse-memory"
    settings_type = SparseMemorySettings

    def trainable(self, start: Start) -> "SparseTuning":
        """The cells of highest TF-IDF of the task's text against general text, as the present model uses them."""
        general = self.run.corpora[GENERAL].train
        longest, cache = start.settings.maximum_length, self.run.cache
        background = encode(start.tokenizer, general, self.run.languages, maximum_length=longest, cache=cache).examples
        pad, seed = start.tokenizer.pad_token_id, start.settings.seed
        scores = cell_scores(start.model, start.data.train, background, pad=pad, seed=seed)
        cells = {
            name: torch.from_numpy(best_cells(values, round(self.settings.share * len(values)), np.arange(len(values))))
            for name, values in scores.items()
        }
        return SparseTuning(start.model, start.validator, start.settings, cells, self.settings.optimizer)

    def kept(self, _start: Start, trainable: FineTuning) -> dict[str, Tensor]:
        """The changed cells, and which they are."""
        if not isinstance(trainable, SparseTuning):
            raise TypeError("expected the cells' trainable")
        return trainable.tensors() | {f"{name}.{_CELLS}": cells for name, cells in trainable.cells.items()}

    def load(self, state: str) -> tuple[Any, Any]:
        """The base with the cells that each task up to this one changed, in their order."""
        model, tokenizer = load_base(self.run.recipe.base, self.run.languages)
        names = [task.name for task in self.run.recipe.tasks]
        for name in names[: names.index(state) + 1] if state != BASE else ():
            tensors = self.parameters_of(name)
            for layer in feed_forward_layers(model):
                block = CellBlock(*(tensors[f"{layer.name}.{part}"] for part in CellBlock._fields))
                write_cells(layer, tensors[f"{layer.name}.{_CELLS}"], block)
        return model, tokenizer


class SparseTuning(FineTuning):
    """Trains some cells of each layer; the others are not parameters."""

    def __init__(
        self,
        model: Any,
        validator: Validator,
        settings: LearningSettings,
        cells: Mapping[str, Tensor],
        optimizer: Literal["sgd", "adamw"],
    ) -> None:
        self.cells, self._optimizer = cells, optimizer
        parameters: dict[str, nn.Parameter] = {}
        for layer in feed_forward_layers(model):
            block, written = block_of(layer), cells[layer.name]
            read = torch.from_numpy(np.setdiff1d(np.arange(layer.width), written.numpy()))
            gates = torch.full((layer.width,), GENERAL_START, device=block.keys.device)
            module = GatedFeedForward(layer, read, block.select(written), gates, settings.tau_max)
            replace(layer, module)
            parameters |= {f"{layer.name}.{part}": getattr(module, part) for part in CellBlock._fields}
        super().__init__(model, validator, settings, parameters)

    def optimizer(self) -> torch.optim.Optimizer:
        """Plain SGD, or AdamW as for every method."""
        if self._optimizer == "adamw":
            return super().optimizer()
        return torch.optim.SGD(self.parameters.values(), lr=self.settings.learning_rate)
