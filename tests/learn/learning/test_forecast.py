"""How long a run will take, tried for a moment on the tiny base."""

from pathlib import Path

import pytest

from fmalloc.learning.forecast import Step, forecast
from fmalloc.learning.run import Run
from fmalloc.recipe import updates_for
from tests.support.corpora import small_recipe


def test_every_step_that_is_left_is_told(base: Path, corpora: Path, tmp_path: Path) -> None:
    run = Run.of(small_recipe(base, corpora, tmp_path / "store", "office", "games"))
    steps = {step.name: step for step in forecast(run, None)}
    assert [*steps] == ["importance", "task office", "task games", "scores"]
    assert steps["importance"].because.startswith("8 batches of ")  # fewer than it looks at first
    assert steps["task office"].because.startswith("at most 80 updates of ")
    tests = {name: len(run.corpora[name].test) for name in ("general", "office", "games")}
    sentences = 2 * sum(tests.values()) + tests["office"] + tests["games"]
    assert steps["scores"].because.startswith(f"{sentences:,} sentences, beam 2, of ")
    assert all(0 < step.least <= step.most for step in steps.values())
    assert [step.name for step in forecast(run, {"office"})] == ["task games", "scores"]
    assert forecast(run, {"office", "games"}) == []
    assert not (tmp_path / "store").exists()


def test_aligning_is_told_where_terms_are_learned(base: Path, corpora: Path, tmp_path: Path) -> None:
    run = Run.of(small_recipe(base, corpora, tmp_path / "store", "office", terminology=True))
    steps = {step.name: step for step in forecast(run, set())}
    aligning, pairs = steps["terminology of office"], len(run.corpora["office"].train)
    assert aligning.because.startswith(f"{pairs:,} pairs to align, of ") and aligning.most > 0


def test_minutes_bound_what_is_told(base: Path, corpora: Path, tmp_path: Path) -> None:
    run = Run.of(small_recipe(base, corpora, tmp_path / "store", "office", updates=10**6, minutes=0.5))
    (task,) = (step for step in forecast(run, set()) if step.name == "task office")
    assert task.most <= 30


@pytest.mark.parametrize(
    ("least", "most", "told"),
    [
        (12, 12, "12 s"),
        (0.1, 1.2, "1 s"),
        (180, 1824, "3 min to 30 min"),
        (6000, 36000, "100 min to 10.0 h"),
    ],
)
def test_times_are_rounded_to_what_one_wants_to_know(least: float, most: float, told: str) -> None:
    assert str(Step("a", least, most, "so")) == f"a: {told} (so)"


def test_updates_fit_the_text(base: Path, corpora: Path, tmp_path: Path) -> None:
    recipe = small_recipe(base, corpora, tmp_path / "store", "office")
    learning = recipe.learning.model_copy(update={"updates": None, "batch_tokens": 10, "warmup_updates": None})
    run = Run.of(recipe.model_copy(update={"learning": learning}))
    plan = run.plans["office"]
    words = sum(max(len(pair.source.split()), len(pair.target.split())) for pair in run.corpora["office"].train)
    assert 0.4 * words < plan.schedule.updates < 4 * words  # a word is a token or a few, and there are ten a batch
    assert plan.learning.warmup_updates == plan.schedule.updates // 5
    assert [updates_for(tokens, 2000) for tokens in (0, 5e5, 1e9)] == [200, 1000, 20_000]
