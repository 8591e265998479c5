"""Checks of learning, which the package that learns makes itself: serving never imports it by name."""

from collections.abc import Callable
from importlib import import_module

from fmalloc_runtime import machine
from fmalloc_shared.commands.findings import Check
from fmalloc_shared.commands.verbs import LEARNING_CHECKS


def checks() -> list[Check]:
    """All checks of this part; none where the package is left out."""
    module, _, attribute = LEARNING_CHECKS.partition(":")
    try:
        found: Callable[..., list[Check]] = getattr(import_module(module), attribute)
    except ImportError:
        return []
    return found(machine.memory, machine.cpus)
