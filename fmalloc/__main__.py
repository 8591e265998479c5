"""fmalloc: look at a memory store."""

from pathlib import Path

import click

from fmalloc.status import print_status
from fmalloc.store import Store
from fmalloc_shared.command import Command


@click.group()
def main() -> None:
    """Domain-adapted machine translation with exactly zero forgetting.

    Learn with fmalloc-train, compile with fmalloc-export, serve with fmalloc-serve.
    """


@main.command(cls=Command)
@click.argument("store", type=click.Path(path_type=Path), default="store")
@click.option("--verify", is_flag=True, help="Hash every file again and compare.")
def status(store: Path, verify: bool) -> None:
    """Show a STORE's tasks, its cells a layer, its free capacity and the matrix of scores."""
    opened = Store.open(store)
    if verify:
        opened.verify()
        click.echo(f"{store}: every file is as it was written")
    print_status(opened)


if __name__ == "__main__":
    main()
