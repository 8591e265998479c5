"""`fmalloc free`: its options."""

from pathlib import Path

import click

from fmalloc_shared.commands.command import Command
from fmalloc_shared.commands.flags import PATH, flag


@click.command("free", cls=Command)
@click.argument("store", type=PATH)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@flag("--bundles", default=None, help="Directory of bundles, from which those of the domain go too.")
@click.option("--cascade", is_flag=True, help="Free the domains that read it as well.")
@click.option("--yes", is_flag=True, help="Do not ask before anything is deleted.")
@flag("--output", help="Copy the certificate there too: as JSON if it ends in .json, else in words.")
@flag("--dry-run")
def free(
    store: Path,
    names: tuple[str, ...],
    bundles: Path | None,
    cascade: bool,
    yes: bool,
    output: Path | None,
    dry_run: bool,
) -> None:
    """Delete domains from a store and bundles, with a certificate.

    The domain's weights, routing counts and sample sentences are deleted; its cells are free again, with their
    pretrained values. All other domains keep every byte. The certificate, a record of the store's chain, says so, and
    `fmalloc verify-certificate` checks it. It cannot be undone, and does not reach backups and bundles elsewhere.

    A domain whose cells others read is not freed without them; `fmalloc status` shows who reads whom. A freeing that
    was stopped goes on with the same command. For bundles that a server serves, run it where they are; the server takes
    up the change by itself.

    \b
    Example:
      fmalloc free store it --bundles bundles --output certificate.json
      fmalloc free store it --cascade --dry-run
    """
    from fmalloc.lifecycle.free import free_tasks
    from fmalloc_export.free import bundles_in

    free_tasks(
        store,
        names,
        cascade=cascade,
        dry_run=dry_run,
        ask=None if yes else lambda question: click.confirm(question, abort=True),
        output=output,
        bundles=bundles_in(bundles) if bundles else None,
    )
