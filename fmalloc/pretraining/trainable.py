"""What pretraining trains, and the average of its last states."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from fmalloc.model.objective import smoothed_loss
from fmalloc.model.scratch import zero_padding_row
from fmalloc.model.text.batches import Batch
from fmalloc.store.records import CurvePoint
from fmalloc.training.distributed import Group
from fmalloc.training.schedule import Schedule
from fmalloc.training.trainable import Trainable
from fmalloc.training.validation import Validator
from fmalloc_shared.commands.progress import console
from fmalloc_shared.files import write_atomically

_NAME = "{}.safetensors"


@dataclass(frozen=True)
class PretrainingSettings:
    """How a base model is trained: `schedule` for the loop, and what its batches, loss and optimizer are made with."""

    schedule: Schedule
    batch_tokens: int
    learning_rate: float
    maximum_length: int
    label_smoothing: float
    average: int = 0  # states of the last validations
    validation_sentences: int = 0  # translated for BLEU


class Pretraining(Trainable):
    """Every parameter of a model; `states`: the folder in which the last ones lie that were validated."""

    pretrained = False

    def __init__(self, model: Any, validator: Validator, settings: PretrainingSettings, states: Path) -> None:
        self.model, self.validator, self.settings = model.to(validator.device.torch), validator, settings
        self.states = states

    def tensors(self) -> dict[str, Tensor]:
        """All parameters; tied ones once."""
        return dict(self.model.named_parameters())

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam over everything."""
        return torch.optim.Adam(self.model.parameters(), lr=self.settings.learning_rate, betas=(0.9, 0.98), fused=True)

    def before_update(self, _update: int) -> None:
        """Dropout on."""
        self.model.train()

    def loss(self, batch: Batch) -> Tensor:
        """Label-smoothed cross-entropy."""
        return smoothed_loss(self.model, batch, self.settings.label_smoothing)

    def after_update(self) -> None:
        """The padding row stays zero."""
        zero_padding_row(self.model)

    def validate(self, update: int) -> CurvePoint:
        """NLL on dev, and BLEU of some sentences."""
        if update and self.settings.average > 1 and Group.current().first:
            self._keep(update)
        return self.validator.point(self.model, update)

    def _keep(self, update: int) -> None:
        self.states.mkdir(exist_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors().items()}
        write_atomically(self.states / _NAME.format(update), save(tensors))
        # What lies behind this update is from before a kill, and made again.
        kept = [path for path in _states(self.states) if _update(path) <= update]
        for path in kept[: -self.settings.average]:
            path.unlink()

    @torch.no_grad()
    def average(self, best: CurvePoint, update: int) -> CurvePoint:
        """Load the average of the last states (Junczys-Dowmunt et al. 2016) if it beats the best one; what is loaded.

        update: of the last validation.
        """
        paths = [path for path in _states(self.states) if _update(path) <= update]
        if len(paths) < 2:
            return best
        single, total = self._copy(), dict[str, Tensor]()
        for path in paths:
            for name, tensor in load_file(path).items():
                total[name] = total[name] + tensor.double() if name in total else tensor.double()
        self._put({name: (tensor / len(paths)).float() for name, tensor in total.items()})
        averaged = self.validator.point(self.model, update)
        better = averaged.nll < best.nll
        kept = "kept" if better else f"not kept, {best.nll:.3f} is better"
        console.print(f"average of the last {len(paths)} validations: dev NLL {averaged.nll:.3f}, {kept}")
        if not better:
            self._put(single)
        return averaged if better else best

    def _copy(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.tensors().items()}

    def _put(self, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])


def _states(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"), key=_update)


def _update(path: Path) -> int:
    return int(path.stem)
