"""The recipe: YAML to a frozen, validated configuration, and the plan of every task."""

from fmalloc.recipe.learning import LearningSettings, updates_for
from fmalloc.recipe.recipe import Recipe, RecoverySettings, read_recipe, validate_recipe
from fmalloc.recipe.task import Renewal, TaskPlan, TaskSettings

__all__ = [
    "LearningSettings",
    "Recipe",
    "RecoverySettings",
    "Renewal",
    "TaskPlan",
    "TaskSettings",
    "read_recipe",
    "updates_for",
    "validate_recipe",
]
