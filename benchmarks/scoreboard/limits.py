"""What the machine does at most in a plain matrix product and copy, and how fast a model could be by that.

`python -m benchmarks.scoreboard.limits THREADS` measures the machine in a process of its own and prints JSON.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

# Rows of activations, inner and outer dimension, of the product; megabytes of what is copied.
_PRODUCT = (256, 1024, 1024)
_COPIES = (2, 8, 32, 128)
_SECONDS = 0.5
_BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}


@dataclass(frozen=True)
class Machine:
    """`products`: operations per second by type of numbers. `copies`: bytes moved per second, read and written counted,
    by the megabytes that are copied: what fits into a cache is copied faster."""

    threads: int
    products: dict[str, float]
    copies: dict[int, float]

    @classmethod
    def measured(cls, threads: int) -> "Machine":
        """Measure in a process that has so many threads."""
        command = [sys.executable, "-m", "benchmarks.scoreboard.limits", str(threads)]
        done = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": str(threads)}
        )
        found = json.loads(done.stdout)
        return cls(threads, found["products"], {int(size): rate for size, rate in found["copies"].items()})

    def best(self, other: "Machine") -> "Machine":
        """The faster of two measurements of each."""
        return Machine(
            self.threads,
            {name: max(rate, other.products[name]) for name, rate in self.products.items()},
            {size: max(rate, other.copies[size]) for size, rate in self.copies.items()},
        )

    def bandwidth(self, size: int) -> float:
        """Bytes per second of a copy of the measured size that is nearest to `size` bytes, from below."""
        fitting = [megabytes for megabytes in self.copies if megabytes * 1e6 <= size]
        return self.copies[max(fitting, default=min(self.copies))]


@dataclass(frozen=True)
class Shape:
    """What a Transformer's work depends on: `encoder` and `decoder` have the width of each feed-forward layer.

    `recurrent`: the decoder has SSRUs instead of self-attention.
    """

    d_model: int
    encoder: tuple[int, ...]
    decoder: tuple[int, ...]
    target_tokens: int
    recurrent: bool = False

    def source_weights(self) -> int:
        """That a source token is multiplied with: attention, cells, and cross-attention's keys and values."""
        d = self.d_model
        return sum(4 * d * d + 2 * d * width for width in self.encoder) + 2 * d * d * len(self.decoder)

    def target_weights(self) -> int:
        """That a target token of one hypothesis is multiplied with."""
        d, memory = self.d_model, 2 if self.recurrent else 4
        return sum((memory + 2) * d * d + 2 * d * width for width in self.decoder) + d * self.target_tokens


@dataclass(frozen=True)
class Work:
    """Operations and bytes of weights of a model; `weights`: type of its numbers."""

    shape: Shape
    weights: str
    beam_size: int

    def record(self) -> dict[str, Any]:
        """Per token: operations of all hypotheses together, bytes of the weights that are read for them."""
        size = _BYTES[self.weights]
        return {
            "source_flops": 2 * self.shape.source_weights(),
            "target_flops": 2 * self.shape.target_weights() * self.beam_size,
            "source_bytes": size * self.shape.source_weights(),
            "target_bytes": size * self.shape.target_weights(),
            "weights": self.weights,
            "shape": asdict(self.shape),
        }

    def seconds(self, machine: Machine, sources: Sequence[int], targets: Sequence[int], batch: int) -> float:
        """The least that translating takes, by tokens of each sentence, in batches of so many as they come.

        In a batch the weights of the encoder are read once and those of the decoder once per step; operations and
        reading overlap at best. Attention over positions, softmax and search are left out.
        """
        per = self.record()
        size = per["source_bytes"] + per["target_bytes"]
        total = 0.0
        for start in range(0, len(sources), batch):
            read, written = sources[start : start + batch], targets[start : start + batch]
            operations = per["source_flops"] * sum(read) + per["target_flops"] * sum(written)
            moved = per["source_bytes"] + per["target_bytes"] * max(written)
            total += max(operations / machine.products[self.weights], moved / machine.bandwidth(size))
        return total


def measure(threads: int) -> dict[str, Any]:
    """Products and copies of this process."""
    import torch

    torch.set_num_threads(threads)
    rows, inner, outer = _PRODUCT
    operations = 2 * rows * inner * outer
    products = {}
    for name in ("float32", "bfloat16"):
        left, right = (torch.rand(shape, dtype=getattr(torch, name)) for shape in ((rows, inner), (inner, outer)))
        products[name] = operations * _rate(lambda left=left, right=right: left @ right)  # type: ignore[misc]
    products["int8"] = operations * _rate(_integers(threads))
    copies = {}
    for megabytes in _COPIES:
        origin = torch.ones(megabytes * 250_000)
        target = torch.empty_like(origin)
        copies[megabytes] = 2e6 * megabytes * _rate(lambda o=origin, t=target: t.copy_(o))  # type: ignore[misc]
    return {"products": products, "copies": copies}


def _integers(threads: int) -> Callable[[], Any]:
    """A product of bytes, by ONNX Runtime: torch has none that uses the processor's instructions for it."""
    import numpy as np
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    rows, inner, outer = _PRODUCT
    draw = np.random.default_rng(0)
    right = numpy_helper.from_array(draw.integers(-127, 127, (inner, outer), dtype=np.int8), "right")
    left = helper.make_tensor_value_info("left", TensorProto.UINT8, (rows, inner))
    found = helper.make_tensor_value_info("found", TensorProto.INT32, (rows, outer))
    node = helper.make_node("MatMulInteger", ["left", "right"], ["found"])
    graph = helper.make_graph([node], "product", [left], [found], [right])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {"left": draw.integers(0, 255, (rows, inner), dtype=np.uint8)}
    return lambda: session.run(None, feed)


def _rate(work: Callable[[], Any]) -> float:
    """Calls per second of the fastest call."""
    work()
    fastest, ends = float("inf"), time.perf_counter() + _SECONDS
    while (began := time.perf_counter()) < ends:
        work()
        fastest = min(fastest, time.perf_counter() - began)
    return 1 / fastest


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
