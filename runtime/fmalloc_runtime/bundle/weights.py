"""The tensors in a CTranslate2 model file, read without the engine, and the shapes that it takes for granted."""

import math
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Version of the binary format that CTranslate2's ModelSpec._serialize writes; a test pins it.
_VERSION = 6
# By their number in the file. numpy has no bfloat16: these are the upper halves of float32.
_TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16, np.uint16)
_BFLOAT16 = 5
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Tensor:
    """A tensor of a model file: its shape, and where its bytes lie."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int
    size: int


class ModelFile:
    """A model file whose table was read: tensors by name, and the names that stand for another's."""

    def __init__(self, data: Bytes) -> None:
        """Read the table; ValueError if the data has another format, sizes do not fit, or bytes are left over."""
        self._data = data
        self._position = 0
        try:
            tensors, aliases = self._table()
        except (struct.error, UnicodeDecodeError) as error:
            raise ValueError(f"cut off or changed: {error}") from error
        self.tensors: Mapping[str, Tensor] = {tensor.name: tensor for tensor in tensors}
        self.aliases: Mapping[str, str] = dict(aliases)
        if len(self.tensors) + len(self.aliases) < len(tensors) + len(aliases):
            raise ValueError("a name occurs twice")
        if unknown := [alias for alias, name in aliases if alias in self.tensors or name not in self.tensors]:
            raise ValueError(f"{unknown[0]!r} stands for no tensor")

    def find(self, name: str) -> Tensor | None:
        """The tensor of this name, or of the one that it stands for."""
        return self.tensors.get(self.aliases.get(name, name))

    def values(self, tensor: Tensor) -> NDArray[np.generic]:
        """Its values, flat, without a copy; of bfloat16 as float32."""
        kind = np.dtype(_TYPES[tensor.type])
        raw = np.frombuffer(self._data[tensor.offset : tensor.offset + tensor.size], dtype=kind)
        if tensor.type == _BFLOAT16:
            return (raw.astype(np.uint32) << 16).view(np.float32)
        return raw

    def not_finite(self) -> Iterator[str]:
        """Names of tensors with a value that is NaN or infinite."""
        for tensor in self.tensors.values():
            values = self.values(tensor)
            if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
                yield tensor.name

    def _table(self) -> tuple[list[Tensor], list[tuple[str, str]]]:
        if (version := self._number("I")) != _VERSION:
            raise ValueError(f"binary version {version}, expected {_VERSION}")
        self._string()
        self._number("I")
        tensors = [self._tensor() for _ in range(self._number("I"))]
        aliases = [(self._string(), self._string()) for _ in range(self._number("I"))]
        if self._position != len(self._data):
            raise ValueError(f"{len(self._data) - self._position} bytes are left over")
        return tensors, aliases

    def _tensor(self) -> Tensor:
        name = self._string()
        shape = tuple(self._number("I") for _ in range(self._number("B")))
        kind, size = self._number("B"), self._number("I")
        if kind >= len(_TYPES):
            raise ValueError(f"{name!r} has the unknown type {kind}")
        if size != math.prod(shape) * np.dtype(_TYPES[kind]).itemsize:
            raise ValueError(f"{name!r} has {size} bytes, which its shape {list(shape)} does not need")
        tensor = Tensor(name, shape, kind, self._position, size)
        self._position += size
        if self._position > len(self._data):
            raise ValueError(f"{name!r} is cut off")
        return tensor

    def _number(self, kind: str) -> int:
        (number,) = struct.unpack_from(f"={kind}", self._data.data, self._position)
        self._position += struct.calcsize(f"={kind}")
        return int(number)

    def _string(self) -> str:
        length = self._number("H")
        end = self._position + length
        if not length or end > len(self._data):
            raise ValueError("cut off")
        text = self._data[self._position : end - 1].tobytes().decode()
        self._position = end
        return text


_FFN = re.compile(r"(encoder|decoder)/layer_(\d+)/ffn/linear_0/weight")
_LAYER = re.compile(r"(encoder|decoder)/layer_(\d+)/")
# Shapes by the end of a tensor's name: `d` is the model's width, `cells` the layer's, `any` is not looked at.
_SHAPES: Mapping[str, tuple[str, ...]] = {
    "encoder/embeddings_0/weight": ("source", "d"),
    "decoder/embeddings/weight": ("target", "d"),
    "decoder/projection/weight": ("target", "d"),
    "decoder/projection/bias": ("target",),
    "position_encodings/encodings": ("any", "d"),
    "layer_norm/beta": ("d",),
    "layer_norm/gamma": ("d",),
    "layernorm_embedding/beta": ("d",),
    "layernorm_embedding/gamma": ("d",),
    "self_attention/linear_0/weight": ("3d", "d"),
    "self_attention/linear_0/bias": ("3d",),
    "self_attention/linear_1/weight": ("d", "d"),
    "self_attention/linear_1/bias": ("d",),
    "/attention/linear_0/weight": ("d", "d"),
    "/attention/linear_0/bias": ("d",),
    "/attention/linear_1/weight": ("2d", "d"),
    "/attention/linear_1/bias": ("2d",),
    "/attention/linear_2/weight": ("d", "d"),
    "/attention/linear_2/bias": ("d",),
    "ffn/linear_0/weight": ("cells", "d"),
    "ffn/linear_0/bias": ("cells",),
    "ffn/linear_1/weight": ("d", "cells"),
    "ffn/linear_1/bias": ("d",),
}
# Those that a layer of each stack cannot do without.
_NEEDED = {
    "encoder": ("self_attention/linear_0", "self_attention/linear_1", "ffn/linear_0", "ffn/linear_1"),
    "decoder": (
        *(f"attention/linear_{index}" for index in range(3)),
        *("self_attention/linear_0", "self_attention/linear_1", "ffn/linear_0", "ffn/linear_1"),
    ),
}


def problems(
    model: ModelFile, widths: Mapping[str, int], source: int, target: int, maximum_length: int
) -> Iterator[str]:
    """What does not fit in a model of these `widths` of layers, numbers of tokens and of positions."""
    found = {f"{match[1]}.{match[2]}": model.tensors[match[0]] for match in map(_FFN.fullmatch, model.tensors) if match}
    cells = {layer: tensor.shape[0] if tensor.shape else 0 for layer, tensor in found.items()}
    if cells != widths:
        yield f"its layers have widths {cells}, widths is {dict(widths)}"[:500]
        return
    embeddings = model.find("decoder/embeddings/weight")
    if embeddings is None or len(embeddings.shape) != 2 or not embeddings.shape[1]:
        yield "no matrix decoder/embeddings/weight"
        return
    d = embeddings.shape[1]
    sizes = {"d": d, "2d": 2 * d, "3d": 3 * d, "source": source, "target": target}
    for name in (*model.tensors, *model.aliases):
        yield from _misshapen(model, name, sizes, cells)
    needed = ["encoder/embeddings_0/weight", "decoder/projection/weight"]
    needed += [
        f"{stack}/layer_{index}/{part}/weight"
        for stack, _, index in (layer.partition(".") for layer in widths)
        for part in _NEEDED[stack]
    ]
    yield from (f"{name} is missing" for name in needed if model.find(name) is None)
    yield from _wrong_numbers(model, d, sum(layer.startswith("decoder") for layer in widths), maximum_length)
    yield from (f"{name} has values that are not finite" for name in model.not_finite())


def _misshapen(model: ModelFile, name: str, sizes: Mapping[str, int], cells: Mapping[str, int]) -> Iterator[str]:
    tensor = model.find(name)
    assert tensor is not None
    if name.endswith("/weight_scale"):
        weight = model.find(name.removesuffix("_scale"))
        if weight is None or not weight.shape or tensor.shape not in ((), (weight.shape[0],)):
            yield f"{name} has shape {list(tensor.shape)}, expected one scale per row"
        return
    wanted = next((shape for end, shape in _SHAPES.items() if name.endswith(end)), None)
    if wanted is None:
        if math.prod(tensor.shape) > max(sizes.values()) * sizes["d"]:
            yield f"{name} has shape {list(tensor.shape)}, which is larger than the model"
        return
    layer = _LAYER.match(name)
    known = {**sizes, "cells": cells.get(f"{layer[1]}.{layer[2]}", 0) if layer else 0}
    if len(tensor.shape) != len(wanted) or any(
        size != known.get(kind, size) for size, kind in zip(tensor.shape, wanted, strict=True)
    ):
        expected = [known.get(kind, kind) for kind in wanted]
        yield f"{name} has shape {list(tensor.shape)}, expected {expected}"


def _wrong_numbers(model: ModelFile, d: int, layers: int, maximum_length: int) -> Iterator[str]:
    """Numbers with which the engine divides, counts and finds its way."""
    for stack in ("encoder", "decoder"):
        heads = _number(model, f"{stack}/num_heads")
        if heads is None or heads < 1 or d % heads:
            yield f"{stack}/num_heads is {heads}, expected a divisor of {d}"
        positions = model.find(f"{stack}/position_encodings/encodings")
        if positions and positions.shape[0] < maximum_length:
            yield f"{stack} has {positions.shape[0]} positions, maximum_length is {maximum_length}"
    for name, low, high in (
        ("alignment_layer", -layers, layers - 1),
        ("alignment_heads", 0, _number(model, "decoder/num_heads") or 0),
    ):
        number = _number(model, f"decoder/{name}")
        if number is not None and not low <= number <= high:
            yield f"decoder/{name} is {number}, expected {low} to {high}"


def _number(model: ModelFile, name: str) -> int | None:
    tensor = model.find(name)
    return int(model.values(tensor)[0]) if tensor and tensor.shape == () else None
