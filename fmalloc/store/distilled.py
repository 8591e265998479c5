"""Distilled models of a store: shallow students of its domains, each in an immutable folder named by its record.

No task needs them, and the head does not cover them: a folder that is taken away can be made again, though not to the
same bytes on another machine. So a bundle that was compiled from one names the digest of its record.
"""

import hashlib
import re
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fmalloc.store.records import CurvePoint, DataRecord
from fmalloc.store.tensors import Form, finite_bytes, forms_of, read_tensors
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import check_lock, read_small, sha256, sync_directory, sync_tree, write_atomically
from fmalloc_shared.names import DomainName
from fmalloc_shared.strict import Count, Digest, StrictModel

DISTILLED, RECORD_FILE, MODEL_FILE = "distilled", "distilled.json", "model.safetensors"
DIGITS = 12
_DECODER_LAYER = re.compile(r"(model\.decoder\.layers\.)(\d{1,4})(\..*)")


class TeacherRecord(StrictModel):
    """The domain that a student learned from, as a bundle's manifest names it."""

    store: Digest
    """SHA-256 of store.json."""
    task: Digest | None
    """SHA-256 of task.json; null for `general`."""


class DistillationClaim(StrictModel):
    """All that decides what a student becomes, but for the machine."""

    domain: DomainName
    """Of the teacher."""
    teacher: TeacherRecord
    """What it was."""
    start: Digest | None
    """SHA-256 of the record of the general model that it began as; null: the teacher's own layers."""
    settings: dict[str, Any]
    """Depth, budget, rates and shares."""
    data: dict[Literal["train", "dev", "sources", "general"], DataRecord]
    """Pairs, and sources without translations, as used."""

    @property
    def digest(self) -> str:
        """SHA-256 of the claim."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


class DistilledRecord(StrictModel):
    """distilled.json: what a student learned from, and how that went."""

    INDENT = 1

    version: Literal[1] = 1
    """Of this folder's format."""
    claim: DistillationClaim
    """What decided it."""
    decoder_layers: tuple[Count, ...] = Field(min_length=1)
    """The base's decoder layers that it began with, counted from 0."""
    cells: dict[str, Count]
    """How many each of its feed-forward layers has."""
    updates: Count
    """How many there were."""
    curve: list[CurvePoint]
    """What validation saw, with weights rounded as int8 rounds them."""
    teacher_nll: float
    """Of the teacher on the same dev, nats per target token."""
    environment: dict[str, str]
    """As in store.json."""
    model: Digest
    """SHA-256 of model.safetensors."""


@dataclass(frozen=True)
class Distilled:
    """A student in the folder `path`; `digest` is that of its record, which names the folder."""

    path: Path
    digest: str
    record: DistilledRecord

    @classmethod
    def read(cls, path: Path) -> "Distilled":
        """Read the record; FmallocError if it is malformed or has another digest than the folder's name says."""
        content = read_small(path / RECORD_FILE)
        digest = hashlib.sha256(content).hexdigest()
        if path.name != digest[:DIGITS]:
            raise FmallocError(f"{path}: by its record the name is {digest[:DIGITS]}: one of the two was changed")
        return cls(path, digest, DistilledRecord.parse(content, str(path / RECORD_FILE)))

    @property
    def model(self) -> Path:
        """The file of the weights."""
        return self.path / MODEL_FILE

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 of every file, by its path below the store."""
        folder = f"{DISTILLED}/{self.path.name}"
        return {f"{folder}/{RECORD_FILE}": self.digest, f"{folder}/{MODEL_FILE}": self.record.model}

    def origin(self, name: str) -> str:
        """The base's parameter that one of the student's began as."""
        kept = self.record.decoder_layers
        found = _DECODER_LAYER.fullmatch(name)
        if not found or int(found[2]) >= len(kept):
            return name
        return f"{found[1]}{kept[int(found[2])]}{found[3]}"

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """The weights by name; FmallocError unless all are float32 and finite, and cells as many as recorded."""
        forms = {name: Form("float32", form.shape) for name, form in forms_of(self.model).items()}
        tensors = read_tensors(self.model, forms)
        for name, values in tensors.items():
            if not np.isfinite(values).all():
                raise FmallocError(f"{self.model}: tensor {name!r} holds NaN or infinite values")
        for layer, width in self.record.cells.items():
            stack, _, index = layer.partition(".")
            found = forms.get(f"model.{stack}.layers.{index}.fc1.bias", Form("missing", ())).shape
            if found != (width,):
                raise FmallocError(f"{self.model}: {layer} has cells {found}, expected ({width},) as recorded")
        return tensors

    def check(self) -> None:
        """Raise FmallocError unless the weights are those of the record, and well-formed."""
        if (found := sha256(self.model)) != self.record.model:
            raise FmallocError(f"{self.model}: sha256 is {found}, expected {self.record.model}")
        self.tensors()


def distilled_models(store: Path) -> Iterator[Distilled]:
    """All students of the store at `store`, by name; FmallocError if a record is malformed."""
    folder = store / DISTILLED
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.is_symlink() or not path.is_dir():
            raise FmallocError(f"{path}: expected folders of distilled models only")
        yield Distilled.read(path)


def students_of(store: Path, tasks: Collection[str | None]) -> list[Distilled]:
    """Students of the tasks whose records have one of these digests."""
    return [found for found in distilled_models(store) if found.record.claim.teacher.task in tasks]


def find_distilled(store: Path, digest: str) -> Distilled:
    """The student whose record has this digest, its weights checked; FmallocError if the store does not have it."""
    for found in distilled_models(store):
        if found.digest == digest:
            found.check()
            return found
    raise FmallocError(f"{store / DISTILLED}: no distilled model whose record has the SHA-256 {digest}")


def write_distilled(folder: Path, tensors: dict[str, NDArray[np.float32]], record: dict[str, Any]) -> Distilled:
    """Write a student that goes on learning into a `folder` of its own below .work, in place of an earlier state."""
    shutil.rmtree(folder, ignore_errors=True)
    staged = folder / "staged"
    return Distilled.read(staged.rename(folder / _stage(staged, tensors, record)))


def read_distilled(folder: Path) -> Distilled | None:
    """What write_distilled wrote, if it was written to its end."""
    found = [path for path in folder.glob("*") if path.name != "staged"]
    return Distilled.read(found[0]) if found else None


def commit_distilled(
    store: Path, staged: Path, tensors: dict[str, NDArray[np.float32]], record: dict[str, Any]
) -> Distilled:
    """Write a student into the new folder `staged`, below the store's .work, and rename it into place, whole.

    `record`: the fields of DistilledRecord but for `model`. The caller holds the store's lock.
    """
    destination = store / DISTILLED / _stage(staged, tensors, record)
    destination.parent.mkdir(exist_ok=True)
    sync_tree(staged)
    check_lock(store)
    if not destination.exists():
        staged.rename(destination)
        sync_directory(destination.parent)
    sync_directory(store)
    return Distilled.read(destination)


def _stage(staged: Path, tensors: dict[str, NDArray[np.float32]], record: dict[str, Any]) -> str:
    """Write a student into the new folder `staged`; returns the name that the folder is to have."""
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    (staged / MODEL_FILE).write_bytes(finite_bytes(tensors, "a distilled model"))
    content = DistilledRecord(model=sha256(staged / MODEL_FILE), **record).to_bytes()
    write_atomically(staged / RECORD_FILE, content)
    return hashlib.sha256(content).hexdigest()[:DIGITS]
