"""fmalloc free: what goes, what stays to the byte, who can prove it, and what a kill leaves."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fmalloc.lifecycle.freeing import certificate_of, complete, free
from fmalloc.store.chain.certificate import Certificate
from fmalloc.store.store import Store, writing
from fmalloc.train import learn_tasks
from fmalloc_shared.files import sha256_files
from tests.support.corpora import small_recipe
from tests.support.lifecycle import killed_at, learn, run
from tests.support.store_damage import moved_and_linked, record
from tests.support.stores import LAYERS, PAIRS, WIDTH, as_version, commit, seal, tree_bytes, write_store

# What a freeing writes, and what writers use.
OWN = ("head.json", "freed/", ".lock", ".work")


@pytest.fixture
def made(tmp_path: Path) -> Store:
    """General, "it", "odd" that owns nothing, "late" that reads "it", and 8 free cells in every layer."""
    store = write_store(tmp_path / "store")
    store.grow(8, 1)
    shutil.rmtree(store.path / ".work")
    return store


def remaining(path: Path) -> dict[str, bytes]:
    return {name: content for name, content in tree_bytes(path).items() if not name.startswith(OWN)}


@pytest.mark.parametrize("growth", [False, True])
def test_what_is_left_equals_a_store_that_never_learned_it(made: Store, tmp_path: Path, growth: bool) -> None:
    never = Store(shutil.copytree(made.path, tmp_path / "never"), made.description)
    learn(made, "law", first=WIDTH)
    for store in (made, never):
        if growth:
            store.grow(4, 2)
        learn(store, "press", first=WIDTH + 4, reads=["it"], seed=3)
    assert remaining(made.path) != remaining(never.path)
    code, output = run("free", made.path, "law", "--yes")
    assert code == 0, output
    assert remaining(made.path) == remaining(never.path)
    for layer in LAYERS:
        assert np.array_equal(made.cells().free(layer), never.cells().free(layer))
    assert run("verify", made.path)[0] == 0


def test_a_domain_that_was_really_learned_leaves_no_trace(base: Path, corpora: Path, tmp_path: Path) -> None:
    path = tmp_path / "store"
    options = {"updates": 20, "reads": "general", "gates": "open", "share": 0.5, "private": ["norms", "output"]}
    learn_tasks(small_recipe(base, corpora, path, "office", **options))
    never = remaining(path)
    learn_tasks(small_recipe(base, corpora, path, "office", "games", **options))
    assert len(Store.open(path).memory("games")["decoder.0"].cells)
    code, output = run("free", path, "games", "--yes")
    assert code == 0, output
    assert remaining(path) == never
    learn_tasks(small_recipe(base, corpora, path, "office", "games", **options))
    chain = Store.open(path).chain()
    assert [(link.kind, link.name) for link in chain.links] == [
        ("task", "office"),
        ("freed", "games"),
        ("freeing", "1"),
        ("task", "games"),
    ]
    assert [task.order for task in chain.tasks] == [1, 3]
    assert run("verify", path)[0] == 0 and run("free", path, "office", "--yes")[0] == 0
    assert run("verify-certificate", path / "freed/1.json", path)[0] == 0


def test_other_tasks_compile_to_the_same_bytes(made: Store, tmp_path: Path) -> None:
    def export(name: str) -> dict[str, str]:
        arguments = ["--store", made.path, "--task", "it", "--task", "late", "--output-dir", tmp_path / name]
        code, output = run("export", *arguments)
        assert code == 0, output
        return sha256_files(tmp_path / name)

    before = export("before")
    assert run("free", made.path, "odd", "--yes")[0] == 0
    assert export("after") == before
    code, output = run("verify", tmp_path / "before", "--store", made.path)
    assert code == 0, output


def test_what_others_read_is_refused_with_their_names(made: Store) -> None:
    learn(made, "more", first=WIDTH, reads=["late"])
    before = tree_bytes(made.path)
    code, output = run("free", made.path, "it")
    assert code == 2 and "it: read by late, more, which would be other models without it" in output
    code, output = run("free", made.path, "it", "--cascade", input="n\n")
    assert code == 1 and "late" in output and "free this for good?" in output
    assert {name: content for name, content in tree_bytes(made.path).items() if name in before} == before
    code, output = run("free", made.path, "it", "--cascade", input="y\n")
    assert code == 0, output
    assert [task.name for task in Store.open(made.path).tasks()] == ["odd"]
    (certificate,) = Store.open(made.path).chain().certificates
    assert [task.name for task in certificate.freed] == ["it", "late", "more"]
    assert run("verify", made.path)[0] == 0


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["general"], "general is the pruned base, which all domains read"),
        (["law"], "no task 'law'; it holds general, it, odd, late"),
        (["../it"], "domain name '../it'"),
    ],
)
def test_what_is_no_task_is_refused(made: Store, names: list[str], message: str) -> None:
    code, output = run("free", made.path, *names, "--yes")
    assert code == 2 and message in output


def test_nothing_is_freed_while_another_writes_or_learns(made: Store) -> None:
    before = remaining(made.path)
    with writing(made.path):
        assert "another process is writing" in run("free", made.path, "odd", "--yes")[1]
    work = made.path / ".work" / "law"
    work.mkdir(parents=True)
    (work / "settings.json").write_text("{}")
    code, output = run("free", made.path, "odd", "--yes")
    assert code == 2 and "law: being learned" in output and f"deleting {work}" in output
    code, output = run("grow", made.path, "--cells", 8)
    assert code == 2 and "law: being learned" in output
    assert remaining(made.path) == before
    shutil.rmtree(work)
    (made.path / ".work/odd").mkdir(parents=True)
    (made.path / ".work/odd/checkpoint.safetensors").write_text("its values")
    assert run("free", made.path, "odd", "--yes")[0] == 0
    assert not (made.path / ".work/odd").exists()


def test_a_dry_run_says_what_would_go_and_changes_nothing(made: Store) -> None:
    before = tree_bytes(made.path)
    code, output = run("free", made.path, "it", "--cascade", "--dry-run")
    assert code == 0 and re.search(
        r"it: \d+ cells, 4 files.*\nlate: \d+ cells.*with --cascade, for it reads it", output
    )
    assert tree_bytes(made.path) == before


def test_a_dry_run_sees_a_broken_store(made: Store) -> None:
    (made.path / "base" / "config.json").write_text("{}")
    code, output = run("free", made.path, "it", "--cascade", "--dry-run")
    assert code == 2 and "base/config.json" in output


@pytest.mark.parametrize("kind", ["cells", "private"])
def test_values_that_lie_elsewhere_too_are_found(made: Store, kind: str) -> None:
    """Another task that was learned from the same text may hold the same numbers."""
    none = {layer: np.zeros(0, dtype=np.int64) for layer in LAYERS}
    masks = {layer: np.zeros(WIDTH + 8, dtype=np.bool_) for layer in LAYERS}
    norm = "model.encoder.layers.0.final_layer_norm.weight"
    if kind == "private":
        values = np.random.default_rng(77).normal(size=16).astype(np.float32)
        commit(made, "one", masks, none, PAIRS, seed=1, private={norm: values})
        commit(made, "two", masks, none, PAIRS, seed=2, private={norm: values})
    else:
        learn(made, "one", first=WIDTH, cells=2, seed=5)
        learn(made, "two", first=WIDTH + 2, cells=2, seed=5)
    shutil.rmtree(made.path / ".work")
    code, output = run("free", made.path, "one", "--yes")
    where = "private" if kind == "private" else "memory"
    assert code == 2 and f"tasks/two/{where}.safetensors holds values of 'one' as well" in output
    assert run("free", made.path, "one", "two", "--yes")[0] == 0


def test_values_that_the_base_has_too_are_not_the_tasks(made: Store) -> None:
    from fmalloc.store.tensors import read_tensors

    norm = "model.encoder.layers.0.final_layer_norm.weight"
    values = read_tensors(made.base / "model.safetensors")[norm] + np.float32(0)
    none = {layer: np.zeros(0, dtype=np.int64) for layer in LAYERS}
    masks = {layer: np.zeros(WIDTH + 8, dtype=np.bool_) for layer in LAYERS}
    for name in ("one", "two"):
        commit(made, name, masks, none, PAIRS, seed=1, private={norm: values})
    shutil.rmtree(made.path / ".work")
    assert run("free", made.path, "one", "--yes")[0] == 0


def test_tasks_that_could_have_read_it_are_named(made: Store) -> None:
    learn(made, "law", first=WIDTH)
    learn(made, "beside", first=WIDTH, settings={"reads": "earlier"})
    learn(made, "apart", first=WIDTH, settings={"reads": "general"})
    code, output = run("free", made.path, "law", "--yes")
    assert code == 0 and "beside read no cell of law, but could have" in output and "apart read" not in output
    (certificate,) = Store.open(made.path).chain().certificates
    assert certificate.freed[0].offered_to == ["beside"]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_an_old_head_is_found_in_the_chain_afterwards(version: int, tmp_path: Path) -> None:
    path = write_store(tmp_path / "store").path
    shutil.rmtree(path / ".work")
    if version < 3:
        as_version(path, version)
    heads = Store.open(path).chain().heads
    assert run("free", path, "odd", "--yes", "--output", tmp_path / "certificate.json")[0] == 0
    chain = Store.open(path).chain()
    assert chain.heads[: len(heads)] == heads and len(chain.heads) == len(heads) + 1
    for head in heads:
        code, output = run("verify-certificate", tmp_path / "certificate.json", path, "--head", head)
        assert code == 0 and f"{head} is in the chain" in output, output
    code, output = run("verify-certificate", tmp_path / "certificate.json", path, "--head", "0" * 64)
    assert code == 2 and "was never a head of this store" in output
    learn(Store.open(path), "more", cells=0)
    assert Store.open(path).chain().heads[: len(heads)] == heads


def test_who_changed_what_was_before_cannot_show_the_old_head(made: Store, tmp_path: Path) -> None:
    """A tombstone's digest alone is no proof; in version 3 the heads are."""
    head = made.chain().head
    assert run("free", made.path, "odd", "--yes")[0] == 0
    record("tasks/it/task.json", dropped={"long": 3})(made.path)
    seal(made.path)
    forged = Store.open(made.path)
    assert head not in forged.chain().heads


def test_a_certificate_is_true_of_a_copy_and_of_what_the_store_becomes(made: Store, tmp_path: Path) -> None:
    learn(made, "law", first=WIDTH)
    file = tmp_path / "certificate.json"
    code, output = run("free", made.path, "odd", "--yes", "--output", file)
    assert code == 0 and "Certificate: odd freed at" in output and "backups" in output, output
    certificate = Certificate.read(file)
    assert certificate.after == Store.open(made.path).chain().head
    copy = shutil.copytree(made.path, tmp_path / "copy")
    assert run("verify-certificate", file, copy)[0] == 0
    learn(made, "more", first=WIDTH)
    made.grow(4, 1)
    assert run("free", made.path, "law", "--yes")[0] == 0
    code, output = run("verify-certificate", file, made.path)
    assert code == 0, output
    assert "unchanged; freed since: law" in output
    assert "since then: learned more, growth 2, freeing 2" in output
    words = tmp_path / "certificate.txt"
    assert run("free", made.path, "odd", "--output", words)[0] == 0
    assert words.read_text().startswith("Certificate: odd freed at")


def test_a_certificate_of_another_store_is_refused(made: Store, tmp_path: Path) -> None:
    other = write_store(tmp_path / "other")
    file = tmp_path / "certificate.json"
    assert run("free", made.path, "odd", "--yes", "--output", file)[0] == 0
    code, output = run("verify-certificate", file, other.path)
    assert code == 2 and "no record of this store: it has 0 certificates" in output
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"time": "2020-01-01T00:00:00Z"}))
    code, output = run("verify-certificate", file, made.path)
    assert code == 2 and "chain    FAILED" in output
    file.write_text("{}")
    assert run("verify-certificate", file, made.path)[0] == 2


def certified(**changes: Any) -> Any:
    def damage(store: Path) -> None:
        content = json.loads((store / "freed/1.json").read_bytes())
        for key, value in changes.items():
            content[key] = value(content[key])
        (store / "freed/1.json").write_text(json.dumps(content))

    return damage


DAMAGES: dict[str, tuple[Any, str, bool]] = {
    "another time": (certified(time=lambda _: "2020-01-01T00:00:00Z"), "freed/1.json: sha256 is", False),
    "no time": (certified(time=lambda _: "now"), "freed/1.json: time: ", True),
    "another store": (certified(store=lambda _: "0" * 64), "freed/1.json: store is 0000", True),
    "more free cells": (
        certified(free=lambda free: free | {"encoder.0": 3}),
        r"freed/1.json: free.encoder.0 is 3, but \d+ cells were free",
        True,
    ),
    "another kept record": (
        certified(kept=lambda kept: kept | {"it": kept["late"]}),
        "freed/1.json: kept.it.record is .* but the chain has",
        True,
    ),
    "other inputs": (
        certified(kept=lambda kept: kept | {"it": {**kept["it"], "inputs": "0" * 64}}),
        "freed/1.json: kept.it.inputs is 0000",
        True,
    ),
    "kept less": (
        certified(kept=lambda kept: {name: kept[name] for name in ("it", "general")}),
        "freed/1.json: kept names general, it, but there were general, it, late",
        True,
    ),
    "freed another": (
        certified(freed=lambda freed: [{**freed[0], "name": "it"}]),
        "task 'odd', order 2, was freed, but no certificate names it",
        True,
    ),
    "freed nothing": (certified(freed=lambda _: []), "freed/1.json: freed: List should have at least 1", True),
    "no certificate": (lambda store: shutil.rmtree(store / "freed"), "freed/1.json: cannot be read", False),
    "a certificate that is a link": (
        moved_and_linked("freed/1.json"),
        "freed/1.json: is a link",
        False,
    ),
    "a foreign file": (lambda store: (store / "freed/x").write_text(""), "freed/x: not listed", False),
    "a foreign folder": (lambda store: (store / "freed/2").mkdir(), "freed/2: is a folder", False),
    "another head before": (certified(before=lambda _: "0" * 64), "freed/1.json: (before is 0000|sha256 is)", False),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_a_certificate_is_refused(damage: str, made: Store) -> None:
    assert run("free", made.path, "odd", "--yes")[0] == 0
    act, message, sealed = DAMAGES[damage]
    act(made.path)
    if sealed:
        seal(made.path)
    code, output = run("verify", made.path)
    assert code == 2 and re.search(message, output), output


@pytest.mark.parametrize("action", ["free", "grow"])
def test_a_kill_leaves_the_old_or_the_new_state(action: str, made: Store, tmp_path: Path) -> None:
    learn(made, "law", first=WIDTH)
    (made.path / ".lock").touch()

    def act(path: Path) -> None:
        if action == "free":
            run("free", path, "it", "--cascade", "--yes")
        else:
            run("grow", path, "--cells", 4)

    finished = shutil.copytree(made.path, tmp_path / "finished")
    act(finished)
    old, new = remaining(made.path), remaining(finished)
    steps, seen = 0, set()
    path = tmp_path / "killed"
    while True:
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(made.path, path)
        if not killed_at(steps, lambda: act(path), path):
            break
        steps += 1
        store = Store.open(path)
        store.verify()
        names = {task.name for task in store.tasks()}
        is_new = not names & {"it", "late"} if action == "free" else len(store.chain().growths) == 2
        assert is_new or names == {"it", "odd", "late", "law"}
        seen.add(is_new)
        code, output = run("verify", path)
        assert code == 0, output
        with writing(path):
            complete(Store.open(path))
        assert remaining(path) == (new if is_new else old), steps
        assert sorted(p.name for p in path.glob("freed/*")) == (["1.json"] if is_new and action == "free" else [])
        act(path)  # goes on, or says that it is done
        Store.open(path).verify()
    assert steps > 8 and seen == {False, True}


def test_what_a_kill_left_is_said_and_finished_by_the_same_command(made: Store, tmp_path: Path) -> None:
    kept = shutil.copytree(made.path / "tasks/odd", tmp_path / "odd")
    assert run("free", made.path, "odd", "--yes")[0] == 0
    shutil.copytree(kept, made.path / "tasks/odd")
    code, output = run("verify", made.path)
    assert code == 0 and "odd: freed, but the files are still there" in output
    code, output = run("verify-certificate", made.path / "freed/1.json", made.path)
    assert code == 2 and "freed    FAILED: odd: the files are still there" in output
    code, output = run("free", made.path, "odd", "--yes")
    assert code == 0 and "Certificate: odd freed at" in output
    assert not (made.path / "tasks/odd").exists()
    assert run("verify-certificate", made.path / "freed/1.json", made.path)[0] == 0


def test_a_freeing_whose_lock_was_removed_changes_nothing(made: Store) -> None:
    with writing(made.path):
        store = Store.open(made.path)
        certificate = certificate_of(store, ["odd"], ())
        (made.path / ".lock").unlink()
        with pytest.raises(Exception, match=r"\.lock: was removed or replaced"):
            free(store, certificate)
    assert [task.name for task in made.tasks()] == ["it", "odd", "late"]
    made.verify()


def test_a_domain_that_is_learned_again_may_have_the_same_bytes(made: Store) -> None:
    for _ in range(3):
        learn(made, "law", first=WIDTH)
        assert "law" in {task.name for task in Store.open(made.path).tasks()}
        learn(made, "press", first=WIDTH)
        made.verify()
        assert run("free", made.path, "press", "--yes")[0] == 0
        assert run("free", made.path, "law", "--yes")[0] == 0
    made.verify()
    assert len({task.record for c in made.chain().certificates for task in c.freed if task.name == "law"}) == 1
    for number in range(1, 7):
        code, output = run("verify-certificate", made.path / f"freed/{number}.json", made.path)
        assert code == 0, output
