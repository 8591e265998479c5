"""The recipe: YAML to a frozen, validated configuration; all errors at once, each with file, line, key and rule."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from fmalloc.corpus import CorpusSettings
from fmalloc.training.schedule import Schedule, Selection
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.names import GENERAL, check_name

Key = tuple[int | str, ...]


def _task_name(name: str) -> str:
    try:
        check_name(name)
    except FmallocError as error:
        raise ValueError(str(error)) from error
    if name == GENERAL:
        raise ValueError(f"{GENERAL!r} names the base domain; choose another name for a task")
    return name


def _expanded(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    expanded = os.path.expandvars(value)
    if "$" in expanded:
        raise ValueError(f"{value!r}: environment variable not set")
    return Path(expanded).expanduser()


TaskName = Annotated[str, AfterValidator(_task_name)]
ExpandedPath = Annotated[Path, BeforeValidator(_expanded)]


PrivateKind = Literal["norms", "biases", "attention", "embeddings", "output"]

_UPDATES = 20000


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LanguageSettings(_Section):
    """Language codes: file endings of Moses pairs, and what a many-language tokenizer is told."""

    source: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    target: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]


class ImportanceSettings(_Section):
    """How cell importance is measured on general text."""

    batches: Annotated[int, Field(ge=2)] = 200
    batch_tokens: Annotated[int, Field(ge=1)] = 2048
    seed: Annotated[int, Field(ge=0)] = 1


class RecoverySettings(_Section):
    """How long the pruned general model is distilled from the untouched base before the first task; 0: not at all."""

    updates: Annotated[int, Field(ge=0)] = 0
    batch_tokens: Annotated[int, Field(ge=1)] = 4096
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    seed: Annotated[int, Field(ge=0)] = 1


class LearningSettings(_Section):
    """How one task is learned; warm-up and temperature cycles that are not given fit the number of updates."""

    updates: Annotated[int, Field(ge=1, description="most updates")] = _UPDATES
    batch_tokens: Annotated[int, Field(ge=1)] = 4096
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    gate_learning_rate: Annotated[float, Field(gt=0, description="gates travel further than weights")] = 1e-2
    warmup_updates: Annotated[int, Field(ge=1)] = 4000
    anneal_updates: Annotated[int, Field(ge=2, description="length of a temperature cycle")] = 1000
    tau_max: Annotated[float, Field(gt=1)] = 400.0
    validate_every: Annotated[int, Field(ge=1, description="a multiple of anneal_updates")] = 1000
    patience: Annotated[int, Field(ge=1, description="validations without a better one")] = 5
    validation_sentences: Annotated[int, Field(ge=0, description="dev pairs translated; 0 needs select_by nll")] = 500
    validation_pairs: Annotated[int | None, Field(ge=1, description="dev pairs that the NLL is measured on")] = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip_norm: Annotated[float | None, Field(gt=0, description="largest gradient norm; null: no clipping")] = None
    select_by: Annotated[Selection, Field(description="best dev BLEU, or lowest dev NLL")] = "bleu"
    maximum_length: Annotated[int, Field(ge=2, description="tokens per side; longer pairs are left out")] = 256
    fresh_cells: bool = True
    gates: Annotated[Literal["closed", "open"], Field(description="of writable cells, at the start")] = "closed"
    private: Annotated[list[PrivateKind], Field(description="parameters a task keeps beside its cells")] = []
    private_rank: Annotated[int, Field(ge=1, description="of the additions to attention weights")] = 8
    private_learning_rate: Annotated[float | None, Field(gt=0, description="none: learning_rate")] = None
    reads: Literal["earlier", "general"] = "earlier"
    share: Annotated[
        Annotated[float, Field(gt=0, le=1)] | Literal["even"],
        Field(description="of each layer's free cells, offered to the task; even: as much as to each later task"),
    ] = 1.0
    allocator: Annotated[
        Literal["gates", "tfidf"], Field(description="free cells are offered at random, or those of highest TF-IDF")
    ] = "gates"
    seed: Annotated[int, Field(ge=0)] = 1

    @model_validator(mode="before")
    @classmethod
    def _fit_to_updates(cls, given: Any) -> Any:
        """The method's 4000 and 1000 for long runs; a fifth of the updates for short ones."""
        updates = given.get("updates", _UPDATES) if isinstance(given, dict) else None
        if not isinstance(updates, int) or updates < 1:
            return given
        cycle = given.get("anneal_updates", given.get("validate_every", min(1000, max(20, updates // 5))))
        fitting = {"warmup_updates": min(4000, max(1, updates // 5)), "anneal_updates": cycle, "validate_every": cycle}
        return fitting | given

    @model_validator(mode="after")
    def _validate_on_hard_end(self) -> "LearningSettings":
        if self.validate_every % self.anneal_updates:
            raise ValueError(
                f"validate_every {self.validate_every} is not a multiple of anneal_updates {self.anneal_updates}: "
                "validation falls on the hard end of a temperature cycle"
            )
        return self

    @model_validator(mode="after")
    def _rank_cells_that_keep_their_weights(self) -> "LearningSettings":
        if self.allocator == "tfidf" and self.fresh_cells:
            raise ValueError("allocator tfidf ranks cells by their pretrained weights; set fresh_cells: false")
        return self

    @model_validator(mode="after")
    def _select_by_what_is_measured(self) -> "LearningSettings":
        if self.select_by == "bleu" and not self.validation_sentences:
            raise ValueError("validation_sentences 0 measures no BLEU to select by; set select_by: nll")
        return self

    def schedule(self) -> Schedule:
        """What the training loop reads of these settings."""
        names = Schedule.__dataclass_fields__
        return Schedule(**{name: value for name, value in self.model_dump().items() if name in names})


class EvaluationSettings(_Section):
    """How test sets are scored."""

    beam_size: Annotated[int, Field(ge=1, le=64)] = 4
    sentences: Annotated[int | None, Field(ge=1, description="only the first ones of each test set")] = None
    continual: Annotated[int, Field(ge=0, description="dev pairs of each earlier domain scored at validations")] = 0


class TaskSettings(_Section):
    """One domain to learn; `learning` overrides keys of the recipe's own."""

    name: TaskName
    data: ExpandedPath
    learning: dict[str, Any] = {}


@dataclass(frozen=True)
class TaskPlan:
    """A task with every setting that it is learned with, resolved once; `schedule` is what the training loop reads."""

    task: TaskSettings
    learning: LearningSettings
    schedule: Schedule

    @classmethod
    def of(cls, task: TaskSettings, learning: LearningSettings) -> "TaskPlan":
        """The plan to learn a task with these settings."""
        return cls(task, learning, learning.schedule())

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task.name


class Recipe(_Section):
    """Everything `fmalloc train` needs."""

    base: ExpandedPath
    general: ExpandedPath
    store: ExpandedPath = Path("store")
    languages: LanguageSettings | None = None
    sparsity: Annotated[float, Field(gt=0, lt=1)] = 0.2
    methods: Annotated[dict[str, dict[str, Any]], Field(description="settings of methods, by name")] = {}
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
        common = self.learning.model_dump()
        return tuple(TaskPlan.of(task, LearningSettings.model_validate(common | task.learning)) for task in self.tasks)


def read_recipe(path: Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read and validate a recipe; relative paths are taken from the working directory.

    Raises:
        FmallocError: every problem, one per line: `file:line: key: what is wrong`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise FmallocError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise FmallocError(f"{path}: not UTF-8: {error}") from error
    try:
        content, node = yaml.safe_load(text), yaml.compose(text)
    except yaml.YAMLError as error:
        raise FmallocError(f"{path}: not YAML: {error}") from error
    if not isinstance(content, dict):
        raise FmallocError(f"{path}: expected keys such as base, general and tasks")
    return validate_recipe(_overridden(content, overrides or {}), str(path), dict(_lines(node) if node else ()))


def _overridden(content: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Set keys, dotted ones inside their section."""
    result = dict(content)
    for key, value in overrides.items():
        section, _, inner = key.rpartition(".")
        if section:
            result[section] = {**(result.get(section) or {}), inner: value}
        else:
            result[inner] = value
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
            message = f"{problem['msg']}, found {problem['input']!r}" if problem["loc"] else problem["msg"]
        yield problem["loc"], message


def _located(where: str, lines: Mapping[Key, int], key: Key, message: str) -> str:
    known = next((key[:end] for end in range(len(key), 0, -1) if key[:end] in lines), None)
    line = f":{lines[known]}" if known else ""
    name = ".".join(map(str, key))
    return f"{where}{line}: {name + ': ' if name else ''}{message}"


def _lines(node: yaml.Node, prefix: Key = ()) -> Iterator[tuple[Key, int]]:
    """Line number of every key of a YAML document."""
    children: list[tuple[int | str, yaml.Node, yaml.Node]] = []
    if isinstance(node, yaml.MappingNode):
        children = [(str(key.value), key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        children = [(index, value, value) for index, value in enumerate(node.value)]
    for name, at, value in children:
        yield (*prefix, name), at.start_mark.line + 1
        yield from _lines(value, (*prefix, name))
