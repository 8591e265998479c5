"""A task's model put together from the base and the memories: dense, masked, or sliced; its parameters by name."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fmalloc.model.architectures import feed_forward_layers, load_base
from fmalloc.model.base import check_finite
from fmalloc.model.feedforward import CellBlock, MaskedFeedForward, add_cells, replace, slice_cells, write_cells
from fmalloc.model.private import fold
from fmalloc.store.cells import Mask
from fmalloc.store.store import Store
from fmalloc.store.tensors import Memory
from fmalloc_shared.languages import LanguagePair
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


def load_grown(store: Store, name: str | None = None, languages: LanguagePair | None = None) -> tuple[Any, Any]:
    """The base with the cells that the store had grown by when `name` was learned, or by now. And the tokenizer.

    Nothing of any task is in it. `languages`: as of load_base, those of the store by default.
    """
    model, tokenizer = load_base(store.base, languages or store.description.languages)
    keys = store.fresh_keys(name)
    for layer in feed_forward_layers(model):
        if len(keys[layer.name]):
            add_cells(layer, torch.from_numpy(keys[layer.name]))
            setattr(model.config, f"{layer.stack}_ffn_dim", layer.width)
    return model, tokenizer


def load_dense(store: Store, name: str) -> tuple[Any, Any]:
    """The base with the cells of `name` and of the tasks it reads, and its private parameters. And the tokenizer.

    Every cell is on.
    """
    model, tokenizer = load_grown(store, name)
    if name != GENERAL:
        overlay(model, [store.memory(task) for task in (*store.task(name).reads, name)])
        fold(model, store.private(name))
        check_finite(model, store.path / "tasks" / name)
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


def trainable_parameters(model: Any) -> dict[str, nn.Parameter]:
    """All parameters, tied ones once, but for sinusoidal positions."""
    return {name: parameter for name, parameter in model.named_parameters() if not _is_fixed(model, name)}


def put_parameters(model: Any, tensors: Mapping[str, Tensor]) -> None:
    """Overwrite the parameters of these names."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in tensors.items():
            parameters[name].copy_(tensor)


def module_of(name: str) -> str:
    """The module that a parameter, or another module, belongs to."""
    return name.rpartition(".")[0]


def _is_fixed(model: Any, name: str) -> bool:
    return "Sinusoidal" in type(model.get_submodule(module_of(name))).__name__
