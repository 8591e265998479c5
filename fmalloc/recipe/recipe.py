"""The recipe: YAML to a frozen, validated configuration; all errors at once, each with file, line, key and rule."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from fmalloc.corpus import CorpusSettings
from fmalloc.recipe.learning import LearningSettings, Section, Seed
from fmalloc.recipe.task import ExpandedPath, TaskPlan, TaskSettings
from fmalloc_shared.configuration import Key, read_yaml
from fmalloc_shared.errors import FmallocError

LanguageCode = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]


class LanguageSettings(Section):
    """Language codes: file endings of Moses pairs, and what a many-language tokenizer is told.

    A language that is not set is the one that the base's tokenizer names.
    """

    source: LanguageCode | None = None
    target: LanguageCode | None = None


class ImportanceSettings(Section):
    """How cell importance is measured on general text: until its ranks are stable."""

    batches: Annotated[int, Field(ge=2, description="at most")] = 200
    stable: Annotated[
        float | None,
        Field(gt=0, lt=1, description="rank correlation to expect with as many other batches; null: measure all"),
    ] = 0.9
    batch_tokens: Annotated[int, Field(ge=1)] = 2048
    seed: Seed = 1


class RecoverySettings(Section):
    """How long the pruned general model is distilled from the untouched base before the first task; 0: not at all."""

    updates: Annotated[int, Field(ge=0)] = 0
    batch_tokens: Annotated[int, Field(ge=1)] = 4096
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    seed: Seed = 1


class EvaluationSettings(Section):
    """How test sets are scored."""

    beam_size: Annotated[int, Field(ge=1, le=64)] = 4
    sentences: Annotated[int | None, Field(ge=1, description="only the first ones of each test set")] = None
    continual: Annotated[int, Field(ge=0, description="dev pairs of each earlier domain scored at validations")] = 0


class Recipe(Section):
    """Everything `fmalloc train` needs."""

    base: ExpandedPath
    general: ExpandedPath
    store: ExpandedPath = Path("store")
    languages: LanguageSettings = LanguageSettings()
    sparsity: Annotated[float, Field(gt=0, lt=1)] = 0.2
    methods: Annotated[
        dict[str, dict[str, Any]], Field(default_factory=dict, description="settings of methods, by name")
    ]
    tensorboard: Annotated[ExpandedPath | None, Field(description="folder for live learning curves, if any")] = None
    samples: Annotated[int, Field(ge=0, description="dev pairs kept in the store per domain")] = 200
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    corpus: CorpusSettings = CorpusSettings()
    importance: ImportanceSettings = ImportanceSettings()
    recovery: RecoverySettings = RecoverySettings()
    learning: LearningSettings = LearningSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    tasks: Annotated[list[TaskSettings], Field(min_length=1)]

    @model_validator(mode="after")
    def _check_tasks(self) -> "Recipe":
        names = [task.name for task in self.tasks]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"tasks: {', '.join(twice)} named more than once")
        return self

    def plans(self) -> tuple[TaskPlan, ...]:
        """How each task is learned, in their order: its own learning settings over the recipe's."""
        common, stated = self.learning.model_dump(), frozenset(self.learning.model_fields_set)
        return tuple(
            TaskPlan.of(task, LearningSettings.model_validate(common | task.learning), stated | task.learning.keys())
            for task in self.tasks
        )


def read_recipe(path: Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read and validate a recipe; relative paths are taken from the working directory.

    Raises:
        FmallocError: every problem, one per line: `file:line: key: what is wrong`.
    """
    found = read_yaml(path)
    return validate_recipe(_overridden(found.content, overrides or {}), str(path), found.lines)


def _overridden(content: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Set keys, dotted ones inside their section."""
    result = dict(content)
    for key, value in overrides.items():
        section, _, inner = key.rpartition(".")
        if not section:
            result[inner] = value
        elif isinstance(inside := result.get(section) or {}, Mapping):  # anything else is refused with its line
            result[section] = {**inside, inner: value}
    return result


def validate_recipe(content: Mapping[str, Any], where: str, lines: Mapping[Key, int] | None = None) -> Recipe:
    """Validate a recipe's content, keys possibly dotted; `where` and `lines` serve the messages."""
    content = _overridden({}, content)
    problems: list[tuple[Key, str]] = []
    recipe = None
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        problems += _problems(error)
    defaults = LearningSettings()
    if recipe is not None:
        defaults = recipe.learning
    for index, task in enumerate(content.get("tasks") or [] if isinstance(content.get("tasks"), list) else []):
        own = task.get("learning") if isinstance(task, dict) else None
        if isinstance(own, dict):
            try:
                LearningSettings.model_validate(defaults.model_dump() | own)
            except ValidationError as error:
                problems += [(("tasks", index, "learning", *key), message) for key, message in _problems(error)]
    if problems or recipe is None:
        raise FmallocError("\n".join(_located(where, lines or {}, key, message) for key, message in problems))
    return recipe


def _problems(error: ValidationError) -> Iterator[tuple[Key, str]]:
    for problem in error.errors():
        if problem["type"] == "extra_forbidden":
            message = f"unknown key {problem['loc'][-1]!r}"
        elif problem["type"] == "missing":
            message = "missing"
        else:
            found = repr(problem["input"])
            found = found if len(found) <= 80 else f"{found[:77]}..."
            message = f"{problem['msg']}, found {found}" if problem["loc"] else problem["msg"]
        yield problem["loc"], message


def _located(where: str, lines: Mapping[Key, int], key: Key, message: str) -> str:
    known = next((key[:end] for end in range(len(key), 0, -1) if key[:end] in lines), None)
    line = f":{lines[known]}" if known else ""
    name = ".".join(map(str, key))
    return f"{where}{line}: {name + ': ' if name else ''}{message}"
