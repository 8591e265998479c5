"""The one training loop: seeded batches, schedule, checkpoints, validation, patience and the best state."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import torch
from torch import Tensor

from fmalloc.model.devices import Device
from fmalloc.model.objective import SOURCE_GAP, chance
from fmalloc.model.text.batches import Batches
from fmalloc.store.records import CurvePoint
from fmalloc.training.checkpoint import Checkpoint, Interval, Progress, optimizer_tensors, restore_optimizer
from fmalloc.training.distributed import Group
from fmalloc.training.divergence import DivergedError, Trend, problem_of
from fmalloc.training.feed import Feed, Part
from fmalloc.training.interrupts import Interrupts, stop
from fmalloc.training.schedule import Schedule
from fmalloc.training.tensorboard import TensorBoardLog
from fmalloc.training.trainable import Trainable
from fmalloc_shared.commands.progress import bar, console
from fmalloc_shared.errors import FmallocError

# Reading a loss waits for the device, so on CUDA several are read together; the CPU has nothing to wait for.
_READ_EVERY = {"cpu": 1}
_READ_EVERY_ELSEWHERE = 16
# How many updates fit into a limited time is looked at after each of the first ones, then after so many.
_PLANNED_ALWAYS, _PLANNED_EVERY = 200, 20
# After the last update come its validation and that of an average, and the model is written.
_RESERVED_VALIDATIONS, _RESERVED_SECONDS = 2.5, 2.0


class Training:
    """Trains until the updates or the patience end; resumable from the checkpoint at `path`, to the same bytes.

    Under `distributed.processes` the rows of each batch are shared out, and the steps are those of one process up to
    the order in which gradients are added. `advice` is what else a user can do when training goes
    wrong; `events` a folder for TensorBoard.
    """

    def __init__(
        self,
        trainable: Trainable,
        batches: Batches,
        schedule: Schedule,
        device: Device,
        path: Path,
        name: str,
        *,
        advice: str = "",
        events: Path | None = None,
    ) -> None:
        self.trainable, self.batches, self.schedule = trainable, batches, schedule
        self._asked, self._validation_seconds = schedule, 0.0
        self.device, self.path, self.name, self.advice = device, path, name, advice
        self.optimizer = trainable.optimizer()
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        self.progress = Progress()
        self.best = self._snapshot()
        self.group = Group.current()
        config = getattr(trainable.model, "config", None)
        self._feed = Feed(batches, device.torch, config, self.group)
        self._chance = chance(trainable.model)
        self._unread: list[tuple[Tensor, Tensor]] = []
        self._events = events
        self._log: TensorBoardLog | None = None

    def run(self, until: Callable[[int], bool] | None = None) -> None:
        """Train; the best state is loaded when it ends.

        `until` says of a number of updates whether they are enough for now: then the state is validated and saved, and
        another run goes on from it.

        Raises:
            FmallocError: the loss or a gradient is not finite, or the loss keeps growing; the checkpoint stays as it
                was before.
            KeyboardInterrupt, SystemExit: Ctrl-C or SIGTERM came; the present state is saved.
        """
        self.resume()
        self.group.equalise(list(self.trainable.tensors().values()))
        state, interval = self.progress, Interval()
        total = None if self._asked.minutes else self._asked.updates
        began = time.monotonic() - state.seconds
        with (
            closing(self._feed),
            self._logged(),
            bar(self.name, total, state.update) as advance,
            Interrupts(held=True) as interrupts,
        ):
            while not state.done:
                self._plan(time.monotonic() - began)
                if until and state.update and not self._is_due() and until(state.update):
                    self._pause(interrupts)
                    break
                if validates := self._is_due():
                    self._validate(interrupts)
                else:
                    self.take_step()
                    advance(note=f"loss {state.trend.recent:.3f}" if state.trend else "")
                if self._unread:
                    continue  # decide nothing before the losses are known: one of them may end the training
                if signal := self.group.largest(interrupts.pending or 0):
                    self.save()
                    stop(signal)
                if interval.passed() or (validates and state.update):
                    self.save()
        self._load(self.best)

    @contextmanager
    def _logged(self) -> Iterator[None]:
        if self._events is None or not self.group.first:
            yield
            return
        log = self._log = TensorBoardLog(self._events, self.progress.update if self.progress.curve else None)
        try:
            yield
        finally:
            log.close()

    def _pause(self, interrupts: Interrupts) -> None:
        """Leave a state that was validated."""
        self._read()
        if self.progress.curve[-1].update != self.progress.update:
            self._validate(interrupts)
        self.save()

    def finish(self) -> None:
        """End the interrupted training at its best state so far, which is loaded.

        Raises:
            FmallocError: no checkpoint exists.
        """
        if not self.path.is_file():
            raise FmallocError(f"{self.name}: no interrupted training to finish; run without --finish")
        self.resume()
        self._load(self.best)

    def _plan(self, seconds: float) -> None:
        """Where time is limited, see how many updates it is enough for; all processes see the same."""
        state = self.progress
        if self._asked.minutes is None:
            return
        state.seconds = seconds
        if state.update < _PLANNED_ALWAYS or state.update % _PLANNED_EVERY == 0:
            reserve = _RESERVED_VALIDATIONS * self._validation_seconds + _RESERVED_SECONDS
            seconds, reserve = (self.group.largest(round(1000 * value)) / 1000 for value in (seconds, reserve))
            self.schedule = self._asked.in_time(state.update, seconds, reserve)

    def _is_due(self) -> bool:
        """Whether to validate: at the start, at every multiple of `validate_every`, and at the end."""
        update, curve = self.progress.update, self.progress.curve
        if not curve:
            return True
        at_end = update >= self.schedule.updates
        return (at_end or update % self.schedule.validate_every == 0) and curve[-1].update != update

    def take_step(self) -> None:
        """One update."""
        state, schedule, group = self.progress, self.schedule, self.group
        torch.manual_seed((schedule.seed * 1_000_003 + state.update) * group.size + group.rank)
        factor = schedule.rate(state.update)
        for parameters, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            parameters["lr"] = rate * factor
        self.trainable.before_update(state.update)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._backward(self._feed.part(state.update))
        self.trainable.after_backward()
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if schedule.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, schedule.clip_norm, norm)
        self.optimizer.step()
        with torch.no_grad():
            self.trainable.after_update()
        state.update += 1
        self._unread.append((loss, norm))
        if self._is_due() or state.update % _READ_EVERY.get(self.device.torch.type, _READ_EVERY_ELSEWHERE) == 0:
            self._read()

    def _backward(self, part: Part) -> Tensor:
        """Leave the gradients of the batch's mean loss, and return it. Every process adds its rows' share of it."""
        loss = torch.zeros((), device=self.device.torch)
        if len(part.batch.target):
            with self.device.autocast():
                loss = self.trainable.loss(part.batch) * part.share
            loss.backward()  # type: ignore[no-untyped-call]
        loss = loss.detach()
        if self.group.size > 1:
            trained = [parameter for parameter in self.parameters if parameter.requires_grad]
            gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
            *gradients, loss = self.group.add_up([*gradients, loss.float()])
            for parameter, gradient in zip(trained, gradients, strict=True):
                parameter.grad = gradient
        return loss

    def _read(self) -> None:
        """Read the losses that are still on the device; raise FmallocError if training has gone wrong."""
        state = self.progress
        if not self._unread:
            return
        rows = torch.stack([torch.stack([loss.float(), norm.float()]) for loss, norm in self._unread]).tolist()
        first = state.update - len(rows)
        self._unread.clear()
        for index, (loss, norm) in enumerate(rows):
            state.trend = Trend.after(state.trend, loss)
            if problem := problem_of(loss, norm, state.trend, self._chance):
                self.group.fail(
                    f"{self.name}: {problem} at update {first + index}; lower learning_rate, raise warmup_updates or "
                    f"set clip_norm, and run again. The last checkpoint is kept as it was before{self.advice}",
                    DivergedError,
                )
            state.losses.append(loss)
            if self._log:
                factor = self.schedule.rate(first + index)
                self._log.step(first + index + 1, loss, self.rates[0] * factor)

    def _validate(self, interrupts: Interrupts) -> None:
        """Score, remember the best state, and decide whether to stop. A stop during it leaves the state before it."""
        state, schedule = self.progress, self.schedule
        began = time.monotonic()
        try:
            with interrupts.released():
                own = self.group.alike(lambda: self.trainable.validate(state.update))
            point = CurvePoint.model_validate(self.group.on_first(own.model_dump))
        except (KeyboardInterrupt, SystemExit):
            self.save()
            raise
        self._validation_seconds = time.monotonic() - began
        loss = sum(state.losses) / len(state.losses) if state.losses else None
        state.losses.clear()
        point = point.model_copy(update={"loss": loss})
        state.curve.append(point)
        console.print(_line(point))
        if self._log:
            self._log.point(point)
        if self._rank(point) >= max(self._rank(earlier) for earlier in state.curve):
            state.best = len(state.curve) - 1
            self.best = self._snapshot()
        waited = len(state.curve) - 1 - state.best
        patient = schedule.patience is None or waited < schedule.patience
        state.done = state.update >= schedule.updates or not patient
        if (self.trainable.pretrained or state.done) and not point.nll_shuffled - point.nll > SOURCE_GAP:
            console.print("[bold red]This model ignores its sources: it does not translate.[/]")

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
        """Replace the checkpoint, on the first process."""
        self._read()
        if self.group.first:
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
