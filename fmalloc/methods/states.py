"""The states of methods on disk: tensors by name, written whole, one file a task."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from fmalloc_shared.files import write_atomically


def state_path(folder: Path, task: str) -> Path:
    """Where a task's state lies."""
    return folder / task / "state.safetensors"


def save_state(folder: Path, task: str, tensors: Mapping[str, Tensor]) -> int:
    """Write a task's tensors; the number of bytes."""
    data = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    write_atomically(state_path(folder, task), data)
    return len(data)


def load_state(folder: Path, task: str) -> dict[str, Tensor]:
    """A task's tensors."""
    return dict(load_file(state_path(folder, task)))


def put_parameters(model: Any, tensors: Mapping[str, Tensor]) -> None:
    """Overwrite the parameters of these names."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in tensors.items():
            parameters[name].copy_(tensor)
