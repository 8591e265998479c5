"""fmalloc verify: what findings mean; and --repair, which deletes what was begun and not finished, and nothing else."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from filelock import FileLock

from fmalloc.lifecycle.freeing import certificate_of, free
from fmalloc.store.invariants import Kind
from fmalloc.store.store import Store
from fmalloc_export.verification.meanings import MEANINGS
from tests.support.bundles import write_bundle
from tests.support.lifecycle import killed_at, learn, run
from tests.support.once import once
from tests.support.store_damage import DAMAGES
from tests.support.stores import seal, write_store
from tests.support.students import write_student

# Of each kind, a damage of the table.
EXAMPLES = {
    "record": "no JSON",
    "chain": "another head",
    "missing": "a file less",
    "changed": "a changed file",
    "foreign": "a foreign file",
    "special": "cells are a link",
    "base": "a base of another width",
    "cells": "a cell of another",
    "text": "more samples than dev has",
    "scores": "a score that nothing proves",
}


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tasks it, odd and late, which reads it. Read only."""
    return once(tmp_path_factory, "whole", lambda folder: write_store(folder / "store")) / "store"


@pytest.fixture
def path(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "store")
    shutil.rmtree(tmp_path / "store" / ".work", ignore_errors=True)
    return tmp_path / "store"


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def begin(store: Path) -> None:
    """What killed commands leave: learning, a commit, a growth, a distillation."""
    for name in ("law/settings.json", "law/state-5.safetensors", "it@0123456789ab/x", "growth-1/cells.safetensors"):
        (store / ".work" / name).parent.mkdir(parents=True, exist_ok=True)
        (store / ".work" / name).write_text("{}")
    (store / ".work" / "1.json").write_text("{}")
    for name in (".head.json.77.partial", ".store.json.78.partial"):
        (store / name).write_text("{")


def test_every_kind_has_a_meaning_and_it_is_said_once(path: Path) -> None:
    assert {*get_args(Kind)} <= {*MEANINGS}
    assert all(meaning[0].islower() and not meaning.endswith(".") for meaning in MEANINGS.values())
    (path / "notes").write_text("mine")
    (path / "more notes").write_text("mine")
    (path / "samples.jsonl").unlink()
    code, output = run("verify", path)
    assert code == 2
    assert output.count(MEANINGS["foreign"]) == output.count(MEANINGS["missing"]) == 1
    assert MEANINGS["chain"] not in output


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_finding_is_of_its_kind_and_keeps_anything_from_being_deleted(kind: str, path: Path) -> None:
    begin(path)
    act, _, sealed = DAMAGES[EXAMPLES[kind]]
    act(path)
    if sealed:
        seal(path)
    before = files(path)
    code, output = run("verify", path, "--repair", "--yes")
    assert code == 2
    meant = re.findall(r"^- (\w+): ", output.partition("what it means:\n")[2], re.MULTILINE)
    assert meant == [kind, "unfinished"]
    assert ".work/law: work that was begun" in output and "nothing is deleted" in output
    assert files(path) == before


def test_what_was_begun_is_shown_and_goes_only_when_it_is_confirmed(path: Path) -> None:
    whole = files(path)
    code, output = run("verify", path)
    assert code == 0 and "unfinished" not in output and "what it means" not in output
    begin(path)
    begun = files(path)
    code, output = run("verify", path)
    assert code == 0 and output.count("  unfinished   .") == 6 and MEANINGS["unfinished"] in output
    for arguments, answer in ((("--dry-run",), None), ((), "n\n")):
        code, output = run("verify", path, "--repair", *arguments, input=answer)
        assert code == (1 if answer else 0), output
        assert files(path) == begun
    code, output = run("verify", path, "--repair", input="y\n")
    assert code == 0 and "deleted 6 of it" in output, output
    assert files(path) == whole
    code, output = run("verify", path, "--repair")
    assert code == 0 and "deleted 0 of it" in output
    assert files(path) == whole


def test_what_a_stopped_freeing_left_goes_and_a_certificate_that_is_none(path: Path) -> None:
    write_student(Store.open(path), "odd")
    before, after = path.parent / "before", path.parent / "after"
    shutil.copytree(path, before)
    certificate = certificate_of(Store.open(path), ["odd"], ())
    shutil.copytree(path, after)
    free(Store.open(after), certificate)
    step = 0
    ends = set()
    while killed_at(step, lambda: free(Store.open(path), certificate), path):
        code, output = run("verify", path, "--repair", "--yes")
        assert code == 0, (step, output)
        left = files(path)
        assert left in (files(before), files(after)), (step, output)
        ends.add(left == files(after))
        assert "unfinished" not in run("verify", path)[1]
        shutil.rmtree(path)
        shutil.copytree(before, path)
        step += 2
    assert ends == {True, False}


def test_a_commit_that_was_stopped_is_kept_and_listed(path: Path) -> None:
    stated = (path / "head.json").read_bytes()
    learn(Store.open(path), "mill")
    learned = files(path)
    (path / "head.json").write_bytes(stated)
    code, output = run("verify", path, "--repair", "--yes")
    assert code == 0, output
    assert files(path) == learned


def test_nobody_else_is_at_work(path: Path) -> None:
    begin(path)
    before = files(path)
    with FileLock(path / ".lock"):
        code, output = run("verify", path, "--repair", "--yes")
        assert code == 2 and "another process is writing there" in output
        assert run("verify", path, "--repair", "--dry-run")[0] == 0
    assert files(path) == before


@pytest.mark.parametrize("arguments", [("--dry-run",), ("--yes",)])
def test_what_goes_with_repair_alone(arguments: tuple[str, ...], path: Path) -> None:
    code, output = run("verify", path, *arguments)
    assert code == 2 and f"{arguments[0]} goes with --repair" in output


def _foreign(bundles: Path) -> object:
    return next(bundles.glob("it@*")).joinpath("notes").write_text("mine")


@pytest.mark.parametrize("damage", [None, _foreign])
def test_directories_of_bundles(own_bundles: Path, damage: Callable[[Path], object] | None) -> None:
    if damage:
        damage(own_bundles)
    whole = files(own_bundles)
    (own_bundles / ".building-a1").mkdir()
    write_bundle(own_bundles / ".building-a1", "it", golden=())
    (own_bundles / ".live.json.7.partial").write_text("{")
    (own_bundles / ".routing.json.7.partial").write_text("{")
    begun = files(own_bundles)
    code, output = run("verify", own_bundles, "--repair", "--yes")
    assert code == (2 if damage else 0), output
    assert output.count("  unfinished   .") == 3
    assert files(own_bundles) == (begun if damage else whole)
    bundle = next(own_bundles.glob("general@*"))
    assert run("verify", bundle, "--repair")[0] == 0 and not (bundle / ".lock").exists()


def test_records_of_other_rooms_are_no_unfinished_work(path: Path) -> None:
    """Numbered files that the chain lists."""
    store = Store.open(path)
    free(store, certificate_of(store, ["odd"], ()))
    whole = files(path)
    (path / "freed" / "2.json").write_text(json.dumps({"version": 1}))
    code, output = run("verify", path, "--repair", "--yes")
    assert code == 0 and "freed/2.json: the record of a step that was stopped" in output
    assert files(path) == whole
