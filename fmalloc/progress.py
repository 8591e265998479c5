"""Progress bars and messages on standard error, so that standard output stays for results."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

console = Console(stderr=True, highlight=False, soft_wrap=True)
_shown: list[Progress] = []


@contextmanager
def bar(description: str, total: int | None, completed: int = 0) -> Iterator[Callable[..., None]]:
    """A progress bar, or with total None what is being done now; yields `advance(count=1, note="")`."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
    with Progress(TextColumn("{task.description}"), *columns, console=console) as progress:
        task = progress.add_task(description, total=total, completed=completed, note="")

        def advance(count: int = 1, note: str = "") -> None:
            progress.update(task, advance=count, note=note)

        _shown.append(progress)
        try:
            yield advance
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
