"""What learning needs until its very end, checked before it begins: packages, room on the disk, the store, text."""

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from fmalloc.cache.cache import Cache
from fmalloc.corpus import Pair
from fmalloc.learning.create import open_store
from fmalloc.learning.importance import NO_DROPOUT
from fmalloc.learning.run import Run
from fmalloc.learning.task import check_same, no_free_cell, share_of
from fmalloc.model.architectures import (
    base_bytes,
    family_of,
    feed_forward_layers,
    load_base,
    load_tokenizer,
    positions_of,
)
from fmalloc.model.devices import versions
from fmalloc.model.text.batches import encode
from fmalloc.model.text.tokens import known_markers
from fmalloc.recipe import Recipe
from fmalloc.store.chain.versions import domain_of
from fmalloc.store.store import Store
from fmalloc_shared.commands.command import needs
from fmalloc_shared.commands.outputs import check_folder
from fmalloc_shared.commands.progress import console
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.names import GENERAL

_DROPOUTS = ("dropout", "attention_dropout", "activation_dropout")
_LONGEST = "maximum_length"
_CHUNK = 200  # pairs tried at once, of which one that is short enough will do


def preflight(recipe: Recipe, *, dry_run: bool = False) -> Run:
    """Check all that bringing the recipe's store to where it wants it will need, and read the inputs.

    `dry_run`: without a file for the cache.

    Raises:
        FmallocError: a package, room or a right is missing, an input is bad, or the store is damaged or was made
            otherwise than the recipe says.
    """
    base, exists = base_bytes(recipe.base), Store.exists(recipe.store)
    # A checkpoint holds what is trained at present and at its best, and two moments of it: half of a model are cells.
    trained = 1.0 if recipe.recovery.updates and not exists else recipe.sparsity
    run = read_inputs(recipe, recipe.store, int(base * (not exists) + 2 * base * trained), dry_run=dry_run)
    check_store(run)
    return run


def check_store(run: Run) -> None:
    """See that the recipe's tasks can be learned into its store, or into a new one; errors as of `preflight`."""
    recipe = run.recipe
    if Store.exists(recipe.store):
        store = open_store(run)
        records = store.tasks()
        learned, free = {domain_of(record.name) for record in records}, store.cells().free_count()
        for name in run.plans:
            if name in learned:
                check_same(run, store, name)
    else:
        model, _ = load_base(recipe.base, run.languages)
        if not any(getattr(model.config, name, 0) for name in _DROPOUTS):
            raise FmallocError(NO_DROPOUT)
        learned = set()
        free = {layer.name: round(recipe.sparsity * layer.width) for layer in feed_forward_layers(model)}
    for name, plan in run.plans.items():
        if name in learned:
            continue
        # What later tasks are left depends on what this one claims.
        share = share_of(run, learned, plan.learning)
        if not plan.learning.private and not any(round(share * count) for count in free.values()):
            raise FmallocError(no_free_cell(recipe.store, name))
        break


def read_inputs(
    recipe: Recipe, output: Path, room: int, *, dry_run: bool = False, texts: Mapping[str, Path] | None = None
) -> Run:
    """The recipe with its inputs read, where `room` bytes can be written to the folder `output`; errors as above.

    `texts`: by domain, instead of all that the recipe names.
    """
    versions()
    if family_of(recipe.base).moses:
        needs("sacremoses", extra="moses")
    check_folder(output, room)
    if recipe.tensorboard:
        needs("tensorboard", extra="tensorboard")
        check_folder(recipe.tensorboard)
    run = Run.of(_within_positions(recipe), Cache.of_environment(writes=not dry_run), texts)
    tokenizer = load_tokenizer(run.recipe.base)
    _check_lengths(run, tokenizer)
    if any(plan.learning.annotates for plan in run.plans.values()):
        known_markers(tokenizer)
    return run


def _within_positions(recipe: Recipe) -> Recipe:
    """The recipe with every maximum_length at most what its base can read: a longer pair would end the learning."""
    positions = positions_of(recipe.base)
    longest = [plan.learning.maximum_length for plan in recipe.plans()]
    if max(longest, default=0) <= positions:
        return recipe
    console.print(f"maximum_length {max(longest)}: the base has {positions} positions, longer pairs are left out")
    learning = recipe.learning.model_copy(update={_LONGEST: min(recipe.learning.maximum_length, positions)})
    tasks = [
        task.model_copy(update={"learning": task.learning | {_LONGEST: min(most, positions)}})
        for task, most in zip(recipe.tasks, longest, strict=True)
    ]
    return recipe.model_copy(update={"learning": learning, "tasks": tasks})


def _check_lengths(run: Run, tokenizer: Any) -> None:
    longest = {GENERAL: run.recipe.learning.maximum_length}
    longest |= {name: plan.learning.maximum_length for name, plan in run.plans.items()}
    for name, corpus in run.corpora.items():
        most = longest[name]
        for part, pairs in (("train", corpus.train), ("dev", corpus.dev)):
            if not _fits(run, tokenizer, pairs, most):
                raise FmallocError(f"{name}: no {part} pair of at most maximum_length {most} tokens")


def _fits(run: Run, tokenizer: Any, pairs: Sequence[Pair], most: int) -> bool:
    rest = iter(pairs)
    while chunk := list(islice(rest, _CHUNK)):
        if encode(tokenizer, chunk, run.languages, maximum_length=most).examples:
            return True
    return False
