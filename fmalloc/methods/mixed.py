"""Mixed training: one model on the text of all tasks at once, which continual learning cannot have."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fmalloc.comparison import Learned
from fmalloc.methods.method import BASE
from fmalloc.methods.sequential import Sequential, Start
from fmalloc.recipe import LearningSettings, TaskSettings
from fmalloc.taskdata import TaskData
from fmalloc_shared.names import GENERAL


class Mixed(Sequential):
    """Joint fine-tuning with the updates of all tasks together; the one state is named after the first task."""

    name = "mixed"
    ordered = False
    joint = True

    def learning_of(self, task: TaskSettings) -> LearningSettings:
        """As many updates as the tasks have together."""
        tasks = self.job.recipe.tasks
        updates = sum(self.job.recipe.learning_of(each).updates for each in tasks)
        return super().learning_of(task).model_copy(update={"updates": updates})

    def learn(self, task: TaskSettings, earlier: Sequence[str]) -> Learned:
        """Learn all tasks of the recipe in one go."""
        if earlier:
            raise ValueError("mixed training has no later tasks")
        return super().learn(task, earlier)

    def start(self, task: TaskSettings, earlier: Sequence[str]) -> Start:
        """The base, and every task's pairs."""
        start = super().start(task, earlier)
        parts = [TaskData.of(self.job, t.name, start.tokenizer, start.settings) for t in self.job.recipe.tasks]
        data = TaskData(
            [example for part in parts for example in part.train],
            [example for part in parts for example in part.dev],
            [pair for part in parts for pair in part.dev_pairs[: start.settings.validation_sentences // len(parts)]],
        )
        validator = replace(start.validator, examples=data.dev, pairs=data.dev_pairs)
        return replace(start, data=data, validator=validator)

    def state_of(self, domain: str, learned: Sequence[str]) -> str:
        """The joint model for every domain."""
        return self.job.recipe.tasks[0].name if learned or (domain == GENERAL and learned) else BASE

    def served(self, model: Any, _earlier: Sequence[str]) -> Any:
        """The model in training."""
        return lambda _domain: model
