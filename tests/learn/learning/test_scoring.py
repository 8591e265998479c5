"""A score is carried over only where everything that it follows from is proven to be the same."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fmalloc.evaluation.evaluate import evaluate_test
from fmalloc.learning import scoring
from fmalloc.learning.run import Run
from fmalloc.learning.scoring import Scorer, files_with
from fmalloc.model.devices import Device
from fmalloc.recipe import Recipe
from fmalloc.store.records import Scores
from fmalloc.store.store import Store
from fmalloc.train import learn_tasks
from tests.support.corpora import small_recipe, write_domain

QUICK = {"updates": 2, "anneal_updates": 2, "validate_every": 2, "validation_sentences": 0, "select_by": "nll"}


class MeasuredError(Exception):
    """A model was asked for."""


def row_of(run: Run, store: Store, folder: Path) -> Scores:
    """The row of the domains as they are, if all earlier rows prove it; MeasuredError if not."""

    def refuse(domain: str) -> Any:
        raise MeasuredError(domain)

    known = tuple(task.scores for task in store.tasks())
    run = replace(run, scored=frozenset({"general", "office", "games"}))
    return Scorer(run, folder, "row", known).row(refuse, files_with(store, "late", [], folder))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the pairs that are translated to be scored."""
    sizes: list[int] = []

    def counting(model: Any, tokenizer: Any, pairs: Any, *rest: Any, **options: Any) -> Any:
        sizes.append(len(pairs))
        return evaluate_test(model, tokenizer, pairs, *rest, **options)

    monkeypatch.setattr(scoring, "evaluate_test", counting)
    return sizes


def test_the_tenth_task_is_scored_at_the_cost_of_the_first(
    base: Path, corpora: Path, tmp_path: Path, counted: list[int]
) -> None:
    names = [f"domain{number}" for number in range(1, 11)]
    shutil.copytree(corpora / "general", tmp_path / "general")
    for place, name in enumerate(names):
        write_domain(tmp_path / name, ("office", "games")[place % 2])
    store = learn_tasks(small_recipe(base, tmp_path, tmp_path / "store", *names, share="even", gates="open", **QUICK))
    domains = {"general", *names}
    for task in store.tasks():
        assert any(len(memory.cells) for memory in store.memory(task.name).values())
        assert set(task.scores.domains) == domains
        assert domains - {*task.scores.proven} == {task.name}
    # The base and the general model on three different texts, and each task on its own.
    assert len(counted) == 2 * 3 + len(names)
    store.verify()  # each is compared with the record that proves it


def test_measuring_again_gives_what_was_proven(
    base: Path, corpora: Path, store: Store, tmp_path: Path, counted: list[int]
) -> None:
    for name in ("general", "office", "games"):
        shutil.copytree(corpora / name, tmp_path / "corpora" / name)
    write_domain(tmp_path / "corpora" / "late", "office")
    before = store.task("games").scores
    assert before.proven == ["general", "office"]
    recipe = small_recipe(base, tmp_path / "corpora", store.path, "office", "games")
    recipe = recipe.model_copy(update={"tasks": [*recipe.tasks, recipe.tasks[0].model_copy(update=late(tmp_path))]})
    after = learn_tasks(recipe, measure_again=True).task("late").scores
    assert len(counted) == 4 and after.proven == []
    assert {name: after.domains[name] for name in before.domains} == before.domains
    assert {name: after.digests[name] for name in before.digests} == before.digests


def late(folder: Path) -> dict[str, Any]:
    return {"name": "late", "data": folder / "corpora" / "late", "learning": QUICK}


def _other_text(run: Run) -> Run:
    corpus = run.corpora["office"]
    return replace(run, corpora={**run.corpora, "office": replace(corpus, test=corpus.test[::-1])})


def _other(section: str, **changes: Any) -> Callable[[Run], Run]:
    def change(run: Run) -> Run:
        recipe: Recipe = run.recipe
        settings = getattr(recipe, section).model_copy(update=changes)
        return replace(run, recipe=recipe.model_copy(update={section: settings}))

    return change


@pytest.mark.parametrize(
    "change",
    [
        _other_text,
        _other("evaluation", beam_size=3),
        _other("evaluation", sentences=5),
        lambda run: replace(run, device=Device(torch.device("cpu"), bfloat16=True)),
        lambda run: replace(run, measure_again=True),
    ],
)
def test_in_doubt_it_is_measured(
    change: Callable[[Run], Run], base: Path, corpora: Path, store: Store, tmp_path: Path
) -> None:
    run = Run.of(small_recipe(base, corpora, store.path, "office", "games"))
    assert row_of(run, store, tmp_path).proven == ["general", "office", "games"]
    with pytest.raises(MeasuredError):
        row_of(change(run), store, tmp_path)


@pytest.mark.parametrize("file", ["base/vocab.json", "general.safetensors", "tasks/office/memory.safetensors"])
def test_any_other_byte_of_a_model_is_another_model(
    file: str, base: Path, corpora: Path, store: Store, tmp_path: Path
) -> None:
    run = Run.of(small_recipe(base, corpora, store.path, "office", "games"))
    path = store.path / file
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(MeasuredError):
        row_of(run, store, tmp_path)


def test_rows_of_older_stores_prove_nothing(base: Path, corpora: Path, store: Store, tmp_path: Path) -> None:
    run = Run.of(small_recipe(base, corpora, store.path, "office", "games"))
    known = tuple(task.scores.model_copy(update={"digests": {}}) for task in store.tasks())

    def refuse(domain: str) -> Any:
        raise MeasuredError(domain)

    with pytest.raises(MeasuredError):
        Scorer(run, tmp_path, "row", known).row(refuse, files_with(store, "late", [], tmp_path))
