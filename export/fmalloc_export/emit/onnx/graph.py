"""Build an ONNX graph node by node, with weights in float32, float16 or int8."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from fmalloc_export.emit.onnx.data import ExternalData, Tensor
from fmalloc_export.emit.onnx.weights import Array, Linear, Norm

OPSET = 20
_IR_VERSION = 9  # of the ONNX release that brought the opset
_MICROSOFT = "com.microsoft"
# Divisor of rows of zeros.
_SMALLEST = 1e-30

Dimension = int | str


class Weights:
    """The weights that the graphs of a model share, in one quantization.

    int8: matrices and embeddings are integers with a scale per row (per output of a matrix); all else is float32. The
    values that matrices are multiplied with are rounded to integers too, with a scale per token.
    """

    def __init__(self, quantization: str, data: ExternalData) -> None:
        self.float_type = np.dtype(np.float16 if quantization == "float16" else np.float32)
        self.integers = quantization == "int8"
        self.tensors: dict[str, TensorProto] = {}
        self._data = data
        self._converted: dict[int, tuple[Array, tuple[Tensor, ...]]] = {}

    def floats(self, name: str, array: Array, of_domain: bool) -> str:
        """The name of a tensor of floats."""
        if name in self.tensors:
            return name
        if self.float_type != np.float32:
            with np.errstate(over="ignore"):  # what the type cannot hold is refused where it is written
                (array,) = self._convert(array, lambda array: (array.astype(self.float_type),))
        return self._place(name, array, of_domain)

    def int8(self, name: str, array: Array, of_domain: bool) -> tuple[str, str]:
        """The names of a tensor of int8 and of the scales of its rows."""
        scale = f"{name}.scale"
        if name not in self.tensors:
            quantized, scales = self._convert(array, quantize_rows)
            self._place(name, quantized, of_domain)
            self._place(scale, scales, of_domain)
        return name, scale

    def _convert(self, array: Array, function: Callable[[Array], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """Convert row by row; a view of an array's first rows becomes a view of the converted array."""
        address = array.__array_interface__["data"][0]
        if address not in self._converted or len(self._converted[address][0]) < len(array):
            self._converted[address] = (array, function(array))
        return tuple(part[: len(array)] for part in self._converted[address][1])

    def _place(self, name: str, array: Tensor, of_domain: bool) -> str:
        self.tensors[name] = self._data.place(name, array, of_domain)
        return name


def quantize_rows(array: Array) -> tuple[Tensor, Tensor]:
    """Symmetric int8: the largest absolute value of each row becomes 127. Returns integers and scales (rows,)."""
    scales = np.abs(array).max(axis=1) / np.float32(127)
    scales[scales == 0] = 1
    return np.rint(array / scales[:, None]).astype(np.int8), scales


class Graph:
    """Nodes in the order in which they were added; values are names.

    Hidden states are (tokens, d), batch and time in one, so that every linear layer is one matrix product.
    """

    def __init__(self, name: str, weights: Weights) -> None:
        self._name = name
        self._weights = weights
        self._nodes: list[NodeProto] = []
        self._inputs: list[ValueInfoProto] = []
        self._outputs: list[ValueInfoProto] = []
        self._constants: dict[str, TensorProto] = {}
        self._used: dict[str, None] = {}

    @property
    def float_type(self) -> int:
        """ONNX's number of the type of hidden states."""
        return int(helper.np_dtype_to_tensor_dtype(self._weights.float_type))

    def input(self, name: str, kind: int, shape: Sequence[Dimension]) -> str:
        """Declare an input."""
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name: str, value: str, kind: int, shape: Sequence[Dimension]) -> None:
        """Let `value` leave the graph as `name`."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def integers(self, *values: int) -> str:
        """A constant vector of int64."""
        name = "ints." + "_".join(map(str, values))
        self._constants[name] = numpy_helper.from_array(np.array(values, dtype=np.int64), name)
        return name

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of one output."""
        return self.nodes(operator, 1, *inputs, **attributes)[0]

    def nodes(self, operator: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """Add a node of several outputs."""
        names = [f"{operator}.{len(self._nodes)}.{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(operator, inputs, names, **attributes))
        return names

    def attention(self, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """ONNX Runtime's MultiHeadAttention."""
        return self.nodes("MultiHeadAttention", outputs, *inputs, domain=_MICROSOFT, **attributes)

    def linear(self, value: str, name: str, layer: Linear, of_domain: bool = False) -> str:
        """`value` (tokens, inputs) → (tokens, outputs)."""
        bias = "" if layer.bias is None else self._use(self._weights.floats(f"{name}.bias", layer.bias, of_domain))
        if not self._weights.integers:
            weight = self._use(self._weights.floats(f"{name}.weight", layer.weight, of_domain))
            return self.node("Gemm", value, weight, *([bias] if bias else []), transB=1)
        weight, scale = map(self._use, self._weights.int8(f"{name}.weight", layer.weight, of_domain))
        # Each row of values has its own scale, so that output is batch-invariant. The operator DynamicQuantizeMatMul
        # has one scale for all rows.
        magnitudes = self.node("ReduceMax", self.node("Abs", value), self.integers(-1), keepdims=1)
        largest = self.node("Max", magnitudes, self.number(_SMALLEST))
        step, zero = self.number(1 / 127), self._zero_point()
        quantized = self.node("QuantizeLinear", self.node("Div", value, largest), step, zero)
        # The engine transposes once, when it loads the model.
        operands = (quantized, self.node("Transpose", weight, perm=[1, 0]), step, scale, zero)
        product = self.node("Mul", self.node("MatMulIntegerToFloat", *operands, domain=_MICROSOFT), largest)
        return self.node("Add", product, bias) if bias else product

    def norm(self, value: str, name: str, norm: Norm) -> str:
        """Layer normalisation over the last axis."""
        weight = self._use(self._weights.floats(f"{name}.weight", norm.weight, False))
        bias = self._use(self._weights.floats(f"{name}.bias", norm.bias, False))
        return self.node("LayerNormalization", value, weight, bias, axis=-1, epsilon=norm.epsilon)

    def embedding(self, ids: str, name: str, table: Array, scale: float, of_domain: bool) -> str:
        """Rows of `table` times `scale`: (…,) → (…, d)."""
        if self._weights.integers:
            weight, scales = map(self._use, self._weights.int8(name, table, of_domain))
            rows = self.node("Cast", self.node("Gather", weight, ids), to=TensorProto.FLOAT)
            factors = self.node("Unsqueeze", self.node("Gather", scales, ids), self.integers(-1))
            rows = self.node("Mul", rows, factors)
        else:
            rows = self.node("Gather", self._use(self._weights.floats(name, table, of_domain)), ids)
        return rows if scale == 1 else self.node("Mul", rows, self.number(scale))

    def table(self, name: str, array: Array) -> str:
        """A tensor of floats that all domains of a base share."""
        return self._use(self._weights.floats(name, array, False))

    def number(self, value: float) -> str:
        """A constant float."""
        name = f"float.{value!r}"
        self._constants[name] = numpy_helper.from_array(np.array(value, dtype=self._weights.float_type), name)
        return name

    def _zero_point(self) -> str:
        # Unsigned values are what processors multiply fastest.
        name = "uint8.128"
        self._constants[name] = numpy_helper.from_array(np.array(128, dtype=np.uint8), name)
        return name

    def to_bytes(self) -> bytes:
        """The file of the finished graph; its bytes depend on the graph alone."""
        initializers = [*(self._weights.tensors[name] for name in self._used), *self._constants.values()]
        graph = helper.make_graph(self._nodes, self._name, self._inputs, self._outputs, initializers)
        imports = [helper.make_opsetid("", OPSET), helper.make_opsetid(_MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=imports, ir_version=_IR_VERSION, producer_name="fmalloc")
        return bytes(model.SerializeToString(deterministic=True))

    def _use(self, name: str) -> str:
        self._used[name] = None
        return name
