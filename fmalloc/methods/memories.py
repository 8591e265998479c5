"""F-MALLOC and its variants as methods: their state is a memory store."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from fmalloc.comparison import Learned
from fmalloc.create import create_store, open_store
from fmalloc.evaluate import Metrics
from fmalloc.job import Job
from fmalloc.methods.method import BASE, Method
from fmalloc.models import load_sliced
from fmalloc.recipe import TaskSettings
from fmalloc.store import Store, writing
from fmalloc.tasks import learn_task
from fmalloc_shared.names import GENERAL


class Fmalloc(Method):
    """F-MALLOC as the recipe says; `changes` are what a variant sets otherwise."""

    name = "fmalloc"
    changes: ClassVar[dict[str, Any]] = {}

    def learn(self, task: TaskSettings, _earlier: Sequence[str]) -> Learned:
        """Claim cells of the store below `folder`, which is made from the base where there is none."""
        path = self.folder / "store"
        own = self._job(task)
        with writing(path):
            store = self._created(own)
            begun, resumed = time.perf_counter(), (path / ".work" / task.name).exists()
            record = learn_task(own, store, task)
            seconds = None if resumed else time.perf_counter() - begun
        memory = store.memory(task.name)
        sizes = (m.fc1_weight.size + m.fc1_bias.size + m.fc2_weight.size for m in memory.values())
        size = sum(file.stat().st_size for file in (path / "tasks" / task.name).glob("*.safetensors"))
        return Learned(curve=record.curve, trained_parameters=sum(sizes), bytes=size, seconds=seconds)

    def _job(self, task: TaskSettings) -> Job:
        """The job with this method's settings; learning scores the general and the task's own domain alone."""
        changes = (
            self.changes
            if self.settings.learning_rate is None
            else {**self.changes, "learning_rate": self.settings.learning_rate}
        )
        learning = self.job.recipe.learning.model_copy(update=changes)
        recipe = self.job.recipe.model_copy(update={"store": self.folder / "store", "learning": learning})
        return replace(self.job, recipe=recipe, scored=frozenset({GENERAL, task.name}))

    def _created(self, job: Job) -> Store:
        """The store; stores of all variants begin as copies of one, which is made once."""
        path, template = job.recipe.store, self.folder.parent / ".created"
        if Store.exists(path):
            return open_store(job)
        template_job = replace(job, recipe=job.recipe.model_copy(update={"store": template}))
        if not Store.exists(template):
            with writing(template):
                create_store(template_job)
        open_store(template_job)
        description = template / "store.json"
        for entry in sorted(template.iterdir()):
            if entry.name.startswith(".") or entry == description:
                continue
            target = path / entry.name
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(entry, target) if entry.is_dir() else shutil.copyfile(entry, target)
        shutil.copyfile(description, path / description.name)
        return open_store(job)

    def state_of(self, domain: str, learned: Sequence[str]) -> str:
        """The domain's own memories, or the pruned general model."""
        return domain if domain in learned else GENERAL

    def load(self, state: str) -> tuple[Any, Any]:
        """The sliced model."""
        return load_sliced(Store.open(self.folder / "store"), GENERAL if state == BASE else state)

    def scores_of(self, state: str, domain: str) -> Metrics | None:
        """What the store's record of a task says of its own domain."""
        record = Store.open(self.folder / "store").task(state) if state == domain and state != GENERAL else None
        return Metrics(record.scores.domains[domain], record.scores.signatures) if record else None

    def capacity_used(self) -> float | None:
        """Claimed share of the freed cells, over all layers."""
        store = Store.open(self.folder / "store")
        table = store.cells()
        free = sum(table.free_count().values())
        claimed = sum(sum(table.count(record.order).values()) for record in store.tasks())
        return claimed / (free + claimed) if free + claimed else None


class FmallocExclusive(Fmalloc):
    """Tasks read general cells and their own alone: independent of each other."""

    name = "fmalloc-exclusive"
    changes: ClassVar[dict[str, Any]] = {"reads": "general"}
