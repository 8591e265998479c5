"""fmalloc status: the tables and the JSON agree with the store, and say where scores are missing."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fmalloc.commands import status
from fmalloc.evaluation.matrix import Matrix
from fmalloc.report.status import advice, status_of
from fmalloc.store.store import Store
from tests.support.stores import seal

TABLES = ("Tasks", "Memory cells", "BLEU by test set", "Measures")


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def forget_later_domain(store: Store) -> Store:
    """As if games had not been in the recipe before it was learned."""
    for path in (store.path / "store.json", store.path / "tasks" / "office" / "task.json"):
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for key in ("base_scores", "general_scores", "scores"):
            content.get(key, {}).get("domains", {}).pop("games", None)
        path.write_text(json.dumps(content), encoding="utf-8")
    seal(store.path)
    return Store.open(store.path)


def test_json_holds_what_the_store_holds(learned: Path) -> None:
    store = Store.open(learned)
    result = CliRunner().invoke(status, [str(learned), "--json"])
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found == json.loads(json.dumps(status_of(store)))
    assert [task["name"] for task in found["tasks"]] == ["office", "games"]
    table = store.cells()
    for layer, cells in found["cells"].items():
        assert sum(cells["owners"].values()) + cells["free"] == cells["width"]
        assert cells["owners"]["games"] == table.count(2)[layer]
    writable = sum(cells["width"] - cells["owners"]["general"] for cells in found["cells"].values())
    assert found["capacity"]["used"] == pytest.approx(1 - sum(found["capacity"]["free"].values()) / writable)
    tasks = store.tasks()
    matrix = Matrix.of(["office", "games"], [task.scores for task in tasks], store.description.base_scores)
    assert found["measures"]["bleu"]["average"] == matrix.average()
    assert found["measures"]["bleu"]["forgetting_ratio"] == 0
    assert found["measures"]["nll"]["forgetting"] == 0
    updates = {task["name"]: task["updates"] for task in found["tasks"]}
    for task in tasks:
        (kept,) = {(p.bleu, p.chrf) for p in task.curve if p.update == updates[task.name]}
        assert kept == (task.dev.bleu, task.dev.chrf)


@pytest.mark.usefixtures("wide")
def test_proven_scores_are_marked(learned: Path) -> None:
    text = CliRunner().invoke(status, [str(learned)]).stdout
    rows = {line.split("│")[1].strip(): line for line in text.splitlines() if line.startswith("│ after")}
    assert [cell.strip().endswith("=") for cell in rows["after games"].split("│")[2:5]] == [True, True, False]
    assert "= proven:" in text
    found = json.loads(CliRunner().invoke(status, [str(learned), "--json"]).stdout)["rows"][1]["scores"]
    assert found["proven"] == ["general", "office"] and set(found["digests"]) == {"general", "office", "games"}


def test_tables_are_readable_in_a_narrow_terminal(learned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = CliRunner().invoke(status, [str(learned)])
    assert result.exit_code == 0 and all(title in result.stdout for title in TABLES)
    assert "…" not in result.stdout
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    assert "not scored" not in result.stdout


def test_verify_says_so_beside_the_json(learned: Path) -> None:
    result = CliRunner().invoke(status, [str(learned), "--verify", "--json"])
    json.loads(result.stdout)
    assert "files are as they were written" in result.stderr


def test_a_domain_that_was_named_later_is_said_to_be_missing(store: Store, wide: None) -> None:
    store = forget_later_domain(store)
    assert status_of(store)["measures"]["bleu"]["forward_transfer"] is None
    assert status_of(store)["measures"]["bleu"]["average"] is not None
    command = f"fmalloc eval {store.path} --task base --task general --test games=PATH"
    assert command in (advice(store) or "")
    result = CliRunner().invoke(status, [str(store.path)])
    assert result.exit_code == 0 and command in result.stdout and "–" in result.stdout


def test_a_store_without_tasks_has_no_measures(store: Store, wide: None) -> None:
    for task in ("office", "games"):
        (store.path / "tasks" / task).rename(store.path.parent / task)
    seal(store.path)
    result = CliRunner().invoke(status, [str(store.path)])
    assert result.exit_code == 0 and "Memory cells" in result.stdout
    assert set(status_of(store)["measures"]["bleu"].values()) == {None}
    assert status_of(store)["capacity"]["used"] == 0


def test_what_is_no_store(tmp_path: Path) -> None:
    result = CliRunner().invoke(status, [str(tmp_path)])
    assert result.exit_code == 2 and "is" in result.stderr and "memory store" in result.stderr
