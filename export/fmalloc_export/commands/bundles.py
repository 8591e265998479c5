"""`fmalloc bundles`: its options."""

from pathlib import Path

import click

from fmalloc_shared.commands.command import Command
from fmalloc_shared.commands.flags import PATH, flag


@click.command("bundles", cls=Command)
@click.argument("bundles", type=PATH, default=Path("bundles"))
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--pack", "action", flag_value="pack", help="Store model files as differences from one that all share.")
@click.option("--unpack", "action", flag_value="unpack", help="Store model files as their engine's tools load them.")
@click.option(
    "--prune", "action", flag_value="prune", help="Delete bundles that are not live, and unused shared files."
)
@click.option("--yes", is_flag=True, help="Do not ask before --prune deletes.")
@flag("--json", "as_json", help="Print JSON, for programs; sizes in bytes.")
def bundles(bundles: Path, names: tuple[str, ...], action: str | None, yes: bool, as_json: bool) -> None:
    """Show, pack, unpack and prune bundles.

    BUNDLES is a directory of bundles, ./bundles by default. NAME is a domain or a bundle to pack or unpack; without
    any, all are. A packed bundle serves as a plain one does, and keeps its name.

    \b
    Example:
      fmalloc bundles bundles
      fmalloc bundles bundles --pack
      fmalloc bundles bundles it --unpack
    """
    from fmalloc_export.bundles.manage import manage, show

    if action is not None:
        manage(bundles, action, names, ask=not yes)
    elif names:
        raise click.UsageError("names go with --pack or --unpack")
    show(bundles, as_json)
