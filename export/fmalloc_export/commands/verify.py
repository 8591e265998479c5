"""`fmalloc verify`: its options."""

from pathlib import Path

import click

from fmalloc_shared.command import Command
from fmalloc_shared.flags import PATH, flag


@click.command("verify", cls=Command, extra="export")
@click.argument("paths", metavar="PATH...", type=PATH, nargs=-1, required=True)
@flag("--store", default=None, help="Compile the bundles again from this memory store, and compare every byte.")
@click.option(
    "--calibration",
    type=PATH,
    multiple=True,
    help="Text that bundles at -O1 and -O2 were calibrated with; its digest tells which one it is for; repeat it.",
)
def verify(paths: tuple[Path, ...], store: Path | None, calibration: tuple[Path, ...]) -> None:
    """Check bundles: digests, translations, origin.

    PATH is a bundle or a directory of bundles. Every file must have its digest, and the engine must give the golden
    translations. With --store, the domain is compiled again with the bundle's options, which checks its parity with
    the learned model, and must give the same bytes.

    \b
    Example:
      fmalloc verify bundles
      fmalloc verify bundles/it@0123456789ab --store store
    """
    from fmalloc_export.verify import verify_all

    verify_all(paths, store, calibration)
