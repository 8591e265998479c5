"""A packed model file: a delta against a file that bundles share. It is restored exactly, or refused."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from fmalloc_runtime.bundle.delta import Bytes, Delta, Extent, GatherPart, Indices
from fmalloc_shared import files
from fmalloc_shared.errors import FmallocError

DELTA_SUFFIX = ".delta"
SHARED_DIRECTORY = "shared"
METADATA_KEY = "delta"
LITERALS = "literals"


class PackedFile:
    """A delta file with a checked header; the rest is read on demand."""

    def __init__(self, path: Path, shared: Path, delta: Delta, lengths: Mapping[str, int]) -> None:
        self.path = path
        self.delta = delta
        self.reference = shared / delta.reference
        self._lengths = lengths

    @classmethod
    def open(cls, path: Path, shared: Path) -> "PackedFile":
        """Read a delta against a file in the folder `shared`; FmallocError if it is malformed."""
        with _reading(path), safe_open(files.check_plain(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            found = {name: (file.get_slice(name).get_dtype(), file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        if list(metadata) != [METADATA_KEY]:
            raise FmallocError(f"{path}: not a delta: metadata {sorted(metadata)}, expected '{METADATA_KEY}' alone")
        for name, (dtype, shape) in found.items():
            expected = "U8" if name == LITERALS else "U32"
            if dtype != expected or len(shape) != 1:
                raise FmallocError(f"{path}: tensor {name!r} is {dtype} {shape}, expected a list of {expected}")
        lengths = {name: shape[0] for name, (_, shape) in found.items()}
        delta = Delta.parse(metadata[METADATA_KEY].encode("utf-8", "surrogatepass"), str(path))
        used = {name for part in delta.parts if isinstance(part, GatherPart) for name in part.names}
        if {*lengths} != {LITERALS, *used} or LITERALS in used:
            raise FmallocError(
                f"{path}: holds tensors {', '.join(sorted(lengths))}, expected {', '.join(sorted({LITERALS, *used}))}"
            )
        return cls(path, shared, delta, lengths)

    def verify(self, digest: str) -> None:
        """Raise FmallocError unless the content has this SHA-256."""
        found = sha256()
        for chunk in self._chunks():
            found.update(chunk.data)
        self._compare(found.hexdigest(), digest)

    def content(self, digest: str) -> bytes:
        """The file's bytes; FmallocError unless their SHA-256 is `digest`."""
        content = b"".join(chunk.data for chunk in self._chunks())
        self._compare(sha256(content).hexdigest(), digest)
        return content

    def _chunks(self) -> Iterator[Bytes]:
        """The content in pieces of one part each."""
        reference = self._map_reference()
        extents = self._checked_extents(len(reference))
        with _reading(self.path), safe_open(self.path, framework="numpy") as file:
            indices: dict[str, Indices] = {name: file.get_tensor(name) for name in self._lengths if name != LITERALS}
            literals: Bytes = file.get_tensor(LITERALS)
        self._check_indices(indices)
        start = 0
        for part, extent in zip(self.delta.parts, extents, strict=True):
            yield part.build(reference, literals[start : start + extent.literals], indices)
            start += extent.literals

    def _map_reference(self) -> Bytes:
        if not self.reference.is_file():
            raise FmallocError(
                f"{self.reference}: missing, but {self.path} is stored as its difference from it: "
                f"a packed bundle needs the folder {SHARED_DIRECTORY} beside it"
            )
        if self.reference.stat().st_size == 0:
            return np.zeros(0, dtype=np.uint8)
        try:
            return np.asarray(np.memmap(self.reference, dtype=np.uint8, mode="r"))
        except (OSError, ValueError) as error:
            raise FmallocError(f"{self.reference}: cannot be read: {error}") from error

    def _checked_extents(self, reference_size: int) -> list[Extent]:
        """The extent of each part. All are checked before anything is allocated."""
        extents = [part.extent(self._lengths) for part in self.delta.parts]
        if (end := max((extent.reference_end for extent in extents), default=0)) > reference_size:
            raise FmallocError(
                f"{self.path}: reads up to byte {end} of {self.reference}, which has {reference_size}: "
                "one of the two was cut or changed"
            )
        size, literals = sum(e.size for e in extents), sum(e.literals for e in extents)
        if size != self.delta.size or literals != self._lengths[LITERALS]:
            raise FmallocError(
                f"{self.path}: its parts make {size} bytes with {literals} literal ones, expected {self.delta.size} "
                f"with {self._lengths[LITERALS]}"
            )
        if size > reference_size + literals:
            raise FmallocError(
                f"{self.path}: would make {size} bytes of {reference_size} shared and {literals} literal ones, "
                "expected no more than both together"
            )
        return extents

    def _check_indices(self, indices: Mapping[str, Indices]) -> None:
        for part in self.delta.parts:
            for name, bound in part.bounds(self._lengths) if isinstance(part, GatherPart) else ():
                if len(indices[name]) and (largest := int(indices[name].max())) >= bound:
                    raise FmallocError(f"{self.path}: index {largest} in {name}, expected less than {bound}")

    def _compare(self, found: str, expected: str) -> None:
        if found == expected:
            return
        if (shared := files.sha256(self.reference)) != self.reference.name:
            raise FmallocError(f"{self.reference}: sha256 is {shared}, expected that of its name: the file was changed")
        raise FmallocError(f"{self.path}: makes a file with sha256 {found}, expected {expected}: the delta was changed")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError, ValueError) as error:
        raise FmallocError(f"{path}: not a delta file: {error}") from error
