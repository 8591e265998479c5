"""Distillation on the tiny base that was really pretrained."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from fmalloc.corpus import Pair
from fmalloc.distillation import distill as module
from fmalloc.distillation.distill import DistillationText, MixedBatches, Student, Teacher, distill
from fmalloc.distillation.distiller import Distiller
from fmalloc.distillation.plan import Plan
from fmalloc.distillation.settings import UNLIMITED, DistillationSettings, Limit
from fmalloc.distillation.student import student_of
from fmalloc.model.architectures import load_base
from fmalloc.model.devices import select
from fmalloc.model.text.batches import Batch, TrainingBatches, encode
from fmalloc.training.validation import Validator
from fmalloc_shared.errors import FmallocError
from tests.support.corpora import LANGUAGES, sentences

PAIRS = [Pair(*pair) for pair in sentences("general")]
TEXT = DistillationText(PAIRS[:200], (), PAIRS[200:230])
SETTINGS = DistillationSettings(depth=1, updates=60, batch_tokens=600, learning_rate=3e-3, maximum_length=60)
CPU = select("cpu")


def teacher(base: Path) -> Teacher:
    model, tokenizer = load_base(base, LANGUAGES)
    return Teacher(model, tokenizer, LANGUAGES)


def distilled(
    base: Path, work: Path, text: DistillationText = TEXT, limit: Limit = UNLIMITED, **changes: Any
) -> Student:
    work.mkdir(parents=True, exist_ok=True)
    settings = DistillationSettings(**{**SETTINGS.__dict__, **changes})
    return distill(teacher(base), text, settings, CPU, work, "general", limit=limit)


@pytest.fixture(scope="module")
def student(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Student:
    return distilled(base, tmp_path_factory.mktemp("work"))


def test_a_student_of_half_the_depth_learns_to_translate(student: Student) -> None:
    first, best = student.curve[0], min(student.curve, key=lambda point: point.nll)
    assert best.nll < first.nll / 4
    assert best.nll < best.nll_shuffled - 0.05
    assert student.updates == 60
    assert len(student.layers) == 1


def test_the_same_input_gives_the_same_numbers(base: Path, student: Student, tmp_path: Path) -> None:
    again = distilled(base, tmp_path / "work")
    assert again.curve == student.curve
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in student.tensors.items())


def test_a_run_that_pauses_goes_on_to_the_same_numbers(base: Path, student: Student, tmp_path: Path) -> None:
    work = tmp_path / "work"
    paused = distilled(base, work, limit=Limit(3 / 8))
    assert paused.updates == paused.curve[-1].update == 21
    assert paused.curve == student.curve[: len(paused.curve)]
    again = distilled(base, work)
    assert again.curve == student.curve
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in student.tensors.items())


def test_at_its_deadline_a_student_is_what_it_is_then_and_its_weights_were_rounded(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds: list[bool] = []
    loss = Distiller.loss

    def watched(self: Distiller, batch: Batch) -> torch.Tensor:
        rounds.append(self._rounds)
        return loss(self, batch)

    monkeypatch.setattr(Distiller, "loss", watched)
    student = distilled(base, tmp_path / "work", limit=Limit(deadline=time.monotonic()))
    assert student.updates == student.curve[-1].update == 1
    assert rounds == [True]


def test_a_run_that_was_stopped_goes_on_to_the_same_numbers(
    base: Path, student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped among the updates with rounded weights, by the second Ctrl-C."""
    work, loss, seen = tmp_path / "work", Distiller.loss, []

    def interrupted(self: Distiller, batch: Batch) -> torch.Tensor:
        seen.append(batch)
        if len(seen) == 50:
            raise KeyboardInterrupt
        return loss(self, batch)

    monkeypatch.setenv("FMALLOC_CHECKPOINT_SECONDS", "0")
    monkeypatch.setattr(Distiller, "loss", interrupted)
    with pytest.raises(KeyboardInterrupt):
        distilled(base, work)
    monkeypatch.undo()
    assert Plan.read(work / "plan.json").layers == student.layers
    again = distilled(base, work)
    assert again.curve == student.curve
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in student.tensors.items())


def test_the_teacher_does_not_move_and_is_learned_in_full(base: Path) -> None:
    """A student that is its own teacher has nothing to learn; rounded weights differ a little."""
    given = teacher(base)
    examples = encode(given.tokenizer, PAIRS[:20], LANGUAGES, maximum_length=60).examples
    validator = Validator(given.tokenizer, LANGUAGES, examples, (), CPU, 600)
    batch = TrainingBatches(examples, 600, given.tokenizer.pad_token_id, 1).batch(0)
    student = Distiller(student_of(given.model, [0, 1]), given.model, validator, 1e-3)
    student.model.eval()
    assert student.loss(batch).item() == pytest.approx(0, abs=1e-6)
    student.rounded_from = 0
    student.before_update(0)
    student.model.eval()
    loss = student.loss(batch)
    assert 0 < loss.item() < 0.1
    loss.backward()
    assert all(parameter.grad is not None for parameter in student.parameters.values())
    assert all(parameter.grad is None for parameter in given.model.parameters())


def test_the_decoders_start_stays_zero(student: Student, base: Path) -> None:
    embedding = student.tensors["model.shared.weight"]
    assert not embedding[load_base(base)[0].config.decoder_start_token_id].any()
    assert all(torch.isfinite(tensor).all() for tensor in student.tensors.values())


def test_general_text_is_every_so_manyth_batch(base: Path) -> None:
    class Named:
        def __init__(self, name: str) -> None:
            self.name = name

        def batch(self, update: int) -> Any:
            return f"{self.name}{update}"

    mixed = MixedBatches(Named("d"), Named("g"), 0.5)
    assert [mixed.batch(update) for update in range(5)] == ["d0", "g0", "d1", "g1", "d2"]
    mixed = MixedBatches(Named("d"), Named("g"), 0.25)
    assert [mixed.batch(update) for update in range(8)] == ["d0", "d1", "d2", "g0", "d3", "d4", "d5", "g1"]
    assert [MixedBatches(Named("d"), Named("g"), share).batch(3) for share in (0, 1)] == ["d3", "g3"]


def test_general_text_changes_what_is_learned(base: Path, student: Student, tmp_path: Path) -> None:
    text = DistillationText(TEXT.domain, PAIRS[100:150], TEXT.dev)
    assert distilled(base, tmp_path / "work", text, updates=8).curve[0] == student.curve[0]
    assert (
        distilled(base, tmp_path / "work", text, updates=8).curve[-1]
        != distilled(base, tmp_path / "other", updates=8).curve[-1]
    )


def test_minutes_become_updates_that_a_later_run_keeps(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = distilled(base, tmp_path / "work", minutes=0.02)
    assert found.updates >= 8
    monkeypatch.setattr(module, "updates_in", None)  # is not asked again
    assert distilled(base, tmp_path / "work", minutes=0.02).updates == found.updates


def test_bad_input_is_named(base: Path, tmp_path: Path) -> None:
    with pytest.raises(FmallocError, match="depth 2: the model has 2 decoder layers, expected 1 to 1"):
        distilled(base, tmp_path, depth=2)
    with pytest.raises(FmallocError, match="general dev: none of 1 pairs has at most 3 tokens per side"):
        distilled(base, tmp_path, DistillationText(TEXT.domain, (), [Pair("Der", "The")]), maximum_length=3)
    for change in ({"updates": 0}, {"minutes": 0.0}, {"general_share": 1.5}, {"rounded_share": -0.1}):
        with pytest.raises(FmallocError, match=next(iter(change))):
            DistillationSettings(**change)
