"""Every kind of training on a device where nothing may be waited for: see tests/support/accelerator.py."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.learning.masking import GradientMasking
from fmalloc.distillation.distiller import Distiller
from fmalloc.distillation.student import student_of
from fmalloc.learning.cells.allocation import Allocation
from fmalloc.learning.learner import Learner
from fmalloc.learning.recovery import Distillation
from fmalloc.methods.ewc import Anchored
from fmalloc.methods.finetuning import FineTuning
from fmalloc.methods.kd import Distilled
from fmalloc.methods.pte import Recovery, smallest
from fmalloc.methods.sequential import Start
from fmalloc.methods.sparse_memory import SparseTuning
from fmalloc.model.architectures import feed_forward_layers, load_base
from fmalloc.model.assembly import trainable_parameters
from fmalloc.model.text.batches import Batches, TrainingBatches, encode
from fmalloc.pretraining.trainable import Pretraining, PretrainingSettings
from fmalloc.recipe import LearningSettings
from fmalloc.training.schedule import Schedule
from fmalloc.training.trainable import Trainable
from fmalloc.training.validation import Validator
from fmalloc_shared.languages import LanguagePair
from tests.support.accelerator import META, Nowhere, Strict, take_steps
from tests.support.bases import BASES, PAIRS

SETTINGS = LearningSettings(
    updates=4, batch_tokens=90, warmup_updates=1, anneal_updates=2, validate_every=2, fresh_cells=False
)
# transformers' FSMT looks itself whether anything is masked.
FAMILIES = sorted(kind for kind in BASES if not kind.startswith("fsmt"))


def loaded(folder: Path, kind: str = "marian") -> tuple[Any, TrainingBatches, Validator]:
    """A tiny model, batches of its text, and what says that it lies nowhere."""
    write, _, pair = BASES[kind]
    if not folder.exists():
        write(folder)
    languages = LanguagePair(*pair)
    model, tokenizer = load_base(folder, languages)
    examples = encode(tokenizer, PAIRS, languages, maximum_length=60).examples
    batches = TrainingBatches(examples, SETTINGS.batch_tokens, tokenizer.pad_token_id, 1)
    return model, batches, Validator(tokenizer, languages, examples, (), Nowhere(), 90)


def learner(folder: Path, kind: str, **changes: Any) -> tuple[Trainable, Batches]:
    model, batches, validator = loaded(folder, kind)
    allocations = {}
    for layer in feed_forward_layers(model):
        cells, none = np.arange(layer.width), np.empty(0, dtype=np.int64)
        allocations[layer.name] = Allocation(layer.width, cells[8:], none, cells[:8])
    settings = SETTINGS.model_copy(update=changes)
    return Learner(model, allocations, batches, validator, settings), batches


@pytest.mark.parametrize("kind", FAMILIES)
def test_learning_waits_for_nothing_in_any_family(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take_steps(*learner(tmp_path / "base", kind), tmp_path, monkeypatch)


def test_private_parameters_wait_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = ("norms", "biases", "attention", "embeddings", "output")
    take_steps(*learner(tmp_path / "base", "marian", private=private), tmp_path, monkeypatch)


def trained(name: str, folder: Path) -> tuple[Trainable, Batches]:
    """What else is trained: by its name in the test below."""
    model, batches, validator = loaded(folder)
    start: Any = Start("task", (), model.to(META), None, None, validator, SETTINGS, {})  # type: ignore[arg-type]
    if name == "fine-tuning":
        return FineTuning(model, validator, SETTINGS), batches
    if name == "anchored":
        return Anchored(start, dict.fromkeys(trainable_parameters(model), 0.1)), batches
    if name == "distilled":
        return Distilled(start, 0.5), batches
    if name.startswith("sparse memory"):
        cells = {layer.name: torch.arange(8) for layer in feed_forward_layers(model)}
        return SparseTuning(model, validator, SETTINGS, cells, "sgd" if "SGD" in name else "adamw"), batches
    if name.startswith("masking"):
        writable = {layer.name: torch.arange(layer.width) < 8 for layer in feed_forward_layers(model)}
        return GradientMasking(model, writable, SETTINGS, blocked_loss=name.endswith("our loss")), batches
    if name == "pretraining":
        model.requires_grad_(True)
        settings = PretrainingSettings(Schedule(4, 1, 2, 1), 90, 1e-3, 60, 0.1)
        return Pretraining(model, validator, settings, folder / "states"), batches
    other = loaded(folder)[0]
    if name == "recovery":
        masks = {layer.name: np.arange(layer.width) > 8 for layer in feed_forward_layers(other)}
        return Distillation(other, model, masks, validator, 1e-3), batches
    if name == "recovery of pte":
        freed = {"model.encoder.layers.0.fc1.weight": smallest(other.model.encoder.layers[0].fc1.weight, 0.5)}
        return Recovery(other, validator, SETTINGS, model, freed), batches
    distiller = Distiller(student_of(other, [0]), model, validator, 1e-3)
    distiller.rounded_from = 1
    return distiller, batches


@pytest.mark.parametrize(
    "name",
    [
        "fine-tuning",
        "anchored",
        "distilled",
        "sparse memory",
        "sparse memory, SGD",
        "masking",
        "masking, our loss",
        "pretraining",
        "recovery",
        "recovery of pte",
        "distillation",
    ],
)
def test_no_training_waits_between_reads_of_the_loss(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_steps(*trained(name, tmp_path / "base"), tmp_path, monkeypatch)


def test_what_would_wait_is_found() -> None:
    values, here = torch.ones(3, device=META), torch.ones(3)
    with Strict():
        for wrong in (
            lambda: values.sum().item(),
            lambda: values[values > 0],
            lambda: values.tolist(),
            lambda: bool(values.any()),
            lambda: torch.where(values > 0, values, here),
            lambda: here.to(META),
            lambda: values.copy_(here),
        ):
            with pytest.raises((RuntimeError, NotImplementedError, AssertionError)):
                wrong()
        here.to(META, non_blocking=True)
