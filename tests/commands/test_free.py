"""fmalloc free --bundles: the domain goes from bundles, packed ones too, and the router decides as if it never was."""

import shutil
from functools import partial
from pathlib import Path

import pytest

from fmalloc.store.store import Store
from fmalloc_export.bundles.pack import pack
from fmalloc_export.bundles.publish import bundle_paths, writing
from fmalloc_runtime.bundle.bundle import Bundle, LiveIndex
from fmalloc_runtime.live.registry import Registry
from fmalloc_runtime.live.translator import EngineSettings
from tests.support.lifecycle import killed_at, learn, run
from tests.support.once import once
from tests.support.routing_costs import record, write
from tests.support.stores import PAIRS, WIDTH, write_store

CPU = EngineSettings(device="cpu", intra_threads=1)
TEXTS = [[pair.source] for pair in PAIRS]


def export(store: Path, bundles: Path, *tasks: str) -> None:
    chosen = [argument for task in tasks for argument in ("--task", task)]
    code, output = run("export", "--store", store, "--output-dir", bundles, *chosen)
    assert code == 0, output


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the domain "law", which owns most, and bundles of it, of general and of "it". Read only."""

    def build(folder: Path) -> None:
        store = write_store(folder / "store")
        store.grow(24, 1)
        learn(store, "law", first=WIDTH, cells=24)
        shutil.rmtree(store.path / ".work")
        export(store.path, folder / "bundles", "general", "it", "law")

    return once(tmp_path_factory, "with-law", build)


@pytest.fixture
def made(built: Path, tmp_path: Path) -> Path:
    return shutil.copytree(built, tmp_path / "made")


def packed(bundles: Path) -> None:
    with writing(bundles):
        pack(bundles, [Bundle.open(path) for path in bundle_paths(bundles)])


@pytest.mark.parametrize("is_packed", [False, True])
def test_it_is_gone_from_bundles_and_router(is_packed: bool, made: Path) -> None:
    bundles, never = made / "bundles", made / "never"
    shutil.copytree(bundles, never)
    law = next(never.glob("law@*"))
    shutil.rmtree(law)
    live = {domain: name for domain, name in LiveIndex.of(bundles).domains.items() if domain != "law"}
    (never / "live.json").write_bytes(LiveIndex(domains=live).to_bytes())
    write(bundles, record(bundles=live))
    registry = Registry(bundles, CPU)
    with_law = registry.load().router
    if is_packed:
        packed(bundles)
        packed(never)
        reference = {name for path in bundle_paths(bundles) for name in Bundle.read(path).manifest.files.values()}
        assert {path.name for path in (bundles / "shared").iterdir()} <= reference
    code, output = run("free", made / "store", "law", "--bundles", bundles, "--yes")
    assert code == 0, output
    assert f"bundle {law.name}" in output and f"Bundles deleted: {law.name}." in output
    assert "deleted routing.json; measure it again" in output
    assert {path.name for path in bundles.iterdir()} - {".lock"} == {path.name for path in never.iterdir()} - {".lock"}
    assert LiveIndex.of(bundles).domains == live
    for path in bundle_paths(bundles):
        assert bool(Bundle.open(path).packed) == bool(Bundle.open(never / path.name).packed)
    if is_packed:
        left = {digest for path in bundle_paths(bundles) for digest in Bundle.read(path).manifest.files.values()}
        assert {path.name for path in (bundles / "shared").iterdir()} <= left
    registry.refresh()
    now, fresh = registry.snapshot().router, Registry(never, CPU).load().router
    assert now.domains == fresh.domains == ("general", "it") and now.threshold == fresh.threshold != with_law.threshold
    assert all((now.posterior(lines) == fresh.posterior(lines)).all() for lines in TEXTS)


def test_text_of_a_memory_goes_with_its_bundle(made: Path, tmp_path: Path) -> None:
    secret = "Das Geheimnis der Anlage bleibt gewahrt."
    (tmp_path / "law.tsv").write_text(f"{secret}\tThe secret of the plant is kept.\n")
    memory = ("--memory", tmp_path / "law.tsv")
    code, output = run("export", "--store", made / "store", "--output-dir", made / "bundles", "--task", "law", *memory)
    assert code == 0 and "ATTENTION: the bundle holds text, 1 pairs in memory.sqlite" in output, output
    bundle = Bundle.open(made / "bundles" / LiveIndex.of(made / "bundles").domains["law"])
    assert secret.encode() in (bundle.path / "memory.sqlite").read_bytes()
    packed(made / "bundles")
    found = Bundle.open(bundle.path).memory()
    assert found and found.exact([secret]) == {secret: "The secret of the plant is kept."}
    code, output = run("verify", bundle.path, "--store", made / "store")
    assert code == 0 and "every byte is the same" in output, output
    code, output = run("free", made / "store", "law", "--bundles", made / "bundles", "--yes")
    assert code == 0, output
    left = [path for path in made.rglob("*") if path.is_file()]
    assert left and not any(secret.encode() in path.read_bytes() for path in left)


def test_bundles_are_found_by_what_they_were_compiled_from(made: Path, tmp_path: Path) -> None:
    other = write_store(tmp_path / "other")
    other.grow(24, 1)
    learn(other, "law", first=WIDTH, cells=3, seed=1)
    export(other.path, made / "bundles", "law")
    assert len([*(made / "bundles").glob("law@*")]) == 2
    code, output = run("free", made / "store", "law", "--bundles", made / "bundles", "--yes")
    assert code == 0, output
    (left,) = (made / "bundles").glob("law@*")
    assert LiveIndex.of(made / "bundles").domains["law"] == left.name


def test_bundles_go_later_with_the_same_command(made: Path) -> None:
    assert run("free", made / "store", "law", "--yes")[0] == 0
    assert len([*(made / "bundles").glob("law@*")]) == 1
    code, output = run("free", made / "store", "law", "--bundles", made / "bundles")
    assert code == 0 and "deleted law@" in output
    assert not [*(made / "bundles").glob("law@*")]
    code, output = run("free", made / "store", "law", "--bundles", made / "bundles")
    assert code == 0 and "no bundle of it" in output
    code, output = run("free", made / "store", "it", "--bundles", made / "none", "--yes")
    assert code == 2 and "no such directory" in output
    assert "it" in {task.name for task in Store.open(made / "store").tasks()}


@pytest.mark.slow
def test_a_kill_leaves_bundles_whole_and_the_same_command_goes_on(made: Path, tmp_path: Path) -> None:
    packed(made / "bundles")
    steps = 0
    while True:
        copy = shutil.copytree(made, tmp_path / "killed", symlinks=True)
        command = ("free", copy / "store", "law", "--bundles", copy / "bundles", "--yes")
        if not killed_at(steps, partial(run, *command), copy):
            break
        steps += 3
        Store.open(copy / "store").verify()
        for name in set(LiveIndex.of(copy / "bundles").domains.values()):
            Bundle.open(copy / "bundles" / name)
        code, output = run(*command)
        assert code == 0, output
        assert not [*(copy / "bundles").glob("law@*")]
        digests = {d for path in bundle_paths(copy / "bundles") for d in Bundle.open(path).manifest.files.values()}
        assert {path.name for path in (copy / "bundles/shared").iterdir()} <= digests
        shutil.rmtree(copy)
    assert steps > 20
