"""Importance of memory cells by the Jensen-Shannon-like divergence between two dropout passes; no labels needed."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fmalloc.model.architectures import feed_forward_layers, load_base
from fmalloc.model.devices import Device
from fmalloc.model.feedforward import MaskedFeedForward, replace
from fmalloc.model.objective import logits
from fmalloc.model.text.batches import Batch, Example, TrainingBatches
from fmalloc.store.records import ImportanceRecord
from fmalloc.training.checkpoint import Checkpoint, Interval
from fmalloc.training.distributed import Group
from fmalloc.training.feed import Feed
from fmalloc_shared.commands.progress import bar, console
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair

NO_DROPOUT = (
    "every cell's importance is 0: the two passes do not differ; set dropout (e.g. 0.1) in the base's config.json"
)
# Batches after which it is looked at first whether ranks are stable, and how often afterwards; both halves get as many.
FIRST_LOOK, _LOOK_EVERY = 20, 10
_AGREE = 0.9


@dataclass(frozen=True)
class Importance:
    """`values`: importance by layer, float64 of shape (width,); `record`: how it was measured and how stable it is."""

    values: dict[str, NDArray[np.float64]]
    record: ImportanceRecord


def divergence(model: Any, batch: Batch) -> Tensor:
    """J = (KL(p||q) + KL(q||p)) / 2 of two passes with independent dropout, summed over target positions."""
    first, second = (torch.log_softmax(logits(model, batch), dim=-1) for _ in range(2))
    both = ((first.exp() - second.exp()) * (first - second)).sum(-1) / 2
    return batch.of_tokens(both).sum()


def cell_importance(
    directory: Any,
    examples: Sequence[Example],
    device: Device,
    *,
    batches: int,
    batch_tokens: int,
    seed: int,
    stable: float | None = None,
    languages: LanguagePair | None = None,
    partial: Path | None = None,
) -> Importance:
    """I_i = mean over batches of |dJ/dm_i| / target tokens of the batch, accumulated in float64.

    `batches` are the most. `stable` ends it sooner: once ranks would agree so well with those of as many other
    batches, by the agreement of the two halves. What was measured so far is kept at `partial`, and gone on from.

    Of several processes each measures some of the batches, the same ones that one process would; what they
    find is summed up wherever it is looked at.

    Raises:
        FmallocError: every importance is 0 (a model without dropout has no divergence).
    """
    model, tokenizer = load_base(directory, languages)
    masked = {layer.name: MaskedFeedForward(layer, torch.ones(layer.width)) for layer in feed_forward_layers(model)}
    for layer in feed_forward_layers(model):
        replace(layer, masked[layer.name])
    model.to(device.torch).train()
    sums, group = _Sums({name: len(module.mask) for name, module in masked.items()}, device.torch), Group.current()
    for name, module in masked.items():
        module.fc2.register_forward_pre_hook(sums.noting(name))
    source = TrainingBatches(examples, batch_tokens, tokenizer.pad_token_id, seed)
    leaves = [module.mask.requires_grad_() for module in masked.values()]
    measured, interval = group.on_first(lambda: sums.resume(partial)), Interval()
    batch_feed = Feed(source, device.torch, model.config, step=group.size)
    with bar("importance", batches, measured) as advance, closing(batch_feed) as feed:
        for index in range(measured, batches):
            if index % group.size == group.rank:
                torch.manual_seed(seed * 1_000_003 + index)
                batch = feed.part(index).batch
                with device.autocast():
                    total = divergence(model, batch)
                sums.add(index % 2, torch.autograd.grad(total, leaves), batch.target_tokens)
            measured = index + 1
            advance()
            if stable and _is_looked_at(measured) and expected_agreement(agreement(sums.of(group).halves)) >= stable:
                break
            if partial and measured % group.size == 0 and group.largest(interval.passed()):
                found = sums.of(group)
                if group.first:
                    Checkpoint(found.tensors(), {"batches": measured}).write(partial)
    found = sums.of(group)
    values = {name: sum(half[name] for half in found.halves) / measured for name in masked}
    return Importance(values, _record(values, found, batches=measured, batch_tokens=batch_tokens, seed=seed))


class _Found(NamedTuple):
    """What was measured by layer: the sums of both halves, float64 (width,), and which cells fired, bool (width,)."""

    halves: list[dict[str, NDArray[np.float64]]]
    fired: dict[str, NDArray[np.bool_]]

    def tensors(self) -> dict[str, Tensor]:
        """All of it, by flat name."""
        sums = {
            f"{half}.{name}": torch.from_numpy(v) for half, part in enumerate(self.halves) for name, v in part.items()
        }
        return sums | {f"fired.{name}": torch.from_numpy(flags) for name, flags in self.fired.items()}


class _Sums:
    """What one process has measured; it stays on the device, which nothing waits for."""

    def __init__(self, widths: Mapping[str, int], place: torch.device) -> None:
        self._halves = [
            {name: torch.zeros(width, dtype=torch.float64, device=place) for name, width in widths.items()}
            for _ in range(2)
        ]
        self._fired = {name: torch.zeros(width, dtype=torch.bool, device=place) for name, width in widths.items()}

    def add(self, half: int, gradients: Sequence[Tensor], tokens: int) -> None:
        """One batch's gradients of the masks, in the order of the layers."""
        for total, gradient in zip(self._halves[half].values(), gradients, strict=True):
            total += gradient.abs().double() / tokens

    def noting(self, name: str) -> Any:
        """A hook of fc2 that notes which cells fire."""

        def hook(_module: Any, inputs: tuple[Tensor]) -> None:
            self._fired[name] |= (inputs[0] != 0).flatten(0, -2).any(0)

        return hook

    def of(self, group: Group) -> _Found:
        """Of all processes together."""
        own = [
            *(total for half in self._halves for total in half.values()),
            *(f.double() for f in self._fired.values()),
        ]
        found = [tensor.cpu().numpy() for tensor in (group.add_up(own) if group.size > 1 else own)]
        count = len(self._fired)
        first, second, fired = (dict(zip(self._fired, found[i * count :][:count], strict=True)) for i in range(3))
        return _Found([first, second], {name: counts > 0 for name, counts in fired.items()})

    def resume(self, partial: Path | None) -> int:
        """Fill in what was kept; how many batches that were."""
        checkpoint = Checkpoint.read(partial) if partial else None
        if checkpoint is None:
            return 0
        sums = {f"{half}.{name}": total for half, part in enumerate(self._halves) for name, total in part.items()}
        for name, tensor in (sums | {f"fired.{name}": flags for name, flags in self._fired.items()}).items():
            tensor.copy_(checkpoint.tensors[name])
        return int(checkpoint.state["batches"])


def _is_looked_at(measured: int) -> bool:
    return measured >= FIRST_LOOK and measured % _LOOK_EVERY == 0


def agreement(halves: Sequence[Mapping[str, NDArray[np.float64]]]) -> float:
    """Rank correlation of two measurements of every layer's cells, the mean over layers."""
    first, second = halves
    return float(np.mean([rank_correlation(first[name], second[name]) for name in first]))


def expected_agreement(halves: float) -> float:
    """Of two measurements that are twice as long as the halves that agree so well (Spearman 1910, Brown 1910)."""
    return 2 * halves / (1 + halves) if halves > -1 else -1.0


def _record(
    values: dict[str, NDArray[np.float64]],
    found: _Found,
    **settings: int,
) -> ImportanceRecord:
    if not any(value.any() for value in values.values()):
        raise FmallocError(NO_DROPOUT)
    correlation = agreement(found.halves)
    if (expected := expected_agreement(correlation)) < _AGREE:
        console.print(
            f"[yellow]importance would agree only {expected:.2f} with the ranks of as many other batches[/]: "
            "use more batches or more general text"
        )
    dead = {name: int((~flags).sum()) for name, flags in found.fired.items()}
    return ImportanceRecord(rank_correlation=correlation, dead_cells=dead, **settings)


def rank_correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Spearman's rank correlation, tied values sharing their mean rank; 1 if either is constant."""
    a, b = _ranks(first), _ranks(second)
    if a.std() == 0 or b.std() == 0:
        return 1.0
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse], dtype=np.float64)
