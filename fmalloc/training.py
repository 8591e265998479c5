"""The one training loop: seeded batches, schedule, checkpoints, validation, patience and the best state."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fmalloc.batches import Batch, TrainingBatches
from fmalloc.checkpoint import Checkpoint, Interval, optimizer_tensors, restore_optimizer
from fmalloc.devices import Device
from fmalloc.objective import SOURCE_GAP, check_loss, inverse_square_root
from fmalloc.progress import bar, console
from fmalloc.records import CurvePoint
from fmalloc.schedule import Schedule


class Trainable(ABC):
    """What a run trains; the hooks run in the order in which they stand here.

    pretrained: whether it should translate from the start.
    """

    pretrained = True

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Every tensor that training changes, by name: what checkpoints and the best state hold."""

    @abstractmethod
    def optimizer(self) -> torch.optim.Optimizer:
        """An optimizer whose groups hold the peak learning rates; the schedule scales them."""

    def before_update(self, update: int) -> None:  # noqa: B027
        """Prepare the forward pass of an update, counted from 0."""

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """What is minimised: a mean over the batch's target tokens, in nats."""

    def after_backward(self) -> None:  # noqa: B027
        """Change gradients before the optimizer sees them."""

    def after_update(self) -> None:  # noqa: B027
        """Bring parameters back to where they are allowed."""

    @abstractmethod
    def validate(self, update: int) -> CurvePoint:
        """Score the state as it would be used."""


@dataclass
class Progress:
    """Where training stands; together with the tensors all that resuming needs."""

    update: int = 0
    curve: list[CurvePoint] = field(default_factory=list)
    best: int = 0
    losses: list[float] = field(default_factory=list)
    done: bool = False

    def state(self) -> dict[str, Any]:
        """JSON-able content."""
        return {**self.__dict__, "curve": [point.model_dump() for point in self.curve]}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> "Progress":
        """Undo `state`."""
        return cls(**{**state, "curve": [CurvePoint.model_validate(point) for point in state["curve"]]})


class Training:
    """Trains until the updates or the patience end; resumable from the checkpoint at `path`, to the same bytes."""

    def __init__(
        self, trainable: Trainable, batches: TrainingBatches, schedule: Schedule, device: Device, path: Path, name: str
    ) -> None:
        self.trainable, self.batches, self.schedule = trainable, batches, schedule
        self.device, self.path, self.name = device, path, name
        self.optimizer = trainable.optimizer()
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        self.progress = Progress()
        self.best = self._snapshot()

    def run(self) -> None:
        """Train; the best state is loaded when it ends."""
        self.resume()
        state, schedule, interval = self.progress, self.schedule, Interval()
        if not state.curve:
            self._validate()
        with bar(self.name, schedule.updates, state.update) as advance:
            while not state.done:
                loss = self._step()
                advance(note=f"loss {loss:.3f}")
                if state.update % schedule.validate_every == 0 or state.update == schedule.updates:
                    self._validate()
                if interval.passed() or state.done:
                    self.save()
        self._load(self.best)

    def _step(self) -> float:
        state, schedule = self.progress, self.schedule
        torch.manual_seed(schedule.seed * 1_000_003 + state.update)
        factor = inverse_square_root(state.update, schedule.warmup_updates)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        self.trainable.before_update(state.update)
        batch = self.batches.batch(state.update).to(self.device.torch)
        with self.device.autocast():
            loss = self.trainable.loss(batch)
        check_loss(value := float(loss.detach()), state.update, self.name)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.trainable.after_backward()
        if schedule.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, schedule.clip_norm)
        self.optimizer.step()
        with torch.no_grad():
            self.trainable.after_update()
        state.update += 1
        state.losses.append(value)
        return value

    def _validate(self) -> None:
        """Score, remember the best state, and decide whether to stop."""
        state, schedule = self.progress, self.schedule
        loss = sum(state.losses) / len(state.losses) if state.losses else None
        state.losses.clear()
        point = self.trainable.validate(state.update).model_copy(update={"loss": loss})
        state.curve.append(point)
        console.print(_line(point))
        if self._rank(point) >= max(self._rank(earlier) for earlier in state.curve):
            state.best = len(state.curve) - 1
            self.best = self._snapshot()
        waited = len(state.curve) - 1 - state.best
        patient = schedule.patience is None or waited < schedule.patience
        state.done = state.update >= schedule.updates or not patient
        if (self.trainable.pretrained or state.done) and not point.nll_shuffled - point.nll > SOURCE_GAP:
            console.print("[bold red]Sources make no difference to this model: it does not translate.[/]")

    def _rank(self, point: CurvePoint) -> tuple[float, float]:
        return (round(point.bleu, 2) if self.schedule.select_by == "bleu" else 0.0), -point.nll

    def _snapshot(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.trainable.tensors().items()}

    def _load(self, tensors: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, tensor in self.trainable.tensors().items():
                tensor.copy_(tensors[name])

    def resume(self) -> None:
        """Go on from the last checkpoint, if there is one."""
        if checkpoint := Checkpoint.read(self.path):
            parts: dict[str, dict[str, Tensor]] = {"now": {}, "best": {}, "optimizer": {}}
            for name, tensor in checkpoint.tensors.items():
                part, _, rest = name.partition(".")
                parts[part][name if part == "optimizer" else rest] = tensor
            self._load(parts["now"])
            self.best = {name: tensor.to(self.device.torch) for name, tensor in parts["best"].items()}
            restore_optimizer(self.optimizer, parts["optimizer"])
            self.progress = Progress.of(checkpoint.state)
            console.print(f"{self.name}: resuming at update {self.progress.update}")

    def save(self) -> None:
        """Replace the checkpoint."""
        tensors = {f"now.{name}": tensor for name, tensor in self._snapshot().items()}
        tensors |= {f"best.{name}": tensor.clone() for name, tensor in self.best.items()}
        Checkpoint(tensors | optimizer_tensors(self.optimizer), self.progress.state()).write(self.path)


def _line(point: CurvePoint) -> str:
    translated = f"BLEU {point.bleu:.2f}, chrF {point.chrf:.2f}, " if point.bleu or point.chrf else ""
    claimed = f", {point.claimed} claimed" if point.claimed else ""
    return (
        f"update {point.update}: dev {translated}NLL {point.nll:.3f} "
        f"(sources shuffled {point.nll_shuffled:.3f}){claimed}"
    )
