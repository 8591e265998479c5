"""Stores that are divided, learn apart and are merged: every task stays what it was, byte for byte."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fmalloc.lifecycle.parts.merging import begin, open_parts, unite
from fmalloc.report.status import print_status
from fmalloc.store.chain.parts import Shares
from fmalloc.store.store import Store, writing
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256_files
from tests.support.lifecycle import learn, run
from tests.support.store_damage import put, record, tensor
from tests.support.stores import LAYERS, seal, tree_bytes, write_store

OWN = (".lock", ".work")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of three tasks that has grown, so that cells are free."""
    path = write_store(tmp_path_factory.mktemp("whole") / "store").path
    shutil.rmtree(path / ".work")
    Store.open(path).grow(12, 1)
    shutil.rmtree(path / ".work")
    return path


@pytest.fixture
def parts(learned: Path, tmp_path: Path) -> list[Path]:
    """Three of that store, in which law and sport, press, and garden were learned."""
    shutil.copytree(learned, tmp_path / "parts")
    return [tmp_path / f"parts/part-{number}" for number in (1, 2, 3)]


@pytest.fixture(scope="module")
def learned(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("learned") / "parts"
    code, output = run("reserve", whole, "--parts", 3, "--output-dir", folder)
    assert code == 0, output
    found = [folder / f"part-{number}" for number in (1, 2, 3)]
    for part, name in zip(found, ("law", "press", "garden"), strict=True):
        learn(Store.open(part), name, reads=["it"], cells=2)
    learn(Store.open(found[0]), "sport", reads=["law"], cells=1)
    for part in found:
        shutil.rmtree(part / ".work")
    return folder


def merge(*parts: Path, into: Path) -> Store:
    code, output = run("merge", *parts, "--store", into)
    assert code == 0, output
    store = Store.open(into)
    store.verify()
    return store


def exported(store: Path, name: str, folder: Path) -> dict[str, bytes]:
    code, output = run("export", "--store", store, "--task", name, "--output-dir", folder)
    assert code == 0, output
    return tree_bytes(folder)


def test_every_task_of_a_merged_store_is_exported_as_from_its_own(parts: list[Path], tmp_path: Path) -> None:
    before = [tree_bytes(part) for part in parts]
    merged = merge(*parts, into=tmp_path / "merged")
    assert [task.name for task in merged.tasks()] == ["it", "odd", "late", "law", "sport", "press", "garden"]
    for part, names in zip(parts, (("law", "sport"), ("press",), ("garden",)), strict=True):
        for name in names:
            files = [tree_bytes(path / "tasks" / name) for path in (part, merged.path)]
            assert files[0] == files[1]
            bundles = [exported(path, name, tmp_path / f"{place}-{name}") for place, path in
                       enumerate((part, merged.path))]  # fmt: skip
            assert bundles[0] == bundles[1]
    assert [tree_bytes(part) for part in parts] == before
    assert not (merged.path / "reserved").exists() and not any(merged.cells().reserved_count().values())
    code, output = run("export", "--store", merged.path, "--all", "--output-dir", tmp_path / "all")
    assert code == 0, output


def test_who_wrote_down_a_head_of_a_part_finds_it_in_the_merged_store(parts: list[Path], tmp_path: Path) -> None:
    heads = [head for part in parts for head in Store.open(part).chain().heads]
    merged = merge(*parts, into=tmp_path / "merged").chain()
    assert {*heads} <= {*merged.heads, *merged.merged_heads}
    assert merged.merged_heads[Store.open(parts[1]).chain().head] == "store 2 of merge 1, after its task press"
    assert run("free", tmp_path / "merged", "garden", "--yes", "--output", tmp_path / "certificate.json")[0] == 0
    for head in heads:
        code, output = run("verify-certificate", tmp_path / "certificate.json", tmp_path / "merged", "--head", head)
        assert code == 0 and head in output, output
    code, output = run("verify", tmp_path / "merged")
    assert code == 0 and f"merge 1: of the stores with heads {Store.open(parts[0]).chain().head}, " in output
    assert run("grow", tmp_path / "merged", "--cells", 4)[0] == 0
    learn(Store.open(tmp_path / "merged"), "garden", reads=["press"])
    Store.open(tmp_path / "merged").verify()


def test_some_of_the_parts_are_merged_first_and_the_rest_later(parts: list[Path], tmp_path: Path) -> None:
    some = merge(parts[2], parts[0], into=tmp_path / "some")
    chain = some.chain()
    assert str(chain.reservation) == "parts 1, 3 of 3"
    shares = Store.open(parts[1]).shares()
    assert some.cells().reserved_count() == {layer: int((shares[layer] == 2).sum()) for layer in LAYERS}
    learn(some, "it-2", reads=["law", "garden"])
    shutil.rmtree(some.path / ".work")
    known = [*some.chain().heads, *some.chain().merged_heads]
    everything = merge(parts[1], some.path, into=tmp_path / "all")
    assert [task.name for task in everything.tasks()][3:] == ["press", "garden", "law", "sport", "it-2"]
    chain = everything.chain()
    assert chain.reservation is None and len(chain.merges) == 2
    assert {*known} <= {*chain.heads, *chain.merged_heads}
    assert run("reserve", everything.path, "--parts", 2, "--output-dir", tmp_path / "again")[0] == 0
    again = [tmp_path / f"again/part-{number}" for number in (1, 2)]
    learn(Store.open(again[1]), "third")
    shutil.rmtree(again[1] / ".work")
    assert merge(*again, into=tmp_path / "last").task("third").order == 9


def test_a_part_claims_its_own_cells_alone_and_says_so(whole: Path, parts: list[Path]) -> None:
    tables = [Store.open(part).cells() for part in parts]
    for layer in LAYERS:
        free = {cell for table in tables for cell in table.free(layer)}
        taken = {cell for table in tables for order in (4, 5) for cell in table.owned(layer, order)}
        assert len(free) + len(taken) == sum(
            len(table.free(layer)) + len(table.owned(layer, 4)) + len(table.owned(layer, 5)) for table in tables
        )
        assert free | taken == {*Store.open(whole).cells().free(layer)}
    code, output = run("status", parts[0], "--json")
    found = json.loads(output)
    assert code == 0 and found["part"] == {"parts": [1], "of": 3}
    for layer, counts in found["cells"].items():
        assert counts["width"] == sum(counts["owners"].values()) + counts["free"] + counts["reserved"], layer
    code, output = run("status", parts[0])
    assert "part 1 of 3" in output and "reserved for the other parts" in output
    code, output = run("verify", parts[0])
    assert code == 0 and "part 1 of 3 of a store" in output
    code, output = run("report", parts[0], "--output", parts[0].parent / "report.html")
    assert code == 0 and "reserved for others" in (parts[0].parent / "report.html").read_text()
    for verb, what in ((("grow", parts[0], "--cells", 4), "grown"), (("free", parts[0], "sport", "--yes"), "freed")):
        code, output = run(*verb)
        assert (
            code == 2
            and f"is part 1 of 3 of a store, and could not be merged with the others if it was {what}" in output
        )


def drawn_shares(store: Store, of: int, seed: int) -> Shares:
    draw, free = np.random.default_rng(seed), store.cells()
    shares = {layer: np.zeros(width, dtype=np.int64) for layer, width in store.widths().items()}
    for layer in LAYERS:
        shares[layer][free.free(layer)] = draw.integers(1, of + 1, len(free.free(layer)))
    return shares


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    of=st.integers(2, 4),
    seed=st.integers(0, 2**16),
    learned=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans()), max_size=5),
    order=st.randoms(use_true_random=False),
)
def test_any_partition_and_any_order_of_learning_give_the_same_tasks(
    whole: Path, tmp_path: Path, of: int, seed: int, learned: list[tuple[int, int, bool]], order: object
) -> None:
    folder = tmp_path / "any"
    shutil.rmtree(folder, ignore_errors=True)
    store = Store.open(whole)
    shares = drawn_shares(store, of, seed)
    paths = [Path(shutil.copytree(whole, folder / str(number), ignore=lambda *_: {*OWN})) for number in range(of)]
    for number, path in enumerate(paths, start=1):
        Store.open(path).reserve(shares, [number], of)
    for index, (part, cells, reading) in enumerate(learned):
        path = paths[part % of]
        free = min(Store.open(path).cells().free_count().values())
        reads = [*Store.open(path).chain().own_tasks] if reading else []
        reads = [name for name in reads if any(len(memory.cells) for memory in Store.open(path).memory(name).values())]
        learn(Store.open(path), f"task-{index}", reads=reads, cells=min(cells, free))
    for path in paths:
        shutil.rmtree(path / ".work", ignore_errors=True)
    order.shuffle(paths)  # type: ignore[attr-defined]
    expected = {
        name: tree_bytes(path / "tasks" / name) for path in paths for name in Store.open(path).chain().own_tasks
    }
    merged = begin(parts := open_parts(paths), folder / "merged")
    unite(merged, parts)
    merged.verify()
    assert [task.name for task in merged.tasks()][3:] == [*expected]
    assert {name: tree_bytes(merged.path / "tasks" / name) for name in expected} == expected
    assert merged.cells().free_count() == {
        layer: count - sum(len(merged.memory(name)[layer].cells) for name in expected)
        for layer, count in store.cells().free_count().items()
    }
    print_status(merged)


def other_base(part: Path) -> None:
    record("store.json", sparsity=0.31)(part)


def of_another_store(part: Path) -> None:
    shutil.rmtree(part)
    other = write_store(part.parent / "other-store", "nllb").path
    Store.open(other).grow(12, 1)
    shutil.rmtree(other / ".work")
    run("reserve", other, "--parts", 3, "--output-dir", part.parent / "others")
    (part.parent / "others/part-2").rename(part)


def of_another_state(part: Path) -> None:
    shutil.rmtree(part)
    other = write_store(part.parent / "later").path
    shutil.rmtree(other / ".work")
    Store.open(other).grow(12, 2)
    shutil.rmtree(other / ".work")
    run("reserve", other, "--parts", 3, "--output-dir", part.parent / "others")
    (part.parent / "others/part-2").rename(part)


def otherwise(part: Path) -> None:
    whole = begin(open_parts([part.parent / f"part-{number}" for number in (1, 2, 3)]), part.parent / "begun")
    shutil.rmtree(part)
    run("reserve", whole.path, "--parts", 2, "--output-dir", part.parent / "others")
    (part.parent / "others/part-2").rename(part)


def the_same(part: Path) -> None:
    shutil.rmtree(part)
    shutil.copytree(part.parent / "part-1", part)


def the_same_name(part: Path) -> None:
    learn(Store.open(part), "law")
    shutil.rmtree(part / ".work")


def unfinished(part: Path) -> None:
    (part / ".work/sport").mkdir(parents=True)
    (part / ".work/sport/settings.json").write_text("{}")


def no_part(part: Path) -> None:
    shutil.rmtree(part)
    shutil.rmtree(write_store(part).path / ".work")


def changed_share(part: Path) -> None:
    shares = Store.open(part).shares()["encoder.0"]
    cell = int(np.flatnonzero(shares == 1)[0])
    tensor("reserved/shares.safetensors", "encoder.0.part", lambda values: put(values, 2, cell))(part)
    seal(part)


REFUSALS: dict[str, tuple[Callable[[Path], object], str]] = {
    "another base": (
        of_another_store,
        r"part-2: another base or general model than that of .*part-1: .*family m2m_100, not marian",
    ),
    "another state": (
        of_another_state,
        r"part-2: divided from a store with head .*growth 1\), not as .*part-1 from one with head",
    ),
    "another division": (otherwise, r"part-2: divided otherwise than .*part-1, .*: part 2 of 2 and part 1 of 3"),
    "the same part": (the_same, r"part-2: is part 1, as .*part-1 is: both may have claimed the same cells"),
    "the same name": (the_same_name, "part-2: has learned law, or a version of it, as .*part-1 has"),
    "unfinished": (unfinished, "part-2: sport: being learned"),
    "no part": (no_part, "part-2: is no part of a divided store"),
    "no store": (shutil.rmtree, "part-2/store.json: no such file"),
    "damaged": (record("tasks/press/task.json", order=3), "part-2/tasks/press/task.json: .*version 3 has none"),
    "another program's": (
        record("head.json", version=5),
        "part-2/head.json: version 5, this program reads version 2 and 3 and 4",
    ),
    "cells of another part": (changed_share, "part-2: divided otherwise than"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_does_not_fit_is_refused_with_the_reason(name: str, parts: list[Path], tmp_path: Path) -> None:
    spoil, message = REFUSALS[name]
    spoil(parts[1])
    for dry in ([], ["--dry-run"]):
        code, output = run("merge", *parts, "--store", tmp_path / "merged", *dry)
        assert code == 2 and re.search(message, output), output
    assert not [path for path in tmp_path.iterdir() if "merged" in path.name]


def test_all_that_does_not_fit_is_said_at_once(parts: list[Path], tmp_path: Path) -> None:
    the_same_name(parts[1])
    unfinished(parts[2])
    with pytest.raises(FmallocError) as error:
        open_parts([*parts, tmp_path / "none", parts[0]])
    said = str(error.value)
    assert len(said.splitlines()) == 5, said
    for message in ("part-2: has learned law", "part-3: sport: being learned", "none/store.json: no such", "is part 1"):
        assert message in said


def share(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], object]:
    return tensor("reserved/shares.safetensors", "encoder.0.part", change)


def of_no_free_cell(values: np.ndarray) -> np.ndarray:
    return put(values, 1, int(np.flatnonzero(values == 0)[0]))


DAMAGES: dict[str, tuple[Callable[[Path], object], str, bool]] = {
    "another share": (share(lambda values: put(values, 3, 0)), "shares.safetensors: sha256 is", False),
    "a share of no part": (share(lambda values: put(values, 9, 0)), "encoder.0.part holds 9, expected 0 to 3", True),
    "a share of a cell that was not free": (
        share(of_no_free_cell),
        "encoder.0.part is 1 for cell .*which was not free",
        True,
    ),
    "another part": (
        record("reserved/reservation.json", parts=[2]),
        "law/memory.safetensors: encoder.0.cells: cell .* of another part",
        True,
    ),
    "all parts": (
        record("reserved/reservation.json", parts=[1, 2, 3]),
        r"reservation.json: .*parts are \[1, 2, 3\] of 3",
        True,
    ),
    "a part too many": (record("reserved/reservation.json", parts=[4]), r"parts are \[4\] of 3", True),
    "another origin": (
        record("reserved/reservation.json", before="0" * 64),
        "reservation.json: sha256 is|before is 0000",
        False,
    ),
    "no reservation": (
        lambda part: shutil.rmtree(part / "reserved"),
        "reservation.json: cannot be read|reservation.json: no such",
        False,
    ),
    "more": (lambda part: (part / "reserved/x").write_text(""), "reserved/x: not listed", False),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_to_a_part_is_found(name: str, parts: list[Path]) -> None:
    act, message, sealed = DAMAGES[name]
    act(parts[0])
    if sealed:
        seal(parts[0])
    code, output = run("verify", parts[0])
    assert code == 2 and re.search(message, output), output


def test_damage_to_a_merge_is_found(parts: list[Path], tmp_path: Path) -> None:
    path = merge(*parts, into=tmp_path / "merged").path
    content = json.loads((path / "merged/1.json").read_bytes())
    for change, message in (
        (lambda it: it["stores"][0]["links"][1].update(record="0" * 64), "store 1 has the task 'law', record 0000"),
        (lambda it: it["stores"][0]["links"].pop(0), "store 1 begins with a task, expected its reservation"),
        (
            lambda it: it["stores"][1]["links"][1].update(kind="growth"),
            "store 2 has a growth, expected tasks, choices of versions and merges",
        ),
    ):
        changed = json.loads(json.dumps(content))
        change(changed)
        (path / "merged/1.json").write_text(json.dumps(changed))
        seal(path)
        code, output = run("verify", path)
        assert code == 2 and message in output, output
    (path / "merged/1.json").write_text(json.dumps(content | {"before": "0" * 64}))
    code, output = run("verify", path)
    assert code == 2 and "merged/1.json: before is 0000" in output


def test_what_cannot_be_divided(whole: Path, parts: list[Path], tmp_path: Path) -> None:
    before = sha256_files(whole)
    for store, count, output_dir, message in (
        (whole, 1, "new", "--parts"),
        (whole, 200, "new", "cells are free, too few for 200 parts"),
        (parts[0], 2, "new", "is part 1 of 3 itself"),
        (whole, 2, "parts", "exists already"),
        (tmp_path / "none", 2, "new", "store.json: no such file"),
    ):
        code, output = run("reserve", store, "--parts", count, "--output-dir", tmp_path / output_dir)
        assert code == 2 and message in output, output
    code, output = run("reserve", whole, "--parts", 2, "--output-dir", tmp_path / "new", "--dry-run")
    assert code == 0 and "part-2: part 2 of 2, 24 cells may be claimed" in output and not (tmp_path / "new").exists()
    after = sha256_files(whole)
    assert {name: after[name] for name in after if name not in OWN} == {
        name: before[name] for name in before if name not in OWN
    }
    code, output = run("merge", *parts, "--store", parts[0])
    assert code == 2 and "exists already" in output
    code, output = run("merge", parts[0], "--store", tmp_path / "merged")
    assert code == 2 and "two at least" in output


def test_versions_that_were_learned_or_chosen_in_a_part_come_along(parts: list[Path], tmp_path: Path) -> None:
    learn(Store.open(parts[0]), "it@2", cells=1)
    learn(Store.open(parts[1]), "press@2", cells=1)
    for part, name in ((parts[0], "it"), (parts[1], "press")):
        with writing(part):
            Store.open(part).choose(name, hold=True)
        shutil.rmtree(part / ".work")
    heads = [head for part in parts for head in Store.open(part).chain().heads]
    merged = merge(*parts, into=tmp_path / "merged")
    chain = merged.chain()
    assert [task.name for task in chain.tasks][3:] == ["law", "sport", "it@2", "press", "press@2", "garden"]
    assert (chain.current["it"], chain.current["press"]) == ("it", "press")
    assert {*heads} <= {*chain.heads, *chain.merged_heads}
    learn(Store.open(parts[2]), "press")
    shutil.rmtree(parts[2] / ".work")
    code, output = run("merge", *parts, "--store", tmp_path / "again")
    assert code == 2 and "part-3: has learned press, or a version of it, as" in output, output
