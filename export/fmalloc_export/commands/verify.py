"""`fmalloc verify`: its options."""

from pathlib import Path

import click

from fmalloc_shared.commands.command import Command
from fmalloc_shared.commands.flags import PATH, flag


@click.command("verify", cls=Command, extra="export")
@click.argument("paths", metavar="PATH...", type=PATH, nargs=-1, required=True)
@flag("--store", default=None, help="Compile the bundles again from this memory store, and compare every byte.")
@click.option(
    "--calibration",
    type=PATH,
    multiple=True,
    help="Text that bundles above -O0 were calibrated with; its digest tells which one it is for; repeat it.",
)
@click.option(
    "--trusted-keys", metavar="A,B", help="Files of public keys; every bundle has to be signed by one of them."
)
@click.option("--repair", is_flag=True, help="Delete what was begun and not finished, of what is whole otherwise.")
@click.option("--yes", is_flag=True, help="Do not ask before --repair deletes.")
@flag("--dry-run", help="With --repair: show what would be deleted, and stop.")
def verify(
    paths: tuple[Path, ...],
    store: Path | None,
    calibration: tuple[Path, ...],
    trusted_keys: str | None,
    repair: bool,
    yes: bool,
    dry_run: bool,
) -> None:
    """Check that a store is whole, and bundles what they say.

    PATH is a memory store, a bundle, or a directory of bundles. Every file must have its digest. A store's records
    must be one chain, whose head is printed, and its base, masks and cells must fit together. A bundle's engine must
    give the golden translations. With --store, the domain is compiled again with the bundle's options, which checks
    its parity with the learned model, and must give the same bytes. With --trusted-keys, one of those keys must have
    signed each bundle (see fmalloc keys sign).

    What is found is said to mean something for you, once for each kind. --repair deletes unfinished work and nothing
    else: .work, what a stopped freeing left, temporary files, bundles that were being built.

    \b
    Example:
      fmalloc verify store
      fmalloc verify bundles
      fmalloc verify bundles/it@0123456789ab --store store
      fmalloc verify bundles --trusted-keys release.pub
      fmalloc verify store --repair --dry-run
    """
    from fmalloc_export.verification.verify import Repair, verify_all

    trusted = [Path(path.strip()) for path in trusted_keys.split(",")] if trusted_keys is not None else []
    for name, given in (("--yes", yes), ("--dry-run", dry_run)):
        if given and not repair:
            raise click.UsageError(f"{name} goes with --repair")
    ask = None if yes else lambda question: click.confirm(question, abort=True)
    verify_all(paths, store, calibration, trusted, Repair(dry_run, ask) if repair else None)
