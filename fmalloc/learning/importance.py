"""Importance of memory cells by the Jensen-Shannon-like divergence between two dropout passes; no labels needed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fmalloc.model.architectures import feed_forward_layers, load_base
from fmalloc.model.devices import Device
from fmalloc.model.feedforward import MaskedFeedForward, replace
from fmalloc.model.objective import logits
from fmalloc.model.text.batches import IGNORED, Batch, Example, TrainingBatches
from fmalloc.store.records import ImportanceRecord
from fmalloc.training.checkpoint import Checkpoint, Interval
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
    return both[batch.target != IGNORED].sum()


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

    Raises:
        FmallocError: every importance is 0 (a model without dropout has no divergence).
    """
    model, tokenizer = load_base(directory, languages)
    masked = {layer.name: MaskedFeedForward(layer, torch.ones(layer.width)) for layer in feed_forward_layers(model)}
    fired = {name: torch.zeros(len(module.mask), dtype=torch.bool) for name, module in masked.items()}
    for layer in feed_forward_layers(model):
        module = masked[layer.name]
        replace(layer, module)
        module.fc2.register_forward_pre_hook(_note_fired(fired, layer.name))
    model.to(device.torch).train()
    halves = [{name: np.zeros(len(m.mask)) for name, m in masked.items()} for _ in range(2)]
    source = TrainingBatches(examples, batch_tokens, tokenizer.pad_token_id, seed)
    leaves = [module.mask.requires_grad_() for module in masked.values()]
    sums = _sums(halves, fired)
    done, interval = _resumed(partial, sums), Interval()
    measured = done
    with bar("importance", batches, done) as advance:
        for index in range(done, batches):
            torch.manual_seed(seed * 1_000_003 + index)
            batch = source.batch(index).to(device.torch)
            with device.autocast():
                total = divergence(model, batch)
            for name, gradient in zip(masked, torch.autograd.grad(total, leaves), strict=True):
                halves[index % 2][name] += gradient.abs().double().cpu().numpy() / batch.target_tokens
            measured = index + 1
            advance()
            if stable and _is_looked_at(measured) and expected_agreement(agreement(halves)) >= stable:
                break
            if partial and interval.passed():
                Checkpoint(sums, {"batches": measured}).write(partial)
    values = {name: (halves[0][name] + halves[1][name]) / measured for name in masked}
    return Importance(values, _record(values, halves, fired, batches=measured, batch_tokens=batch_tokens, seed=seed))


def _is_looked_at(measured: int) -> bool:
    return measured >= FIRST_LOOK and measured % _LOOK_EVERY == 0


def agreement(halves: Sequence[Mapping[str, NDArray[np.float64]]]) -> float:
    """Rank correlation of two measurements of every layer's cells, the mean over layers."""
    first, second = halves
    return float(np.mean([rank_correlation(first[name], second[name]) for name in first]))


def expected_agreement(halves: float) -> float:
    """Of two measurements that are twice as long as the halves that agree so well (Spearman 1910, Brown 1910)."""
    return 2 * halves / (1 + halves) if halves > -1 else -1.0


def _sums(halves: list[dict[str, NDArray[np.float64]]], fired: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that share the memory of what is summed up."""
    sums = {f"{half}.{name}": torch.from_numpy(v) for half, values in enumerate(halves) for name, v in values.items()}
    return sums | {f"fired.{name}": flags for name, flags in fired.items()}


def _resumed(partial: Path | None, sums: dict[str, Tensor]) -> int:
    """Fill in what was kept; how many batches that were."""
    checkpoint = Checkpoint.read(partial) if partial else None
    if checkpoint is None:
        return 0
    for name, tensor in sums.items():
        tensor.copy_(checkpoint.tensors[name])
    return int(checkpoint.state["batches"])


def _note_fired(fired: dict[str, Tensor], name: str) -> Any:
    def hook(_module: Any, inputs: tuple[Tensor]) -> None:
        fired[name] |= (inputs[0] != 0).flatten(0, -2).any(0).cpu()

    return hook


def _record(
    values: dict[str, NDArray[np.float64]],
    halves: list[dict[str, NDArray[np.float64]]],
    fired: dict[str, Tensor],
    **settings: int,
) -> ImportanceRecord:
    if not any(value.any() for value in values.values()):
        raise FmallocError(NO_DROPOUT)
    correlation = agreement(halves)
    if (expected := expected_agreement(correlation)) < _AGREE:
        console.print(
            f"[yellow]importance would agree only {expected:.2f} with the ranks of as many other batches[/]: "
            "use more batches or more general text"
        )
    dead = {name: int((~flags).sum()) for name, flags in fired.items()}
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
