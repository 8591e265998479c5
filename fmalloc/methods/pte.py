"""Pruning-then-expanding: small weights make room, each task fills a share of it (Gu et al. 2021, as a sequence)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from fmalloc.learning.data import TaskData
from fmalloc.methods.comparison.record import Learned
from fmalloc.methods.finetuning import FineTuning
from fmalloc.methods.method import BASE, MethodSettings
from fmalloc.methods.sequential import Sequential, Start
from fmalloc.model.architectures import load_base
from fmalloc.model.assembly import put_parameters
from fmalloc.model.objective import logits
from fmalloc.model.text.batches import Batch
from fmalloc.recipe import LearningSettings, TaskSettings
from fmalloc.training.loop import Training
from fmalloc.training.validation import Validator
from fmalloc_shared.names import GENERAL

_MASK = ".mask"
_VALUES = ".values"


class PteSettings(MethodSettings):
    """How much room is made, and how long the pruned model recovers before the first task."""

    sparsity: Annotated[float, Field(gt=0, lt=1, description="share of each matrix, the smallest weights")] = 0.3
    recovery: Annotated[int, Field(ge=0, description="updates of distillation on general text")] = 100


class Pte(Sequential):
    """What pruning kept never changes again; a state is the freed weights that its task filled, and where they are.

    The weights of earlier tasks are read, those of later ones are zero: every task keeps its model exactly. The room,
    in all matrices of attention and feed-forward layers, is split evenly among the recipe's tasks at random.
    """

    name = "pte"
    settings_type = PteSettings

    def learn(self, task: TaskSettings, earlier: Sequence[str]) -> Learned:
        """Prune the base before the first task, then fill the task's share."""
        if not self.state_path(GENERAL).is_file():
            self._prune(task)
        return super().learn(task, earlier)

    def _prune(self, task: TaskSettings) -> None:
        """Free the smallest weights, and let the others recover with the base as their teacher."""
        settings = self.learning_of(task)
        teacher, _ = load_base(self.run.recipe.base, self.run.languages)
        model, tokenizer = load_base(self.run.recipe.base, self.run.languages)
        data = TaskData.of(self.run, GENERAL, tokenizer, settings)
        validator = data.validator(self.run, tokenizer, settings, lambda _: {})
        freed = {name: smallest(matrix, self.settings.sparsity) for name, matrix in matrices(model).items()}
        recovery = Recovery(model, validator, settings, teacher, freed)
        path = self.folder / GENERAL / "checkpoint.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        if updates := self.settings.recovery:
            schedule = replace(
                settings.schedule(),
                updates=updates,
                warmup_updates=max(1, updates // 5),
                validate_every=min(updates, settings.schedule().validate_every),
                select_by="nll",
            )
            batches = data.batches(tokenizer, settings)
            Training(recovery, batches, schedule, self.run.device, path, f"{self.name}: recovery").run()
        self.save_state(GENERAL, recovery.tensors())
        path.unlink(missing_ok=True)

    def trainable(self, start: Start) -> FineTuning:
        """The task's share of the freed weights, from zero."""
        self._fill(start.model, start.earlier)
        values = {
            f"{name}{_VALUES}": expand(start.model, name, mask)
            for name, mask in self._share(len(start.earlier)).items()
        }
        return FineTuning(start.model, start.validator, start.settings, values)

    def kept(self, start: Start, trainable: FineTuning) -> dict[str, Tensor]:
        """The task's weights, and where they are: one bit per weight of a matrix."""
        share = self._share(len(start.earlier))
        masks = {f"{name}{_MASK}": torch.from_numpy(np.packbits(mask.numpy())) for name, mask in share.items()}
        return trainable.tensors() | masks

    def _share(self, number: int) -> dict[str, Tensor]:
        """Which weights of each matrix belong to the task of this number."""
        base, _ = load_base(self.run.recipe.base, self.run.languages)
        share = {}
        for seed, (name, matrix) in enumerate(matrices(base).items()):
            freed = smallest(matrix, self.settings.sparsity).flatten().nonzero().flatten().numpy()
            parts = np.array_split(np.random.default_rng(seed).permutation(freed), len(self.run.recipe.tasks))
            mask = torch.zeros(matrix.numel(), dtype=torch.bool)
            mask[torch.from_numpy(parts[number])] = True
            share[name] = mask.view(matrix.shape)
        return share

    def _fill(self, model: Any, tasks: Sequence[str]) -> None:
        """Write the weights of these tasks into a model."""
        for task in tasks:
            state = self.parameters_of(task)
            for name, matrix in matrices(model).items():
                bits = np.unpackbits(state[f"{name}{_MASK}"].numpy(), count=matrix.numel()).astype(np.bool_)
                mask = torch.from_numpy(bits).view(matrix.shape)
                with torch.no_grad():
                    matrix[mask] = state[f"{name}{_VALUES}"].to(matrix)

    def state_of(self, domain: str, learned: Sequence[str]) -> str:
        """The domain's own, or the pruned general model."""
        return domain if domain in learned else GENERAL

    def served(self, _model: Any, earlier: Sequence[str]) -> Any:
        """An earlier domain is served by its own state."""
        return lambda domain: self.load(self.state_of(domain, earlier))[0].to(self.run.device.torch)

    def load(self, state: str) -> tuple[Any, Any]:
        """What pruning kept, with the weights of the tasks up to this one."""
        model, tokenizer = load_base(self.run.recipe.base, self.run.languages)
        if state != BASE:
            put_parameters(model, self.load_state(GENERAL))
            names = [task.name for task in self.run.recipe.tasks]
            self._fill(model, names[: names.index(state) + 1] if state != GENERAL else ())
        return model, tokenizer


class Recovery(FineTuning):
    """Self-distillation of a pruned model from what it was: KL(teacher || model), freed weights staying zero."""

    def __init__(
        self, model: Any, validator: Validator, settings: LearningSettings, teacher: Any, freed: Mapping[str, Tensor]
    ) -> None:
        super().__init__(model, validator, settings)
        device = validator.device.torch
        self.teacher = teacher.to(device)
        self.freed = {name: mask.to(device) for name, mask in freed.items()}
        with torch.no_grad():
            self.after_update()

    def loss(self, batch: Batch) -> Tensor:
        """Mean over the batch's target tokens, in nats."""
        with torch.no_grad():
            wanted = torch.log_softmax(logits(self.teacher, batch), dim=-1)
        found = torch.log_softmax(logits(self.model, batch), dim=-1)
        divergence = F.kl_div(found, wanted, reduction="none", log_target=True).sum(-1)
        return batch.of_tokens(divergence).mean()

    def after_update(self) -> None:
        """Freed weights are zero."""
        for name, mask in self.freed.items():
            self.parameters[name].masked_fill_(mask, 0.0)


class _Expansion(nn.Module):
    """A matrix some of whose weights are separate parameters."""

    cells: Tensor

    def __init__(self, cells: Tensor, device: torch.device) -> None:
        super().__init__()
        self.register_buffer("cells", cells.to(device))
        self.values = nn.Parameter(torch.zeros(len(cells), device=device))

    def forward(self, matrix: Tensor) -> Tensor:
        return matrix.flatten().index_copy(0, self.cells, self.values).view_as(matrix)


def expand(model: Any, name: str, mask: Tensor) -> nn.Parameter:
    """Let a matrix of the model take the weights under the mask from a parameter, which starts at zero."""
    module = model.get_submodule(name.removesuffix(".weight"))
    expansion = _Expansion(mask.flatten().nonzero().flatten(), module.weight.device)
    parametrize.register_parametrization(module, "weight", expansion)
    return expansion.values


def matrices(model: Any) -> dict[str, nn.Parameter]:
    """Weights of the projections of attention and feed-forward layers."""
    return {name: p for name, p in model.named_parameters() if ".layers." in name and p.dim() == 2}


def smallest(matrix: Tensor, share: float) -> Tensor:
    """True at exactly round(share * n) entries: those of smallest magnitude, ties by index."""
    order = torch.argsort(matrix.detach().abs().flatten(), stable=True)
    mask = torch.zeros(matrix.numel(), dtype=torch.bool)
    mask[order[: round(share * matrix.numel())].cpu()] = True
    return mask.view(matrix.shape)
