"""Parts of a store: shares of its free cells for those who learn apart, and the record of how stores were merged.

All parts of one division have the same file of shares, and each says which of them are its own; so they cannot overlap.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from fmalloc.store.cells import Cells
from fmalloc.store.chain.versions import CURRENT
from fmalloc.store.records import Link
from fmalloc.store.tensors import Form, finite_bytes, read_tensors
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.strict import Digest, StrictModel

RESERVED, RESERVATION_FILE, MERGED = "reserved", "reservation.json", "merged"
SHARES_FILE: Literal["shares.safetensors"] = "shares.safetensors"
MOST_PARTS = 1024
Shares = Mapping[str, Cells]
PartNumber = Annotated[int, Field(ge=1, le=MOST_PARTS)]


class ReservationRecord(StrictModel):
    """reserved/reservation.json: which of a divided store's free cells may be claimed in this one."""

    INDENT = 1

    version: Literal[1] = 1
    """Of this file."""
    before: Digest
    """Head of the store that was divided."""
    of: Annotated[int, Field(ge=2, le=MOST_PARTS)]
    """Number of parts."""
    parts: Annotated[list[PartNumber], Field(min_length=1)]
    """Those that are this store's, ascending; all others are reserved for others."""
    files: dict[Literal["shares.safetensors"], Digest]
    """SHA-256 of the file that says which cell is in which part, the same in all parts."""

    @model_validator(mode="after")
    def _some_of_them(self) -> Self:
        if self.parts != sorted({*self.parts}) or self.parts[-1] > self.of or len(self.parts) == self.of:
            raise ValueError(f"parts are {self.parts} of {self.of}, expected some but not all of them, ascending")
        return self

    def __str__(self) -> str:
        named = ", ".join(map(str, self.parts))
        return f"part{'s' if len(self.parts) > 1 else ''} {named} of {self.of}"


class MergedStore(StrictModel):
    """What one of the stores was that were merged, from where they divided."""

    links: Annotated[list[Link], Field(min_length=1)]
    """Of its chain after `before`: its reservation, and all that was recorded in it since."""

    def heads(self, before: str) -> list[str]:
        """Its heads after each of these links; a head that somebody wrote down is found among them."""
        found = [before]
        for link in self.links:
            found.append(sha256(f"{found[-1]} {link.record}".encode()).hexdigest())
        return found[1:]


class MergeRecord(StrictModel):
    """merged/<number>.json: the stores that were united in this one, whose tasks stand in their order."""

    INDENT = 1

    version: Literal[1] = 1
    """Of this file."""
    before: Digest
    """Head of the store that was divided, which all of them have in common."""
    stores: Annotated[list[MergedStore], Field(min_length=1)]
    """In the order in which they were given."""

    @property
    def records(self) -> list[set[str]]:
        """SHA-256 of the records of tasks that each of the stores had learned."""
        return [{link.record for link in store.links if link.kind == "task"} for store in self.stores]

    def problems(self, links: Sequence[Link], heads: Collection[str]) -> Iterator[str]:
        """What it says that is not so of the `links` and the `heads` of the chain before it."""
        if self.before not in heads:
            yield f"before is {self.before}, which is no head of this store"
        known = {(("task" if link.kind == "freed" else link.kind), link.record) for link in links}
        for place, store in enumerate(self.stores, start=1):
            first, *others = store.links
            if first.kind != "reservation":
                yield f"store {place} begins with a {first.kind}, expected its reservation"
            for link in others:
                if link.kind not in ("task", "merge", CURRENT):
                    yield f"store {place} has a {link.kind}, expected tasks, choices of versions and merges"
                elif (link.kind, link.record) not in known:
                    yield f"store {place} has the {link.kind} {link.name!r}, record {link.record}: not in this store"


def divided(free: Mapping[str, Cells], widths: Mapping[str, int], of: int) -> Shares:
    """Shares of the free cells by layer, int64 (width,): 1 to `of`, and 0 for cells that are not free.

    Every part gets as many cells of every layer, but for one; who gets one more differs from layer to layer.
    """
    shares, first = {}, 0
    for layer, cells in free.items():
        shares[layer] = np.zeros(widths[layer], dtype=np.int64)
        shares[layer][cells] = 1 + (first + np.arange(len(cells))) % of
        first = (first + len(cells)) % of
    return shares


def shares_bytes(shares: Shares) -> bytes:
    """The content of a shares.safetensors file."""
    return finite_bytes({f"{layer}.part": values for layer, values in shares.items()}, "shares")


def read_shares(path: Path, widths: Mapping[str, int], of: int) -> Shares:
    """Shares by layer, int64 (width,), from a shares.safetensors file; FmallocError if it is not that."""
    tensors = read_tensors(path, {f"{layer}.part": Form("int64", (width,)) for layer, width in widths.items()})
    for name, values in tensors.items():
        if (other := values[(values < 0) | (values > of)]).size:
            raise FmallocError(f"{path}: {name} holds {other[0]}, expected 0 to {of}")
    return {layer: tensors[f"{layer}.part"] for layer in widths}
