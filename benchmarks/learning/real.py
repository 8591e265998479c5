"""The real run: two domains learned, compiled and routed to on real text, beside fine-tuning each alone.

Every stage is kept below `.work/real`, so a killed run goes on where it stopped. Writes results/real.json.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.common import Goal, versions, write_results
from benchmarks.experiment.routed import LINES_PER_DOCUMENT, Documents
from fmalloc.evaluation.evaluate import evaluate, score
from fmalloc.evaluation.matrix import Matrix
from fmalloc.learning.run import Run
from fmalloc.model.architectures import load_base
from fmalloc.model.assembly import load_sliced
from fmalloc.model.devices import select
from fmalloc.pretraining.pretrain import pretrain
from fmalloc.pretraining.texts import Text
from fmalloc.pretraining.trainable import PretrainingSettings
from fmalloc.recipe import Recipe, TaskSettings, read_recipe
from fmalloc.report.status import print_status
from fmalloc.store.store import Store
from fmalloc.train import learn_tasks
from fmalloc_export.export import Exporter
from fmalloc_export.options import Options
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.live.registry import Registry
from fmalloc_runtime.live.translator import EngineSettings
from fmalloc_shared.commands.progress import console
from fmalloc_shared.files import sha256_files, write_atomically
from fmalloc_shared.names import GENERAL


def learn(recipe: Recipe, bundles: Path) -> tuple[Store, dict[str, bool]]:
    """Learn the first task, export it, learn the rest, export it again: were its files the same?"""
    first = recipe.tasks[0].name
    if not bundles.exists():
        store = learn_tasks(recipe.model_copy(update={"tasks": recipe.tasks[:1]}))
        export(store, bundles / "before", "float32", [first])
    task = sha256_files(recipe.store / "tasks" / first)
    store = learn_tasks(recipe)
    export(store, bundles / "after", "float32", [first])
    same = {
        "task": sha256_files(recipe.store / "tasks" / first) == task,
        "bundle": sha256_files(bundles / "before") == sha256_files(bundles / "after"),
    }
    return store, same


def export(store: Store, bundles: Path, quantization: str, tasks: Sequence[str] = ()) -> None:
    """Bundles of some tasks, or of general and all."""
    Exporter.of(store.path, tasks, bundles, Options(quantization=quantization), ()).export(force=False, live=True)


def row_of(run: Run, kept: Path, model: Path | Store) -> dict[str, Any]:
    """BLEU and chrF of a model, or of a store's general model, on every domain's test set; `kept` once measured."""
    if not kept.exists():
        loaded, tokenizer = load_sliced(model, GENERAL) if isinstance(model, Store) else load_base(model)
        settings, row = run.recipe.evaluation, {}
        for domain, corpus in run.corpora.items():
            pairs = corpus.test[: settings.sentences]
            metrics = evaluate(loaded, tokenizer, pairs, run.languages, beam_size=settings.beam_size)
            row[domain] = metrics.score.model_dump()
            console.print(f"{kept.stem} on {domain}: {row[domain]}")
        write_atomically(kept, json.dumps(row).encode())
    row = json.loads(kept.read_text())
    return dict(row)


def fine_tune(run: Run, task: TaskSettings, output: Path) -> Path:
    """The task alone: every parameter of a copy of the base, with the task's own budget; lowest dev NLL selects."""
    if not output.exists():
        learning = run.plans[task.name].learning
        settings = PretrainingSettings(
            replace(learning.schedule(), patience=None, select_by="nll"),
            batch_tokens=learning.batch_tokens,
            learning_rate=1e-3,
            maximum_length=learning.maximum_length,
            label_smoothing=learning.label_smoothing,
        )
        pretrain([Text(task.data)], output, run.languages, run.recipe.base, settings, run.device)
    return output


def route(run: Run, bundles: Path) -> dict[str, Any]:
    """Translate all test sets as documents of ten lines: routed, with the domain told, and all as general."""
    served = Registry(bundles, EngineSettings(device="cpu")).load()
    texts = {domain: corpus.test[: run.recipe.evaluation.sentences] for domain, corpus in run.corpora.items()}
    found = [
        Documents.translate(served, domain, [pair.source for pair in pairs], TranslationOptions())
        for domain, pairs in texts.items()
    ]
    references = [pair.target for pairs in texts.values() for pair in pairs]
    outputs = {
        "routed": [text for one in found for text in one.routed],
        "oracle": [text for one in found for text in one.told],
        "general": [text for one in found for text in one.general],
    }
    documents = sum(len(one.chosen) for one in found)
    return {
        "documents": documents,
        "lines_a_document": LINES_PER_DOCUMENT,
        "accuracy": sum(one.right for one in found) / documents,
        "scores": {label: score(lines, references).score.model_dump() for label, lines in outputs.items()},
    }


def goals(store: Store, same: dict[str, bool], rows: Any, routing: Any) -> list[Goal]:
    """What this run should show."""
    names = [task.name for task in store.tasks()]
    forgotten = Matrix.of(names, [task.scores for task in store.tasks()]).forgetting_ratio()
    kept = rows["general"][GENERAL]["bleu"] / rows["base"][GENERAL]["bleu"]
    gap = routing["scores"]["oracle"]["bleu"] - routing["scores"]["routed"]["bleu"]
    found: list[Goal] = [
        {"name": "forgetting ratio", "value": forgotten, "goal": "exactly 0", "met": forgotten == 0},
        {"name": "first task's files unchanged", "value": same["task"], "goal": "true", "met": same["task"]},
        {"name": "first task's bundle unchanged", "value": same["bundle"], "goal": "true", "met": same["bundle"]},
        {"name": "general BLEU kept by pruning", "value": kept, "goal": ">= 0.95", "met": kept >= 0.95},
        {"name": "routed BLEU below oracle BLEU", "value": gap, "goal": "<= 0.1", "met": gap <= 0.1},
    ]
    for name in names:
        before, alone = rows["base"][name]["bleu"], rows[f"single {name}"][name]["bleu"]
        share = (store.task(name).scores.domains[name].bleu - before) / (alone - before)
        label = f"{name}: share of single fine-tuning's BLEU gain"
        found.append({"name": label, "value": share, "goal": ">= 0.9", "met": share >= 0.9})
    return found


@click.command()
@click.option("--base", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--corpora", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--recipe", type=click.Path(path_type=Path), default=Path("examples/real/recipe.yaml"))
@click.option("--work", type=click.Path(path_type=Path), default=Path(".work/real"))
@click.option("--base-note", default="", help="What the base is, for the results.")
def main(base: Path, corpora: Path, recipe: Path, work: Path, base_note: str) -> None:
    """Learn, compile, route and measure on real text."""
    os.environ.update(BASE=str(base), CORPORA=str(corpora))
    settings = read_recipe(recipe, {"store": str(work / "store")})
    run = Run.of(settings)
    store, same = learn(settings, work / "bundles")
    rows = {"base": row_of(run, work / "base.json", base), "general": row_of(run, work / "general.json", store)}
    for quantization in ("float32", "int8"):
        export(store, work / quantization, quantization)
    routing = {quantization: route(run, work / quantization) for quantization in ("float32", "int8")}
    for task in settings.tasks:
        alone = fine_tune(run, task, work / f"single-{task.name}")
        rows[f"single {task.name}"] = row_of(run, work / f"{alone.name}.json", alone)
    print_status(store)
    description = store.description
    payload = {
        "base": base_note,
        "rows": rows,
        "recipe": settings.model_dump(mode="json", exclude={"base", "general", "store", "tasks"}),
        "tasks": [{"name": task.name, "learning": task.learning} for task in settings.tasks],
        "importance": description.importance.model_dump(),
        "matrix": {task.name: task.scores.model_dump() for task in store.tasks()},
        "curves": {task.name: [point.model_dump() for point in task.curve] for task in store.tasks()},
        "cells": {"width": {layer.name: layer.width for layer in description.layers}}
        | {task.name: store.cells().count(task.order) for task in store.tasks()}
        | {GENERAL: store.cells().count(0), "free": store.cells().free_count()},
        "routing": routing,
        "versions": versions("torch", "transformers", "ctranslate2", "sacrebleu", "numpy"),
        "threads": torch.get_num_threads(),
        "device": str(select(settings.device).torch),
    }
    path = write_results("real", payload, goals(store, same, rows, routing["float32"]))
    console.print(f"wrote {path}")


if __name__ == "__main__":
    main()
