"""A compiled domain on disk: an immutable directory whose name and manifest prove its content."""

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import numpy as np
from pydantic import Field

from fmalloc_runtime.bundle.delta import Bytes
from fmalloc_runtime.bundle.manifest import (
    MANIFEST_FILE,
    Drop,
    EngineInfo,
    Identical,
    Manifest,
    Parity,
    PassInfo,
    Quality,
    SourceInfo,
)
from fmalloc_runtime.bundle.packed import DELTA_SUFFIX, SHARED_DIRECTORY, PackedFile
from fmalloc_runtime.bundle.signature import SIGNATURE_FILE, Signed, TrustedKeys
from fmalloc_runtime.bundle.verification import (
    GLOSSARY_FILE,
    GOLDEN_FILE,
    MODEL_DIRECTORY,
    ROUTING_FILE,
    TOKENIZER_DIRECTORY,
    check_manifest,
    check_model,
    vocabularies,
)
from fmalloc_runtime.memory.file import MEMORY_FILE, check_memory
from fmalloc_runtime.memory.memory import Memory
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import check_plain, read_small, verify_files
from fmalloc_shared.names import DomainName
from fmalloc_shared.ngrams import NgramCounts
from fmalloc_shared.strict import StrictModel

__all__ = [
    "GLOSSARY_FILE",
    "GOLDEN_FILE",
    "LIVE_FILE",
    "MANIFEST_FILE",
    "MODEL_DIRECTORY",
    "ROUTING_FILE",
    "SIGNATURE_FILE",
    "TOKENIZER_DIRECTORY",
    "Bundle",
    "Drop",
    "EngineInfo",
    "GoldenRecord",
    "Identical",
    "LiveIndex",
    "Manifest",
    "Parity",
    "PassInfo",
    "Quality",
    "SourceInfo",
    "TermRecord",
    "lines_of",
]

LIVE_FILE = "live.json"
# Bytes from which a file is mapped instead of read.
_MAPPED = 2**20
# Bytes of a glossary.
_LARGEST_GLOSSARY = 64 * 2**20

Record = TypeVar("Record", bound=StrictModel)


class GoldenRecord(StrictModel):
    """A source and the translation that the bundle must produce for it."""

    source: str
    translation: str


_Term = Annotated[str, Field(min_length=1, max_length=1024)]


class TermRecord(StrictModel):
    """A term and how the domain translates it."""

    source: _Term
    """As it stands in a text, in any inflection."""
    target: _Term
    """As it is written."""


class Bundle:
    """A verified bundle directory. `signed`: whose signature it has, if that was asked for."""

    def __init__(self, path: Path, manifest: Manifest, signed: Signed | None = None) -> None:
        self.path = path
        self.manifest = manifest
        self.signed = signed

    @classmethod
    def open(cls, path: Path) -> "Bundle":
        """Read and verify name, manifest and the digest of each file; FmallocError says what is wrong."""
        bundle = cls.read(path)
        bundle.verify()
        return bundle

    @classmethod
    def read(cls, path: Path, trusted: TrustedKeys | None = None) -> "Bundle":
        """Read and verify name and manifest, but not the files; with `trusted`, one of those keys must have signed it.

        The manifest in memory is the one that was signed: what is loaded later is compared with it, not with the file.
        """
        manifest_path = path / MANIFEST_FILE
        if not path.is_dir():
            raise FmallocError(f"{path}: no such bundle directory")
        content = read_small(manifest_path)
        signed = trusted.check(path, content) if trusted else None
        manifest = Manifest.parse(content, str(manifest_path))
        expected = f"{manifest.domain}@{sha256(content).hexdigest()[:12]}"
        if path.name != expected:
            raise FmallocError(f"{path}: expected the name {expected}, by its manifest: one of the two was changed")
        check_manifest(manifest, str(manifest_path))
        return cls(path, manifest, signed)

    @property
    def name(self) -> str:
        """`<domain>@<hash>`."""
        return self.path.name

    @property
    def model(self) -> Path:
        """The engine's model directory."""
        return self.path / MODEL_DIRECTORY

    @property
    def tokenizer(self) -> Path:
        """The tokenizer directory."""
        return self.path / TOKENIZER_DIRECTORY

    @property
    def packed(self) -> frozenset[str]:
        """Files of the manifest that are stored as deltas now; this may change while the bundle is in use."""
        return frozenset(
            name
            for name in self.manifest.files
            if name.startswith(f"{MODEL_DIRECTORY}/")
            and not (self.path / name).is_file()
            and (self.path / f"{name}{DELTA_SUFFIX}").is_file()
        )

    def packed_file(self, name: str) -> PackedFile:
        """The delta of a file of the manifest; FmallocError if it is malformed."""
        return PackedFile.open(self.path / f"{name}{DELTA_SUFFIX}", self.path.parent / SHARED_DIRECTORY)

    def model_files(self) -> Mapping[str, bytes] | None:
        """The content of the model's files by name; None if none is packed, so that the engine can read them itself."""
        packed = self.packed
        if not packed:
            return None
        return {
            name.removeprefix(f"{MODEL_DIRECTORY}/"): self.packed_file(name).content(digest)
            if name in packed
            else (self.path / name).read_bytes()
            for name, digest in self.manifest.files.items()
            if name.startswith(f"{MODEL_DIRECTORY}/")
        }

    def routing(self) -> NgramCounts:
        """The n-gram counts of the domain's source text."""
        return NgramCounts.read(self.path / ROUTING_FILE)

    def memory(self) -> Memory | None:
        """The translation memory, if it has one."""
        return Memory(self.path / MEMORY_FILE) if self.manifest.memory else None

    def glossary(self) -> tuple[TermRecord, ...]:
        """The domain's own terms, each source once; empty without a glossary."""
        path = self.path / GLOSSARY_FILE
        return _records(TermRecord, path, read_small(path, _LARGEST_GLOSSARY)) if self.manifest.glossary else ()

    def golden(self) -> tuple[GoldenRecord, ...]:
        """Records to replay before the bundle goes live; empty if the store keeps no samples."""
        path = self.path / GOLDEN_FILE
        return _records(GoldenRecord, path, read_small(path))

    def vocabularies(self) -> tuple[list[str], list[str]]:
        """Source and target tokens of the model, by id."""
        names = [path.name for path in self.model.glob("*")]
        return vocabularies(self.manifest.engine.name, names, self.content, str(self.path))

    def content(self, name: str) -> Bytes:
        """A file of the manifest, plain or packed."""
        path = self.path / name
        if name in self.packed:
            return np.frombuffer(self.packed_file(name).content(self.manifest.files[name]), dtype=np.uint8)
        try:
            large = check_plain(path).stat().st_size >= _MAPPED
            return np.asarray(np.memmap(path, mode="r")) if large else np.fromfile(path, dtype=np.uint8)
        except OSError as error:
            raise FmallocError(f"{path}: cannot be read: {error.strerror}") from error

    def verify(self) -> None:
        """Raise FmallocError unless the files, plain or packed, match the manifest, and the model is what it says."""
        packed = self.packed
        try:
            digests = self.manifest.files
            plain = {name: digest for name, digest in digests.items() if name not in packed}
            # A plain file may have a delta beside it, if a writer was stopped between the two.
            deltas = {f"{name}{DELTA_SUFFIX}" for name in digests if name.startswith(f"{MODEL_DIRECTORY}/")}
            verify_files(self.path, plain, besides=frozenset({MANIFEST_FILE, SIGNATURE_FILE, *deltas}))
            for name in sorted(packed):
                self.packed_file(name).verify(digests[name])
            check_model(self.manifest, self.content, str(self.path))
            if memory := self.manifest.memory:
                check_memory(self.path / MEMORY_FILE, memory.pairs)
            self._check_glossary()
        except FmallocError:
            if self.packed == packed:
                raise
            self.verify()  # it was packed or unpacked in the meantime

    def _check_glossary(self) -> None:
        terms = self.glossary()
        expected = self.manifest.glossary or 0
        if len({term.source for term in terms}) != expected:
            raise FmallocError(f"{self.path / GLOSSARY_FILE}: {len(terms)} lines, the manifest says {expected} terms")


def lines_of(records: Iterable[StrictModel]) -> bytes:
    """The content of a file with a record per line."""
    return b"".join(record.to_line() for record in records)


def _records(kind: type[Record], path: Path, content: bytes) -> tuple[Record, ...]:
    lines = content.split(b"\n")
    return tuple(kind.parse(line, f"{path}:{number}") for number, line in enumerate(lines, start=1) if line)


class LiveIndex(StrictModel):
    """`live.json`: which bundle serves each domain."""

    version: Literal[1] = 1
    domains: dict[DomainName, str]

    @classmethod
    def of(cls, bundles: Path) -> "LiveIndex":
        """Read `bundles`/live.json; FmallocError if it is missing, malformed or names a bundle of another domain."""
        path = bundles / LIVE_FILE
        index = cls.read(path)
        for domain, name in index.domains.items():
            if not re.fullmatch(rf"{re.escape(domain)}@[0-9a-f]{{12}}", name):
                raise FmallocError(f"{path}: domains.{domain}: expected {domain}@ and 12 hex digits, found {name!r}")
        return index

    def with_bundle(self, bundle: str) -> "LiveIndex":
        """A copy in which `bundle` (`<domain>@<hash>`) serves its domain."""
        return LiveIndex(domains={**self.domains, bundle.partition("@")[0]: bundle})
