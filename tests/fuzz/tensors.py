"""Mutations of safetensors: dtypes, shapes, names and numbers that cannot be, and headers that lie."""

import json
import math
import random
import struct
from typing import Any

import numpy as np

_DTYPES = (
    "F64",
    "F32",
    "F16",
    "BF16",
    "I64",
    "I32",
    "I16",
    "I8",
    "U8",
    "U16",
    "U32",
    "U64",
    "BOOL",
    "F8_E4M3",
    "X",
    "",
)
_NAMES = (
    "x",
    "",
    "encoder.9.mask",
    "encoder.0",
    "sentences",
    "../x",
    "\u0000",
    "\u001b[31m",
    "__metadata__",
    "literals",
)
_NUMPY = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32, "U8": np.uint8,
          "U32": np.uint32, "U64": np.uint64, "BOOL": np.uint8}  # fmt: skip
_NUMBERS = (float("nan"), float("inf"), float("-inf"), 0, -1, 1, 2, 1e38, -1e38, 255, 256, 2**31 - 1, 2**62)
_SIZES = (0, -1, 1, 2, 3, 1000, 2**31, 2**62, 2**64)


def mutate_tensors(content: bytes, draw: random.Random) -> tuple[bytes, str]:
    """A safetensors file with one mutation, and what it is."""
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    names = [name for name in header if name != "__metadata__"]
    if draw.random() < 0.35 and names:
        return _other_numbers(header, data, draw.choice(names), draw)
    if draw.random() < 0.25:
        return _lying(header, data, draw)
    if not names:
        return _joined({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)), "a tensor added"
    return _other_header(header, data, names, draw)


def _other_numbers(header: dict[str, Any], data: bytes, name: str, draw: random.Random) -> tuple[bytes, str]:
    begin, end = header[name]["data_offsets"]
    kind = _NUMPY.get(header[name]["dtype"])
    if kind is None or begin == end:
        return _joined(header, bytes(len(data))), "all zero"
    values = np.frombuffer(data[begin:end], dtype=kind).copy()
    number = draw.choice(_NUMBERS)
    fitting = _as(number, kind)
    match draw.randrange(5):
        case 0:
            values[:] = fitting
            note = f"{name}: all {number}"
        case 1:
            values = values[::-1]
            note = f"{name}: backwards"
        case 2:
            values[:] = draw.choice(values.tolist())
            note = f"{name}: all alike"
        case _:
            at = draw.randrange(len(values))
            values[at] = fitting
            note = f"{name}[{at}] = {number}"
    return _joined(header, data[:begin] + values.tobytes() + data[end:]), note


def _as(number: float, kind: Any) -> Any:
    """The number in a type of numpy: what is too large or negative for it wraps around."""
    with np.errstate(all="ignore"):
        if np.issubdtype(kind, np.floating):
            return np.float64(number).astype(kind)
        whole = int(number) % 2**64 if math.isfinite(number) else 0
        return np.array([whole], dtype=np.uint64).astype(kind)[0]


def _other_header(header: dict[str, Any], data: bytes, names: list[str], draw: random.Random) -> tuple[bytes, str]:
    name = draw.choice(names)
    entry = dict(header[name])
    changed = dict(header)
    match draw.randrange(9):
        case 0:
            entry["dtype"] = draw.choice(_DTYPES)
            note = f"{name} is {entry['dtype']}"
        case 1:
            entry["shape"] = entry["shape"][::-1]
            note = f"{name} transposed"
        case 2:
            entry["shape"] = draw.choice(
                [[], [-1], [*entry["shape"], 1], [1, *entry["shape"]], [draw.choice(_SIZES)], [2**32, 2**32]]
            )
            note = f"{name} has shape {entry['shape']}"
        case 3:
            entry["data_offsets"] = [draw.choice((*_SIZES, len(data))) for _ in range(2)]
            note = f"{name} lies at {entry['data_offsets']}"
        case 4:
            return _joined(*_without(header, data, name)), f"{name} missing"
        case 5:
            extra = {"dtype": "F32", "shape": [1], "data_offsets": [len(data), len(data) + 4]}
            new = draw.choice(_NAMES)
            return _joined({**header, new: extra}, data + bytes(4)), f"{new!r} added"
        case 6:
            new = draw.choice((*_NAMES, *names))
            return _joined(
                {new if key == name else key: value for key, value in header.items()}, data
            ), f"{name} renamed {new!r}"
        case 7:
            other = draw.choice(names)
            changed[other], changed[name] = header[name], header[other]
            return _joined(changed, data), f"{name} and {other} swapped"
        case _:
            entry.pop(draw.choice(list(entry)))
            note = f"{name} says {', '.join(entry)} only"
    changed[name] = entry
    return _joined(changed, data), note


def _without(header: dict[str, Any], data: bytes, name: str) -> tuple[dict[str, Any], bytes]:
    """A whole file that lacks a tensor."""
    begin, end = header[name]["data_offsets"]
    rest = {}
    for key, entry in header.items():
        if key != name:
            offsets = entry.get("data_offsets")
            moved = offsets and [offset - (end - begin) if offset >= end else offset for offset in offsets]
            rest[key] = {**entry, "data_offsets": moved} if offsets else entry
    return rest, data[:begin] + data[end:]


def _lying(header: dict[str, Any], data: bytes, draw: random.Random) -> tuple[bytes, str]:
    text = json.dumps(header).encode()
    match draw.randrange(8):
        case 0:
            size = draw.choice((0, 1, len(text) - 1, len(text) + 1, 100_000_001, 2**40, 2**63, 2**64 - 1))
            return struct.pack("<Q", size) + text + data, f"header of {size} bytes"
        case 1:
            return _with_header(text + b" " * draw.choice((1, 8, 100_000)), data), "white space after the header"
        case 2:
            return _with_header(text[:-1] + b", " + text[1:], data), "every name twice"
        case 3:
            return _with_header(b"[" * 100_000, data), "nested header"
        case 4:
            metadata = draw.choice(
                ({}, {"version": 1}, {"version": "9"}, {"a": "b"}, [], "x", None, {"delta": "{}"}, {"format": "pt"})
            )
            return _joined({**header, "__metadata__": metadata}, data), f"metadata {metadata}"
        case 5:
            return _with_header(text, data + bytes(draw.choice((1, 8, 100)))), "more data than tensors"
        case 6:
            return _with_header(text, data[: -draw.choice((1, 8))]), "less data than tensors"
        case _:
            many = {f"t{index}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for index in range(2_000)}
            return _joined({**many, **header}, data), "2,000 empty tensors added"


def _joined(header: dict[str, Any], data: bytes) -> bytes:
    return _with_header(json.dumps(header).encode(), data)


def _with_header(header: bytes, data: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + data
