"""Sequential fine-tuning: one model goes from task to task, and forgets."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from fmalloc.learning.data import TaskData, watched
from fmalloc.methods.comparison import Learned
from fmalloc.methods.finetuning import FineTuning
from fmalloc.methods.method import BASE, Method
from fmalloc.methods.states import load_state, put_parameters, save_state
from fmalloc.model.architectures import load_base
from fmalloc.model.batches import TrainingBatches
from fmalloc.recipe import LearningSettings, TaskSettings
from fmalloc.training.loop import Training
from fmalloc.training.validation import Validator
from fmalloc_shared.names import GENERAL

PARAMETERS = "parameters."


@dataclass(frozen=True)
class Start:
    """What a task begins with: the model after `earlier` tasks, its data, and tensors that the last one left."""

    task: TaskSettings
    earlier: tuple[str, ...]
    model: Any
    tokenizer: Any
    data: TaskData
    validator: Validator
    settings: LearningSettings
    left: Mapping[str, Tensor]


class Sequential(Method):
    """One model that every task trains on; its latest state serves all domains.

    Methods that fight forgetting override `trainable`, `batches` or `leave`.
    """

    name = "sequential"

    def learn(self, task: TaskSettings, earlier: Sequence[str]) -> Learned:
        """Fine-tune the latest state."""
        start, begun = self.start(task, earlier), time.perf_counter()
        trainable = self.trainable(start)
        path = self.folder / task.name / "checkpoint.safetensors"
        resumed = path.is_file()
        training = Training(
            trainable,
            self.batches(start),
            start.settings.schedule(),
            self.run.device,
            path,
            f"{self.name}: {task.name}",
        )
        training.run()
        kept = self.kept(start, trainable)
        parameters = {f"{PARAMETERS}{name}": tensor for name, tensor in kept.items()}
        save_state(self.folder, task.name, parameters | self.leave(start, trainable))
        path.unlink(missing_ok=True)
        return Learned(
            curve=training.progress.curve,
            trained_parameters=sum(tensor.numel() for tensor in trainable.tensors().values()),
            bytes=sum(tensor.nbytes for tensor in kept.values()),
            seconds=None if resumed else time.perf_counter() - begun,
        )

    def start(self, task: TaskSettings, earlier: Sequence[str]) -> Start:
        """The model to begin with, and the task's data."""
        settings = self.learning_of(task)
        model, tokenizer = self.load(self.state_of(task.name, earlier))
        model.to(self.run.device.torch)
        data = self.data(task, tokenizer, settings)
        watch = watched(self.run, tokenizer, [GENERAL, *earlier], settings)
        validator = data.validator(self.run, tokenizer, settings, lambda _: watch.nll(self.served(model, earlier)))
        left = load_state(self.folder, earlier[-1]) if earlier else {}
        left = {name: tensor for name, tensor in left.items() if not name.startswith(PARAMETERS)}
        return Start(task, tuple(earlier), model, tokenizer, data, validator, settings, left)

    def data(self, task: TaskSettings, tokenizer: Any, settings: LearningSettings) -> TaskData:
        """The task's pairs."""
        return TaskData.of(self.run, task.name, tokenizer, settings)

    def served(self, model: Any, _earlier: Sequence[str]) -> Any:
        """What serves an earlier domain while `model` is trained: a function of the domain's name."""
        return lambda _domain: model

    def trainable(self, start: Start) -> FineTuning:
        """What is trained, and by which loss."""
        return FineTuning(start.model, start.validator, start.settings)

    def batches(self, start: Start) -> TrainingBatches:
        """The task's own pairs."""
        return start.data.batches(start.tokenizer, start.settings)

    def kept(self, _start: Start, trainable: FineTuning) -> dict[str, Tensor]:
        """The parameters that `load` needs to make the state from the base: by default the trained ones."""
        return trainable.tensors()

    def leave(self, _start: Start, _trainable: FineTuning) -> dict[str, Tensor]:
        """Tensors, besides the parameters, that later tasks need (their `Start.left`)."""
        return {}

    def state_of(self, _domain: str, learned: Sequence[str]) -> str:
        """The latest."""
        return learned[-1] if learned else BASE

    def load(self, state: str) -> tuple[Any, Any]:
        """The base with a state's parameters."""
        model, tokenizer = load_base(self.run.recipe.base, self.run.languages)
        if state != BASE:
            tensors = load_state(self.folder, state)
            trained = {n.removeprefix(PARAMETERS): t for n, t in tensors.items() if n.startswith(PARAMETERS)}
            put_parameters(model, trained)
        return model, tokenizer
