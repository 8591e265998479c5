"""F-MALLOC and its variants as methods: their state is a memory store."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, get_args

from pydantic import Field, ValidationError, field_validator

from fmalloc.evaluation.evaluate import Evaluation
from fmalloc.evaluation.matrix import Capacity
from fmalloc.learning.create import create_store, open_store
from fmalloc.learning.preflight import check_store
from fmalloc.learning.run import Run
from fmalloc.learning.task import learn_task
from fmalloc.methods.comparison.record import Learned
from fmalloc.methods.method import BASE, Method, MethodSettings
from fmalloc.model.assembly import load_sliced
from fmalloc.recipe import LearningSettings, Recipe, TaskSettings
from fmalloc.store.records import PrivateKind
from fmalloc.store.store import Store, writing
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import write_atomically
from fmalloc_shared.names import GENERAL

# Finds the domain of a text, whatever the method, so its bytes do not count towards a domain's.
_ROUTING = "routing.safetensors"


class FmallocSettings(MethodSettings):
    """Learning settings and a share of freed cells that replace the recipe's."""

    sparsity: Annotated[float | None, Field(gt=0, lt=1, description="share of cells freed; null: the recipe's")] = None
    learning: Annotated[dict[str, Any], Field(default_factory=dict, description="keys of the learning section")]

    @field_validator("learning")
    @classmethod
    def _known(cls, learning: dict[str, Any]) -> dict[str, Any]:
        LearningSettings.model_validate(LearningSettings().model_dump() | learning)
        return learning


class Fmalloc(Method):
    """F-MALLOC with the recipe's settings; `changes` are a variant's own."""

    name = "fmalloc"
    prunes = True
    settings_type = FmallocSettings
    changes: ClassVar[dict[str, Any]] = {}

    def check(self) -> None:
        """See that the store can be made, and that the settings fit together."""
        try:
            own = self._job(self.run.recipe.tasks[0])
            own.recipe.plans()
        except ValidationError as error:
            problems = "; ".join(problem["msg"].removeprefix("Value error, ") for problem in error.errors())
            raise FmallocError(f"methods.{self.name}.learning: {problems}") from error
        if not Store.exists(own.recipe.store):
            check_store(own)

    def learn(self, task: TaskSettings, _earlier: Sequence[str]) -> Learned:
        """Claim cells of the store in `folder`, which is created from the base before the first task."""
        path = self.folder / "store"
        own = self._job(task)
        with writing(path):
            store = self._created(own)
            begun, resumed = time.perf_counter(), (path / ".work" / task.name).exists()
            record = learn_task(own, store, own.plans[task.name])
            seconds = None if resumed else time.perf_counter() - begun
        memory = store.memory(task.name)
        sizes = [m.fc1_weight.size + m.fc1_bias.size + m.fc2_weight.size for m in memory.values()]
        sizes += [tensor.size for tensor in store.private(task.name).values()]
        files = (path / "tasks" / task.name).glob("*.safetensors")
        size = sum(file.stat().st_size for file in files if file.name != _ROUTING)
        return Learned(curve=record.curve, trained_parameters=sum(sizes), bytes=size, seconds=seconds)

    def decisive(self, task: TaskSettings) -> dict[str, Any]:
        """All of the task's learning settings, the variant's changes among them."""
        return self._job(task).plans[task.name].learning.model_dump()

    def _job(self, task: TaskSettings) -> Run:
        """The run with this method's settings; learning scores only the general and the task's domain."""
        recipe = self.variant(self.run.recipe, self.settings).model_copy(update={"store": self.folder / "store"})
        return replace(self.run, recipe=recipe, scored=frozenset({GENERAL, task.name}))

    @classmethod
    def variant(cls, recipe: Recipe, settings: MethodSettings) -> Recipe:
        """The recipe with this variant's changes and the method's settings."""
        assert isinstance(settings, FmallocSettings)
        rate = {} if settings.learning_rate is None else {"learning_rate": settings.learning_rate}
        changed = recipe.learning.model_dump() | cls.changes | rate | settings.learning
        own = {"learning": LearningSettings.model_validate(changed), "sparsity": settings.sparsity or recipe.sparsity}
        return recipe.model_copy(update=own)

    def _created(self, run: Run) -> Store:
        """The store; all variants that free as many cells start from copies of one, which is created once."""
        path, template = run.recipe.store, self.folder.parent / created_name(run.recipe)
        if Store.exists(path):
            return open_store(run)
        template_job = replace(run, recipe=run.recipe.model_copy(update={"store": template}))
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
        write_atomically(path / description.name, description.read_bytes())
        return open_store(run)

    def state_of(self, domain: str, learned: Sequence[str]) -> str:
        """The domain's own memories, or the pruned general model."""
        return domain if domain in learned else GENERAL

    def load(self, state: str) -> tuple[Any, Any]:
        """The sliced model."""
        return load_sliced(Store.open(self.folder / "store"), GENERAL if state == BASE else state)

    def scores_of(self, state: str, domain: str) -> Evaluation | None:
        """A task's scores on its own domain, and the general model's, as the store has them."""
        store = Store.open(self.folder / "store")
        if state not in (domain, GENERAL):
            return None
        scores = store.description.general_scores if state == GENERAL else store.task(state).scores
        score = scores.domains.get(domain)
        return Evaluation(score=score, signatures=scores.signatures) if score else None

    def capacity_used(self) -> float | None:
        """Claimed share of the freed cells, over all layers."""
        return Capacity.of(Store.open(self.folder / "store").cells()).used


def created_name(recipe: Recipe) -> str:
    """The folder of a pruned store, beside the folders of the methods that begin with copies of it."""
    return f".created-{recipe.sparsity:g}"


class FmallocExclusive(Fmalloc):
    """Tasks read only general cells and their own, so they are independent of each other."""

    name = "fmalloc-exclusive"
    changes: ClassVar[dict[str, Any]] = {"reads": "general"}


class FmallocTfidf(Fmalloc):
    """TF-IDF chooses which free cells a task is offered, with their pretrained weights; the gates decide among them."""

    name = "fmalloc-tfidf"
    changes: ClassVar[dict[str, Any]] = {"allocator": "tfidf", "fresh_cells": False, "share": 0.5}


class FmallocPrivate(Fmalloc):
    """Tasks keep every kind of private parameters beside their cells."""

    name = "fmalloc-private"
    changes: ClassVar[dict[str, Any]] = {
        "private": list(get_args(PrivateKind)),
        "private_learning_rate": 2.5e-3,
        "private_rank": 16,
    }
