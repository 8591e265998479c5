"""One method on a recipe's tasks: learned in order, scored after each; finished work is reused, never repeated."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fmalloc.evaluation.evaluate import Evaluation
from fmalloc.learning.run import Run
from fmalloc.learning.scoring import Scorer
from fmalloc.methods import method_of
from fmalloc.methods.comparison.record import Learned, MethodRow, MethodRun
from fmalloc.methods.method import BASE, Method, MethodSettings
from fmalloc.recipe import LearningSettings, Recipe, TaskSettings
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import write_atomically
from fmalloc_shared.names import GENERAL
from fmalloc_shared.strict import read_json

_LEARNED = "learned.json"
_SETTINGS = "settings.json"


def make_method(run: Run, name: str, folder: Path) -> Method:
    """The method with its settings from the recipe.

    Raises:
        FmallocError: unknown method, or settings that it does not have.
    """
    return method_of(name)(run, folder, settings_of(run.recipe, name))


def settings_of(recipe: Recipe, name: str) -> MethodSettings:
    """A method's settings from the recipe's `methods:` section; errors as for `make_method`."""
    kind = method_of(name)
    try:
        return kind.settings_type.model_validate(recipe.methods.get(name, {}))
    except ValidationError as error:
        problems = "; ".join(f"methods.{name}.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        known = ", ".join(sorted(kind.settings_type.model_fields))
        raise FmallocError(f"{problems} (settings of {name}: {known})") from error


def run_method(run: Run, name: str, folder: Path, base: Path | None = None) -> MethodRun:
    """Learn the recipe's tasks in order with one method, and score every domain after each task.

    base: the folder with scores of the untouched base, which several runs share.
    """
    method = make_method(run, name, folder)
    check_settings(run, method, folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / _SETTINGS, settings_bytes(run, method))
    base = base or folder / "scores" / BASE
    tasks = run.recipe.tasks[:1] if method.joint else run.recipe.tasks
    names = [task.name for task in tasks]
    learned, rows = {}, []
    for index, task in enumerate(tasks):
        learned[task.name] = learn_once(method, task, names[:index])
        scores = {}
        for domain in run.corpora:
            state = method.state_of(domain, names[: index + 1])
            kept = base if state == BASE else folder / "scores" / state
            scores[domain] = _evaluation(run, method, state, domain, kept).score
        rows.append(MethodRow(after=task.name, scores=scores))
    return MethodRun(
        method=name,
        order=[task.name for task in run.recipe.tasks],
        rows=rows,
        learned=learned,
        capacity_used=method.capacity_used(),
        settings=method.settings.model_dump(),
    )


def _evaluation(run: Run, method: Method, state: str, domain: str, kept: Path) -> Evaluation:
    """A state's scores on a domain's test set, from the folder `kept` if they were measured before."""
    scorer, known = Scorer(run, kept, f"{method.name}, {state}"), method.scores_of(state, domain)
    return scorer.score(domain, lambda _domain: method.load(state), known)


def is_finished(run: Run, name: str, folder: Path) -> bool:
    """Whether the method has learned all of the recipe's tasks."""
    tasks = run.recipe.tasks[:1] if method_of(name).joint else run.recipe.tasks
    return all((folder / task.name / _LEARNED).is_file() for task in tasks)


def learn_once(method: Method, task: TaskSettings, earlier: Sequence[str]) -> Learned:
    """Learn a task after the `earlier` ones, unless the method's folder says that it was."""
    path = method.folder / task.name / _LEARNED
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, method.learn(task, earlier).to_bytes())
    return Learned.read(path)


def _settings(run: Run, method: Method) -> dict[str, Any]:
    """Everything that determines the results, JSON-able."""
    recipe = run.recipe
    data = {name: {part: record.sha256 for part, record in run.data_of(name).items()} for name in run.corpora}
    tasks = sorted(recipe.tasks, key=lambda task: task.name) if not method.ordered else recipe.tasks
    return {
        "method": method.name,
        "settings": method.settings.model_dump(mode="json"),
        "tasks": [[task.name, method.decisive(task)] for task in tasks],
        "evaluation": recipe.evaluation.model_dump(),
        "pruning": [recipe.sparsity, recipe.recovery.model_dump()] if method.prunes else None,
        "data": data,
    }


def settings_bytes(run: Run, method: Method) -> bytes:
    """Everything that decides what a run of the method on the recipe's tasks reaches, but the base."""
    return json.dumps(_settings(run, method), indent=1, sort_keys=True).encode()


def check_settings(run: Run, method: Method, folder: Path) -> None:
    """Raise FmallocError if the folder holds a run of the method with other settings."""
    path = folder / _SETTINGS
    if path.is_file():
        try:
            held = _completed(read_json(path), method)
        except (KeyError, TypeError, ValueError) as error:
            raise FmallocError(f"{path}: damaged, no settings of a run; delete {folder} to begin anew") from error
        wanted = json.loads(settings_bytes(run, method))
        if changed := sorted(key for key in wanted if held.get(key) != wanted[key]):
            raise FmallocError(
                f"{folder}: holds a run with other {', '.join(changed)}; choose another folder, or delete this one"
            )


def _completed(settings: dict[str, Any], method: Method) -> dict[str, Any]:
    """The settings, with defaults for those added since the run, and without those that make no difference any more."""
    learning, decisive = LearningSettings().model_dump(), method.decisive(method.run.recipe.tasks[0])
    tasks = [[name, {key: (learning | given)[key] for key in decisive}] for name, given in settings["tasks"]]
    own = method.settings_type().model_dump(mode="json") | settings["settings"]
    return settings | {"tasks": tasks, "settings": own}


def base_scores(run: Run, folder: Path) -> dict[str, Evaluation]:
    """Scores of the untouched base on every test set."""
    method = make_method(run, "sequential", folder)
    return {domain: _evaluation(run, method, BASE, domain, folder) for domain in (GENERAL, *run.plans)}
