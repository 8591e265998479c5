"""Fine-tuning of all or some parameters of a model, which most methods are built on."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fmalloc.model.batches import Batch
from fmalloc.model.objective import smoothed_loss
from fmalloc.recipe import LearningSettings
from fmalloc.store.records import CurvePoint
from fmalloc.training.loop import Trainable
from fmalloc.training.validation import Validator


class FineTuning(Trainable):
    """Trains `parameters` of a model, by name, with AdamW; None: all that are not fixed by construction."""

    def __init__(
        self,
        model: Any,
        validator: Validator,
        settings: LearningSettings,
        parameters: Mapping[str, nn.Parameter] | None = None,
    ) -> None:
        self.model, self.validator, self.settings = model.to(validator.device.torch), validator, settings
        self.parameters = trainable_parameters(model) if parameters is None else dict(parameters)
        model.requires_grad_(False)
        for parameter in self.parameters.values():
            parameter.requires_grad_(True)

    def tensors(self) -> dict[str, Tensor]:
        """The trained parameters."""
        return dict(self.parameters)

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW, as for the cells of F-MALLOC."""
        return torch.optim.AdamW(
            self.parameters.values(),
            lr=self.settings.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=self.settings.weight_decay,
        )

    def before_update(self, _update: int) -> None:
        """Dropout on."""
        self.model.train()

    def loss(self, batch: Batch) -> Tensor:
        """Label-smoothed cross-entropy."""
        return smoothed_loss(self.model, batch, self.settings.label_smoothing)

    def validate(self, update: int) -> CurvePoint:
        """Score the model as it is."""
        return self.validator.point(self.model, update)


def trainable_parameters(model: Any) -> dict[str, nn.Parameter]:
    """All parameters, tied ones once, but for sinusoidal positions."""
    return {name: parameter for name, parameter in model.named_parameters() if not _is_fixed(model, name)}


def put_parameters(model: Any, tensors: Mapping[str, Tensor]) -> None:
    """Overwrite the parameters of these names."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in tensors.items():
            parameters[name].copy_(tensor)


def module_of(name: str) -> str:
    """The module that a parameter, or another module, belongs to."""
    return name.rpartition(".")[0]


def _is_fixed(model: Any, name: str) -> bool:
    return "Sinusoidal" in type(model.get_submodule(module_of(name))).__name__
