"""`fmalloc drop` and `fmalloc rollback`: their options."""

from pathlib import Path

import click

from fmalloc_shared.commands.command import Command
from fmalloc_shared.commands.flags import PATH, flag


@click.command("drop", cls=Command)
@click.argument("store", type=PATH)
@click.argument("version")
@flag("--bundles", default=None, help="Directory of bundles, from which those of the version go too.")
@click.option("--yes", is_flag=True, help="Do not ask before anything is deleted.")
@flag("--output", help="Copy the certificate there too: as JSON if it ends in .json, else in words.")
@flag("--dry-run")
def drop(store: Path, version: str, bundles: Path | None, yes: bool, output: Path | None, dry_run: bool) -> None:
    """Delete an older version of a domain, with a certificate.

    Its cells are free again, as by `fmalloc free`, which deletes all versions of a domain. VERSION is one such as
    `it@1`. Neither the version that is current, nor one whose cells others read, is dropped.

    \b
    Example:
      fmalloc drop store it@1 --bundles bundles
    """
    if "@" not in version:
        raise click.UsageError(f"{version}: which version? `fmalloc status` shows them; write {version}@1")
    from fmalloc.lifecycle.free import free_tasks
    from fmalloc_export.free import bundles_in

    free_tasks(
        store,
        [version],
        cascade=False,
        dry_run=dry_run,
        ask=None if yes else lambda question: click.confirm(question, abort=True),
        output=output,
        bundles=bundles_in(bundles) if bundles else None,
    )


@click.command("rollback", cls=Command)
@click.argument("store", type=PATH)
@click.argument("domain")
@click.option("--to", "number", type=click.IntRange(1, 999_999), help="Its number.  [default: the one before]")
@flag("--bundles", default=None, help="Directory of bundles, in which one of that version goes live too.")
@flag("--dry-run")
def rollback(store: Path, domain: str, number: int | None, bundles: Path | None, dry_run: bool) -> None:
    """Make an earlier version of a domain current again.

    Or, with --to, any other. Nothing is learned or deleted: one record is added to the store's chain. With --bundles,
    the bundle that was compiled from that version last goes live again, if it was not pruned; else compile one with
    `fmalloc export`.

    \b
    Example:
      fmalloc rollback store it
      fmalloc rollback store it --to 2 --bundles bundles
    """
    from fmalloc_export.rollback import rollback

    rollback(store, domain, number, bundles, dry_run=dry_run)
