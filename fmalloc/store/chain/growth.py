"""Cells that a store was widened by: their record, and their values before anybody claims them.

Keys are drawn from N(0, 1 / d_model), biases and values are 0: a fresh cell fires, so that a task can learn it, and
adds exactly nothing until it does. They are stored, not drawn again: generators of random numbers change with their
library.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fmalloc.store.tensors import Form, finite_bytes, read_tensors
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.strict import Digest, StrictModel

GROWN, GROWTH_FILE = "grown", "growth.json"
CELLS_FILE: Literal["cells.safetensors"] = "cells.safetensors"
MOST_CELLS = 2**20
Keys = Mapping[str, NDArray[np.float32]]


class GrowthRecord(StrictModel):
    """growth.json: every feed-forward layer was widened by as many free cells."""

    INDENT = 1

    version: Literal[1] = 1
    """Of this file."""
    cells: Annotated[int, Field(ge=1, le=MOST_CELLS)]
    """Added to each layer, behind those that it had."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)]
    """Their keys were drawn with."""
    files: dict[Literal["cells.safetensors"], Digest]
    """SHA-256 of the file of their keys."""


def draw_keys(layers: Iterable[str], cells: int, d_model: int, seed: int, number: int) -> Keys:
    """Keys of fresh cells by layer, float32 (cells, d_model); `number`: which growth of the store it is, from 1."""
    draw = np.random.default_rng([seed, number])
    return {layer: (draw.standard_normal((cells, d_model)) / d_model**0.5).astype(np.float32) for layer in layers}


def keys_bytes(keys: Keys) -> bytes:
    """The content of a cells.safetensors file."""
    return finite_bytes({f"{layer}.fc1_weight": values for layer, values in keys.items()}, "fresh cells")


def read_keys(path: Path, layers: Iterable[str], cells: int, d_model: int) -> Keys:
    """Keys by layer, float32 (cells, d_model), from a cells.safetensors file; FmallocError if it is not that."""
    expected = {f"{layer}.fc1_weight": Form("float32", (cells, d_model)) for layer in layers}
    tensors = read_tensors(path, expected)
    for name, values in tensors.items():
        if not np.isfinite(values).all():
            raise FmallocError(f"{path}: {name} holds NaN or infinite values")
    return {name.removesuffix(".fc1_weight"): tensors[name] for name in expected}
