"""The interface of a method that learns domains in sequence."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from fmalloc.evaluation.evaluate import Evaluation
from fmalloc.learning.run import Run
from fmalloc.methods.comparison.record import Learned
from fmalloc.recipe import LearningSettings, TaskSettings

BASE = "base"


# Of the learning settings, what only methods that claim cells read.
_OF_CLAIMS = {
    "gate_learning_rate",
    "anneal_updates",
    "rate_scale",
    "fresh_cells",
    "gates",
    "private",
    "private_rank",
    "private_embedding_rank",
    "private_learning_rate",
    "reads",
    "share",
    "allocator",
    "terminology",
    "memory",
}


class MethodSettings(BaseModel):
    """A method's own settings, from the recipe's `methods:` section."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    learning_rate: Annotated[float | None, Field(gt=0, description="instead of the recipe's")] = None


class Method(ABC):
    """Learns the recipe's tasks one after another, and keeps in `folder` one *state* per task.

    `ordered`: the order of the tasks makes a difference. `joint`: all tasks are learned at once. `prunes`: the recipe's
    sparsity and recovery apply.
    """

    name: ClassVar[str]
    ordered: ClassVar[bool] = True
    joint: ClassVar[bool] = False
    prunes: ClassVar[bool] = False
    settings_type: ClassVar[type[MethodSettings]] = MethodSettings

    def __init__(self, run: Run, folder: Path, settings: Any) -> None:
        self.run, self.folder, self.settings = run, folder, settings

    def learning_of(self, task: TaskSettings) -> LearningSettings:
        """The task's learning settings with the method's own learning rate."""
        settings = self.run.plans[task.name].learning
        rate = self.settings.learning_rate
        return settings if rate is None else settings.model_copy(update={"learning_rate": rate})

    def decisive(self, task: TaskSettings) -> dict[str, Any]:
        """The task's learning settings, JSON-able, those alone that make a difference to this method."""
        return self.run.plans[task.name].learning.model_dump(exclude=_OF_CLAIMS)

    def check(self) -> None:  # noqa: B027
        """See, before any method learns, that this one will be able to; FmallocError says what keeps it."""

    @abstractmethod
    def learn(self, task: TaskSettings, earlier: Sequence[str]) -> Learned:
        """Learn a task after the `earlier` ones and keep its state; after an interruption, continue."""

    @abstractmethod
    def state_of(self, domain: str, learned: Sequence[str]) -> str:
        """The state that serves a domain once the `learned` tasks are learned: a task's name, or BASE."""

    @abstractmethod
    def load(self, state: str) -> tuple[Any, Any]:
        """The model of a state, and its tokenizer."""

    def scores_of(self, _state: str, _domain: str) -> Evaluation | None:
        """Scores that learning itself measured, on the recipe's test sets."""
        return None

    def capacity_used(self) -> float | None:
        """Claimed share of the writable cells; None for methods without such cells."""
        return None
