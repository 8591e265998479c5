"""A task's model put together from the base and the memories: dense, masked, or sliced."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from fmalloc.model.architectures import feed_forward_layers, load_base
from fmalloc.model.feedforward import CellBlock, MaskedFeedForward, replace, slice_cells, write_cells
from fmalloc.model.private import fold
from fmalloc.store.cells import Mask
from fmalloc.store.store import Store
from fmalloc.store.tensors import Memory
from fmalloc_shared.names import GENERAL


def overlay(model: Any, memories: Iterable[Mapping[str, Memory]]) -> None:
    """Write the cells that tasks own into an untouched base model."""
    layers = feed_forward_layers(model)
    for task in memories:
        for layer in layers:
            memory = task[layer.name]
            weights = (memory.fc1_weight, memory.fc1_bias, memory.fc2_weight)
            write_cells(layer, torch.from_numpy(memory.cells), CellBlock(*(torch.from_numpy(w) for w in weights)))


def apply_masks(model: Any, masks: Mapping[str, Mask]) -> None:
    """Multiply every layer's cells by its mask in the forward pass."""
    for layer in feed_forward_layers(model):
        replace(layer, MaskedFeedForward(layer, torch.from_numpy(masks[layer.name])))


def slice_masks(model: Any, masks: Mapping[str, Mask]) -> None:
    """Keep of every layer only the cells that its mask switches on."""
    for layer in feed_forward_layers(model):
        slice_cells(layer, torch.from_numpy(masks[layer.name]))


def load_dense(store: Store, name: str) -> tuple[Any, Any]:
    """The base with the cells of `name` and of the tasks it reads, and its private parameters. And the tokenizer.

    Every cell is on.
    """
    model, tokenizer = load_base(store.base, store.description.languages)
    if name != GENERAL:
        overlay(model, [store.memory(task) for task in (*store.task(name).reads, name)])
        fold(model, store.private(name))
    return model, tokenizer


def load_masked(store: Store, name: str) -> tuple[Any, Any]:
    """The dense model under the task's mask: the reference of every parity check. And the tokenizer."""
    model, tokenizer = load_dense(store, name)
    apply_masks(model, store.mask(name))
    return model, tokenizer


def load_sliced(store: Store, name: str) -> tuple[Any, Any]:
    """The model without the cells that the task's mask switches off. And the tokenizer."""
    model, tokenizer = load_dense(store, name)
    slice_masks(model, store.mask(name))
    return model, tokenizer
