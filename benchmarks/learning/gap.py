"""How far a task's cells follow fine-tuning of every parameter, and what closes the gap; writes results/gap.json.

Every variant learns a domain with the same small budget, from the same base and importance, and is judged by the dev
NLL of its best state under the hard mask. The share of the gain: (base - variant) / (base - single fine-tuning).
Variants are kept below `.work/gap`, so a killed run goes on where it stopped.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from benchmarks.common import Goal, once, write_results
from fmalloc.corpus import read_corpus
from fmalloc.learning.cells.allocation import Allocation, offered_cells
from fmalloc.learning.data import TaskData
from fmalloc.learning.importance import cell_importance
from fmalloc.learning.learner import Learner
from fmalloc.learning.recovery import Distillation
from fmalloc.learning.run import Run
from fmalloc.methods.finetuning import FineTuning
from fmalloc.model.architectures import feed_forward_layers, load_base
from fmalloc.model.assembly import trainable_parameters
from fmalloc.model.devices import select
from fmalloc.model.text.batches import encode
from fmalloc.recipe import LearningSettings, Recipe
from fmalloc.store.cells import general_mask
from fmalloc.store.tensors import general_bytes, memory_bytes, private_bytes, read_importance
from fmalloc.training.loop import Training
from fmalloc.training.trainable import Trainable
from fmalloc_shared.languages import LanguagePair
from fmalloc_shared.names import GENERAL

_LANGUAGES = LanguagePair("de", "en")
_DEV_PAIRS = 400
_TRAIN_PAIRS = 30_000
_UPDATES = 150
_BUDGET = {
    "updates": _UPDATES,
    "gates": "closed",
    "gate_learning_rate": 1e-2,
    "share": 1.0,
    "batch_tokens": 1000,
    "learning_rate": 2e-3,
    "validate_every": 50,
    "maximum_length": 72,
    "validation_sentences": 0,
    "select_by": "nll",
}


@dataclass(frozen=True)
class Variant:
    """Learning settings that differ from the recipe's defaults.

    `parameters`: trains those of a copy of the base whose names match, instead; all of them for "".
    """

    name: str
    sparsity: float = 0.2
    changes: Mapping[str, Any] = field(default_factory=dict)
    parameters: str | None = None


_OPEN = {"gates": "open"}
_SLOW = {"learning_rate": 1e-3}
_INNER = ["norms", "biases", "attention"]
_OUTER = ["embeddings", "output"]
_FAST = {**_OPEN, "private_learning_rate": 1e-2}
_RANKED = {
    **_OPEN,
    "learning_rate": 6e-3,
    "private": ["norms", "biases", *_OUTER],
    "private_rank": 64,
    "private_learning_rate": 5e-3,
}
VARIANTS = (
    Variant("single", parameters="", changes=_SLOW),
    Variant("single, embeddings alone", parameters="shared", changes=_SLOW),
    Variant("single, all but embeddings", parameters="layers", changes=_SLOW),
    Variant("closed"),
    Variant("closed, gates at 4e-2", changes={"gate_learning_rate": 4e-2}),
    Variant("open", changes=_OPEN),
    Variant("open, no fresh cells", changes={**_OPEN, "fresh_cells": False}),
    Variant("open, norms, biases and attention", changes={**_OPEN, "private": _INNER}),
    Variant("open, norms, biases and attention at 1e-2", changes={**_FAST, "private": _INNER}),
    Variant("open, embeddings and output", changes={**_FAST, "private": _OUTER}),
    Variant("a fifth of 40 %, all private", sparsity=0.4, changes={**_FAST, "share": 0.2, "private": _INNER + _OUTER}),
    Variant("open, 40 % freed, cells at 6e-3", sparsity=0.4, changes={**_OPEN, "learning_rate": 6e-3}),
    Variant("open, output", changes={**_FAST, "private": ["output"]}),
    Variant(
        "open, 40 % freed, cells at 6e-3, embeddings and output",
        sparsity=0.4,
        changes={**_FAST, "learning_rate": 6e-3, "private": _OUTER},
    ),
    Variant("a fifth of 20 %, cells at 6e-3, rank 64", changes={**_RANKED, "share": 0.2}),
)


@dataclass(frozen=True)
class Setting:
    """What all variants share."""

    base: Path
    corpora: Path
    work: Path

    def run(self, domain: str) -> Run:
        """The domain with as many dev pairs as validation takes."""
        recipe = Recipe.model_validate(
            {
                "base": str(self.base),
                "general": str(self.corpora / "general"),
                "learning": _BUDGET,
                "tasks": [{"name": f"as-{domain}", "data": str(self.corpora / domain)}],
            }
        )
        corpus = read_corpus(recipe.tasks[0].data, _LANGUAGES)
        corpus = replace(corpus, train=corpus.train[:_TRAIN_PAIRS], dev=corpus.dev[:_DEV_PAIRS])
        return Run(recipe, _LANGUAGES, {domain: corpus}, select("auto", "bfloat16"))

    def importance(self) -> dict[str, Any]:
        """Importance of the base's cells, measured once."""
        path = self.work / "importance.safetensors"
        if not path.exists():
            _, tokenizer = load_base(self.base, _LANGUAGES)
            pairs = read_corpus(self.corpora / "general", _LANGUAGES).train[:40_000:8]
            examples = encode(tokenizer, pairs, _LANGUAGES, maximum_length=72).examples
            found = cell_importance(
                self.base, examples, select("auto", "bfloat16"), batches=20, batch_tokens=2000, seed=1
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            ones = {name: np.ones(len(values), dtype=np.bool_) for name, values in found.values.items()}
            path.write_bytes(general_bytes(found.values, ones))
        return read_importance(path)


def measure(setting: Setting, domain: str, variant: Variant) -> dict[str, Any]:
    """Learn a domain; dev NLL at each validation, cells claimed, and bytes that the task leaves."""
    run = setting.run(domain)
    settings = LearningSettings.model_validate({**_BUDGET, **variant.changes}).fitted(_UPDATES)
    model, tokenizer = load_base(setting.base, _LANGUAGES)
    data = TaskData.of(run, domain, tokenizer, settings)
    validator = data.validator(run, tokenizer, settings, lambda _model: {})
    batches = data.batches(tokenizer, settings)
    trainable: Trainable
    if variant.parameters is not None:
        chosen = {name: p for name, p in trainable_parameters(model).items() if re.search(variant.parameters, name)}
        trainable = FineTuning(model, validator, settings, chosen)
    else:
        trainable = Learner(
            model, _allocations(setting, model, variant.sparsity, settings), batches, validator, settings
        )
    checkpoint = setting.work / domain / f"{variant.name}.safetensors"
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    training = Training(trainable, batches, settings.schedule(), run.device, checkpoint, f"{domain}, {variant.name}")
    training.run()
    checkpoint.unlink(missing_ok=True)
    curve = training.progress.curve
    best = curve[training.progress.best]
    result: dict[str, Any] = {
        "nll": best.nll,
        "curve": [[point.update, point.nll] for point in curve],
        "claimed": best.claimed,
        "private_bytes": 0,
        "bytes": sum(tensor.numel() * 4 for tensor in trainable.tensors().values()),
    }
    if isinstance(trainable, Learner):
        private = trainable.private_parameters()
        result["private_bytes"] = len(private_bytes(private)) if private else 0
        result["bytes"] = len(memory_bytes(trainable.memories())) + result["private_bytes"]
    return result


def measure_recovery(setting: Setting, sparsity: float) -> dict[str, Any]:
    """Dev NLL of general text: of the base, pruned, and after each fifth of a short recovery."""
    run = setting.run(GENERAL)
    settings = LearningSettings.model_validate({**_BUDGET, "learning_rate": 5e-4, "validate_every": 20}).fitted(100)
    teacher, tokenizer = load_base(setting.base, _LANGUAGES)
    student, _ = load_base(setting.base, _LANGUAGES)
    data = TaskData.of(run, GENERAL, tokenizer, settings)
    validator = data.validator(run, tokenizer, settings, lambda _model: {})
    untouched = validator.point(teacher, 0).nll
    masks = {name: general_mask(values, sparsity) for name, values in setting.importance().items()}
    trainable = Distillation(student, teacher, masks, validator, settings.learning_rate)
    path = setting.work / GENERAL / "recovery.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    batches = data.batches(tokenizer, settings)
    training = Training(trainable, batches, settings.schedule(), run.device, path, "recovery")
    training.run()
    path.unlink(missing_ok=True)
    return {"base": untouched, "curve": [[point.update, point.nll] for point in training.progress.curve]}


def _allocations(setting: Setting, model: Any, sparsity: float, settings: LearningSettings) -> dict[str, Allocation]:
    none, importance, share = np.empty(0, dtype=np.int64), setting.importance(), settings.share
    assert isinstance(share, float)
    allocations = {}
    for layer in feed_forward_layers(model):
        kept = general_mask(importance[layer.name], sparsity)
        free = offered_cells(np.flatnonzero(~kept), share, settings.seed)
        allocations[layer.name] = Allocation(layer.width, np.flatnonzero(kept), none, free)
    return allocations


def goals(found: Mapping[str, Mapping[str, dict[str, Any]]]) -> list[Goal]:
    """How near the nearest variant comes to single fine-tuning, by domain."""
    tried = {variant.name for variant in VARIANTS if variant.parameters is None}
    met: list[Goal] = []
    for domain, rows in found.items():
        best = max(row["share"] for name, row in rows.items() if name in tried)
        name = f"{domain}: share of single fine-tuning's gain in dev NLL, best variant"
        met.append({"name": name, "value": best, "goal": ">= 0.9", "met": best >= 0.9})
    return met


@click.command()
@click.option("--base", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--corpora", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path(".work/gap"))
@click.option("--domain", "domains", multiple=True, default=["it"])
def main(base: Path, corpora: Path, work: Path, domains: tuple[str, ...]) -> None:
    """Learn each domain with each variant."""
    torch.set_num_threads(1)
    setting = Setting(base, corpora, work)
    found: dict[str, dict[str, Any]] = {}
    for domain in domains:
        rows = {}
        for variant in VARIANTS:
            path = work / domain / f"{variant.name}.json"
            rows[variant.name] = once(path, partial(measure, setting, domain, variant))
            start, best = rows["single"]["curve"][0][1], rows["single"]["nll"]
            rows[variant.name]["share"] = (start - rows[variant.name]["nll"]) / (start - best)
            click.echo(f"{domain} {variant.name}: {rows[variant.name]}")
        found[domain] = rows
    recovery = {
        f"{sparsity:.0%} freed": once(work / GENERAL / f"{sparsity}.json", partial(measure_recovery, setting, sparsity))
        for sparsity in (0.4,)
    }
    write_results("gap", {"domains": found, "recovery": recovery, "settings": _BUDGET}, goals(found))


if __name__ == "__main__":
    main()
