"""Tasks that are drawn into a store, verbs that are run on it, and processes that are killed while they change it."""

import os
import shutil
import signal
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from fmalloc.store.store import Store
from fmalloc_shared.commands.verbs import main
from tests.support.stores import LAYERS, PAIRS, Masks, commit

# What changes a file system, by the names of Python's audit events.
_CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "open")


def run(*arguments: object, input: str | None = None) -> tuple[int, str]:
    """A command of fmalloc: its exit code and all that it printed."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], input=input)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result.exit_code, result.output


def learn(
    store: Store,
    name: str,
    *,
    reads: Sequence[str] = (),
    first: int = 0,
    cells: int = 2,
    seed: int | None = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Draw a task that owns so many free cells of every layer, from the id `first` on, and reads others' cells."""
    free = {layer: found[found >= first][:cells] for layer in LAYERS for found in [store.cells().free(layer)]}
    masks: Masks = {layer: np.zeros(width, dtype=np.bool_) for layer, width in store.widths().items()}
    for layer in LAYERS:
        masks[layer][free[layer]] = True
        for read in reads:
            masks[layer][store.memory(read)[layer].cells] = True
    shutil.rmtree(store.path / ".work", ignore_errors=True)
    commit(
        store,
        name,
        masks,
        free,
        PAIRS,
        seed=zlib.crc32(name.encode()) if seed is None else seed,
        reads=[*reads],
        settings=settings,
    )


def killed_at(step: int, act: Callable[[], object], folder: Path) -> bool:
    """Run `act` in a process of its own that is killed before its `step`th change of a file below `folder`.

    False if it came to its end first.
    """
    child = os.fork()
    if child == 0:
        try:
            _kill_at(step, str(folder))
            act()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def _kill_at(step: int, folder: str) -> None:
    left = step

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event not in _CHANGES or (event == "open" and not _writes(arguments)):
            return
        if event == "open" and not str(arguments[0]).startswith(folder):
            return
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def _writes(arguments: tuple[Any, ...]) -> bool:
    mode, flags = arguments[1], arguments[2]
    return (isinstance(mode, str) and any(sign in mode for sign in "wax+")) or bool(flags & (os.O_WRONLY | os.O_RDWR))


def live(machine: type[RuleBasedStateMachine], examples: int, steps: int) -> None:
    """Drive a state machine through so many random lives of so many steps; its own checks fail the test."""
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=checks, database=None
        ),
    )
