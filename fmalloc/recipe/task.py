"""Tasks of a recipe, and how each will be learned."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from fmalloc.recipe.learning import LearningSettings, Section
from fmalloc.training.schedule import Schedule
from fmalloc_shared.environment import expanded_path
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.names import GENERAL, check_name


def _task_name(name: str) -> str:
    try:
        check_name(name)
    except FmallocError as error:
        raise ValueError(str(error)) from error
    if name == GENERAL:
        raise ValueError(f"{GENERAL!r} names the base domain; choose another name for a task")
    return name


def _expanded(value: Any) -> Any:
    return expanded_path(value) if isinstance(value, str) else value


TaskName = Annotated[str, AfterValidator(_task_name)]
ExpandedPath = Annotated[Path, BeforeValidator(_expanded)]


class TaskSettings(Section):
    """One domain to learn; `learning` overrides keys of the recipe's own."""

    name: TaskName
    data: ExpandedPath
    learning: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Renewal:
    """A new version of a domain: the `name` that the store gives it, and the versions that it begins as a copy of.

    `begun_as`: the one whose cells are copied, then those that this one began as; empty if it begins as any task does.
    """

    name: str
    begun_as: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskPlan:
    """A task with the settings that it is learned with.

    `wanted`: as the recipe has them, with keys in `stated` that it names itself; `learning`: fitted to a number of
    updates, once that is known. `renewal`: None for the first version of a domain.
    """

    task: TaskSettings
    wanted: LearningSettings
    stated: frozenset[str]
    learning: LearningSettings
    renewal: Renewal | None = None

    @classmethod
    def of(cls, task: TaskSettings, wanted: LearningSettings, stated: frozenset[str] | None = None) -> "TaskPlan":
        """The plan to learn a task with these settings, all of which are stated if nothing else is said."""
        stated = frozenset(LearningSettings.model_fields) if stated is None else stated
        return cls(task, wanted, stated, wanted.fitted(wanted.updates) if wanted.updates else wanted)

    def fitted(self, updates: int) -> "TaskPlan":
        """The plan with as many updates."""
        return replace(self, learning=self.wanted.fitted(updates))

    @property
    def schedule(self) -> Schedule:
        """What the training loop reads of fitted settings."""
        return self.learning.schedule()

    @property
    def name(self) -> str:
        """Of the domain."""
        return self.task.name

    @property
    def stored_as(self) -> str:
        """Name of the task in the store: the domain's, or that of a later version."""
        return self.renewal.name if self.renewal else self.name
