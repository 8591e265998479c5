"""Random lives of a store, with kills, against a simple model of what has to be true of it after every step."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fmalloc.lifecycle.certify import verify_certificate
from fmalloc.lifecycle.corrections.correct import settle
from fmalloc.lifecycle.free import tasks_of
from fmalloc.lifecycle.freeing import certificate_of, complete, free, readers_of
from fmalloc.store.chain.versions import domain_of, named, number_of
from fmalloc.store.store import Store, writing
from fmalloc_shared.errors import FmallocError
from tests.support.examples import many
from tests.support.lifecycle import killed_at, learn, live
from tests.support.stores import LAYERS, WIDTH, tree_bytes, write_store

NAMES = ("law", "press", "garden", "it")


@dataclass
class Truth:
    """What the store has to be: files by task, whom each reads, its width, and heads that were seen.

    `current`: the version that each domain means. `numbers`: the highest that a version of it ever had.
    """

    tasks: dict[str, dict[str, bytes]] = field(default_factory=dict)
    reads: dict[str, set[str]] = field(default_factory=dict)
    widths: dict[str, int] = field(default_factory=dict)
    width: int = WIDTH
    freed: int = 0
    heads: list[str] = field(default_factory=list)
    current: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)

    def versions(self, domain: str) -> list[str]:
        """Those that are there, by number."""
        return sorted((task for task in self.tasks if domain_of(task) == domain), key=number_of)

    def readers(self, name: str) -> set[str]:
        """All that would be others without it, itself too."""
        found = {name}
        while more := {task for task, read in self.reads.items() if read & found} - found:
            found |= more
        return found


class Life(RuleBasedStateMachine):
    """Learns, learns anew, corrects, rolls back, drops, grows and frees.

    Each step may be killed before any change of a file, and then either is done or not.
    """

    template: Path  # a store of three tasks, which is made once

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="life-"))
        self.path = Path(shutil.copytree(self.template, self.folder / "store"))
        self.truth = Truth()
        for task in self.store.tasks():
            self._learned(task.name, set(task.reads))
        self.base = tree_bytes(self.path / "base")

    @property
    def store(self) -> Store:
        return Store.open(self.path)

    def _learned(self, name: str, reads: set[str]) -> None:
        self.truth.tasks[name] = tree_bytes(self.path / "tasks" / name)
        self.truth.reads[name], self.truth.widths[name] = reads, self.truth.width
        self.truth.numbers[domain_of(name)] = max(number_of(name), self.truth.numbers.get(domain_of(name), 0))
        self.truth.current.setdefault(domain_of(name), name)

    def _forget(self, gone: set[str]) -> None:
        """What was freed; a domain whose current version is gone means the newest that is left."""
        self.truth.freed += 1
        for task in gone:
            del self.truth.tasks[task], self.truth.reads[task], self.truth.widths[task]
        for domain in {domain_of(task) for task in gone}:
            left = self.truth.versions(domain)
            if self.truth.current[domain] in gone:
                del self.truth.current[domain]
                if left:
                    self.truth.current[domain] = left[-1]

    def _happens(self, act: Callable[[Store], object], step: int | None) -> bool:
        """Whether `act` was done; with a `step` it is killed there, and what it left is brought in order."""

        def locked() -> None:
            with writing(self.path):
                act(self.store)

        return self._runs(locked, step)

    def _runs(self, act: Callable[[], object], step: int | None) -> bool:
        before = self.store.chain().head
        if step is None:
            act()
        else:
            killed_at(step, act, self.path)
            self.store.verify()
        with writing(self.path):
            complete(self.store)
        shutil.rmtree(self.path / ".work", ignore_errors=True)
        return self.store.chain().head != before

    steps = st.one_of(st.none(), st.integers(0, 40))

    @rule(name=st.sampled_from(NAMES), reading=st.booleans(), cells=st.integers(0, 3), step=steps)
    def learn(self, name: str, reading: bool, cells: int, step: int | None) -> None:
        free_cells = min(self.store.cells().free_count().values())
        if name in self.truth.current:
            return
        reads = {other for other in self.truth.current.values() if reading and any(map(len, self._owned(other)))}
        if self._happens(lambda store: learn(store, name, reads=sorted(reads), cells=min(cells, free_cells)), step):
            self._learned(name, reads)

    def _owned(self, name: str) -> list[object]:
        return [memory.cells for memory in self.store.memory(name).values()]

    @rule(cells=st.integers(1, 5), seed=st.integers(0, 3), step=steps)
    def grow(self, cells: int, seed: int, step: int | None) -> None:
        if self._happens(lambda store: store.grow(cells, seed), step):
            self.truth.width += cells

    @rule(name=st.sampled_from((*NAMES, "odd", "late")), step=steps)
    def free(self, name: str, step: int | None) -> None:
        if name not in self.truth.current:
            return
        versions = self.truth.versions(name)
        assert tasks_of(self.store, [name]) == versions
        gone = {reader for version in versions for reader in self.truth.readers(version)}
        assert {*readers_of(self.store, versions)} == gone - {*versions}
        names = [task.name for task in self.store.tasks() if task.name in gone]
        if self._happens(lambda store: free(store, certificate_of(store, names, ())), step):
            self._forget(gone)

    @rule(name=st.sampled_from(NAMES), cells=st.integers(0, 2), is_copy=st.booleans(), waits=st.booleans(), step=steps)
    def relearn(self, name: str, cells: int, is_copy: bool, waits: bool, step: int | None) -> None:
        """A new version, whose learning is drawn; it is made current as fmalloc.lifecycle.relearn does it."""
        if name not in self.truth.current:
            return
        before, free_cells = self.truth.current[name], min(self.store.cells().free_count().values())
        version = named(name, self.truth.numbers[name] + 1)
        settings = {"begun_as": [before, *self.store.task(before).begun_as]} if is_copy else {}

        def act(store: Store) -> None:
            if waits:
                store.choose(before, hold=True)
            learn(store, version, cells=min(cells, free_cells), settings=settings)
            if not waits:
                store.choose(version)

        self._happens(act, step)
        if version in {task.name for task in self.store.tasks()}:
            self._learned(version, set())
            # Killed between the two, it may wait although it should not: the next call makes it current.
            if not waits:
                with writing(self.path):
                    self.store.choose(version)
            self.truth.current[name] = before if waits else version

    @rule(name=st.sampled_from(NAMES), cells=st.integers(0, 2), passes=st.booleans(), step=steps)
    def correct(self, name: str, cells: int, passes: bool, step: int | None) -> None:
        """A new version waits until the gate has judged it, and then is current or gone; its learning is drawn."""
        if name not in self.truth.current:
            return
        before, free_cells = self.truth.current[name], min(self.store.cells().free_count().values())
        version = named(name, self.truth.numbers[name] + 1)

        def act() -> None:
            with writing(self.path):
                self.store.choose(before, hold=True)
                learn(self.store, version, cells=min(cells, free_cells))
            assert self.store.resolve(name) == before
            settle(self.path, version, passed=passes)

        freed = len(self.store.chain().certificates)
        self._runs(act, step)
        if version in {task.name for task in self.store.tasks()}:
            self._learned(version, set())
            # Killed before it was judged, it waits: the same corrections judge it again.
            settle(self.path, version, passed=passes)
        elif freed < len(self.store.chain().certificates):
            assert not passes
            self.truth.freed += 1
            self.truth.numbers[name] = number_of(version)
            return
        else:
            assert step is not None
            return
        if passes:
            self.truth.current[name] = version
        else:
            self._forget({version})

    @rule(name=st.sampled_from(NAMES), place=st.integers(0, 9), step=steps)
    def roll_back(self, name: str, place: int, step: int | None) -> None:
        if versions := self.truth.versions(name):
            chosen = versions[place % len(versions)]
            if self._happens(lambda store: store.choose(chosen), step):
                self.truth.current[name] = chosen

    @rule(name=st.sampled_from(NAMES), place=st.integers(0, 9), step=steps)
    def drop(self, name: str, place: int, step: int | None) -> None:
        if not (versions := self.truth.versions(name)):
            return
        chosen = versions[place % len(versions)]
        label = f"{name}@{number_of(chosen)}"
        if self.truth.current[name] == chosen and len(versions) > 1:
            with pytest.raises(FmallocError, match="make another version current first"):
                tasks_of(self.store, [label])
            return
        if self.truth.readers(chosen) - {chosen}:
            return
        names = [chosen] if len(versions) == 1 else tasks_of(self.store, [label])
        if self._happens(lambda store: free(store, certificate_of(store, names, ())), step):
            self._forget({chosen})

    @invariant()
    def all_is_as_it_should_be(self) -> None:
        if not hasattr(self, "truth"):
            return
        store, truth = self.store, self.truth
        store.verify()
        chain = store.chain()
        assert chain.is_stated and not chain.leftovers
        assert {task.name: {*task.reads} for task in chain.tasks} == truth.reads
        assert dict(chain.current) == truth.current
        assert all(store.resolve(domain) == task for domain, task in truth.current.items())
        assert {name: tree_bytes(self.path / "tasks" / name) for name in truth.tasks} == truth.tasks
        assert tree_bytes(self.path / "base") == self.base
        assert store.widths() == dict.fromkeys(LAYERS, truth.width)
        assert all(store.widths(name) == dict.fromkeys(LAYERS, width) for name, width in truth.widths.items())
        table = store.cells()
        for layer in LAYERS:
            owned = sum(len(store.memory(name)[layer].cells) for name in truth.tasks)
            general = int(store.mask("general")[layer].sum())
            assert table.free_count()[layer] == truth.width - general - owned
        if chain.head not in truth.heads:
            truth.heads.append(chain.head)
        places = [chain.heads.index(head) for head in truth.heads]
        assert places == sorted(places)
        assert len(chain.certificates) == truth.freed
        for number in range(1, truth.freed + 1):
            verify_certificate(self.path / f"freed/{number}.json", self.path, truth.heads[0])

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = write_store(tmp_path_factory.mktemp("life") / "store").path
    shutil.rmtree(path / ".work")
    return path


def test_a_few_lives(template: Path) -> None:
    Life.template = template
    live(Life, examples=6, steps=8)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_lives(template: Path) -> None:
    Life.template = template
    live(Life, examples=many(50), steps=12)
