"""Methods on the toy corpora, with a handful of updates a task."""

from functools import cache
from pathlib import Path
from typing import Any

from torch import Tensor

from fmalloc.learning.run import Run
from fmalloc.methods import method_of
from fmalloc.methods.comparison.record import Learned
from fmalloc.methods.method import Method
from tests.support.corpora import small_recipe

TASKS = ("office", "games")


def make(
    base: Path, corpora: Path, folder: Path, name: str, settings: dict[str, Any] | None = None, **learning: object
) -> Any:
    """A method for office, then games, with six updates each and no translations unless `learning` says otherwise."""
    few = {
        "updates": 6,
        "warmup_updates": 1,
        "anneal_updates": 6,
        "validate_every": 6,
        "validation_sentences": 0,
        "select_by": "nll",
    }
    run = Run.of(small_recipe(base, corpora, folder / "store", *TASKS, **(few | learning)))
    kind = method_of(name)
    return kind(run, folder, kind.settings_type.model_validate(settings or {}))


def learn(method: Method, *tasks: str, earlier: tuple[str, ...] = ()) -> dict[str, Learned]:
    """Learn the named tasks, by default all of them, in this order, after `earlier` ones."""
    learned, by_name = {}, {task.name: task for task in method.run.recipe.tasks}
    for name in tasks or by_name:
        (method.folder / name).mkdir(parents=True, exist_ok=True)
        learned[name] = method.learn(by_name[name], (*earlier, *learned))
    return learned


def weights(method: Method, state: str) -> dict[str, Tensor]:
    """All parameters of the model that serves a state."""
    return dict(method.load(state)[0].named_parameters())


def moved(method: Method, state: str, before: str) -> dict[str, Tensor]:
    """How far each parameter is from where it was in another state."""
    earlier = weights(method, before)
    return {name: (now - earlier[name]).abs() for name, now in weights(method, state).items()}


def squared_distance(method: Method, state: str, before: str) -> float:
    """Between the parameters of two states."""
    return sum(float(far.square().sum()) for far in moved(method, state, before).values())


@cache
def sequential(base: Path, corpora: Path) -> Any:
    """Plain sequential fine-tuning of both tasks, learned once for all tests."""
    method = make(base, corpora, base.parent / "sequential", "sequential")
    learn(method)
    return method


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Whether all tensors are bit-identical."""
    return first.keys() == second.keys() and all(bool((first[name] == second[name]).all()) for name in first)
