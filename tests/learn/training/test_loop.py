"""The training loop, on the smallest thing that can be trained: logits of each token after the one before it."""

import math
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.nn import functional as F

from fmalloc.model.devices import select
from fmalloc.model.text.batches import Batch, Example, TrainingBatches
from fmalloc.store.records import CurvePoint
from fmalloc.training import loop
from fmalloc.training.checkpoint import Checkpoint
from fmalloc.training.loop import Training
from fmalloc.training.schedule import Schedule
from fmalloc.training.trainable import Trainable
from fmalloc_shared.errors import FmallocError

SIZE = 12


class Bigrams(Trainable):
    """What each token is followed by; `spoiled` is the update whose gradient is spoiled by `factor`."""

    def __init__(self, spoiled: int = -1, factor: float = math.nan, on_validation: Any = None) -> None:
        self.model: Any = nn.Embedding(SIZE, SIZE)
        self.model.get_output_embeddings = lambda: self.model
        with torch.no_grad():
            self.model.weight.copy_(torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(1)) / 10)
        self.spoiled, self.factor, self.on_validation, self.update = spoiled, factor, on_validation, 0

    def tensors(self) -> dict[str, Tensor]:
        return {"weight": self.model.weight}

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.model.parameters(), lr=0.05)

    def before_update(self, update: int) -> None:
        self.update = update

    def loss(self, batch: Batch) -> Tensor:
        noise = torch.rand(()) / 100
        loss = F.cross_entropy(self.model(batch.target[:, :-1]).flatten(0, 1), batch.target[:, 1:].flatten())
        return loss * (1 + noise)

    def after_backward(self) -> None:
        if self.update == self.spoiled:
            self.model.weight.grad *= self.factor

    def validate(self, update: int) -> CurvePoint:
        if self.on_validation:
            self.on_validation(update)
        nll = float(self.model.weight.detach().diagonal().mean())
        return CurvePoint(update=update, bleu=0.0, chrf=0.0, nll=nll, nll_shuffled=nll + 1, claimed=0)


def training(path: Path, trainable: Bigrams | None = None, **options: Any) -> Training:
    generator = torch.Generator().manual_seed(2)
    tokens = [torch.randint(SIZE, (6,), generator=generator).tolist() for _ in range(40)]
    batches = TrainingBatches([Example(ids, ids) for ids in tokens], 48, 0, 1)
    schedule = Schedule(
        updates=options.pop("updates", 20),
        warmup_updates=4,
        validate_every=5,
        seed=1,
        minutes=options.pop("minutes", None),
        cooldown=options.pop("cooldown", 0.0),
    )
    return Training(trainable or Bigrams(), batches, schedule, select("cpu"), path, "bigrams", **options)


def final(run: Training) -> tuple[list[dict[str, Any]], list[float]]:
    return [point.model_dump() for point in run.progress.curve], run.trainable.tensors()["weight"].flatten().tolist()


def test_losses_read_late_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On CUDA they are read every so many updates, and before anything is decided."""
    (always := training(tmp_path / "a")).run()
    monkeypatch.setattr(loop, "_READ_EVERY", {"cpu": 3})
    (late := training(tmp_path / "b")).run()
    assert final(late) == final(always)
    assert late.progress == always.progress


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", [0, 10, 20])
def test_stopped_in_a_validation_it_makes_up_for_it(tmp_path: Path, number: int, at: int) -> None:
    (straight := training(tmp_path / "a")).run()

    def interrupt(update: int) -> None:
        if update == at:
            os.kill(os.getpid(), number)

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        training(tmp_path / "b", Bigrams(on_validation=interrupt)).run()
    (resumed := training(tmp_path / "b")).run()
    assert final(resumed) == final(straight)


class Clock:
    """Time that passes with updates alone, and the learning rate of each."""

    def __init__(self, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds, self.now, self.rates = seconds, 100.0, list[float]()
        monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: self.now))

    def run(self, run: Training) -> Training:
        before_update = run.trainable.before_update

        def slow(update: int) -> None:
            before_update(update)
            self.now += self.seconds
            self.rates.append(run.optimizer.param_groups[0]["lr"])

        run.trainable.before_update = slow  # type: ignore[method-assign]
        run.run()
        return run


@pytest.mark.parametrize("seconds", [0.4, 1.0, 2.5])
def test_limited_time_ends_cooled_down(seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(seconds, monkeypatch)
    run = clock.run(training(tmp_path / "a", updates=10**6, minutes=1, cooldown=0.25))
    assert 0.9 * 60 < run.progress.seconds <= 60
    assert run.progress.update == len(clock.rates) == run.progress.curve[-1].update
    usual = Schedule(updates=1, warmup_updates=4, validate_every=5, seed=1)
    shares = [rate / (0.05 * usual.rate(update)) for update, rate in enumerate(clock.rates)]
    assert shares[: len(shares) // 2] == pytest.approx([1.0] * (len(shares) // 2))
    assert shares[-1] < 0.2
    assert sum(share < 0.99 for share in shares) == pytest.approx(0.25 * len(shares), abs=2)


def test_limited_time_goes_on_after_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(update: int) -> None:
        if update == 25:
            os.kill(os.getpid(), signal.SIGTERM)

    clock = Clock(1.0, monkeypatch)
    with pytest.raises(SystemExit):
        clock.run(training(tmp_path / "a", Bigrams(on_validation=interrupt), updates=10**6, minutes=1, cooldown=0.25))
    run = clock.run(training(tmp_path / "a", updates=10**6, minutes=1, cooldown=0.25))
    assert run.progress.update == len(clock.rates)
    assert 0.9 * 60 < run.progress.seconds <= 60


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize(
    ("factor", "message"),
    [(math.inf, "the gradient's norm is (nan|inf)"), (math.nan, "the gradient's norm is nan")],
)
def test_a_spoiled_gradient_is_never_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int, factor: float, message: str
) -> None:
    monkeypatch.setattr(loop, "_READ_EVERY", {"cpu": every})
    monkeypatch.setenv("FMALLOC_CHECKPOINT_SECONDS", "0")
    path = tmp_path / "c"
    with pytest.raises(FmallocError, match=f"bigrams: {message}.* at update 12; lower learning_rate.*; or give up"):
        training(path, Bigrams(12, factor), advice="; or give up").run()
    kept = Checkpoint.read(path)
    assert kept is not None
    assert kept.state["update"] in (10, 12)
    assert all(bool(tensor.isfinite().all()) for tensor in kept.tensors.values())
    (mended := training(path)).run()
    (straight := training(tmp_path / "straight")).run()
    assert final(mended) == final(straight)


def test_finish_ends_at_the_best_state_so_far(tmp_path: Path) -> None:
    path = tmp_path / "c"
    with pytest.raises(FmallocError, match="bigrams: no interrupted training to finish"):
        training(path).finish()
    with pytest.raises(FmallocError):
        training(path, Bigrams(12)).run()
    (finished := training(path)).finish()
    curve = finished.progress.curve
    assert [point.update for point in curve] == [0, 5, 10]
    assert finished.progress.best == min(range(3), key=lambda index: curve[index].nll)
    assert Bigrams.validate(finished.trainable, 0).nll == curve[finished.progress.best].nll  # type: ignore[arg-type]


def test_events_of_a_resumed_run_have_every_update_once(tmp_path: Path) -> None:
    def interrupt(update: int) -> None:
        if update == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training(tmp_path / "c", Bigrams(on_validation=interrupt), events=tmp_path / "events").run()
    training(tmp_path / "c", events=tmp_path / "events").run()
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == list(range(1, 21))
    assert [event.step for event in events.Scalars("dev/nll")] == [0, 5, 10, 15, 20]
    rates = [event.value for event in events.Scalars("train/learning_rate")]
    assert max(rates) == pytest.approx(0.05)
    assert rates.index(max(rates)) == 3
