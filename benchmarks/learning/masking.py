"""Learning a task by gradient masking on the dense model, as research code does it: what our blocks are compared with.

All cells of all layers are parameters. Gates come from embedding tables for a number of tasks that is fixed beforehand.
Backward computes the gradients of all cells; those of protected ones are then set to 0, and the gates' are rescaled.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from fmalloc.model.architectures import FeedForwardLayer, feed_forward_layers
from fmalloc.model.feedforward import replace
from fmalloc.model.gate import GATE_LIMIT, GENERAL_START, temperature
from fmalloc.model.objective import logits, smoothed_cross_entropy, smoothed_loss
from fmalloc.model.text.batches import Batch
from fmalloc.recipe import LearningSettings
from fmalloc.store.records import CurvePoint
from fmalloc.training.trainable import Trainable

_TASKS = 6
_TASK = 1
_COSH_LIMIT = 50.0


class DenseFeedForward(nn.Module):
    """All cells as one dense layer; the mask comes from the embedding of the task."""

    def __init__(self, layer: FeedForwardLayer, writable: Tensor) -> None:
        super().__init__()
        self.fc1, self.activation, self.fc2 = layer.module.fc1, layer.module.activation_fn, layer.module.fc2
        self.gates = nn.Embedding(_TASKS, layer.width, device=self.fc1.weight.device)
        self.register_buffer("writable", writable.to(self.fc1.weight))
        with torch.no_grad():
            self.gates.weight.copy_(torch.where(writable, -self.gates.weight.abs(), GENERAL_START))
        self.tau = 1.0

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden: (batch, length, d_model) -> (batch, length, d_model)."""
        mask = torch.sigmoid(self.tau * self.gates.weight[_TASK])
        return self.fc2(self.activation(self.fc1(hidden)) * mask)  # type: ignore[no-any-return]

    def mask_gradients(self, tau_max: float) -> None:
        """Zero what belongs to protected cells; rescale the gates' as HAT does, by cosh of their logits."""
        writable: Any = self.writable
        self.fc1.weight.grad.mul_(writable[:, None])
        self.fc1.bias.grad.mul_(writable)
        self.fc2.weight.grad.mul_(writable)
        weight, gradient = self.gates.weight, self.gates.weight.grad
        assert gradient is not None
        above = torch.cosh((self.tau * weight.detach()).clamp(-_COSH_LIMIT, _COSH_LIMIT)) + 1
        below = torch.cosh(weight.detach()) + 1
        gradient.mul_(tau_max / self.tau * above / below)


class GradientMasking(Trainable):
    """One task; with `blocked_loss`, with our loss instead of one over whole logits."""

    def __init__(
        self, model: Any, writable: dict[str, Tensor], settings: LearningSettings, *, blocked_loss: bool
    ) -> None:
        self.model, self.settings = model, settings
        self.loss_of = smoothed_loss if blocked_loss else _whole_loss
        self.layers: dict[str, DenseFeedForward] = {}
        for layer in feed_forward_layers(model):
            dense = DenseFeedForward(layer, writable[layer.name].to(model.device)).to(model.device)
            for parameter in (dense.fc1.weight, dense.fc1.bias, dense.fc2.weight):
                parameter.requires_grad_(True)
            self.layers[layer.name] = dense
            replace(layer, dense)

    def tensors(self) -> dict[str, Tensor]:
        """All cells and gates."""
        return {
            f"{name}.{part}": parameter
            for name, layer in self.layers.items()
            for part, parameter in layer.named_parameters()
            if parameter.requires_grad
        }

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW over all of it."""
        return torch.optim.AdamW(self.tensors().values(), lr=self.settings.learning_rate, betas=(0.9, 0.98), fused=True)

    def before_update(self, update: int) -> None:
        """The temperature of the update."""
        self.model.train()
        for layer in self.layers.values():
            layer.tau = temperature(update, self.settings.cycle, self.settings.tau_max)

    def loss(self, batch: Batch) -> Tensor:
        """Label-smoothed cross-entropy."""
        return self.loss_of(self.model, batch, self.settings.label_smoothing)

    def after_backward(self) -> None:
        """Nothing reaches protected cells but decay."""
        for layer in self.layers.values():
            layer.mask_gradients(self.settings.tau_max)

    def after_update(self) -> None:
        """Gates stay within [-10, 10]."""
        for layer in self.layers.values():
            layer.gates.weight.clamp_(-GATE_LIMIT, GATE_LIMIT)

    def validate(self, update: int) -> CurvePoint:
        """Nothing: only steps are measured."""
        return CurvePoint(update=update, bleu=0.0, chrf=0.0, nll=math.inf, nll_shuffled=math.inf, claimed=0)


def _whole_loss(model: Any, batch: Batch, label_smoothing: float) -> Tensor:
    return smoothed_cross_entropy(logits(model, batch), batch, label_smoothing)
