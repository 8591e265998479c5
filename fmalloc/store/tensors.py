"""The tensors of a memory store: what a task holds of each layer, importance and masks. safetensors only."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from fmalloc.store.cells import Cells, Mask
from fmalloc.store.records import VERSION
from fmalloc_shared.errors import FmallocError


@dataclass(frozen=True)
class Memory:
    """What a task holds of one layer.

    mask: (width,), the hard mask. cells: (k,) ids of owned cells, ascending. fc1_weight: (k, d_model), fc1_bias: (k,),
    fc2_weight: (d_model, k), float32, the owned cells' weights.
    """

    mask: Mask
    cells: Cells
    fc1_weight: NDArray[np.float32]
    fc1_bias: NDArray[np.float32]
    fc2_weight: NDArray[np.float32]


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """All tensors of a safetensors file by name; raise FmallocError if it cannot be read."""
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise FmallocError(f"{path}: cannot be read: {error}") from error


def memory_bytes(memories: Mapping[str, Memory]) -> bytes:
    """The content of a memory.safetensors file."""
    tensors = {
        f"{layer}.{field}": np.ascontiguousarray(getattr(memory, field))
        for layer, memory in memories.items()
        for field in Memory.__dataclass_fields__
    }
    return bytes(save(tensors, metadata={"version": str(VERSION)}))


def private_bytes(tensors: Mapping[str, NDArray[np.float32]]) -> bytes:
    """The content of a private.safetensors file."""
    return bytes(save(dict(tensors), metadata={"version": str(VERSION)}))


def general_bytes(importance: Mapping[str, NDArray[np.float64]], masks: Mapping[str, Mask]) -> bytes:
    """The content of a general.safetensors file."""
    tensors: dict[str, NDArray[Any]] = {f"{layer}.importance": values for layer, values in importance.items()}
    tensors |= {f"{layer}.mask": mask for layer, mask in masks.items()}
    return bytes(save(tensors, metadata={"version": str(VERSION)}))


def read_importance(path: Path) -> dict[str, NDArray[np.float64]]:
    """Importance by layer from a general.safetensors file."""
    ending = ".importance"
    return {n.removesuffix(ending): tensor for n, tensor in read_tensors(path).items() if n.endswith(ending)}
