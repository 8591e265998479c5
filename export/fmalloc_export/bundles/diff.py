"""Diff a model file against a reference: find the rows and columns of its tensors in the reference's.

Domains of a base differ in the cells (rows of fc1, columns of fc2) and the tokens (rows of embeddings) that they keep.
Both are found by content alone: a diff does not depend on how its file was compiled. fmalloc_runtime.bundle.delta
defines the format of the result, and reads it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from fmalloc_export.bundles.layout import StoredTensor
from fmalloc_runtime.bundle.delta import CopyPart, Delta, GatherPart, LiteralPart, Part
from fmalloc_runtime.bundle.packed import LITERALS, METADATA_KEY

_UNKNOWN = -1
# A map is used if it finds at least this share of a tensor's rows or columns.
_FOUND = 0.25
_NARROWEST = 4
_DTYPES = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


@dataclass(frozen=True)
class ModelFile:
    """A file's bytes uint8 (n,) and the tensors in it."""

    data: NDArray[np.uint8]
    tensors: tuple[StoredTensor, ...]

    def matrix(self, tensor: StoredTensor) -> NDArray[Any]:
        """(rows, columns) of unsigned integers of the items' size."""
        content = self.data[tensor.offset : tensor.offset + tensor.size]
        return content.view(_DTYPES[tensor.item_size]).reshape(tensor.rows, tensor.columns)


@dataclass(frozen=True)
class _Map:
    """Where rows or columns come from: `origin` (k,), indices below `bound` or -1; found in the tensor `name`."""

    origin: NDArray[np.int64]
    bound: int
    name: str


@dataclass(frozen=True)
class _Plan:
    """How to gather a tensor: maps of rows and columns (None: all), and the ones that literals replace."""

    rows: NDArray[np.int64] | None
    columns: NDArray[np.int64] | None
    literal_rows: NDArray[np.int64]
    literal_columns: NDArray[np.int64]
    literal_items: int


@dataclass
class _Writer:
    """Collects parts, literals and index tensors; adjacent parts of one kind are joined."""

    parts: list[Part] = field(default_factory=list)
    literals: list[bytes] = field(default_factory=list)
    indices: dict[bytes, str] = field(default_factory=dict)

    def literal(self, data: NDArray[np.uint8]) -> None:
        if not len(data):
            return
        size = len(data)
        if self.parts and isinstance(last := self.parts[-1], LiteralPart):
            size += last.size
            self.parts.pop()
        self.parts.append(LiteralPart(size=size))
        self.literals.append(data.tobytes())

    def copy(self, offset: int, size: int) -> None:
        if not size:
            return
        if self.parts and isinstance(last := self.parts[-1], CopyPart) and last.offset + last.size == offset:
            self.parts.pop()
            offset, size = last.offset, last.size + size
        self.parts.append(CopyPart(offset=offset, size=size))

    def gather(self, tensor: StoredTensor, plan: _Plan, target: NDArray[Any]) -> None:
        self.parts.append(
            GatherPart(
                offset=tensor.offset,
                rows=tensor.rows,
                columns=tensor.columns,
                item_size=tensor.item_size,  # type: ignore[arg-type]
                take_rows=self._index(plan.rows),
                take_columns=self._index(plan.columns),
                literal_rows=self._index(plan.literal_rows if len(plan.literal_rows) else None),
                literal_columns=self._index(plan.literal_columns if len(plan.literal_columns) else None),
            )
        )
        self.literals.append(target[:, plan.literal_columns].tobytes())
        self.literals.append(target[plan.literal_rows].tobytes())

    def to_bytes(self, reference: str, size: int) -> bytes:
        delta = Delta(reference=reference, size=size, parts=tuple(self.parts))
        tensors = {name: np.frombuffer(data, dtype=np.uint32) for data, name in self.indices.items()}
        tensors[LITERALS] = np.frombuffer(b"".join(self.literals), dtype=np.uint8)
        return bytes(save(tensors, metadata={METADATA_KEY: delta.to_line().decode().strip()}))

    def _index(self, index: NDArray[np.int64] | None) -> str | None:
        if index is None:
            return None
        return self.indices.setdefault(index.astype(np.uint32).tobytes(), f"index.{len(self.indices)}")


def delta_bytes(target: ModelFile, reference: ModelFile, digest: str) -> bytes:
    """The content of a delta file that restores `target` from `reference`, whose SHA-256 is `digest`."""
    writer = _Writer()
    named = {name: tensor for tensor in reference.tensors for name in tensor.names}
    pairs = [(tensor, _partner(tensor, named)) for tensor in target.tensors]
    maps = list(_maps(target, reference, pairs))
    position = 0
    for tensor, partner in pairs:
        _gap(writer, target.data[position : tensor.offset], reference.data, partner)
        _tensor(writer, target, tensor, reference, partner, maps)
        position = tensor.offset + tensor.size
    _gap(writer, target.data[position:], reference.data, None)
    return writer.to_bytes(digest, len(target.data))


def _partner(tensor: StoredTensor, named: Mapping[str, StoredTensor]) -> StoredTensor | None:
    found = next((named[name] for name in tensor.names if name in named), None)
    return found if found and found.item_size == tensor.item_size else None


def _gap(writer: _Writer, data: NDArray[np.uint8], reference: NDArray[np.uint8], partner: StoredTensor | None) -> None:
    """Bytes between tensors: copied from before the partner or from the end of the reference, or literal."""
    end = partner.offset if partner else len(reference)
    start = end - len(data)
    if start >= 0 and np.array_equal(reference[start:end], data):
        writer.copy(start, len(data))
    else:
        writer.literal(data)


def _tensor(
    writer: _Writer,
    target: ModelFile,
    tensor: StoredTensor,
    reference: ModelFile,
    partner: StoredTensor | None,
    maps: Sequence[_Map],
) -> None:
    wanted = target.matrix(tensor)
    if partner is not None:
        there = reference.matrix(partner)
        if np.array_equal(wanted, there):
            writer.copy(partner.offset, partner.size)
            return
        plan = min(_plans(wanted, there, maps, tensor.names[0]), key=lambda plan: plan.literal_items, default=None)
        if plan is not None and plan.literal_items < wanted.size:
            writer.gather(partner, plan, wanted)
            return
    writer.literal(target.data[tensor.offset : tensor.offset + tensor.size])


def _maps(
    target: ModelFile, reference: ModelFile, pairs: Iterable[tuple[StoredTensor, StoredTensor | None]]
) -> Iterator[_Map]:
    """All maps of rows or columns found in the content of matrices."""
    for tensor, partner in pairs:
        if partner is None or min(tensor.columns, tensor.rows) < _NARROWEST:
            continue
        wanted, there = target.matrix(tensor), reference.matrix(partner)
        if np.array_equal(wanted, there):
            continue
        for one, other in ((wanted, there), (wanted.T, there.T)):
            if one.shape[1] == other.shape[1]:
                origin = _origins(one, other)
                if (origin != _UNKNOWN).mean() >= _FOUND:
                    yield _Map(origin, len(other), tensor.names[0])


def _origins(wanted: NDArray[Any], there: NDArray[Any]) -> NDArray[np.int64]:
    """For each row of `wanted` (k, n) the first equal row of `there` (K, n), or -1."""
    places: dict[bytes, int] = {}
    for index, row in enumerate(np.ascontiguousarray(there)):
        places.setdefault(row.tobytes(), index)
    found = (places.get(row.tobytes(), _UNKNOWN) for row in np.ascontiguousarray(wanted))
    return np.fromiter(found, dtype=np.int64, count=len(wanted))


def _plans(wanted: NDArray[Any], there: NDArray[Any], maps: Sequence[_Map], name: str) -> Iterator[_Plan]:
    """Ways to gather `wanted` from `there`; the search ends with the first that needs few literals."""
    if wanted.shape == there.shape:
        yield _plan(wanted, there, None, None)
    # Maps of the same layer fit best; their names have the longest prefix in common.
    for each in sorted(maps, key=lambda each: -_common(each.name, name)):
        for axis in (0, 1):
            if wanted.shape[1 - axis] != there.shape[1 - axis]:
                continue
            if (len(each.origin), each.bound) == (wanted.shape[axis], there.shape[axis]):
                plan = _plan(wanted, there, *((each.origin, None) if axis == 0 else (None, each.origin)))
                yield plan
                if plan.literal_items < wanted.size * (1 - _FOUND):
                    return


def _common(one: str, other: str) -> int:
    """Length of the common prefix of two names."""
    return next((index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))


def _plan(
    wanted: NDArray[Any], there: NDArray[Any], rows: NDArray[np.int64] | None, columns: NDArray[np.int64] | None
) -> _Plan:
    """Add literals for the rows and columns that the maps, of which one at least is None, do not give."""
    taken = there
    if rows is not None:
        taken = there.take(np.maximum(rows, 0), axis=0)
    if columns is not None:
        taken = there.take(np.maximum(columns, 0), axis=1)
    differs = taken != wanted
    # First the rows that mostly differ, then the columns that still differ; or the other way round.
    choices = []
    for axis in (0, 1):
        first = differs.mean(axis=1 - axis) > 0.5
        kept = np.compress(~first, differs, axis=axis)
        second = kept.any(axis=axis)
        choices.append((first, second) if axis == 0 else (second, first))
    literal = min(choices, key=lambda choice: _items(differs.shape, *choice))
    return _Plan(
        rows=None if rows is None else np.maximum(rows, 0),
        columns=None if columns is None else np.maximum(columns, 0),
        literal_rows=np.flatnonzero(literal[0]),
        literal_columns=np.flatnonzero(literal[1]),
        literal_items=_items(differs.shape, *literal),
    )


def _items(shape: tuple[int, ...], rows: NDArray[np.bool_], columns: NDArray[np.bool_]) -> int:
    return int(rows.sum()) * shape[1] + int(columns.sum()) * shape[0]
