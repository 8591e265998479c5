"""The certificate of a freeing: what was deleted from a store, what stayed as it was, and the chain before it.

It is a record of the chain: the head after the freeing is SHA-256 of the head before it, a space, and the SHA-256 of
the certificate, both in hex. Nothing in it is made from a domain's text or values but the digest of its record.
"""

from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from fmalloc.store.chain.versions import TaskName
from fmalloc_shared.strict import Count, Digest, StrictModel

FREED = "freed"


class FreedTask(StrictModel):
    """What was one task."""

    name: TaskName
    """As in its record."""
    order: Annotated[int, Field(ge=1)]
    """Its place among all tasks that were ever learned, from 1."""
    record: Digest
    """SHA-256 of its task.json, which stays in the chain in its stead."""
    cells: dict[str, Count]
    """How many cells it gave back, by layer."""
    files: Count
    """How many of the store's files were deleted."""
    bytes: Count
    """Their size."""
    offered_to: list[TaskName]
    """Tasks that were learned later and could have read it: they do not, but learned in its presence."""
    continued_in: list[TaskName] = Field(default_factory=list)
    """Versions that began as a copy of it, or of what it began as, and may hold its values; absent if none did."""

    @model_serializer(mode="wrap")
    def _written(self, default: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = default(self)
        return {key: value for key, value in content.items() if value or key != "continued_in"}


class KeptTask(StrictModel):
    """What any other task was before the freeing, and is after it."""

    record: Digest
    """SHA-256 of its task.json."""
    inputs: Digest
    """Of all that its export reads: SHA-256 of lines `<SHA-256> <path>` for each file, sorted by path."""


class Certificate(StrictModel):
    """freed/<number>.json: the proof of a freeing."""

    INDENT = 1

    version: Literal[1] = 1
    """Of this file."""
    time: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    """UTC, ISO 8601."""
    store: Digest
    """SHA-256 of store.json."""
    before: Digest
    """Head of the store before."""
    freed: Annotated[list[FreedTask], Field(min_length=1)]
    """In the order in which they were learned."""
    kept: dict[TaskName, KeptTask]
    """All others, `general` too, whose record is store.json."""
    free: dict[str, Count]
    """Free cells afterwards, by layer."""
    rows_searched: Count
    """Rows of weights of what was freed that were looked for in all other files but `continued_in`'s, and not found."""
    bytes_searched: Count
    """Size of those files."""
    bundles: list[str]
    """Names of compiled bundles that were deleted with it."""

    @property
    def after(self) -> str:
        """The head of the store that was left, before anything later."""
        return sha256(f"{self.before} {sha256(self.to_bytes()).hexdigest()}".encode()).hexdigest()
