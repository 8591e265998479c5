"""What a domain's student begins as where the store has a shallow general model: that one, with what is the domain's.

The layers that are left have one place in the base, so the domain's own part of each weight is known: its cells, and
what its private parameters add to the base's. Both are put into the shallow model where it has such a place.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fmalloc.distillation.student import cut, load_student
from fmalloc.model.architectures import FeedForwardLayer, feed_forward_layers
from fmalloc.model.assembly import load_dense, trainable_parameters
from fmalloc.model.feedforward import CellBlock, block_of, slice_cells, write_cells
from fmalloc.store.cells import Mask
from fmalloc.store.distilled import Distilled, distilled_models
from fmalloc.store.store import Store
from fmalloc_shared.names import GENERAL


def shallow_general(store: Store, depth: int) -> Distilled | None:
    """The store's general student of this depth that learned longest, if there is one."""
    of_store, of_task = store.digest(GENERAL)
    found = [
        student
        for student in distilled_models(store.path)
        if student.record.claim.domain == GENERAL
        and (student.record.claim.teacher.store, student.record.claim.teacher.task) == (of_store, of_task)
        and len(student.record.decoder_layers) == depth
    ]
    return max(found, key=lambda student: (student.record.updates, student.digest), default=None)


def start_of(store: Store, name: str, shallow: Distilled) -> Any:
    """The shallow general model as the student of a task: without the cells that its mask switches off."""
    kept = shallow.record.decoder_layers
    own, general, begun = load_dense(store, name)[0], load_dense(store, GENERAL)[0], load_student(store, shallow)[0]
    for model in (own, general):
        cut(model, kept)
    cells = {id(tensor) for layer in feed_forward_layers(own) for tensor in _cells(layer)}
    base, moved = dict(general.named_parameters()), dict(begun.named_parameters())
    with torch.no_grad():
        for key, parameter in trainable_parameters(own).items():
            if id(parameter) not in cells:
                parameter.add_(moved[key] - base[key])
    general_masks, masks = (_of_layers(store.mask(domain), kept) for domain in (GENERAL, name))
    for layer, learned, before in zip(*map(feed_forward_layers, (own, begun, general)), strict=True):
        shared = torch.from_numpy(np.flatnonzero(general_masks[layer.name]))
        blocks = zip(block_of(learned), block_of(layer).select(shared), block_of(before).select(shared), strict=True)
        write_cells(layer, shared, CellBlock(*(there + (here - was) for there, here, was in blocks)))
        slice_cells(layer, torch.from_numpy(masks[layer.name]))
    return own


def _cells(layer: FeedForwardLayer) -> tuple[Tensor, ...]:
    return layer.module.fc1.weight, layer.module.fc1.bias, layer.module.fc2.weight


def _of_layers(masks: dict[str, Mask], kept: tuple[int, ...]) -> dict[str, Mask]:
    """The masks of a model with these of the decoder's layers, by its own layers' names."""
    encoder = {name: mask for name, mask in masks.items() if name.startswith("encoder")}
    return encoder | {f"decoder.{index}": masks[f"decoder.{layer}"] for index, layer in enumerate(kept)}
