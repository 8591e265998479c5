"""What all parts of the experiment have in common: base, text, recipe, and the folder that keeps what was measured."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fmalloc.recipe import Recipe, read_recipe
from fmalloc_shared.errors import FmallocError

RECIPE = Path("examples/experiment/recipe.yaml")


@dataclass(frozen=True)
class Setting:
    """`updates`: of each task, instead of the recipe's."""

    base: Path
    corpora: Path
    work: Path
    recipe: Path = RECIPE
    updates: int | None = None

    def read(self, overrides: Mapping[str, Any] | None = None) -> Recipe:
        """The recipe with some keys set, dotted ones inside their section."""
        updates = {"learning.updates": self.updates} if self.updates else {}
        before = os.environ.copy()
        os.environ |= {"BASE": str(self.base), "CORPORA": str(self.corpora)}
        try:
            return read_recipe(self.recipe, {**updates, **(overrides or {})})
        finally:
            os.environ.clear()
            os.environ |= before

    def alone(self, domain: str, updates: int) -> Recipe:
        """The recipe for one domain in so many updates, with a single test line: dev text decides.

        Raises:
            FmallocError: the recipe has no such task.
        """
        recipe = self.read({"learning.updates": updates, "evaluation.sentences": 1})
        tasks = [task for task in recipe.tasks if task.name == domain]
        if not tasks:
            raise FmallocError(
                f"{self.recipe}: no task {domain}; it has {', '.join(task.name for task in recipe.tasks)}"
            )
        return recipe.model_copy(update={"tasks": tasks})
