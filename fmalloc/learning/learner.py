"""The learner of one task: it claims free cells under annealed gates, validates under the hard mask, and hardens."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.parametrize import cached

from fmalloc.learning.cells.allocation import Allocation, fresh_blocks, initial_gates
from fmalloc.model.architectures import feed_forward_layers
from fmalloc.model.feedforward import GatedFeedForward, block_of, replace
from fmalloc.model.gate import GATE_LIMIT, temperature
from fmalloc.model.objective import smoothed_loss
from fmalloc.model.private import Ranks, install
from fmalloc.model.text.batches import Batch, TrainingBatches
from fmalloc.recipe import LearningSettings
from fmalloc.store.cells import Cells, Mask
from fmalloc.store.records import CurvePoint
from fmalloc.store.tensors import Memory
from fmalloc.training.trainable import Trainable
from fmalloc.training.validation import Validator
from fmalloc_shared.commands.progress import console

_FRESH_BATCHES = 8
_LEARNED = ("keys", "biases", "values", "gates")
_CLAIMED_LITTLE = 0.01
_NLL_FELL = 0.05


class Learner(Trainable):
    """One task in a dense model that holds the base and all earlier tasks' cells."""

    def __init__(
        self,
        model: Any,
        allocations: Mapping[str, Allocation],
        batches: TrainingBatches,
        validator: Validator,
        settings: LearningSettings,
    ) -> None:
        device = validator.device.torch
        self.model, self.allocations, self.settings = model.to(device), allocations, settings
        self.batches, self.validator = batches, validator
        general = {name: allocation.general for name, allocation in allocations.items()}
        ranks = Ranks(settings.private_rank, settings.embedding_rank)
        self.private = install(self.model, settings.private, general, ranks, seed=settings.seed)
        self.gated = {name: module.to(device) for name, module in self._install().items()}

    def _install(self) -> dict[str, GatedFeedForward]:
        settings = self.settings
        generator = torch.Generator().manual_seed(settings.seed)
        first = [self.batches.batch(index) for index in range(_FRESH_BATCHES)]
        fresh = fresh_blocks(self.model, self.allocations, first, settings.seed) if settings.fresh_cells else {}
        gated = {}
        for layer in feed_forward_layers(self.model):
            allocation, cells = self.allocations[layer.name], block_of(layer)
            read = torch.from_numpy(allocation.read)
            write = fresh.get(layer.name) or cells.select(torch.from_numpy(allocation.writable))
            gates = initial_gates(allocation, generator, is_open=settings.gates == "open")
            gated[layer.name] = GatedFeedForward(layer, read, write, gates, settings.tau_max)
            replace(layer, gated[layer.name])
        return gated

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW over the writable cells, and over gates and private parameters at separate rates without decay."""
        weights = [weight for module in self.gated.values() for weight in (module.keys, module.biases, module.values)]
        settings, scale = self.settings, self.settings.rate_scale
        groups: list[dict[str, Any]] = [
            {"params": weights, "weight_decay": settings.weight_decay, "lr": scale * settings.learning_rate},
            {"params": self._gates(), "weight_decay": 0.0, "lr": scale * settings.gate_learning_rate},
        ]
        if self.private:
            rate = settings.private_learning_rate or settings.learning_rate
            groups.append({"params": list(self.private.values()), "weight_decay": 0.0, "lr": scale * rate})
        return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)

    def _gates(self) -> list[Tensor]:
        return [module.gates for module in self.gated.values()]

    def tensors(self) -> dict[str, Tensor]:
        """Writable cells and gates of every layer, and private parameters."""
        cells = {f"{name}.{part}": getattr(module, part) for name, module in self.gated.items() for part in _LEARNED}
        return cells | {f"private.{name}": parameter for name, parameter in self.private.items()}

    def before_update(self, update: int) -> None:
        """Soft masks at the temperature of the update."""
        self._set_temperature(temperature(update, self.settings.cycle, self.settings.tau_max))
        self.model.train()

    def _set_temperature(self, tau: float | None) -> None:
        for module in self.gated.values():
            module.tau = tau

    def loss(self, batch: Batch) -> Tensor:
        """Label-smoothed cross-entropy; without a sparsity penalty: the data decides how many cells are claimed."""
        return smoothed_loss(self.model, batch, self.settings.label_smoothing)

    def after_update(self) -> None:
        """Gates stay within [-10, 10]."""
        for gates in self._gates():
            gates.clamp_(-GATE_LIMIT, GATE_LIMIT)

    def validate(self, update: int) -> CurvePoint:
        """Score dev under the hard mask."""
        self._set_temperature(None)
        with cached():  # weights with private products are put together once
            return self.validator.point(self.model, update, sum(len(cells) for cells in self._claimed().values()))

    def _claimed(self) -> dict[str, Cells]:
        """Ids of the writable cells whose gate is open, by layer."""
        claimed = {}
        for name, module in self.gated.items():
            allocation = self.allocations[name]
            is_open = (module.gates.detach()[len(allocation.read) :] > 0).cpu().numpy()
            claimed[name] = allocation.writable[is_open]
        return claimed

    def report(self, name: str, curve: Sequence[CurvePoint]) -> None:
        """Print how many cells were claimed, and advice if that is almost none."""
        offered = sum(len(allocation.writable) for allocation in self.allocations.values())
        claimed = sum(len(cells) for cells in self._claimed().values())
        console.print(f"{name}: claims {claimed} of {offered} free cells")
        if claimed < _CLAIMED_LITTLE * offered:
            console.print(f"[yellow]{name} claimed almost nothing[/]: {_advice(curve[0], curve[-1])}")

    def memories(self) -> dict[str, Memory]:
        """The present state, hardened: mask, and weights of the cells that the task now owns."""
        return {name: _harden(module, self.allocations[name]) for name, module in self.gated.items()}

    def private_parameters(self) -> dict[str, NDArray[np.float32]]:
        """The present state of the private parameters, by name."""
        return {name: parameter.detach().cpu().numpy() for name, parameter in self.private.items()}


def _advice(first: CurvePoint, last: CurvePoint) -> str:
    if last.nll < first.nll - _NLL_FELL:
        return (
            f"its dev NLL fell from {first.nll:.2f} to {last.nll:.2f}, but no state had a better dev BLEU than the "
            "general model; give it more updates"
        )
    return "raise gate_learning_rate or updates, or its text is what the general model knows already"


def _harden(module: GatedFeedForward, allocation: Allocation) -> Memory:
    """m_i = [e_i > 0]; cells that end switched off stay free, with their pretrained weights."""
    is_open = (module.gates.detach() > 0).cpu().numpy()
    writable_open = is_open[len(allocation.read) :]
    mask: Mask = np.zeros(allocation.width, dtype=np.bool_)
    mask[allocation.read[is_open[: len(allocation.read)]]] = True
    mask[allocation.writable[writable_open]] = True
    rows = torch.from_numpy(writable_open)
    return Memory(
        mask=mask,
        cells=allocation.writable[writable_open],
        fc1_weight=module.keys.detach().cpu()[rows].numpy(),
        fc1_bias=module.biases.detach().cpu()[rows].numpy(),
        fc2_weight=np.ascontiguousarray(module.values.detach().cpu()[:, rows].numpy()),
    )
