"""Progress bars and messages on standard error, so that standard output stays for results."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn

from fmalloc_shared.commands.terminal import Terminal
from fmalloc_shared.environment import as_written


class _Console(Terminal):
    """Shows paths as the user wrote them, not with what environment variables stand for."""

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich's."""
        super().print(*(as_written(shown) if isinstance(shown, str) else shown for shown in objects), **options)


console = _Console(stderr=True, highlight=False, soft_wrap=True)
_shown: list[Progress] = []
# Where no bar can be drawn (a log file, CI), a line says this often, in seconds, how far it is.
_every = 30.0
_HOW_FAR = re.compile(r": [\d,]+ of [\d,]+(, |$)")


def say_every(seconds: float) -> None:
    """How often a line says how far it is, where no bar can be drawn."""
    global _every
    _every = seconds


@contextmanager
def bar(description: str, total: int | None, completed: int = 0) -> Iterator[Callable[..., None]]:
    """A progress bar, or with total None what is being done now; yields `advance(count=1, note="")`.

    Without a terminal it is a line every half minute.
    """
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
    with Progress(
        TextColumn("{task.description}", markup=False), *columns, console=console, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(description, total=total, completed=completed, note="")
        said = time.monotonic()

        def advance(count: int = 1, note: str = "") -> None:
            nonlocal said
            progress.update(task, advance=count, note=note)
            if not console.is_terminal and time.monotonic() - said >= _every:
                said = time.monotonic()
                console.print(_line(progress.tasks[0]), markup=False)

        _shown.append(progress)
        try:
            yield advance
        finally:
            _shown.remove(progress)


def _line(task: Task) -> str:
    """Such as `importance: 40 of 200, 0:02:10 left, loss 3.1`."""
    parts = []
    if task.total is not None:
        parts.append(f"{task.completed:,.0f} of {task.total:,.0f}")
        if task.time_remaining is not None:
            parts.append(f"{timedelta(seconds=round(task.time_remaining))} left")
    if note := task.fields["note"]:
        parts.append(note)
    return f"{task.description}: {', '.join(parts)}"


@contextmanager
def lines(names: Sequence[str]) -> Iterator[Callable[[str, str], None]]:
    """What several processes say; yields `say(name, line)`.

    On a terminal each has a line that shows how far it is, and all else that it says is above; elsewhere every line
    begins with the name.
    """
    columns = (TextColumn("{task.description}", markup=False), TextColumn("{task.fields[note]}", markup=False))
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        tasks = {name: progress.add_task(name, total=None, note="waits") for name in names}

        def say(name: str, line: str) -> None:
            if console.is_terminal and _HOW_FAR.search(line):
                progress.update(tasks[name], note=line)
            elif line:
                console.print(f"{name}: {line}", markup=False)

        _shown.append(progress)
        try:
            yield say
        finally:
            _shown.remove(progress)


@contextmanager
def paused() -> Iterator[None]:
    """No bar is drawn within, so that a question can be answered."""
    shown = tuple(_shown)
    for progress in shown:
        progress.stop()
    try:
        yield
    finally:
        for progress in shown:
            progress.start()
