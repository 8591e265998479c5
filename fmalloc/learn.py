"""Learn one task: claim free cells under annealed gates, select under the hard mask, harden into memories."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fmalloc.allocation import Allocation, fresh_blocks, initial_gates
from fmalloc.architectures import feed_forward_layers
from fmalloc.batches import Example, TrainingBatches
from fmalloc.cells import Cells, Mask
from fmalloc.checkpoint import Checkpoint, Interval, optimizer_tensors, restore_optimizer
from fmalloc.corpus import Languages, Pair
from fmalloc.devices import Device
from fmalloc.evaluate import evaluate
from fmalloc.feedforward import GatedFeedForward, block_of, replace
from fmalloc.gate import GATE_LIMIT, temperature
from fmalloc.memory import Memory
from fmalloc.objective import check_loss, inverse_square_root, nll, smoothed_loss
from fmalloc.progress import bar, console
from fmalloc.recipe import LearningSettings
from fmalloc.records import CurvePoint
from fmalloc_shared.files import write_atomically

_FRESH_BATCHES = 8
_CLAIMED_LITTLE = 0.01
_NLL_FELL = 0.05


@dataclass(frozen=True)
class TaskData:
    """Encoded training pairs, encoded dev pairs for the NLL, and the dev pairs that are translated."""

    train: Sequence[Example]
    dev: Sequence[Example]
    dev_pairs: Sequence[Pair]


@dataclass
class Progress:
    """Where learning stands; together with the tensors all that resuming needs."""

    update: int = 0
    curve: list[CurvePoint] = field(default_factory=list)
    best: int = 0
    done: bool = False

    def state(self) -> dict[str, Any]:
        """JSON-able content."""
        return {**self.__dict__, "curve": [point.model_dump() for point in self.curve]}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> "Progress":
        """Undo `state`."""
        return cls(**{**state, "curve": [CurvePoint.model_validate(point) for point in state["curve"]]})


class Learner:
    """Learns one task in a dense model that holds the base and all earlier tasks' cells; resumable from `work`."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        languages: Languages,
        allocations: Mapping[str, Allocation],
        data: TaskData,
        settings: LearningSettings,
        device: Device,
        work: Path,
    ) -> None:
        self.model, self.tokenizer, self.languages = model.to(device.torch), tokenizer, languages
        self.allocations, self.data, self.settings, self.device = allocations, data, settings, device
        self.path = work / "checkpoint.safetensors"
        self.batches = TrainingBatches(data.train, settings.batch_tokens, tokenizer.pad_token_id, settings.seed)
        self.gated = self._install()
        self.optimizer = torch.optim.AdamW(
            [
                {"params": self._weights(), "weight_decay": settings.weight_decay, "lr": settings.learning_rate},
                {"params": self._gates(), "weight_decay": 0.0, "lr": settings.gate_learning_rate},
            ],
            betas=(0.9, 0.98),
        )
        self.rates = (settings.learning_rate, settings.gate_learning_rate)
        self.progress = Progress()
        self.best = self._snapshot()

    def _install(self) -> dict[str, GatedFeedForward]:
        settings = self.settings
        generator = torch.Generator().manual_seed(settings.seed)
        first = [self.batches.batch(index) for index in range(_FRESH_BATCHES)]
        fresh = fresh_blocks(self.model, self.allocations, first, settings.seed) if settings.fresh_cells else {}
        gated = {}
        for layer in feed_forward_layers(self.model):
            allocation, cells = self.allocations[layer.name], block_of(layer)
            read = cells.select(torch.from_numpy(allocation.read))
            write = fresh.get(layer.name) or cells.select(torch.from_numpy(allocation.writable))
            gates = initial_gates(allocation, generator)
            gated[layer.name] = GatedFeedForward(layer, read, write, gates, settings.tau_max).to(self.device.torch)
            replace(layer, gated[layer.name])
        return gated

    def _weights(self) -> list[Tensor]:
        return [weight for module in self.gated.values() for weight in (module.keys, module.biases, module.values)]

    def _gates(self) -> list[Tensor]:
        return [module.gates for module in self.gated.values()]

    def _snapshot(self) -> dict[str, Tensor]:
        return {
            f"{name}.{parameter}": tensor.detach().clone()
            for name, module in self.gated.items()
            for parameter, tensor in module.named_parameters()
        }

    def _load(self, tensors: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, module in self.gated.items():
                for parameter, tensor in module.named_parameters():
                    tensor.copy_(tensors[f"{name}.{parameter}"])

    def resume(self) -> None:
        """Go on from the last checkpoint, if there is one."""
        if checkpoint := Checkpoint.read(self.path):
            parts: dict[str, dict[str, Tensor]] = {"now": {}, "best": {}, "optimizer": {}}
            for name, tensor in checkpoint.tensors.items():
                part, _, rest = name.partition(".")
                parts[part][name if part == "optimizer" else rest] = tensor
            self._load(parts["now"])
            self.best = {name: tensor.to(self.device.torch) for name, tensor in parts["best"].items()}
            restore_optimizer(self.optimizer, parts["optimizer"])
            self.progress = Progress.of(checkpoint.state)
            console.print(f"resuming at update {self.progress.update}")

    def save(self) -> None:
        """Replace the checkpoint."""
        tensors = {f"now.{name}": tensor for name, tensor in self._snapshot().items()}
        tensors |= {f"best.{name}": tensor.clone() for name, tensor in self.best.items()}
        Checkpoint(tensors | optimizer_tensors(self.optimizer), self.progress.state()).write(self.path)

    def run(self, name: str) -> None:
        """Learn until the updates or the patience end; `best` holds the selected state."""
        self.resume()
        state, settings, interval = self.progress, self.settings, Interval()
        if not state.curve:
            self._validate()
        with bar(f"learning {name}", settings.updates, state.update) as advance:
            while not state.done:
                loss = self._step(name)
                advance(note=f"loss {loss:.3f}")
                if state.update % settings.validate_every == 0 or state.update == settings.updates:
                    self._validate()
                if interval.passed() or state.done:
                    self.save()
        self._load(self.best)
        self._report(name)

    def _step(self, name: str) -> float:
        state, settings = self.progress, self.settings
        torch.manual_seed(settings.seed * 1_000_003 + state.update)
        factor = inverse_square_root(state.update, settings.warmup_updates)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        tau = temperature(state.update, settings.anneal_updates, settings.tau_max)
        for module in self.gated.values():
            module.tau = tau
        self.model.train()
        batch = self.batches.batch(state.update).to(self.device.torch)
        with self.device.autocast():
            loss = smoothed_loss(self.model, batch, settings.label_smoothing)
        check_loss(value := float(loss.detach()), state.update, f"task {name}")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        with torch.no_grad():
            for gates in self._gates():
                gates.clamp_(-GATE_LIMIT, GATE_LIMIT)
        state.update += 1
        return value

    def _validate(self) -> None:
        """Score dev under the hard mask, remember the best state, and decide whether to stop."""
        state, settings = self.progress, self.settings
        for module in self.gated.values():
            module.tau = None
        self.model.eval()
        pad = self.tokenizer.pad_token_id
        measured = nll(self.model, self.data.dev, self.device, batch_tokens=settings.batch_tokens, pad=pad)
        pairs = self.data.dev_pairs[: settings.validation_sentences]
        score = evaluate(self.model, self.tokenizer, pairs, self.languages, beam_size=1).score
        claimed = sum(len(cells) for cells in self._claimed().values())
        point = CurvePoint(
            update=state.update,
            bleu=score.bleu,
            chrf=score.chrf,
            nll=measured.true,
            nll_shuffled=measured.shuffled,
            claimed=claimed,
        )
        state.curve.append(point)
        console.print(
            f"update {point.update}: dev BLEU {point.bleu:.2f}, chrF {point.chrf:.2f}, {measured}, {claimed} claimed"
        )
        if not measured.uses_source:
            console.print("[bold red]Sources make no difference to this model: it does not translate.[/]")
        if _rank(point) >= max(_rank(earlier) for earlier in state.curve):
            state.best = len(state.curve) - 1
            self.best = self._snapshot()
        waited = len(state.curve) - 1 - state.best
        state.done = state.update >= settings.updates or waited >= settings.patience

    def _claimed(self) -> dict[str, Cells]:
        """Ids of the writable cells whose gate is open, by layer."""
        claimed = {}
        for name, module in self.gated.items():
            allocation = self.allocations[name]
            is_open = (module.gates.detach()[len(allocation.read) :] > 0).cpu().numpy()
            claimed[name] = allocation.writable[is_open]
        return claimed

    def _report(self, name: str) -> None:
        offered = sum(len(allocation.writable) for allocation in self.allocations.values())
        claimed = sum(len(cells) for cells in self._claimed().values())
        console.print(f"{name}: claims {claimed} of {offered} free cells")
        if claimed < _CLAIMED_LITTLE * offered:
            first, last = self.progress.curve[0], self.progress.curve[-1]
            console.print(f"[yellow]{name} claimed almost nothing[/]: {_advice(first, last)}")

    def memories(self) -> dict[str, Memory]:
        """The selected state, hardened: mask, and weights of the cells that the task now owns."""
        return {name: _harden(module, self.allocations[name]) for name, module in self.gated.items()}


def _advice(first: CurvePoint, last: CurvePoint) -> str:
    if last.nll < first.nll - _NLL_FELL:
        return (
            f"its dev NLL fell from {first.nll:.2f} to {last.nll:.2f}, but no state had a better dev BLEU than the "
            "general model; give it more updates"
        )
    return "raise gate_learning_rate or updates, or its text is what the general model knows already"


def _rank(point: CurvePoint) -> tuple[float, float]:
    return round(point.bleu, 2), -point.nll


def _harden(module: GatedFeedForward, allocation: Allocation) -> Memory:
    """m_i = [e_i > 0]; cells that end switched off stay nobody's, with their pretrained weights."""
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


def claim_work(work: Path, settings: Mapping[str, Any]) -> None:
    """Make a work folder; what a run with other settings or data left there is dropped, not mixed in."""
    file = work / "settings.json"
    text = json.dumps(settings, indent=1, sort_keys=True)
    if work.exists() and not (file.is_file() and file.read_text(encoding="utf-8") == text):
        console.print(f"{work.name}: settings or data changed since the last run, this step starts anew")
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    write_atomically(file, text.encode())
