from pathlib import Path

import pytest

from fmalloc.recipe import LearningSettings, read_recipe
from fmalloc_shared.errors import FmallocError

GOOD = """\
base: model
general: text/general
sparsity: 0.3
learning: {updates: 50, anneal_updates: 10, validate_every: 20}
tasks:
  - {name: it, data: "text/it"}
  - name: law
    data: text/law
    learning: {updates: 70}
"""


def recipe(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return path


def test_a_good_recipe_with_overrides_for_one_task(tmp_path: Path) -> None:
    read = read_recipe(recipe(tmp_path, GOOD))
    assert (read.sparsity, [task.name for task in read.tasks]) == (0.3, ["it", "law"])
    plans = read.plans()
    assert [(plan.name, plan.learning.updates) for plan in plans] == [("it", 50), ("law", 70)]
    assert (plans[1].learning.anneal_updates, plans[1].schedule.validate_every) == (10, 20)


def test_flags_override_keys(tmp_path: Path) -> None:
    read = read_recipe(recipe(tmp_path, GOOD), {"base": "other", "learning.updates": 5})
    assert (read.base, read.learning.updates, read.learning.anneal_updates) == (Path("other"), 5, 10)


def test_three_mistakes_are_reported_at_once_with_their_lines(tmp_path: Path) -> None:
    text = GOOD.replace("0.3", "1.5").replace("name: law", "name: ../x").replace("updates: 70", "upadtes: 70")
    with pytest.raises(FmallocError) as caught:
        read_recipe(recipe(tmp_path, text))
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert any("recipe.yaml:3: sparsity: Input should be less than 1, found 1.5" in line for line in lines)
    assert any("recipe.yaml:7: tasks.1.name:" in line and "'../x'" in line for line in lines)
    assert any("recipe.yaml:9: tasks.1.learning.upadtes: unknown key 'upadtes'" in line for line in lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: [", "not YAML"),
        ("", "base: missing"),
        ("general: x\ntasks: [{name: it, data: x}]", "base: missing"),
        (GOOD.replace("name: law", "name: it"), "it named more than once"),
        (GOOD.replace("name: it", "name: general"), "'general' names the base domain"),
        (GOOD.replace("validate_every: 20", "validate_every: 25"), "validate_every 25 is not a multiple"),
        (GOOD.replace("model", "${NOWHERE_SET}"), "environment variable NOWHERE_SET is not set"),
        (GOOD.replace("tasks:", "task:"), "tasks: missing"),
        (GOOD.replace("{updates: 50,", "{seed: 4294967296, updates: 50,"), "learning.seed: Input should be less than"),
        (GOOD.replace("{updates: 50,", "{learning_rate: '1e999', updates: 50,"), "learning_rate: .*finite number"),
        (f"{GOOD}learning: {{updates: 5}}\n", "r.*yaml:10: key 'learning' is given twice, in lines 4 and 10"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FmallocError, match=message):
        read_recipe(recipe(tmp_path, text))


def test_environment_variables_in_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORPUS_ROOT", "/data")
    read = read_recipe(recipe(tmp_path, GOOD.replace("text/it", "${CORPUS_ROOT}/it")))
    assert read.tasks[0].data == Path("/data/it")


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(FmallocError, match="none.yaml: cannot be read: No such file"):
        read_recipe(tmp_path / "none.yaml")


def test_the_defaults_are_valid() -> None:
    assert LearningSettings.model_validate(LearningSettings().model_dump()) == LearningSettings()


@pytest.mark.parametrize(
    ("given", "updates", "warmup", "cycle", "validate_every"),
    [
        ({}, 20_000, 4000, 1000, 1000),
        ({}, 100, 20, 20, 20),
        ({"anneal_updates": 250}, 1500, 300, 250, 250),
        ({"validate_every": 500}, 1500, 300, 500, 500),
        ({"warmup_updates": 7, "anneal_updates": 100, "validate_every": 200}, 1500, 7, 100, 200),
    ],
)
def test_what_is_not_given_fits_the_updates(
    given: dict[str, int], updates: int, warmup: int, cycle: int, validate_every: int
) -> None:
    settings = LearningSettings.model_validate(given).fitted(updates)
    assert settings.updates == updates
    assert (settings.warmup_updates, settings.anneal_updates, settings.validate_every) == (
        warmup,
        cycle,
        validate_every,
    )
