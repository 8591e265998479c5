"""Entry points of the commands that learn or look at a store; they import what they need when they run."""

from pathlib import Path

import click

from fmalloc_shared.command import Command, launch


def train() -> None:
    """fmalloc-train"""
    launch("fmalloc.train", extra="train")


def pretrain() -> None:
    """fmalloc-pretrain"""
    launch("fmalloc.pretrain", extra="train")


@click.command(cls=Command)
@click.argument("store", type=click.Path(path_type=Path), default="store")
@click.option("--verify", is_flag=True, help="Hash every file again and compare.")
def status(store: Path, verify: bool) -> None:
    """Show a STORE's tasks, its cells a layer, its free capacity and the matrix of scores."""
    from fmalloc.status import print_status
    from fmalloc.store import Store

    opened = Store.open(store)
    if verify:
        opened.verify()
        click.echo(f"{store}: every file is as it was written")
    print_status(opened)
