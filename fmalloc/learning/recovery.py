"""Recovery: before the first task, the pruned general model learns to answer as the untouched base does.

Word-level self-distillation (Hinton et al. 2015) on general text. The layers of both stacks move, embeddings and output
do not; the result is the base of all tasks and never moves again.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from fmalloc.learning.data import TaskData
from fmalloc.learning.run import Run
from fmalloc.model.architectures import STACKS, load_base
from fmalloc.model.assembly import apply_masks
from fmalloc.model.objective import logits
from fmalloc.model.text.batches import Batch
from fmalloc.recipe import LearningSettings, RecoverySettings
from fmalloc.store.cells import Mask
from fmalloc.store.records import CurvePoint, RecoveryRecord
from fmalloc.training.distributed import Group
from fmalloc.training.loop import Training
from fmalloc.training.trainable import Trainable
from fmalloc.training.validation import Validator
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256_files, write_atomically
from fmalloc_shared.names import GENERAL

_VALIDATIONS = 5
_MOST_WARMUP = 1000


class Distillation(Trainable):
    """A masked student that learns the next-token distributions of a teacher; cells that are off stay as they are."""

    def __init__(self, student: Any, teacher: Any, masks: Mapping[str, Mask], validator: Validator, rate: float):
        device = validator.device.torch
        self.model, self.teacher, self.validator, self.rate = student.to(device), teacher.to(device), validator, rate
        stacks = tuple(f"{path}." for path in STACKS.values())
        named = student.named_parameters()
        self.parameters = {name: parameter for name, parameter in named if name.startswith(stacks)}
        for parameter in self.parameters.values():
            parameter.requires_grad_(True)
        apply_masks(student, masks)

    def tensors(self) -> dict[str, Tensor]:
        """Every parameter of the layers, by its name in the untouched model."""
        return dict(self.parameters)

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam: without decay, what gets no gradient does not move."""
        return torch.optim.Adam(self.parameters.values(), lr=self.rate, betas=(0.9, 0.98), fused=True)

    def before_update(self, _update: int) -> None:
        """Dropout for the student only."""
        self.model.train()

    def loss(self, batch: Batch) -> Tensor:
        """KL(teacher || student), the mean over target positions."""
        with torch.no_grad():
            taught = torch.log_softmax(logits(self.teacher, batch), dim=-1)
        learned = torch.log_softmax(logits(self.model, batch), dim=-1)
        divergence = (taught.exp() * (taught - learned)).sum(-1)
        return batch.of_tokens(divergence).mean()

    def validate(self, update: int) -> CurvePoint:
        """NLL of the pruned model on general dev."""
        return self.validator.point(self.model, update)


def recover(run: Run, masks: Mapping[str, Mask], base: Path, work: Path) -> RecoveryRecord:
    """Let the model in `base` recover, in place; stopped at any point, it goes on from what lies in `work`.

    All processes of a run learn, and the first one writes.
    """
    record_path, tensors_path, group = work / "recovery.json", work / "recovered.safetensors", Group.current()
    if not group.on_first(record_path.is_file):
        tensors, curve = _distilled(run, masks, base, work)

        def keep() -> None:
            write_atomically(tensors_path, save(tensors))
            settings = run.recipe.recovery.model_dump()
            record = RecoveryRecord(settings=settings, base=sha256_files(base), curve=curve)
            write_atomically(record_path, record.to_bytes())

        group.on_first(keep)
    group.on_first(lambda: _put(base, load_file(tensors_path)))
    return RecoveryRecord.read(record_path)


def _distilled(
    run: Run, masks: Mapping[str, Mask], base: Path, work: Path
) -> tuple[dict[str, Tensor], list[CurvePoint]]:
    settings = _learning(run.recipe.recovery, run.recipe.learning)
    teacher, tokenizer = load_base(base, run.languages)
    student, _ = load_base(base, run.languages)
    data = TaskData.of(run, GENERAL, tokenizer, settings)
    validator = data.validator(run, tokenizer, settings, lambda _model: {})
    trainable = Distillation(student, teacher, masks, validator, settings.learning_rate)
    batches = data.batches(tokenizer, settings)
    path = work / "recovery-checkpoint.safetensors"
    training = Training(trainable, batches, settings.schedule(), run.device, path, "recovery of the pruned model")
    training.run()
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in trainable.tensors().items()}
    return tensors, training.progress.curve


def _learning(recovery: RecoverySettings, learning: LearningSettings) -> LearningSettings:
    """Settings of the training loop: the recovery's own, and what learning says of lengths and clipping."""
    every = max(1, recovery.updates // _VALIDATIONS)
    changes = recovery.model_dump() | {
        "minutes": None,
        "warmup_updates": min(_MOST_WARMUP, every),
        "validate_every": every,
        "anneal_updates": every,
        "validation_sentences": 0,
        "select_by": "nll",
    }
    return learning.model_copy(update=changes)


def _put(base: Path, tensors: Mapping[str, Tensor]) -> None:
    """Replace tensors in the weight files of a folder; checkpoints may leave out the `model.` before every name."""
    left = dict(tensors)
    for path in sorted(base.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        content = load_file(path)
        for name in content:
            for known in (name, f"model.{name}"):
                if known in left:
                    content[name] = left.pop(known)
        write_atomically(path, save(content, metadata=metadata))
    if left:
        raise FmallocError(f"{base}: its weight files hold no {', '.join(sorted(left)[:3])}, which recovery changed")
