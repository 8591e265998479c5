"""The weights of emitted ONNX graphs, read back."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.bundle.verification import MODEL_DIRECTORY
from fmalloc_shared.errors import FmallocError

Values = NDArray[Any]


def check_tensors(bundle: Bundle) -> int:
    """The number of weights in the graphs of a bundle for ONNX Runtime, plain or packed, each of which is finite.

    Raises:
        FmallocError: a graph is none, a weight lies outside its file, is NaN or infinite; with file and name.
    """
    count = 0
    for name in sorted(bundle.manifest.files):
        if not (name.startswith(f"{MODEL_DIRECTORY}/") and name.endswith(".onnx")):
            continue
        path = bundle.path / name
        try:
            graph = ModelProto.FromString(bundle.content(name).tobytes()).graph
        except DecodeError as error:
            raise FmallocError(f"{path}: no ONNX graph: {error}") from error
        for tensor, values in _weights(bundle, path, graph.initializer):
            count += 1
            if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
                raise FmallocError(f"{path}: {tensor!r} has a value that is NaN or infinite")
    return count


def _weights(bundle: Bundle, path: Path, tensors: list[TensorProto]) -> Iterator[tuple[str, Values]]:
    for tensor in tensors:
        try:
            yield tensor.name, _values(bundle, tensor)
        except (KeyError, TypeError, ValueError) as error:
            raise FmallocError(f"{path}: {tensor.name!r} cannot be read: {error}") from error


def _values(bundle: Bundle, tensor: TensorProto) -> Values:
    """Flat where they lie in a file of their own, without a copy."""
    if tensor.data_location != TensorProto.EXTERNAL:
        inside: Values = numpy_helper.to_array(tensor)
        return inside
    place = {entry.key: entry.value for entry in tensor.external_data}
    name = f"{MODEL_DIRECTORY}/{place['location']}"
    if name not in bundle.manifest.files:
        raise ValueError(f"{place['location']!r} is no file of the bundle")
    kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return np.frombuffer(
        bundle.content(name), dtype=kind, offset=int(place["offset"]), count=int(place["length"]) // kind.itemsize
    )
