"""fmalloc relearn: a new version of a domain, learned beside the one that serves."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from fmalloc.lifecycle.relearn import relearn
from fmalloc.model.assembly import load_sliced
from fmalloc.store.store import Store, writing
from fmalloc.train import learn_tasks
from fmalloc_shared.commands.verbs import main
from fmalloc_shared.errors import FmallocError
from tests.support.corpora import small_recipe
from tests.support.lifecycle import run
from tests.support.once import once
from tests.support.stores import tree_bytes

QUICK = {"device": "cpu", "learning.updates": 20, "learning.validation_sentences": 4}


@pytest.fixture(scope="session")
def roomy(learned: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of office and games after it grew, and the text of office without its last third. Read only."""

    def build(folder: Path) -> None:
        shutil.copytree(learned, folder / "store")
        with writing(folder / "store"):
            Store.open(folder / "store").grow(40, 1)
        shutil.copytree(corpora / "office", folder / "office")
        lines = (folder / "office/train.tsv").read_text().splitlines(keepends=True)
        (folder / "office/train.tsv").write_text("".join(lines[: len(lines) * 2 // 3]))

    return once(tmp_path_factory, "roomy", build)


@pytest.fixture
def own(roomy: Path, tmp_path: Path) -> Store:
    return Store.open(Path(shutil.copytree(roomy / "store", tmp_path / "store")))


def test_it_begins_where_the_old_one_ended_and_takes_its_place(own: Store, roomy: Path) -> None:
    before = tree_bytes(own.path)
    old = own.task("office")
    new = relearn(own.path, "office", roomy / "office", overrides=QUICK)
    assert (new.name, own.resolve("office")) == ("office@2", "office@2")
    # The text of dev is the same, and all copied cells fit: only the order of sums differs.
    assert old.selected and new.curve[0].claimed == old.selected.claimed
    assert new.curve[0].nll == pytest.approx(old.selected.nll, abs=1e-4)
    assert new.begun_as == ("office",) and "office" not in new.reads
    after = tree_bytes(own.path)
    assert all(after[name] == content for name, content in before.items() if name not in ("head.json", ".lock"))
    assert {name for name in set(after) - set(before) if not name.startswith("tasks/office@2/")} <= {".lock"}
    # What was not scored anew is what it was, because those models are.
    assert set(new.scores.domains) == {"general", "office", "games"} and set(new.scores.proven) == {"general", "games"}
    assert new.scores.domains["games"] == own.task("games").scores.domains["games"]
    load_sliced(own, "office@2")
    assert run("verify", own.path)[0] == 0
    assert relearn(own.path, "office", roomy / "office", overrides=QUICK) == new, "not learned again"
    # What a copy still holds of the version that it began as is not its own, and keeps nothing from being dropped.
    assert run("rollback", own.path, "office")[0] == 0
    code, output = run("drop", own.path, "office@2", "--yes")
    assert code == 0 and "began as" not in output, output
    assert tree_bytes(own.path / "tasks") == tree_bytes(roomy / "store" / "tasks")


def test_one_that_was_not_made_current_waits_for_it(own: Store, roomy: Path, corpora: Path, tmp_path: Path) -> None:
    new = relearn(own.path, "office", roomy / "office", overrides=QUICK, warm=False, make_current=False)
    assert new.curve[0].claimed == 0 and not new.begun_as
    assert own.resolve("office") == "office" and {task.name for task in own.tasks()} == {"office", "games", "office@2"}
    code, output = run("relearn", own.path, "office", "--data", roomy / "office", "--cold", "--dry-run")
    assert code == 0 and "office@3: to be learned in 80 updates" in output, output
    assert relearn(own.path, "office", roomy / "office", overrides=QUICK, warm=False).name == "office@2"
    assert own.resolve("office") == "office@2", "as after a kill between the two"
    # A recipe of either version finds its domain learned, another one does not.
    recipe = small_recipe(tmp_path, corpora, own.path, "office", "games").model_copy(update={"base": own.base})
    assert learn_tasks(recipe).resolve("office") == "office@2"
    tasks = [recipe.tasks[0].model_copy(update={"data": corpora / "games"}), *recipe.tasks[1:]]
    with pytest.raises(FmallocError, match="fmalloc relearn"):
        learn_tasks(recipe.model_copy(update={"tasks": tasks}))


def test_too_little_room_is_said_before(learned: Path, corpora: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(learned, tmp_path / "store"))
    before = tree_bytes(path)
    code, output = run("relearn", path, "games", "--data", corpora / "games", "--device", "cpu", "--dry-run")
    said = " ".join(output.split())
    assert "fmalloc grow" in said and ("room: " in said or code == 2), output
    assert tree_bytes(path) == before


def test_bad_input_is_a_message(own: Store, roomy: Path, tmp_path: Path) -> None:
    for domain, data, message in (
        ("law", roomy / "office", "no task 'law'"),
        ("general", roomy / "office", "cannot be learned anew"),
        ("office@2", roomy / "office", "domain name 'office@2'"),
        ("office", tmp_path / "absent", "absent"),
    ):
        result = CliRunner().invoke(main, ["relearn", str(own.path), domain, "--data", str(data), "--dry-run"])
        assert result.exit_code == 2 and message in result.output, result.output
