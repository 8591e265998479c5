"""Mixed training: one model on the text of all tasks at once, which continual learning cannot have."""

from typing import Any

from fmalloc.learning.data import TaskData
from fmalloc.methods.sequential import Sequential
from fmalloc.recipe import LearningSettings, TaskSettings


class Mixed(Sequential):
    """Joint fine-tuning with the updates of all tasks together; the one state is named after the first task."""

    name = "mixed"
    ordered = False
    joint = True

    def learning_of(self, task: TaskSettings) -> LearningSettings:
        """As many updates as the tasks have together."""
        updates = sum(plan.learning.updates for plan in self.run.plans.values())
        return super().learning_of(task).model_copy(update={"updates": updates})

    def data(self, _task: TaskSettings, tokenizer: Any, settings: LearningSettings) -> TaskData:
        """Every task's pairs; as many of each are translated in validations."""
        tasks = self.run.recipe.tasks
        parts = [TaskData.of(self.run, task.name, tokenizer, settings) for task in tasks]
        return TaskData(
            [example for part in parts for example in part.train],
            [example for part in parts for example in part.dev],
            [pair for part in parts for pair in part.dev_pairs[: settings.validation_sentences // len(tasks)]],
        )
