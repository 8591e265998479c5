"""Pack and unpack bundles: large model files become deltas against one that all share.

Bundles can be read at any moment meanwhile, and stay whole if the process is killed: a file's new form is complete
before the old one is deleted.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fmalloc_export.bundles.diff import ModelFile, delta_bytes
from fmalloc_export.bundles.layout import layout_of
from fmalloc_export.bundles.publish import bundle_paths, staging
from fmalloc_export.bundles.sharing import link_equal_files, place
from fmalloc_runtime.bundle.bundle import MODEL_DIRECTORY, Bundle
from fmalloc_runtime.bundle.packed import DELTA_SUFFIX, SHARED_DIRECTORY, PackedFile
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256, sync_directory

_SUFFIXES = (".bin", ".onnx", ".data", "_data")
Progress = Callable[[str], object]


@dataclass(frozen=True)
class _Group:
    """Files that can share a reference: of one name, in bundles of one store, engine and type of weights."""

    store: str
    engine: str
    quantization: str
    name: str


@dataclass(frozen=True)
class _Member:
    """A file of a bundle that can be packed."""

    bundle: Bundle
    name: str

    @property
    def digest(self) -> str:
        return self.bundle.manifest.files[self.name]

    @property
    def path(self) -> Path:
        return self.bundle.path / self.name

    @property
    def delta(self) -> Path:
        return self.path.parent / f"{self.path.name}{DELTA_SUFFIX}"

    @property
    def is_model(self) -> bool:
        """Whether it is a model file, and no file in the manifest has the name of its delta."""
        files = self.bundle.manifest.files
        return self.name.startswith(f"{MODEL_DIRECTORY}/") and f"{self.name}{DELTA_SUFFIX}" not in files

    @property
    def size(self) -> int:
        """Of the plain file, in bytes."""
        if self.path.is_file():
            return self.path.stat().st_size
        return self.bundle.packed_file(self.name).delta.size

    def content(self) -> bytes:
        """Of the plain file."""
        if self.path.is_file():
            return self.path.read_bytes()
        return self.bundle.packed_file(self.name).content(self.digest)

    def model_file(self) -> ModelFile:
        """The content and where the tensors are in it."""
        content = self.content()
        # ONNX keeps weights and the description of them in two files.
        graphs = [name for name in self.bundle.manifest.files if name.endswith(".onnx") and name != self.name]
        files = {Path(name).name: _Member(self.bundle, name).content() for name in graphs}
        return _model_file(self.path.name, content, files)


def pack(output_dir: Path, bundles: Sequence[Bundle], on_file: Progress = lambda _: None) -> None:
    """Pack verified `bundles` of `output_dir`; the caller holds `publish.writing(output_dir)`.

    Files that would not get smaller stay plain. References are looked for in all bundles of the directory.
    """
    everything = _groups([Bundle.read(path) for path in bundle_paths(output_dir)])
    for group, members in _groups(bundles).items():
        plain = [member for member in members if member.path.is_file()]
        if not plain:
            continue
        with staging(output_dir) as work:
            if (found := _reference(everything[group], output_dir, work)) is None:
                continue
            digest, reference = found
            for member in plain:
                on_file(f"{member.bundle.name}/{member.name}")
                _pack(member, digest, reference, output_dir, work)
    # Copying a directory loses its hard links: make them again.
    with staging(output_dir) as work:
        for bundle in bundles:
            link_equal_files(bundle, output_dir, work)


def unpack(output_dir: Path, bundles: Sequence[Bundle], on_file: Progress = lambda _: None) -> None:
    """Restore the plain files of `bundles` in `output_dir`; the caller holds `publish.writing(output_dir)`."""
    for bundle in bundles:
        for member in (_Member(bundle, name) for name in sorted(bundle.manifest.files)):
            if member.name in bundle.packed:
                on_file(f"{bundle.name}/{member.name}")
                with staging(output_dir) as work:
                    _unpack(member, output_dir, work)
            if member.is_model and member.delta.is_file():
                member.delta.unlink()


def _groups(bundles: Sequence[Bundle]) -> dict[_Group, list[_Member]]:
    groups: dict[_Group, list[_Member]] = {}
    for bundle in bundles:
        manifest = bundle.manifest
        for name in sorted(manifest.files):
            member = _Member(bundle, name)
            if member.is_model and name.endswith(_SUFFIXES):
                group = _Group(manifest.source.store, manifest.engine.name, manifest.engine.quantization, name)
                groups.setdefault(group, []).append(member)
    return groups


def _reference(members: Sequence[_Member], output_dir: Path, work: Path) -> tuple[str, ModelFile] | None:
    """Digest and content of the reference: the one that most packed files use already, or the largest file.

    None if it has no tensors that another file could share.
    """
    packed = [member for member in members if member.name in member.bundle.packed]
    used = Counter(member.bundle.packed_file(member.name).delta.reference for member in packed)
    for digest in sorted(used, key=lambda digest: (-used[digest], digest)):
        owner = next((member for member in members if member.digest == digest), None)
        if owner is not None:
            return _shared(owner, output_dir, work)
        if (lone := output_dir / SHARED_DIRECTORY / digest).is_file():
            found = _model_file(members[0].path.name, lone.read_bytes(), {})
            if found.tensors:
                return digest, found
    return _shared(max(members, key=lambda member: (member.size, member.digest)), output_dir, work)


def _shared(member: _Member, output_dir: Path, work: Path) -> tuple[str, ModelFile] | None:
    """Put a member's content into the shared folder; returns its digest and content, None if it has no tensors."""
    file = member.model_file()
    if not file.tensors:
        return None
    destination = output_dir / SHARED_DIRECTORY / member.digest
    if not destination.is_file():
        if not destination.parent.is_dir():
            destination.parent.mkdir()
            sync_directory(output_dir)
        staged = work / member.digest
        if member.path.is_file():
            place(member.path, staged)
        else:
            staged.write_bytes(member.content())
        if (found := sha256(staged)) != member.digest:
            raise FmallocError(f"{member.path}: sha256 is {found}, expected {member.digest}")
        _move_durably(staged, destination)
    return member.digest, file


def _model_file(name: str, content: bytes, others: Mapping[str, bytes]) -> ModelFile:
    return ModelFile(np.frombuffer(content, dtype=np.uint8), layout_of(name, {**others, name: content}))


def _pack(member: _Member, digest: str, reference: ModelFile, output_dir: Path, work: Path) -> None:
    target = member.model_file()
    data = delta_bytes(target, reference, digest)
    if len(data) >= len(target.data):
        return
    staged = work / "delta"
    staged.write_bytes(data)
    PackedFile.open(staged, output_dir / SHARED_DIRECTORY).verify(member.digest)
    _move_durably(staged, member.delta)
    member.path.unlink()
    sync_directory(member.path.parent)


def _unpack(member: _Member, output_dir: Path, work: Path) -> None:
    content, plain = member.content(), work / "plain"
    shared = output_dir / SHARED_DIRECTORY / member.digest
    if shared.is_file() and shared.read_bytes() == content:
        place(shared, plain)
    else:
        plain.write_bytes(content)
    _move_durably(plain, member.path)


def _move_durably(staged: Path, destination: Path) -> None:
    with staged.open("rb") as file:
        os.fsync(file.fileno())
    staged.replace(destination)
    sync_directory(destination.parent)
