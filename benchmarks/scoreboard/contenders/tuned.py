"""Contenders that other methods learn on the same base and text: a fine-tuned copy per domain, and LoRA, merged."""

import shutil
from pathlib import Path

from fmalloc.learning.run import Run
from fmalloc.methods.comparison.run import make_method
from fmalloc.recipe import Recipe
from fmalloc.store.store import Store
from fmalloc_shared.commands.progress import console
from fmalloc_shared.names import GENERAL

LABELS = {"single": "fine-tuned", "lora": "LoRA, merged"}
_SETTINGS = ("batch_tokens", "maximum_length", "label_smoothing", "seed")
_RATES = {"single": 4e-4, "lora": 2e-3}  # as examples/experiment/recipe.yaml has them


def tuned(
    store: Store,
    name: str,
    corpora: Path,
    work: Path,
    minutes: float,
    given: dict[str, Path] | None,
    left_out: dict[str, str],
) -> dict[str, Path]:
    """Folders of models of transformers, by label: those `given`, those made before, or made now in so many minutes.

    They learn with the store's own batches and lengths, by the methods of `fmalloc compare`.
    """
    found = dict(given or {})
    for method, label in LABELS.items():
        folder = work / f"{method}-{name}"
        if label in found:
            continue
        if not (folder / "config.json").exists():
            if not minutes:
                left_out[f"{label}, CTranslate2"] = "no minutes were given for it"
                continue
            _learn(store, name, corpora, method, minutes, folder)
        found[label] = folder
    return found


def recipe_of(store: Store, name: str, corpora: Path, minutes: float) -> Recipe:
    """The store's batches and lengths of a task, for so many minutes of another method."""
    stated = store.task(name).settings
    learning = {key: stated[key] for key in _SETTINGS if key in stated}
    learning |= {"minutes": minutes, "select_by": "nll", "validation_sentences": 0, "validation_pairs": 200}
    return Recipe.model_validate(
        {
            "base": str(store.base),
            "general": str(corpora / GENERAL),
            "device": "cpu",
            "learning": learning,
            "methods": {method: {"learning_rate": rate} for method, rate in _RATES.items()},
            "tasks": [{"name": name, "data": str(corpora / name)}],
        }
    )


def _learn(store: Store, name: str, corpora: Path, method: str, minutes: float, folder: Path) -> None:
    recipe = recipe_of(store, name, corpora, minutes)
    console.print(f"{name}: {LABELS[method]} in {minutes:g} minutes", markup=False)
    states = folder.with_name(f"{folder.name}-states")
    learner = make_method(Run.of(recipe), method, states)
    (states / name).mkdir(parents=True, exist_ok=True)
    learner.learn(recipe.tasks[0], ())
    model, _ = learner.load(learner.state_of(name, (name,)))
    staged = folder.with_name(f"{folder.name}-partial")
    shutil.rmtree(staged, ignore_errors=True)
    model.save_pretrained(staged)
    for file in store.base.iterdir():
        if not (staged / file.name).exists() and file.suffix != ".safetensors":
            shutil.copyfile(file, staged / file.name)
    staged.rename(folder)
    shutil.rmtree(states)
