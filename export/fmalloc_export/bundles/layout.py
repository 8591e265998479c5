"""Where the tensors lie in an engine's model files, for diffs between them."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from fmalloc_runtime.bundle.weights import ModelFile
from fmalloc_shared.errors import FmallocError

_ITEM_SIZES = (1, 2, 4, 8)
_ONNX_MINIMUM_BYTES = 1024


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of `rows` times `columns` items at `offset` of a file; tied weights have several `names`.

    Dimensions after the first are joined; a vector is one column.
    """

    names: tuple[str, ...]
    offset: int
    rows: int
    columns: int
    item_size: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.rows * self.columns * self.item_size


def layout_of(name: str, files: Mapping[str, bytes]) -> tuple[StoredTensor, ...]:
    """The tensors of the file `name` in a model's `files`, by offset, without overlap; empty for unknown formats.

    Raises FmallocError if the file is ONNX and the library onnx is missing.
    """
    if name == "model.bin":
        tensors = _ctranslate2(files[name])
    elif name.endswith(".onnx"):
        tensors = _onnx_inside(name, files[name])
    else:
        graphs = {graph: data for graph, data in files.items() if graph.endswith(".onnx")}
        tensors = [tensor for graph, data in graphs.items() for tensor in _onnx_outside(graph, data, name)]
    return tuple(_distinct(tensors, len(files[name])))


def _distinct(tensors: list[StoredTensor], end: int) -> Iterator[StoredTensor]:
    """In order, without those that overlap."""
    start = 0
    for tensor in sorted(tensors, key=lambda tensor: (tensor.offset, -tensor.size)):
        if tensor.offset >= start and tensor.offset + tensor.size <= end and tensor.size:
            yield tensor
            start = tensor.offset + tensor.size


def _ctranslate2(data: bytes) -> list[StoredTensor]:
    try:
        model = ModelFile(np.frombuffer(data, dtype=np.uint8))
    except ValueError:
        return []
    aliases: dict[str, list[str]] = {}
    for alias, name in model.aliases.items():
        aliases.setdefault(name, []).append(alias)
    return [
        StoredTensor(
            (tensor.name, *aliases.get(tensor.name, ())),
            tensor.offset,
            *_matrix(tensor.shape),
            tensor.size // math.prod(tensor.shape),
        )
        for tensor in model.tensors.values()
        if tensor.size
    ]


def _onnx_outside(graph: str, data: bytes, location: str) -> list[StoredTensor]:
    """Tensors of a graph in the external file `location`."""
    found = []
    for tensor in _initializers(data):
        place = {entry.key: entry.value for entry in tensor.external_data}
        if place.get("location") != location:
            continue
        items = math.prod(tensor.dims)
        size = int(place.get("length", 0))
        if items and size % items == 0 and size // items in _ITEM_SIZES:
            names = (f"{graph}:{tensor.name}",)
            found.append(StoredTensor(names, int(place.get("offset", 0)), *_matrix(tensor.dims), size // items))
    return found


def _onnx_inside(graph: str, data: bytes) -> list[StoredTensor]:
    """Large tensors inside the graph's file, found by searching for their raw data in order."""
    found = []
    start = 0
    for tensor in _initializers(data):
        content, items = tensor.raw_data, math.prod(tensor.dims)
        if len(content) < _ONNX_MINIMUM_BYTES or not items or len(content) % items:
            continue
        if len(content) // items in _ITEM_SIZES and (offset := data.find(content, start)) >= 0:
            names = (f"{graph}:{tensor.name}",)
            found.append(StoredTensor(names, offset, *_matrix(tensor.dims), len(content) // items))
            start = offset + len(content)
    return found


def _initializers(data: bytes) -> list:  # type: ignore[type-arg]
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise FmallocError(f"packing ONNX models needs the library onnx ({error}): pip install onnx") from error
    try:
        return list(onnx.load_model_from_string(data).graph.initializer)
    except DecodeError:
        return []


def _matrix(shape: object) -> tuple[int, int]:
    dims = list(shape)  # type: ignore[call-overload]
    return (1, 1) if not dims else (dims[0], math.prod(dims[1:]))
