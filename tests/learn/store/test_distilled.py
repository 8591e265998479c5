"""Distilled models in a store: immutable, named by their content, found again, and checked with the store."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fmalloc.distillation.distill import DistillationText
from fmalloc.distillation.keeping import claim_of, kept_student
from fmalloc.distillation.settings import DistillationSettings
from fmalloc.lifecycle.freeing import certificate_of, complete, free
from fmalloc.report.status import findings
from fmalloc.store.distilled import MODEL_FILE, RECORD_FILE, Distilled, distilled_models, find_distilled
from fmalloc.store.store import Store, writing
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256
from tests.support.stores import PAIRS, tree_bytes, write_store
from tests.support.students import write_student


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return write_store(tmp_path / "store")


def test_the_store_verifies_with_them_and_says_so(store: Store) -> None:
    before = store.verify()
    student = write_student(store)
    assert store.verify() == before + 2
    assert f"distilled/{student.path.name}: late, decoder layers 1, updates 0" in findings(store)
    assert Store.open(store.path).chain().head == store.chain().head


def test_the_same_student_has_the_same_bytes_and_stays_as_it_is(store: Store) -> None:
    first = write_student(store)
    before = tree_bytes(first.path)
    again = write_student(store)
    assert (again.path, again.digest) == (first.path, first.digest)
    assert tree_bytes(again.path) == before
    other = write_student(store, layer=0)
    assert {found.digest for found in distilled_models(store.path)} == {first.digest, other.digest}
    assert find_distilled(store.path, other.digest).record.decoder_layers == (0,)


@pytest.mark.parametrize(
    "change",
    [{"domain": "it"}, {"settings": DistillationSettings(depth=1, seed=2)}, {"sources": ()}, {"train": PAIRS[1:]}],
)
def test_a_student_is_found_by_all_that_decides_what_it_becomes(change: dict[str, object], store: Store) -> None:
    student = write_student(store)
    same: dict[str, object] = {
        "domain": "late",
        "settings": DistillationSettings(depth=1),
        "sources": ("Noch ein Satz.",),
        "train": PAIRS,
    }

    def found(given: dict[str, object]) -> Distilled | None:
        text = DistillationText(given["train"], (), PAIRS[:1])  # type: ignore[arg-type]
        return kept_student(store, claim_of(store, given["domain"], given["settings"], text, given["sources"]))  # type: ignore[arg-type]

    assert found(same) == student
    assert found(same | change) is None


def test_what_is_not_there_is_named(store: Store) -> None:
    write_student(store)
    with pytest.raises(FmallocError, match=f"no distilled model whose record has the SHA-256 {'0' * 64}"):
        find_distilled(store.path, "0" * 64)


def rewritten(change: Callable[[dict[str, np.ndarray]], None]) -> Callable[[Path], None]:
    """Change the weights, and let record and folder name them as they are now."""

    def act(folder: Path) -> None:
        tensors = load_file(folder / MODEL_FILE)
        change(tensors)
        save_file(tensors, folder / MODEL_FILE, metadata={"version": "1"})
        record = json.loads((folder / RECORD_FILE).read_text())
        record["model"] = sha256(folder / MODEL_FILE)
        (folder / RECORD_FILE).write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
        folder.rename(folder.parent / sha256(folder / RECORD_FILE)[:12])

    return act


def spoil(tensors: dict[str, np.ndarray]) -> None:
    tensors["model.encoder.layers.0.fc2.bias"][0] = np.inf


def halve(tensors: dict[str, np.ndarray]) -> None:
    tensors["model.decoder.layers.0.fc1.bias"] = tensors["model.decoder.layers.0.fc1.bias"][:3]


def reshape(tensors: dict[str, np.ndarray]) -> None:
    tensors["model.decoder.layers.0.self_attn.q_proj.weight"] = np.zeros((8, 16), dtype=np.float32)


def flip(folder: Path) -> None:
    data = bytearray((folder / MODEL_FILE).read_bytes())
    data[-1] ^= 1
    (folder / MODEL_FILE).write_bytes(data)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped bit": (flip, r"model\.safetensors: sha256 is \w+, expected"),
    "no weights": (lambda folder: (folder / MODEL_FILE).unlink(), r"model\.safetensors: missing"),
    "no record": (lambda folder: (folder / RECORD_FILE).unlink(), r"distilled\.json: cannot be read"),
    "another name": (lambda folder: folder.rename(folder.parent / "0123456789ab"), r"by its record the name is"),
    "a file more": (lambda folder: (folder / "note").write_text(""), r"note: not listed"),
    "a file beside": (lambda folder: (folder.parent / "note").write_text(""), r"note: expected folders of distilled"),
    "a link": (
        lambda folder: folder.rename(folder.parents[2] / "x") and folder.symlink_to(folder.parents[2] / "x"),
        "expected folders of distilled models only",
    ),
    "infinite": (rewritten(spoil), r"tensor 'model\.encoder\.layers\.0\.fc2\.bias' holds NaN or infinite"),
    "fewer cells": (rewritten(halve), r"decoder\.0 has cells \(3,\), expected \(\d+,\) as recorded"),
    "another shape": (rewritten(reshape), r"q_proj\.weight is \(8, 16\), but the base's model\.decoder\.layers\.1"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_named_and_nothing_else_is_touched(damage: str, store: Store) -> None:
    act, message = DAMAGES[damage]
    act(write_student(store).path)
    with pytest.raises(FmallocError) as error:
        Store.open(store.path).verify()
    assert re.search(message, str(error.value))


def test_without_its_students_a_store_is_as_it_was(store: Store) -> None:
    before, head = store.verify(), store.chain().head
    write_student(store)
    shutil.rmtree(store.path / "distilled")
    assert (store.verify(), store.chain().head) == (before, head)


def test_students_of_a_freed_task_go_with_it(store: Store, tmp_path: Path) -> None:
    """Also where it was stopped before they were deleted; those of others stay."""
    student, general = write_student(store, "late"), write_student(store, "general")
    work = store.path / ".work" / "late@0123456789ab"
    work.mkdir(parents=True)
    shutil.copytree(student.path, tmp_path / "kept")
    with writing(store.path):
        certificate = certificate_of(store, ["late"], ())
        assert [task.files for task in certificate.freed] == [4 + 2]
        free(store, certificate)
    assert list(distilled_models(store.path)) == [general]
    assert not work.exists()
    assert store.verify()
    shutil.copytree(tmp_path / "kept", student.path)
    assert any("freed, but still there: run `fmalloc free` again" in line for line in findings(store))
    with writing(store.path):
        complete(store)
    assert list(distilled_models(store.path)) == [general]
