"""Sequential fine-tuning, and its two bounds: a model per task (`single`), one model for all at once (`mixed`)."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save
from torch import Tensor

from fmalloc.learning.data import TaskData, watched
from fmalloc.methods.comparison.record import Learned
from fmalloc.methods.finetuning import FineTuning
from fmalloc.methods.method import BASE, Method
from fmalloc.model.architectures import load_base
from fmalloc.model.assembly import put_parameters
from fmalloc.model.text.batches import Example, TrainingBatches, encode
from fmalloc.recipe import LearningSettings, TaskSettings
from fmalloc.training.loop import Training
from fmalloc.training.validation import Validator
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import write_atomically
from fmalloc_shared.names import GENERAL

_PARAMETERS = "parameters."


@dataclass(frozen=True)
class Start:
    """What a task starts with: the model after the `earlier` tasks, the data, and tensors that the last task left."""

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
        parameters = {f"{_PARAMETERS}{name}": tensor for name, tensor in kept.items()}
        self.save_state(task.name, parameters | self.leave(start, trainable))
        path.unlink(missing_ok=True)
        return Learned(
            curve=training.progress.curve,
            trained_parameters=sum(tensor.numel() for tensor in trainable.tensors().values()),
            bytes=sum(tensor.nbytes for tensor in kept.values()),
            seconds=None if resumed else time.perf_counter() - begun,
        )

    def start(self, task: TaskSettings, earlier: Sequence[str]) -> Start:
        """The model to start with, and the task's data."""
        settings = self.learning_of(task)
        model, tokenizer = self.load(self.state_of(task.name, earlier))
        model.to(self.run.device.torch)
        data = self.data(task, tokenizer, settings)
        watch = watched(self.run, tokenizer, [GENERAL, *earlier], settings)
        validator = data.validator(self.run, tokenizer, settings, lambda _: watch.nll(self.served(model, earlier)))
        left = self.load_state(earlier[-1]) if earlier else {}
        left = {name: tensor for name, tensor in left.items() if not name.startswith(_PARAMETERS)}
        return Start(task, tuple(earlier), model, tokenizer, data, validator, settings, left)

    def data(self, task: TaskSettings, tokenizer: Any, settings: LearningSettings) -> TaskData:
        """The task's pairs."""
        return TaskData.of(self.run, task.name, tokenizer, settings)

    def served(self, model: Any, _earlier: Sequence[str]) -> Any:
        """What serves an earlier domain while `model` is trained: a function of the domain's name."""
        return lambda _domain: model

    def trainable(self, start: Start) -> FineTuning:
        """The parameters to train, and their loss."""
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
            put_parameters(model, self.parameters_of(state))
        return model, tokenizer

    def state_path(self, state: str) -> Path:
        """The file of a state's tensors."""
        return self.folder / state / "state.safetensors"

    def save_state(self, state: str, tensors: Mapping[str, Tensor]) -> None:
        """Write a state's tensors, whole or not at all."""
        data = save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
        write_atomically(self.state_path(state), data)

    def load_state(self, state: str) -> dict[str, Tensor]:
        """All tensors of a state: what `kept` returned, under a prefix, and what `leave` returned."""
        return dict(load_file(self.state_path(state)))

    def parameters_of(self, state: str) -> dict[str, Tensor]:
        """The tensors of a state that `kept` returned."""
        tensors = self.load_state(state).items()
        return {name.removeprefix(_PARAMETERS): tensor for name, tensor in tensors if name.startswith(_PARAMETERS)}

    def kept_examples(self, start: Start, domain: str, count: int) -> Sequence[Example]:
        """At most `count` encoded training pairs of a domain, drawn by the recipe's seed: the same ones for every task.

        Raises:
            FmallocError: all of them are too long.
        """
        pairs, longest = self.run.corpora[domain].train, start.settings.maximum_length
        drawn = np.random.default_rng(self.run.recipe.learning.seed).permutation(len(pairs))[:count]
        chosen = [pairs[index] for index in sorted(drawn.tolist())]
        examples = encode(start.tokenizer, chosen, self.run.languages, maximum_length=longest).examples
        if not examples:
            raise FmallocError(
                f"{domain}: none of {len(chosen)} pairs to keep has at most maximum_length {longest} tokens"
            )
        return examples


class Single(Sequential):
    """A fine-tuned copy of the base per task: the upper bound on quality, at a full model's bytes per domain."""

    name = "single"
    ordered = False

    def state_of(self, domain: str, learned: Sequence[str]) -> str:
        """The domain's own, once it was learned."""
        return domain if domain in learned else BASE

    def served(self, _model: Any, earlier: Sequence[str]) -> Any:
        """An earlier domain is served by its own state."""
        return lambda domain: self.load(self.state_of(domain, earlier))[0].to(self.run.device.torch)


class Mixed(Sequential):
    """Joint fine-tuning on the text of all tasks, which continual learning cannot have, with the updates of them all.

    The one state is named after the first task.
    """

    name = "mixed"
    ordered = False
    joint = True

    def learning_of(self, task: TaskSettings) -> LearningSettings:
        """As many updates as the tasks have together."""
        updates = sum(plan.schedule.updates for plan in self.run.plans.values())
        return super().learning_of(task).model_copy(update={"updates": updates})

    def data(self, _task: TaskSettings, tokenizer: Any, settings: LearningSettings) -> TaskData:
        """Every task's pairs; validations translate the same number of each."""
        tasks = self.run.recipe.tasks
        parts = [TaskData.of(self.run, task.name, tokenizer, settings) for task in tasks]
        return TaskData(
            [example for part in parts for example in part.train],
            [example for part in parts for example in part.dev],
            [pair for part in parts for pair in part.dev_pairs[: settings.validation_sentences // len(tasks)]],
        )
