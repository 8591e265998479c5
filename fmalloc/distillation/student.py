"""A student: a copy of its teacher with some of the decoder's layers, every parameter of which may move.

Which layers are left out is measured: one after another goes the layer without which the loss is smallest.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fmalloc.model.architectures import STACKS, feed_forward_layers, load_base
from fmalloc.model.assembly import put_parameters, trainable_parameters
from fmalloc.model.base import check_finite
from fmalloc.model.feedforward import linear
from fmalloc.store.distilled import Distilled
from fmalloc.store.store import Store
from fmalloc_shared.errors import FmallocError

_OUTPUT_BIAS = "final_logits_bias"
_NAMED = 3


def depth_of(model: Any) -> int:
    """Number of decoder layers."""
    return len(_decoder_layers(model))


def check_depth(depth: int, teacher: int) -> None:
    """Raise FmallocError unless a student of `depth` decoder layers has fewer than its teacher, and one at least."""
    if teacher == 1:
        raise FmallocError("the model has one decoder layer: there is no shallower one")
    if not 1 <= depth < teacher:
        raise FmallocError(f"depth {depth}: the model has {teacher} decoder layers, expected 1 to {teacher - 1}")


def choose_layers(teacher: Any, depth: int, loss: Callable[[Any], float]) -> tuple[int, ...]:
    """The decoder layers to keep, ascending: as long as there are too many, that whose absence costs least goes.

    `loss`: of a model without some of its layers, which has no cache of keys and values; the teacher stays as it is.
    """
    trial = copy.deepcopy(teacher)
    layers, kept = _decoder_layers(trial), list(range(depth_of(teacher)))
    while len(kept) > depth:
        losses = {}
        for index in kept:
            _set_layers(trial, [layers[other] for other in kept if other != index])
            losses[index] = loss(trial)
        kept.remove(min(kept, key=lambda index: losses[index]))
    return tuple(kept)


def student_of(teacher: Any, layers: Sequence[int]) -> Any:
    """A copy of the teacher with these of its decoder layers, whose parameters require gradients."""
    student = copy.deepcopy(teacher)
    cut(student, layers)
    return free(student)


def free(student: Any) -> Any:
    """The model itself, all of whose parameters require gradients."""
    for parameter in trainable_parameters(student).values():
        parameter.requires_grad_(True)
    return student


def cut(model: Any, layers: Sequence[int]) -> None:
    """Leave a model these of its decoder layers, in place."""
    own = _decoder_layers(model)
    kept = [own[index] for index in layers]
    for index, layer in enumerate(kept):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = index  # type: ignore[assignment] # its place in the cache of keys and values
    _set_layers(model, kept)
    model.config.decoder_layers = len(kept)


def parameters_of(student: Any) -> dict[str, Tensor]:
    """All that makes a student of the base's configuration, by transformers' names: parameters and output bias."""
    tensors: dict[str, Tensor] = dict(trainable_parameters(student))
    if isinstance(bias := getattr(student, _OUTPUT_BIAS, None), Tensor):
        tensors[_OUTPUT_BIAS] = bias
    return tensors


def restore_student(base: Any, layers: Sequence[int], tensors: Mapping[str, Tensor], where: Path) -> Any:
    """Make the student of `parameters_of` from an untouched base, which becomes it; frozen, in evaluation mode.

    `where`: the file of the tensors. Raises FmallocError, which names it, if they are not exactly the student's.
    """
    depth = depth_of(base)
    if not layers or any(not 0 <= index < depth for index in layers):
        raise FmallocError(f"{where}: is of the decoder layers {list(layers)}, but the base has {depth}")
    cut(base, layers)
    _resize_cells(base, tensors, where)
    wanted = parameters_of(base)
    if different := sorted({*wanted} ^ {*tensors}):
        raise FmallocError(f"{where}: {', '.join(different[:_NAMED])}: not there, or not of this base")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise FmallocError(f"{where}: {name} is {list(tensor.shape)}, expected {list(wanted[name].shape)}")
    bias = {name: tensor for name, tensor in tensors.items() if name == _OUTPUT_BIAS}
    put_parameters(base, {name: tensor for name, tensor in tensors.items() if name not in bias})
    for name, tensor in bias.items():
        getattr(base, name).copy_(tensor)
    check_finite(base, where)
    return base.requires_grad_(False).eval()


def load_student(store: Store, found: Distilled) -> tuple[Any, Any]:
    """A distilled model of a store, and the tokenizer; errors as of restore_student."""
    base, tokenizer = load_base(store.base, store.description.languages)
    tensors = {name: torch.from_numpy(values) for name, values in found.tensors().items()}
    return restore_student(base, found.record.decoder_layers, tensors, found.model), tokenizer


def keep_start_row_zero(student: Any) -> None:
    """Marian's decoder starts with its padding piece, whose embedding is zero for every engine.

    It must not drift through the tied output projection.
    """
    if student.config.model_type == "marian":
        with torch.no_grad():
            student.get_decoder().embed_tokens.weight[student.config.decoder_start_token_id] = 0


def _decoder_layers(model: Any) -> list[nn.Module]:
    return list(model.get_submodule(STACKS["decoder"]))


def _set_layers(model: Any, layers: Sequence[nn.Module]) -> None:
    parent, _, name = STACKS["decoder"].rpartition(".")
    setattr(model.get_submodule(parent), name, nn.ModuleList(layers))


def _resize_cells(model: Any, tensors: Mapping[str, Tensor], where: Path) -> None:
    """Give every feed-forward layer as many cells as the tensors have."""
    for layer in feed_forward_layers(model):
        stack, _, index = layer.name.partition(".")
        name = f"{STACKS[stack]}.{index}.fc1.weight"
        if name not in tensors or tensors[name].dim() != 2:
            raise FmallocError(f"{where}: has no {name}")
        width, size = len(tensors[name]), layer.module.fc2.weight.shape[0]
        layer.module.fc1 = linear(torch.zeros(width, size), torch.zeros(width))
        layer.module.fc2 = linear(torch.zeros(size, width), torch.zeros(size))
