"""The experiment on a tiny base: rates are searched, runs learned, known ones not repeated, goals counted."""

import json
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from benchmarks.experiment import defaults
from benchmarks.experiment.__main__ import main
from benchmarks.experiment.goals import gains, goals
from benchmarks.experiment.page.__main__ import DOCS
from benchmarks.experiment.page.__main__ import main as write_page
from benchmarks.experiment.rates import default_rate, lowest, with_rates
from benchmarks.experiment.runs import Named, by_seed, wanted
from benchmarks.experiment.setting import RECIPE, Setting
from fmalloc.methods import METHODS
from fmalloc.recipe import read_recipe
from fmalloc.store.records import Score
from tests.support.corpora import small_recipe

TASKS = ["office", "games"]
LEARNED = ("--part", "rates", "--part", "methods")


@pytest.fixture(scope="module")
def setting(base: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Setting:
    work = tmp_path_factory.mktemp("experiment")
    recipe = small_recipe(base, corpora, work / "store", *TASKS, updates=20).model_copy(
        update={"methods": {"single": {"learning_rate": 1e-3}, "fmalloc-private": {"learning": {"private_rank": 2}}}}
    )
    path = work / "recipe.yaml"
    content = recipe.model_dump(mode="json", exclude_unset=True)
    content["evaluation"] |= {"sentences": 6, "continual": 6}
    path.write_text(yaml.safe_dump(content))
    return Setting(base, corpora, work / "work", path)


def run(setting: Setting, results: Path, *more: str) -> Result:
    arguments = ["--base", str(setting.base), "--corpora", str(setting.corpora), "--work", str(setting.work)]
    arguments += ["--recipe", str(setting.recipe), "--results", str(results), "--tuning-domain", "office"]
    arguments += ["--tuning-updates", "20", "--seeds", "1", *more]
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def results_of(results: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((results / "experiment.json").read_text())
    return found


@pytest.mark.slow
@pytest.mark.timeout(1200)  # five runs in processes of their own
def test_the_whole_experiment_goes_on_where_it_stopped(setting: Setting, tmp_path: Path) -> None:
    first = run(setting, tmp_path, "--methods", "single,fmalloc", "--orders", "1", "--jobs", "2")
    assert first.exit_code == 0, first.output
    found = results_of(tmp_path)
    tried = found["rates"]["methods"]["single"]["tried"]
    assert len(tried) == len(set(tried.values())) >= 3
    assert tried[f"{found['rates']['methods']['single']['rate']:.3g}"] == min(tried.values())
    assert [(r["method"], r["order"], r["seed"]) for r in found["methods"]["runs"]] == [
        ("single", 1, 1),
        ("fmalloc", 1, 1),
    ]
    assert "left out" in first.output  # there is no store of fmalloc-private
    assert set(found["exposure"]) == set(found["neighbours"]) == set(TASKS)
    page = CliRunner().invoke(
        write_page,
        ["--results", str(tmp_path / "experiment.json"), "--output-dir", str(tmp_path)],
        catch_exceptions=False,
    )
    assert page.exit_code == 0, page.output
    written = (tmp_path / "experiment.md").read_text()
    assert "| single " in written
    assert "Not run yet: sequential-1-1" in written
    ElementTree.parse(tmp_path / "experiment.svg")
    changed = next(goal for goal in found["goals"] if goal["name"].startswith("fmalloc: largest change"))
    assert changed == {**changed, "value": 0.0, "met": True}

    # Another machine has the results alone: what they hold is not learned again, and stays.
    elsewhere = Setting(setting.base, setting.corpora, setting.work.parent / "elsewhere", setting.recipe)
    second = run(elsewhere, tmp_path, "--methods", "sequential,fmalloc", "--orders", "2", *LEARNED)
    assert second.exit_code == 0, second.output
    assert "2 of 5 runs are known" in second.output
    after = results_of(tmp_path)
    runs = {(r["method"], r["order"]): r for r in after["methods"]["runs"]}
    assert set(runs) == {("sequential", 1), ("sequential", 2), ("fmalloc", 1), ("fmalloc", 2), ("single", 1)}
    assert runs["single", 1] in found["methods"]["runs"]
    assert not (elsewhere.work / "runs" / "single-1-1").exists()
    [comparison] = by_seed(after["methods"]["runs"]).values()
    assert [row.after for row in comparison.runs[0].rows] == TASKS
    assert comparison.runs[2].order == TASKS[::-1]

    # Other settings are other runs.
    third = run(elsewhere, tmp_path, "--methods", "single", "--orders", "1", "--updates", "21", "--part", "methods")
    assert "5 earlier runs are left out" in third.output
    assert len(results_of(tmp_path)["methods"]["runs"]) == 1


@pytest.mark.slow
def test_what_the_defaults_follow_from(setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = (defaults.COPY, defaults.OWN, "20 % freed", "cells alone")
    monkeypatch.setattr(defaults, "VARIANTS", [one for one in defaults.VARIANTS if one.name in some])
    parts = ("--part", "rates", "--part", "defaults", "--variant-updates", "20")
    done = run(setting, tmp_path, "--methods", "single,fmalloc-private", *parts)
    assert done.exit_code == 0, done.output
    found = {one["name"]: one for one in results_of(tmp_path)["defaults"]["variants"]}
    assert tuple(found) == some
    assert all(one["nll"] < one["before"] for one in found.values())
    own, cells = found[defaults.OWN], found["cells alone"]
    assert found[defaults.COPY]["bytes"] > own["bytes"] > cells["bytes"]
    assert cells["before"] == own["before"] != found["20 % freed"]["before"]


def test_the_pages_are_made_of_the_results(tmp_path: Path) -> None:
    names = ("experiment.md", "experiment.svg", "results.md")
    shutil.copy(DOCS.parent / ".mdformat.toml", tmp_path)  # how wide lines are
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    before, mark, after = page.partition("<!-- methods of results/experiment.json -->")
    (tmp_path / "results.md").write_text(before + mark + "\nold\n" + after[after.index("<!-- end of methods") :])
    done = CliRunner().invoke(write_page, ["--output-dir", str(tmp_path)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert [name for name in names if (tmp_path / name).read_bytes() != (DOCS / name).read_bytes()] == []


def test_a_method_without_a_rate_is_refused(setting: Setting, tmp_path: Path) -> None:
    for part in ("methods", "defaults"):
        assert "no rate of single" in run(setting, tmp_path, "--methods", "single", "--part", part).output
    assert "expected some of single" in run(setting, tmp_path, "--methods", "magic").output


def test_a_rate_found_with_other_settings_is_refused(setting: Setting, tmp_path: Path) -> None:
    found = {"rate": 1e-3, "tried": {"0.001": 3.0}, "settings": "0" * 64}
    rates = {"base": setting.base.name, "updates": 20, "domain": "office", "methods": {"single": found}}
    (tmp_path / "experiment.json").write_text(json.dumps({"rates": rates}))
    said = run(setting, tmp_path, "--methods", "single", "--part", "methods").output
    assert "no rate of single" in said and "with its settings" in said


def test_what_the_table_needs_most_comes_first() -> None:
    found = wanted(list(METHODS), orders=2, seeds=3)
    assert len(found) == len(set(found)) == len(METHODS) + 3 + 2 * 5
    assert [one.name for one in found[:3]] == ["single-1-1", "sequential-1-1", "mixed-1-1"]
    assert Named("single", 2) not in found  # it has no order
    assert wanted(["lora"], 2, 3) == [Named("lora")]


def test_rates_are_those_of_lowest_nll_and_private_ones_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lowest({1.0: 2.0, 3.0: 1.5, 9.0: None}) == 3.0
    assert lowest({1.0: None, 3.0: None}) == 1.0
    monkeypatch.setenv("BASE", "/nowhere/base-of-rates")
    monkeypatch.setenv("CORPORA", "/nowhere/corpora-of-rates")
    recipe = read_recipe(RECIPE)
    usual = default_rate(recipe, "fmalloc-private")
    found = with_rates(recipe, {"fmalloc-private": {"rate": 2 * usual}, "kd": {"rate": 0.1}})
    assert found["fmalloc-private"]["learning_rate"] == 2 * usual
    assert found["fmalloc-private"]["learning"]["private_learning_rate"] == pytest.approx(5e-3)
    assert found["kd"]["learning_rate"] == 0.1
    assert found["single"] == recipe.methods["single"]


def test_goals_are_counted_on_bleu_by_domain(setting: Setting) -> None:
    def row(after: str, office: float, games: float) -> dict[str, Any]:
        domains = {"office": office, "games": games, "general": 20.0}
        return {
            "after": after,
            "scores": {d: Score(bleu=b, chrf=1, nll=100 - b).model_dump() for d, b in domains.items()},
        }

    def record(method: str, *rows: dict[str, Any], size: int = 100) -> dict[str, Any]:
        learned = {"curve": [], "trained_parameters": 1, "bytes": size, "seconds": 1.0}
        one = {
            "method": method,
            "order": TASKS,
            "rows": list(rows),
            "learned": dict.fromkeys(TASKS, learned),
            "capacity_used": None,
            "settings": {},
        }
        base = row("", 10.0, 10.0)["scores"] | {"general": Score(bleu=20.2, chrf=1, nll=1).model_dump()}
        common = {
            "base": "b",
            "languages": {"source": "de", "target": "en"},
            "domains": [*TASKS, "general"],
            "learning": {},
            "evaluation": {},
        }
        common |= {"versions": {}, "signatures": {}, "base_scores": base, "runs": [one]}
        return {"seed": 1, "comparison": common}

    [comparison] = by_seed(
        [
            record("single", row("office", 20, 10), row("games", 20, 30)),
            record("sequential", row("office", 19, 11), row("games", 12, 28)),
            record("lora", row("office", 18, 10), row("games", 18, 26)),
            record("fmalloc", row("office", 16, 10), row("games", 16, 26)),
            record("fmalloc-private", row("office", 19.5, 10), row("games", 19.5, 29.2), size=16),
        ]
    ).values()
    assert gains(comparison, comparison.runs[4], comparison.runs[0]) == {"office": 0.95, "games": pytest.approx(0.96)}
    found = {goal["name"]: goal for goal in goals(comparison)}
    assert [goal["met"] for goal in found.values()] == [True, True, True, True, True, False, True, True]
    assert [goal["value"] for goal in list(found.values())[-2:]] == ["+1.50 (office)", "+1.00 (sequential)"]
