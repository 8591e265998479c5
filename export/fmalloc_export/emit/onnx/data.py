"""Weights of ONNX graphs as external data: two files beside the graphs."""

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from fmalloc_shared.errors import FmallocError

Tensor = NDArray[Any]

BASE_FILE = "base.onnx_data"
DOMAIN_FILE = "domain.onnx_data"
# Tensors below this stay in the graph, where shape inference can read them.
_EXTERNAL_BYTES = 1024
# Offsets that operating systems can map into memory.
_ALIGNMENT = 4096


class ExternalData:
    """The two files: one holds what all domains of a base share, and is the same for each; one what is the domain's.

    Arrays that begin at one address (tied weights) are written once.
    """

    def __init__(self, directory: Path) -> None:
        self._files = {False: _DataFile(directory / BASE_FILE), True: _DataFile(directory / DOMAIN_FILE)}

    def place(self, name: str, array: Tensor, of_domain: bool) -> TensorProto:
        """Write `array` into one of the files; the tensor `name` refers to it there, or holds it where it is small.

        Raises FmallocError if a value is not finite, as one that its type cannot hold.
        """
        if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
            raise FmallocError(f"{name}: NaN or infinite values in {array.dtype}; nothing was written")
        if array.nbytes < _EXTERNAL_BYTES:
            return numpy_helper.from_array(np.ascontiguousarray(array), name)
        file = self._files[of_domain]
        tensor = TensorProto(
            name=name,
            data_type=helper.np_dtype_to_tensor_dtype(array.dtype),
            dims=array.shape,
            data_location=TensorProto.EXTERNAL,
        )
        location = {"location": file.path.name, "offset": file.offset_of(array), "length": array.nbytes}
        for key, value in location.items():
            tensor.external_data.add(key=key, value=str(value))
        return tensor

    def __enter__(self) -> Self:
        """Both files are complete when the context ends."""
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files.values():
            file.close()


class _DataFile:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("wb")
        # By address and type; the arrays are kept alive so that no other gets the same address.
        self._written: dict[tuple[int, str], tuple[Tensor, int]] = {}

    def offset_of(self, array: Tensor) -> int:
        array = np.ascontiguousarray(array)
        key = (array.__array_interface__["data"][0], array.dtype.str)
        if key in self._written and self._written[key][0].nbytes >= array.nbytes:
            return self._written[key][1]
        self._file.write(bytes(-self._file.tell() % _ALIGNMENT))
        offset = self._file.tell()
        array.tofile(self._file)
        self._written[key] = (array, offset)
        return offset

    def close(self) -> None:
        self._file.close()
