"""Random lives of a store that is divided, learns apart and is merged, with kills, against a simple model of it."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fmalloc.lifecycle.freeing import certificate_of, complete, free, readers_of
from fmalloc.lifecycle.parts.merge import merge
from fmalloc.lifecycle.parts.reserve import reserve
from fmalloc.store.store import Store, writing
from tests.support.examples import many
from tests.support.lifecycle import killed_at, learn, live
from tests.support.stores import LAYERS, tree_bytes, write_store


@dataclass
class Truth:
    """What one of the stores has to be: files by task, in their order, and heads that were seen of it."""

    tasks: dict[str, dict[str, bytes]] = field(default_factory=dict)
    heads: list[str] = field(default_factory=list)


class Apart(RuleBasedStateMachine):
    """One store, or the parts of it; each step may be killed before any change of a file."""

    template: Path

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="apart-"))
        self.made = 0
        first = Path(shutil.copytree(self.template, self.folder / "whole"))
        tasks = Store.open(first).tasks()
        self.stores = {first: Truth({task.name: tree_bytes(first / "tasks" / task.name) for task in tasks})}

    def _happens(self, path: Path, act: Callable[[], object], step: int | None) -> bool:
        """Whether the store at `path` was changed or made; with a `step` it is killed there."""
        before = Store.open(path).chain().head if path.exists() else None
        if step is None:
            act()
        else:
            killed_at(step, act, self.folder)
        if not path.exists():
            return False
        with writing(path):
            complete(Store.open(path))
        shutil.rmtree(path / ".work", ignore_errors=True)
        return Store.open(path).chain().head != before

    def _new(self) -> str:
        self.made += 1
        return f"made-{self.made}"

    steps = st.one_of(st.none(), st.integers(0, 60))

    @rule(number=st.integers(0, 9), cells=st.integers(0, 2), reading=st.booleans(), step=steps)
    def learn(self, number: int, cells: int, reading: bool, step: int | None) -> None:
        path = [*self.stores][number % len(self.stores)]
        store, truth, name = Store.open(path), self.stores[path], self._new()
        room = min(store.cells().free_count().values())
        owners = [task for task in truth.tasks if any(len(memory.cells) for memory in store.memory(task).values())]
        reads = owners if reading else []

        def act() -> None:
            with writing(path):
                learn(Store.open(path), name, reads=reads, cells=min(cells, room))

        if self._happens(path, act, step):
            truth.tasks[name] = tree_bytes(path / "tasks" / name)

    @rule(count=st.integers(2, 3), step=steps)
    def divide(self, count: int, step: int | None) -> None:
        if len(self.stores) > 1:
            return
        ((path, truth),) = self.stores.items()
        if sum(Store.open(path).cells().free_count().values()) < 4 * count:
            with writing(path):
                Store.open(path).grow(6, 1)
            shutil.rmtree(path / ".work")
        parts = self.folder / self._new()
        if self._divided(path, count, parts, step):
            found = sorted(parts.iterdir())
            assert len(found) == count
            self.stores = {part: Truth(dict(truth.tasks), [*truth.heads]) for part in found}

    def _divided(self, path: Path, count: int, parts: Path, step: int | None) -> bool:
        before = tree_bytes(path / "tasks")
        if step is None:
            reserve(path, count, parts)
        else:
            killed_at(step, lambda: reserve(path, count, parts), self.folder)
        assert tree_bytes(path / "tasks") == before
        return parts.exists()

    @rule(order=st.randoms(use_true_random=False), some=st.booleans(), step=steps)
    def unite(self, order: Any, some: bool, step: int | None) -> None:
        if len(self.stores) < 2:
            return
        paths = [*self.stores]
        order.shuffle(paths)
        given = paths[:2] if some else paths
        output = self.folder / self._new()
        for path in given:
            shutil.rmtree(path / ".work", ignore_errors=True)
        if self._happens(output, lambda: merge(given, output), step):
            truth = Truth()
            for path in given:
                own = self.stores.pop(path)
                truth.tasks |= own.tasks
                truth.heads += own.heads
            self.stores[output] = truth

    @rule(number=st.integers(0, 9), step=steps)
    def free(self, number: int, step: int | None) -> None:
        if len(self.stores) > 1:
            return
        ((path, truth),) = self.stores.items()
        if not truth.tasks:
            return
        name = [*truth.tasks][number % len(truth.tasks)]
        gone = {name, *readers_of(Store.open(path), [name])}
        names = [task for task in truth.tasks if task in gone]

        def act() -> None:
            with writing(path):
                free(Store.open(path), certificate_of(Store.open(path), names, ()))

        if self._happens(path, act, step):
            for task in names:
                del truth.tasks[task]

    @invariant()
    def all_is_as_it_should_be(self) -> None:
        if not hasattr(self, "stores"):
            return
        claimed: dict[str, list[set[int]]] = {layer: [] for layer in LAYERS}
        for path, truth in self.stores.items():
            store = Store.open(path)
            store.verify()
            chain = store.chain()
            assert [task.name for task in chain.tasks] == [*truth.tasks]
            assert {name: tree_bytes(path / "tasks" / name) for name in truth.tasks} == truth.tasks
            if chain.head not in truth.heads:
                truth.heads.append(chain.head)
            assert {*truth.heads} <= {*chain.heads, *chain.merged_heads}
            for layer in LAYERS:
                own = {int(cell) for name in chain.own_tasks for cell in store.memory(name)[layer].cells}
                claimed[layer].append(own | {int(cell) for cell in store.cells().free(layer)})
        if len(self.stores) > 1:
            for sets in claimed.values():
                assert len(set().union(*sets)) == sum(map(len, sets))

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = write_store(tmp_path_factory.mktemp("apart") / "store").path
    Store.open(path).grow(6, 1)
    shutil.rmtree(path / ".work")
    return path


def test_a_few_lives_apart(template: Path) -> None:
    Apart.template = template
    live(Apart, examples=4, steps=8)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_lives_apart(template: Path) -> None:
    Apart.template = template
    live(Apart, examples=many(20), steps=14)
