"""The format of a delta: parts that build a file from a reference and literals. docs/formats.md describes it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fmalloc_shared.strict import Digest, StrictModel

Bytes = NDArray[np.uint8]
Indices = NDArray[np.uint32]
Natural = Annotated[int, Field(ge=0, lt=2**48)]
Positive = Annotated[int, Field(gt=0, lt=2**48)]
_ITEM: dict[int, type[np.unsignedinteger]] = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


@dataclass(frozen=True)
class Extent:
    """The bytes that a part builds, those that it takes from the literals, and its end in the reference."""

    size: int
    literals: int
    reference_end: int = 0


class LiteralPart(StrictModel):
    """Literal bytes."""

    kind: Literal["literal"] = "literal"
    size: Positive

    def extent(self, _lengths: Mapping[str, int]) -> Extent:
        return Extent(self.size, self.size)

    def build(self, _reference: Bytes, literals: Bytes, _indices: Mapping[str, Indices]) -> Bytes:
        return literals


class CopyPart(StrictModel):
    """A range of the reference."""

    kind: Literal["copy"] = "copy"
    offset: Natural
    size: Positive

    def extent(self, _lengths: Mapping[str, int]) -> Extent:
        return Extent(self.size, 0, self.offset + self.size)

    def build(self, reference: Bytes, _literals: Bytes, _indices: Mapping[str, Indices]) -> Bytes:
        return reference[self.offset : self.offset + self.size]


class GatherPart(StrictModel):
    """Rows and columns of a matrix in the reference, some of them replaced by literals.

    The matrix starts at `offset` and has `rows` times `columns` items of `item_size` bytes. `take_rows` and
    `take_columns` name the tensors of the rows and columns to take, in order (None: all). `literal_columns` and then
    `literal_rows` name those of the result that literals replace. The literals hold the columns, row by row, then the
    rows.
    """

    kind: Literal["gather"] = "gather"
    offset: Natural
    rows: Positive
    columns: Positive
    item_size: Literal[1, 2, 4, 8]
    take_rows: str | None = None
    take_columns: str | None = None
    literal_rows: str | None = None
    literal_columns: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The index tensors of this part."""
        named = (self.take_rows, self.take_columns, self.literal_rows, self.literal_columns)
        return tuple(name for name in named if name is not None)

    def bounds(self, lengths: Mapping[str, int]) -> Iterator[tuple[str, int]]:
        """Names of index tensors with the exclusive bound of their indices."""
        height, width = self._shape(lengths)
        named = (self.take_rows, self.take_columns, self.literal_rows, self.literal_columns)
        for name, bound in zip(named, (self.rows, self.columns, height, width), strict=True):
            if name is not None:
                yield name, bound

    def extent(self, lengths: Mapping[str, int]) -> Extent:
        height, width = self._shape(lengths)
        rows = lengths[self.literal_rows] if self.literal_rows else 0
        columns = lengths[self.literal_columns] if self.literal_columns else 0
        return Extent(
            size=height * width * self.item_size,
            literals=(height * columns + rows * width) * self.item_size,
            reference_end=self.offset + self.rows * self.columns * self.item_size,
        )

    def build(self, reference: Bytes, literals: Bytes, indices: Mapping[str, Indices]) -> Bytes:
        item = _ITEM[self.item_size]
        end = self.offset + self.rows * self.columns * self.item_size
        matrix = self._taken(reference[self.offset : end].view(item).reshape(self.rows, self.columns), indices)
        height, width = matrix.shape
        values = literals.view(item)
        if self.literal_columns:
            columns = indices[self.literal_columns]
            matrix[:, columns] = values[: height * len(columns)].reshape(height, len(columns))
            values = values[height * len(columns) :]
        if self.literal_rows:
            rows = indices[self.literal_rows]
            matrix[rows] = values.reshape(len(rows), width)
        return matrix.view(np.uint8).reshape(height * width * self.item_size)

    def _taken(self, matrix: NDArray[Any], indices: Mapping[str, Indices]) -> NDArray[Any]:
        """The rows and columns to take, as a new matrix, never larger than the result."""
        if self.take_rows and self.take_columns:
            return np.ascontiguousarray(matrix[np.ix_(indices[self.take_rows], indices[self.take_columns])])
        if self.take_rows:
            return matrix.take(indices[self.take_rows], axis=0)
        if self.take_columns:
            return matrix.take(indices[self.take_columns], axis=1)
        return np.array(matrix)

    def _shape(self, lengths: Mapping[str, int]) -> tuple[int, int]:
        return (
            lengths[self.take_rows] if self.take_rows else self.rows,
            lengths[self.take_columns] if self.take_columns else self.columns,
        )


Part = Annotated[LiteralPart | CopyPart | GatherPart, Field(discriminator="kind")]


class Delta(StrictModel):
    """How to build a file of `size` bytes: its `parts` in order, from the file whose SHA-256 is `reference`."""

    version: Literal[1] = 1
    reference: Digest
    size: Natural
    parts: tuple[Part, ...]
