"""What `fmalloc report` does: read, write, and say where."""

from pathlib import Path

import click

from fmalloc.methods.comparison import Comparison
from fmalloc.report.page import report_page
from fmalloc.store.store import Store
from fmalloc.training.tensorboard import write_curves
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import write_atomically


def write_report(store: Path, output: Path, comparison: Path | None = None, tensorboard: Path | None = None) -> None:
    """Write the page and, where a folder is given, TensorBoard's event files; neither may lie inside the store."""
    opened = Store.open(store)
    compared = Comparison.read(comparison) if comparison else None
    for path in filter(None, (output, tensorboard)):
        if path.resolve().is_relative_to(store.resolve()):
            raise FmallocError(
                f"{path}: inside the store {store}, which holds its own files only; choose another place"
            )
    if not output.parent.is_dir():
        raise FmallocError(f"{output}: no folder {output.parent}")
    page = report_page(opened, compared)
    write_atomically(output, page.encode())
    click.echo(str(output))
    if tensorboard:
        write_curves(opened.tasks(), tensorboard)
        click.echo(str(tensorboard))
