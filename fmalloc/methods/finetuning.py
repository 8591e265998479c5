"""Fine-tuning of all or some parameters of a model, which most methods are built on."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fmalloc.model.assembly import trainable_parameters
from fmalloc.model.objective import smoothed_loss
from fmalloc.model.text.batches import Batch
from fmalloc.recipe import LearningSettings
from fmalloc.store.records import CurvePoint
from fmalloc.training.trainable import Trainable
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
            fused=True,
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
