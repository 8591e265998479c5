"""The tensors of a memory store: what a task holds of each layer, importance and masks. safetensors only.

What is read is checked first: names, dtypes and shapes by the file's header, then what the numbers may be.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from fmalloc.store.cells import Cells, Mask
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import check_plain

_METADATA = {"version": "1"}
_NAMES = {"BOOL": "bool", "I64": "int64", "F32": "float32", "F64": "float64"}
_FEED_FORWARD = re.compile(r"(?:.*\.)?(encoder|decoder)\.layers\.(\d+)\.(fc[12]\.(?:weight|bias))")
_MOST_NAMED = 5


class Form(NamedTuple):
    """Type, by numpy's name or by safetensors' where numpy has none, and shape of a tensor."""

    dtype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


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

    def problems(self) -> Iterator[str]:
        """What is wrong with the ids and the numbers, each with the tensor's name first."""
        width = len(self.mask)
        if not is_bool(self.mask):
            yield "mask: holds bytes other than 0 and 1"
        if (outside := self.cells[(self.cells < 0) | (self.cells >= width)]).size:
            yield f"cells: {_some(outside)}, expected ids from 0 to {width - 1}"
        elif (np.diff(self.cells) <= 0).any():
            place = int(np.argmax(np.diff(self.cells) <= 0))
            yield f"cells: {_some(self.cells[place : place + 2])}, expected ascending ids, each once"
        elif (off := self.cells[~self.mask[self.cells]]).size:
            yield f"mask: is off for cells {_some(off)}, which the task owns: they are always on"
        for field in ("fc1_weight", "fc1_bias", "fc2_weight"):
            if not np.isfinite(getattr(self, field)).all():
                yield f"{field}: holds NaN or infinite values"


def is_bool(mask: Mask) -> bool:
    """Whether every byte is 0 or 1; another one would count as true in some places, and as a number in others."""
    return not mask.size or int(mask.view(np.uint8).max()) <= 1


def _some(cells: NDArray[Any]) -> str:
    more = " …" if len(cells) > _MOST_NAMED else ""
    return ", ".join(map(str, cells[:_MOST_NAMED].tolist())) + more


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:
        raise FmallocError(f"{path}: cannot be read: {error}") from error


def forms_of(path: Path, metadata: Mapping[str, str] | None = None) -> dict[str, Form]:
    """Dtype and shape of every tensor of a safetensors file, from its header.

    Raises FmallocError if it cannot be read, or has other `metadata` than those given.
    """
    with _reading(path), safe_open(check_plain(path), framework="numpy") as file:
        found = file.metadata() or {}
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        forms = {
            name: Form(_NAMES.get(entry.get_dtype(), entry.get_dtype()), tuple(entry.get_shape()))
            for name, entry in slices.items()
        }
    if metadata is not None and found != metadata:
        raise FmallocError(f"{path}: its metadata are {found}, expected {dict(metadata)}")
    return forms


def read_tensors(path: Path, expected: Mapping[str, Form] | None = None) -> dict[str, NDArray[Any]]:
    """All tensors of a safetensors file by name.

    Raises FmallocError if it cannot be read, or holds anything but what is `expected`.
    """
    if expected is not None:
        problems = list(_differences(forms_of(path, _METADATA), expected))
        if problems:
            raise FmallocError("\n".join(f"{path}: {problem}" for problem in problems[:_MOST_NAMED]))
    with _reading(path):
        return dict(load_file(check_plain(path)))


def _differences(found: Mapping[str, Form], expected: Mapping[str, Form]) -> Iterator[str]:
    for name in sorted({*found, *expected}):
        if name not in found:
            yield f"tensor {name!r} is missing, expected {expected[name]}"
        elif name not in expected:
            yield f"tensor {name!r} {found[name]} is not expected here"
        elif found[name] != (wanted := expected[name]):
            turned = len(wanted.shape) == 2 and found[name].shape == wanted.shape[::-1]
            yield f"tensor {name!r} is {found[name]}, expected {wanted}{': it is transposed' if turned else ''}"


def read_memory(path: Path, widths: Mapping[str, int], d_model: int) -> dict[str, Memory]:
    """What a task holds, by layer, from a memory.safetensors file; FmallocError if it is not exactly that."""
    found = forms_of(path)
    expected: dict[str, Form] = {}
    for layer, width in widths.items():
        cells = found.get(f"{layer}.cells", Form("", (0,))).shape
        count = cells[0] if len(cells) == 1 else 0
        expected |= {
            f"{layer}.mask": Form("bool", (width,)),
            f"{layer}.cells": Form("int64", (count,)),
            f"{layer}.fc1_weight": Form("float32", (count, d_model)),
            f"{layer}.fc1_bias": Form("float32", (count,)),
            f"{layer}.fc2_weight": Form("float32", (d_model, count)),
        }
    tensors = read_tensors(path, expected)
    fields = Memory.__dataclass_fields__
    memories = {layer: Memory(**{field: tensors[f"{layer}.{field}"] for field in fields}) for layer in widths}
    if problems := [f"{layer}.{problem}" for layer, memory in memories.items() for problem in memory.problems()]:
        raise FmallocError("\n".join(f"{path}: {problem}" for problem in problems[:_MOST_NAMED]))
    return memories


def read_general(path: Path, widths: Mapping[str, int]) -> tuple[dict[str, NDArray[np.float64]], dict[str, Mask]]:
    """Importance and mask by layer, from a general.safetensors file; FmallocError if it is not exactly that."""
    expected = {f"{layer}.importance": Form("float64", (width,)) for layer, width in widths.items()}
    expected |= {f"{layer}.mask": Form("bool", (width,)) for layer, width in widths.items()}
    tensors = read_tensors(path, expected)
    for layer in widths:
        if not np.isfinite(tensors[f"{layer}.importance"]).all():
            raise FmallocError(f"{path}: {layer}.importance holds NaN or infinite values")
        if not is_bool(tensors[f"{layer}.mask"]):
            raise FmallocError(f"{path}: {layer}.mask holds bytes other than 0 and 1")
    return (
        {layer: tensors[f"{layer}.importance"] for layer in widths},
        {layer: tensors[f"{layer}.mask"] for layer in widths},
    )


def read_private(path: Path) -> dict[str, NDArray[np.float32]]:
    """The private parameters of a task by name; FmallocError unless all are float32 and finite, products in pairs."""
    found = forms_of(path, _METADATA)
    tensors = read_tensors(path, {name: Form("float32", form.shape) for name, form in found.items()})
    for name, values in tensors.items():
        stem, _, side = name.rpartition(".")
        other = {"up": "down", "down": "up"}.get(side)
        if not np.isfinite(values).all():
            raise FmallocError(f"{path}: tensor {name!r} holds NaN or infinite values")
        if other and f"{stem}.{other}" not in tensors:
            raise FmallocError(f"{path}: tensor {name!r} is there without {f'{stem}.{other}'!r}: a product has both")
    return tensors


def tensor_forms(base: Path) -> dict[str, Form]:
    """The forms of all tensors in the weight files of a base."""
    return {name: form for path in sorted(base.glob("*.safetensors")) for name, form in forms_of(path).items()}


def feed_forward_forms(base: Path) -> dict[str, dict[str, Form]]:
    """By layer (`encoder.0`) the forms of `fc1.weight`, `fc1.bias`, `fc2.weight`, `fc2.bias` in a base's weight files.

    FmallocError if there are no such weights.
    """
    layers: dict[str, dict[str, Form]] = {}
    for name, form in tensor_forms(base).items():
        if place := feed_forward_place(name):
            layers.setdefault(place[0], {})[place[1]] = form
    if not layers:
        raise FmallocError(f"{base}: its weight files hold no feed-forward layers")
    return layers


def feed_forward_place(name: str) -> tuple[str, str] | None:
    """The layer (`encoder.0`) and the weight in it (`fc1.weight`) that a parameter is; None if it is no such weight."""
    match = _FEED_FORWARD.fullmatch(name)
    return (f"{match[1]}.{int(match[2])}", match[3]) if match else None


def d_model_of(base: Path) -> int:
    """The width of the base's model: the inputs of its feed-forward layers."""
    layers = feed_forward_forms(base)
    shapes = {layer: forms["fc1.weight"].shape for layer, forms in layers.items() if "fc1.weight" in forms}
    sizes = {shape[-1] for shape in shapes.values() if len(shape) == 2}
    if len(sizes) != 1:
        raise FmallocError(f"{base}: its feed-forward layers differ in the model's width: {sorted(sizes)}")
    return sizes.pop()


def finite_bytes(tensors: Mapping[str, NDArray[Any]], what: str) -> bytes:
    """The content of a safetensors file of these tensors; FmallocError, with `what` it is, if a value is not finite."""
    if broken := sorted(name for name, values in tensors.items() if not np.isfinite(values).all()):
        named = ", ".join(broken[:_MOST_NAMED])
        raise FmallocError(f"{what}: NaN or infinite values in {named}: nothing was written")
    return bytes(save(dict(tensors), metadata=_METADATA))


def memory_bytes(memories: Mapping[str, Memory]) -> bytes:
    """The content of a memory.safetensors file; FmallocError if a value is not finite."""
    tensors = {
        f"{layer}.{field}": np.ascontiguousarray(getattr(memory, field))
        for layer, memory in memories.items()
        for field in Memory.__dataclass_fields__
    }
    return finite_bytes(tensors, "a task's memory")


def private_bytes(tensors: Mapping[str, NDArray[np.float32]]) -> bytes:
    """The content of a private.safetensors file; FmallocError if a value is not finite."""
    return finite_bytes(tensors, "a task's private parameters")


def general_bytes(importance: Mapping[str, NDArray[np.float64]], masks: Mapping[str, Mask]) -> bytes:
    """The content of a general.safetensors file; FmallocError if a value is not finite."""
    tensors: dict[str, NDArray[Any]] = {f"{layer}.importance": values for layer, values in importance.items()}
    tensors |= {f"{layer}.mask": mask for layer, mask in masks.items()}
    return finite_bytes(tensors, "importance and general mask")


def read_importance(path: Path) -> dict[str, NDArray[np.float64]]:
    """Importance by layer from a general.safetensors file."""
    ending = ".importance"
    return {n.removesuffix(ending): tensor for n, tensor in read_tensors(path).items() if n.endswith(ending)}
