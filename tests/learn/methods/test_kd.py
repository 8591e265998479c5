"""Distillation: without weight it is sequential fine-tuning, with all of it the teacher is kept."""

from pathlib import Path

import pytest

from fmalloc.methods.kd import teacher_weight
from fmalloc.methods.method import BASE
from tests.support.methods import learn, make, same, sequential, squared_distance


def test_weight_zero_is_sequential(base: Path, corpora: Path, tmp_path: Path) -> None:
    method = make(base, corpora, tmp_path, "kd", {"weight": 0})
    learn(method)
    for task in ("office", "games"):
        assert same(method.parameters_of(task), sequential(base, corpora).parameters_of(task))


def test_the_teacher_is_the_model_before_the_task_and_stays_as_it_is(base: Path, corpora: Path) -> None:
    method = sequential(base, corpora)
    kd = make(base, corpora, method.folder, "kd", {"weight": 1})
    start = kd.start(kd.run.recipe.tasks[1], ["office"])
    distilled = kd.trainable(start)
    batch = kd.batches(start).batch(0)
    start.model.eval()
    loss = distilled.loss(batch)
    assert loss.item() == pytest.approx(0, abs=1e-5)
    loss.backward()
    assert all(parameter.grad is None for parameter in distilled.teacher.parameters())
    assert same(dict(distilled.teacher.named_parameters()), dict(kd.load("office")[0].named_parameters()))


def test_the_teacher_holds_the_student_back(base: Path, corpora: Path, tmp_path: Path) -> None:
    method = make(base, corpora, tmp_path, "kd", {"weight": 0.9})
    learn(method, "office")
    held, free = (squared_distance(each, "office", BASE) for each in (method, sequential(base, corpora)))
    assert held < free


def test_the_dynamic_weight_grows_with_the_stages(base: Path, corpora: Path, tmp_path: Path) -> None:
    weights = [teacher_weight(stage, 0.999) for stage in (1, 2, 3, 4)]
    decay = 0.999
    assert weights == pytest.approx([decay * (1 - decay ** (k - 1)) / (1 - decay**k) for k in (1, 2, 3, 4)])
    assert teacher_weight(3, 1.0) == pytest.approx(2 / 3)
    method = make(base, corpora, sequential(base, corpora).folder, "dynamic-kd")
    first, second = method.run.recipe.tasks
    assert method.trainable(method.start(first, [])).weight == teacher_weight(2, 0.999)
    assert method.trainable(method.start(second, ["office"])).weight == teacher_weight(3, 0.999)
