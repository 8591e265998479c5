"""A new memory store: base, importance, general mask, first scores; or an existing one, checked against the recipe."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from fmalloc.corpus import Corpus
from fmalloc.learning.importance import Importance, cell_importance
from fmalloc.learning.recovery import recover
from fmalloc.learning.run import Run, claim_work
from fmalloc.learning.scoring import Scorer, base_files, general_files
from fmalloc.model.architectures import family_of, load_base
from fmalloc.model.assembly import slice_masks
from fmalloc.model.devices import environment_of
from fmalloc.model.text.batches import encode
from fmalloc.recipe import Recipe
from fmalloc.store.cells import general_mask
from fmalloc.store.chain.links import TASKS
from fmalloc.store.records import ImportanceRecord, Layer, samples_bytes
from fmalloc.store.store import Store
from fmalloc.store.tensors import general_bytes, read_importance
from fmalloc.training.distributed import Group
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256_files, write_atomically
from fmalloc_shared.names import GENERAL
from fmalloc_shared.ngrams import NgramCounts

_ROUTING_LINES = 12_000
_MODEL_FILES = {".json", ".safetensors", ".spm", ".model", ".txt"}


def open_store(run: Run) -> Store:
    """Open the existing store, whole and made as the recipe says."""
    recipe = run.recipe
    store = Store.open(recipe.store)
    store.verify()
    description = store.description
    recovery = description.recovery
    files = {f.removeprefix("base/"): d for f, d in description.files.items() if f.startswith("base/")}
    stored = recovery.base if recovery else files
    given = {name: digest for name, digest in sha256_files(recipe.base).items() if name in stored}
    made = {
        "sparsity": description.sparsity,
        "languages": tuple(description.languages),
        "recovery": recovery.settings if recovery else None,
    }
    wanted = {"sparsity": recipe.sparsity, "languages": tuple(run.languages), "recovery": _recovery_of(recipe)}
    problems = [f"{key} {made[key]!r}, not {wanted[key]!r}" for key in made if made[key] != wanted[key]]
    if changed := sorted(name for name in given if given[name] != stored[name]):
        problems.append(f"another base than {recipe.base} ({', '.join(changed)} differ)")
    if problems:
        raise FmallocError(f"{recipe.store}: was made with {'; '.join(problems)}; choose another store")
    return store


def create_store(run: Run) -> Store:
    """Copy the base, measure importance, prune, recover, score the base and the general model, commit.

    All processes of a group measure, recover and score, and the first one writes.
    """
    recipe, group = run.recipe, Group.current()
    work = recipe.store / ".work" / "create"
    prepared = work / "prepared"
    group.on_first(lambda: _begin(run, work, prepared))
    importance = _importance(run, work, prepared / "base")
    masks = {name: general_mask(values, recipe.sparsity) for name, values in importance.values.items()}
    group.on_first(lambda: _write_general(run, prepared, general_bytes(importance.values, masks)))

    def load_general(_domain: str) -> tuple[Any, Any]:
        model, tokenizer = load_base(prepared / "base", run.languages)
        slice_masks(model, masks)
        return model, tokenizer

    files = base_files(prepared)
    base_scores = Scorer(run, work / "scores-base", "base").row(
        lambda _domain: load_base(prepared / "base", run.languages), lambda _domain: files
    )
    recovery = recover(run, masks, prepared / "base", work) if _recovery_of(recipe) else None
    pruned = general_files(prepared)
    general_scores = Scorer(run, work / "scores-general", GENERAL).row(load_general, lambda _domain: pruned)

    def commit() -> None:
        Store.create(
            recipe.store,
            prepared,
            family=family_of(recipe.base).model_type,
            languages=run.languages,
            layers=[Layer(name=name, width=len(mask)) for name, mask in masks.items()],
            sparsity=recipe.sparsity,
            importance=importance.record,
            recovery=recovery,
            environment=environment_of(run.device),
            base_scores=base_scores,
            general_scores=general_scores,
        )
        shutil.rmtree(work)

    group.on_first(commit)
    return Store.open(recipe.store)


def _begin(run: Run, work: Path, prepared: Path) -> None:
    """Make the work folder, with a copy of the base."""
    recipe = run.recipe
    if (tasks := recipe.store / TASKS).is_dir() and any(tasks.iterdir()):
        raise FmallocError(f"{recipe.store}: has tasks, but no store.json: restore it, or choose another folder")
    settings = recipe.model_dump(mode="json", exclude={"tasks", "learning", "methods", "tensorboard"})
    claim_work(work, {"recipe": settings, "base": sha256_files(recipe.base), "corpora": _digests(run)})
    (prepared / "base").mkdir(parents=True, exist_ok=True)
    _copy_base(recipe.base, prepared / "base")


def _write_general(run: Run, prepared: Path, masks: bytes) -> None:
    """The general model's files beside the base."""
    general = run.corpora[GENERAL]
    write_atomically(prepared / "general.safetensors", masks)
    write_atomically(prepared / "routing.safetensors", routing_bytes(general))
    write_atomically(prepared / "samples.jsonl", samples_bytes(general.dev[: run.recipe.samples]))


def _recovery_of(recipe: Recipe) -> dict[str, Any] | None:
    return recipe.recovery.model_dump() if recipe.recovery.updates else None


def _digests(run: Run) -> dict[str, Any]:
    return {name: {p: r.sha256 for p, r in run.data_of(name).items()} for name in run.corpora}


def _copy_base(source: Path, destination: Path) -> None:
    """The model's own files."""
    for path in (path for path in sorted(source.iterdir()) if path.suffix in _MODEL_FILES and path.is_file()):
        if not (destination / path.name).is_file() or path.stat().st_size != (destination / path.name).stat().st_size:
            shutil.copyfile(path, destination / path.name)


def _importance(run: Run, work: Path, base: Path) -> Importance:
    """Measured importance, from the work folder if it was measured there before."""
    settings, values_path, record_path = (
        run.recipe.importance,
        work / "importance.safetensors",
        work / "importance.json",
    )
    if (group := Group.current()).on_first(record_path.is_file):
        record = ImportanceRecord.read(record_path)
        values = read_importance(values_path)
        # Records have their keys sorted: decoders first, and layer 10 before layer 2.
        names = sorted(values, key=lambda name: (not name.startswith("encoder"), int(name.rpartition(".")[2])))
        return Importance({name: values[name] for name in names}, record)
    _, tokenizer = load_base(base, run.languages)
    train = run.corpora[GENERAL].train
    needed = min(len(train), settings.batches * settings.batch_tokens)
    chosen = np.random.default_rng(settings.seed).permutation(len(train))[:needed]
    encoded = encode(tokenizer, train.take(chosen), run.languages, maximum_length=run.recipe.learning.maximum_length)
    partial = work / "importance-partial.safetensors"
    how = settings.model_dump() | {"languages": run.languages, "partial": partial}
    importance = group.alike(lambda: cell_importance(base, encoded.examples, run.device, **how))

    def keep() -> None:
        ones = {name: np.ones(len(values), dtype=np.bool_) for name, values in importance.values.items()}
        write_atomically(values_path, general_bytes(importance.values, ones))
        write_atomically(record_path, importance.record.to_bytes())

    group.on_first(keep)
    return importance


def routing_bytes(corpus: Corpus) -> bytes:
    """Counts of at most _ROUTING_LINES sources, evenly spaced: a domain with many times more would route worse."""
    step = max(1, len(corpus.train) / _ROUTING_LINES)
    chosen = (corpus.train[int(index * step)] for index in range(min(len(corpus.train), _ROUTING_LINES)))
    return NgramCounts.of(pair.source for pair in chosen).to_bytes()
