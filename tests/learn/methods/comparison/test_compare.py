"""Methods under one protocol: what a comparison holds, goes on with, and refuses."""

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from fmalloc.commands import compare as command
from fmalloc.methods import METHODS, method_of
from fmalloc.methods.comparison.compare import Plan
from fmalloc.methods.comparison.record import Comparison
from fmalloc.methods.comparison.summary import summaries
from fmalloc.methods.method import Method, MethodSettings
from fmalloc.recipe import Recipe
from fmalloc_shared.errors import FmallocError
from tests.support.corpora import small_recipe

ORDERS = (["office", "games"], ["games", "office"])

pytestmark = pytest.mark.slow  # five methods are learned first


@pytest.fixture(scope="module")
def recipe(base: Path, corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    made = small_recipe(base, corpora, tmp_path_factory.mktemp("runs") / "store", "office", "games", updates=20)
    evaluation = made.evaluation.model_copy(update={"sentences": 6, "continual": 6})
    return made.model_copy(update={"evaluation": evaluation})


@pytest.fixture(scope="module")
def compared(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which single, sequential, mixed and fmalloc learned two tasks in two orders."""
    output = tmp_path_factory.mktemp("comparison")
    Plan.of(recipe, ["single", "sequential", "mixed", "fmalloc"], ORDERS, output).compare()
    return output


def read(output: Path) -> Comparison:
    return Comparison.model_validate_json((output / "comparison.json").read_bytes())


def test_every_method_exists_and_says_its_name() -> None:
    for name in METHODS:
        kind = method_of(name)
        assert issubclass(kind, Method)
        assert kind.name == name
        assert issubclass(kind.settings_type, MethodSettings)
    with pytest.raises(FmallocError, match="method 'magic': unknown, expected one of single, sequential"):
        method_of("magic")


def test_runs_rows_and_curves(compared: Path) -> None:
    found = read(compared)
    assert [(run.method, run.order[0]) for run in found.runs] == [
        ("single", "office"),  # the order makes no difference to single and mixed
        ("sequential", "office"),
        ("mixed", "office"),
        ("fmalloc", "office"),
        ("sequential", "games"),
        ("fmalloc", "games"),
    ]
    for run in found.runs:
        tasks = run.order[:1] if run.method == "mixed" else run.order
        assert [row.after for row in run.rows] == tasks
        assert all(set(row.scores) == {"general", "office", "games"} for row in run.rows)
        assert all(score.nll is not None and score.bleu_interval for row in run.rows for score in row.scores.values())
        assert all(learned.bytes > 0 and learned.trained_parameters > 0 for learned in run.learned.values())
        assert run.learned[tasks[-1]].curve[0].earlier.keys() == {"general", *tasks[:-1]}
    assert found.runs[0].capacity_used is None
    assert 0 < (found.runs[3].capacity_used or 0) <= 1


def test_what_is_forgotten_and_what_is_not(compared: Path) -> None:
    by_method = {(row.method, row.order[0]): row for row in summaries(read(compared))}
    assert by_method["single", "office"].mean_gain == 1
    assert by_method["sequential", "office"].forgetting_nll > 0.05
    assert by_method["fmalloc", "office"].forgetting_nll == 0
    assert by_method["fmalloc", "games"].stability_gap == 0
    assert by_method["sequential", "games"].stability_gap > 0.05
    assert by_method["mixed", "office"].forgetting_nll is None


def test_nothing_is_done_twice_and_other_settings_are_refused(compared: Path, recipe: Recipe) -> None:
    before = {path: path.stat().st_mtime_ns for path in compared.rglob("state.safetensors")}
    again = Plan.of(recipe, ["single", "sequential"], ORDERS, compared).compare()
    assert [run.method for run in again.runs] == ["single", "sequential", "sequential"]
    assert {path: path.stat().st_mtime_ns for path in compared.rglob("state.safetensors")} == before
    other = recipe.model_copy(update={"learning": recipe.learning.model_copy(update={"seed": 9})})
    with pytest.raises(FmallocError, match="single: holds a run with other tasks; choose another folder"):
        Plan.of(other, ["single"], ORDERS[:1], compared).compare()
    private = recipe.model_copy(update={"learning": recipe.learning.model_copy(update={"private": ["norms"]})})
    Plan.of(private, ["single"], ORDERS[:1], compared)  # which has no cells that anything could be private beside
    with pytest.raises(FmallocError, match="fmalloc-office-games: holds a run with other tasks"):
        Plan.of(private, ["fmalloc"], ORDERS[:1], compared)
    with pytest.raises(FmallocError, match="--order office: expected each of office, games once"):
        Plan.of(recipe, ["single"], [["office"]], compared).compare()


def test_the_command_prints_one_table_and_refuses_settings_that_a_method_lacks(
    compared: Path, recipe: Recipe, tmp_path: Path
) -> None:
    content = recipe.model_dump(mode="json")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content))
    arguments = [str(tmp_path / "recipe.yaml"), "--output-dir", str(compared), "--methods"]
    done = CliRunner().invoke(command, [*arguments, "single,fmalloc", "--order", "office,games"])
    assert done.exit_code == 0, done.output
    assert "fmalloc" in done.stdout
    assert "+0.000" in done.stdout
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content | {"methods": {"l2": {"weight": 3}}}))
    refused = CliRunner().invoke(command, [*arguments, "l2"])
    assert refused.exit_code == 2
    assert "methods.l2.weight" in refused.output
    assert "settings of l2: learning_rate, strength" in refused.output
