"""Versions of a domain: one is current, another takes its place by a record, an old one is dropped."""

import json
import shutil
from pathlib import Path

import pytest

from fmalloc.lifecycle.versions import set_current
from fmalloc.store.chain.versions import asked, check_task_name
from fmalloc.store.records import HeadRecord
from fmalloc.store.store import Store, writing
from fmalloc_runtime.bundle.bundle import Bundle, LiveIndex
from fmalloc_shared.errors import FmallocError
from tests.support.lifecycle import learn, run
from tests.support.stores import tree_bytes, write_store


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two versions of "odd", the second one of which began as the first one. Read only."""
    path = tmp_path_factory.mktemp("versions") / "store"
    store = write_store(path)
    with writing(path):
        store.grow(6, 1)
        learn(store, "odd@2", cells=1, settings={"begun_as": ["odd"]})
    shutil.rmtree(path / ".work")
    return path


@pytest.fixture
def store(drawn: Path, tmp_path: Path) -> Store:
    return Store.open(Path(shutil.copytree(drawn, tmp_path / "store")))


@pytest.mark.parametrize("name", ["it@1", "it@02", "it@0", "it@", "it@2@3", "it@1000000", "@2", "It@2", "it@x"])
def test_names_that_no_task_has(name: str) -> None:
    with pytest.raises(FmallocError):
        check_task_name(name)


def test_users_may_number_the_first_one() -> None:
    assert asked("it@1") == ("it", 1) and asked("it") == ("it", None) and check_task_name("it@999999")


def test_the_newest_is_current_and_others_by_their_number(store: Store) -> None:
    assert [store.resolve(name) for name in ("odd", "odd@1", "odd@2", "late", "general")] == [
        "odd@2",
        "odd",
        "odd@2",
        "late",
        "general",
    ]
    assert [task.name for task in store.served()] == ["it", "late", "odd@2"]
    for name, message in (("odd@3", "of 'odd' it has odd@1, odd@2"), ("law", "it holds general, "), ("odd@x", "odd@1")):
        with pytest.raises(FmallocError, match=message):
            store.resolve(name)


def test_rollback_is_one_record_and_goes_both_ways(store: Store) -> None:
    before, head = tree_bytes(store.path), store.chain().head
    assert run("rollback", store.path, "odd", "--dry-run")[0] == 0
    assert tree_bytes(store.path) == before
    code, output = run("rollback", store.path, "odd")
    assert code == 0 and "version 1 is current; before, it was 2" in output, output
    assert store.resolve("odd") == "odd"
    after = tree_bytes(store.path)
    assert {name for name in after if after[name] != before.get(name)} - {".lock"} == {"head.json", "current/1.json"}
    assert head in store.chain().heads and store.chain().head != head
    assert run("verify", store.path)[0] == 0
    code, output = run("rollback", store.path, "odd")
    assert code == 2 and "no earlier one is there" in output
    assert run("rollback", store.path, "odd", "--to", "2")[0] == 0 and store.resolve("odd") == "odd@2"
    assert run("rollback", store.path, "odd", "--to", "2")[0] == 0 and len(store.chain().choices) == 2
    for arguments in (("odd", "--to", "3"), ("law",), ("general",)):
        assert run("rollback", store.path, *arguments)[0] == 2


def test_a_newer_version_does_not_take_the_place_of_one_that_is_held(store: Store) -> None:
    with writing(store.path):
        store.choose("odd@2", hold=True)
        learn(store, "odd@3", cells=1)
        assert store.resolve("odd") == "odd@2"
    set_current(store.path, "odd@3")
    assert store.resolve("odd") == "odd@3"


def test_head_has_version_4_only_where_there_are_versions(tmp_path: Path, store: Store) -> None:
    path = write_store(tmp_path / "plain").path
    assert json.loads((path / "head.json").read_bytes())["version"] == 3
    content = json.loads((store.path / "head.json").read_bytes())
    assert content["version"] == 4
    with pytest.raises(FmallocError, match="which version 4 alone has"):
        HeadRecord.parse(json.dumps(content | {"version": 3}).encode(), "head.json")


def test_the_current_one_is_not_dropped_and_an_old_one_is(store: Store, tmp_path: Path) -> None:
    code, output = run("drop", store.path, "odd@2", "--yes")
    assert code == 2 and "is what 'odd' means now" in output
    code, output = run("drop", store.path, "odd", "--yes")
    assert code == 2 and "which version?" in output
    code, output = run("drop", store.path, "odd@3", "--yes")
    assert code == 2 and "it has odd@1, odd@2" in output
    assert run("drop", store.path, "odd@1", "--dry-run")[0] == 0 and store.task("odd")
    code, output = run("drop", store.path, "odd@1", "--yes", "--output", tmp_path / "certificate.json")
    assert code == 0 and "odd@2 began as a copy of odd" in output, output
    assert [task.name for task in store.tasks()] == ["it", "late", "odd@2"] and store.resolve("odd") == "odd@2"
    assert run("verify-certificate", tmp_path / "certificate.json", store.path)[0] == 0
    code, output = run("drop", store.path, "odd@1", "--yes")
    assert code == 0 and "odd freed at" in output, "what was stopped goes on"
    assert run("drop", store.path, "odd@2", "--yes")[0] == 0, "the only one left is the domain"
    assert run("verify", store.path)[0] == 0


def test_one_that_others_read_stays(store: Store) -> None:
    with writing(store.path):
        learn(store, "it@2", cells=1)
    code, output = run("drop", store.path, "it@1", "--yes")
    assert code == 2 and "read by late" in output


def test_freeing_the_domain_frees_all_versions(store: Store) -> None:
    set_current(store.path, "odd@1")
    code, output = run("free", store.path, "odd", "--yes")
    assert code == 0, output
    chain = store.chain()
    assert [task.name for task in chain.tasks] == ["it", "late"] and "odd" not in chain.current
    assert run("free", store.path, "odd", "--yes")[0] == 0, "what was stopped goes on"
    with writing(store.path):
        learn(store, "odd", cells=1)
        learn(store, "odd@3", cells=1)
    assert store.resolve("odd") == "odd@3", "a choice of what is gone holds nothing"
    assert run("verify", store.path)[0] == 0


def test_a_version_never_reads_another_one(store: Store) -> None:
    with writing(store.path), pytest.raises(FmallocError, match="expected tasks of other domains"):
        learn(store, "it@2", reads=["it"], cells=1)


def test_status_shows_them_and_which_is_current(store: Store) -> None:
    code, output = run("status", store.path)
    assert code == 0 and "odd@2" in output and "(current)" in output and "odd@1" in output
    tasks = json.loads(run("status", store.path, "--json")[1])["tasks"]
    found = [(task["name"], task["domain"], task["version"], task["current"]) for task in tasks]
    assert found[1:] == [("odd", "odd", 1, False), ("late", "late", 1, True), ("odd@2", "odd", 2, True)]
    assert run("report", store.path, "--output", store.path.parent / "report.html")[0] == 0


def test_a_bundle_is_of_the_domain_and_names_its_version(store: Store, tmp_path: Path) -> None:
    bundles = tmp_path / "bundles"

    def export(*names: str) -> tuple[int, str]:
        tasks = [word for name in names for word in ("--task", name)]
        return run("export", "--store", store.path, *tasks, "--output-dir", bundles)

    def live() -> str | None:
        return Bundle.open(bundles / LiveIndex.of(bundles).domains["odd"]).manifest.source.task

    assert export("odd")[0] == 0 and live() == store.digest("odd@2")[1]
    assert export("odd", "odd@1")[0] == 2
    code, output = export("odd@1")
    assert code == 0 and live() == store.digest("odd")[1], output
    code, output = run("verify", bundles, "--store", store.path)
    assert code == 0 and "version odd@2" in output, output
    code, output = run("rollback", store.path, "odd", "--bundles", bundles)
    assert code == 0 and live() == store.digest("odd")[1], output
    code, output = run("rollback", store.path, "odd", "--to", "2", "--bundles", bundles)
    assert code == 0 and live() == store.digest("odd@2")[1], output
    code, output = run("drop", store.path, "odd@1", "--bundles", bundles, "--yes")
    assert code == 0 and "deleted odd@" in output and live() == store.digest("odd@2")[1], output
    code, output = run("rollback", store.path, "odd", "--to", "2", "--bundles", tmp_path / "none")
    assert code == 2 and "no bundle" in output


def test_evaluation_takes_the_current_one_and_any_by_number(store: Store, tmp_path: Path) -> None:
    code, output = run("eval", store.path, "--task", "odd", "--task", "odd@1", "--output", tmp_path / "r.json")
    assert code == 0, output
    models = json.loads((tmp_path / "r.json").read_bytes())["models"]
    assert set(models) == {"odd", "odd@1"} and len(set(models.values())) == 2
