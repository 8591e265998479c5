"""Entry points of the commands that compile, pack, prove and score bundles; they import only what they run."""

from pathlib import Path

import click

from fmalloc_shared.command import Command, launch, needs

_PATH = click.Path(path_type=Path)


def export() -> None:
    """fmalloc-export"""
    launch("fmalloc_export.__main__", extra="export")


def evaluate() -> None:
    """fmalloc-eval"""
    launch("fmalloc_export.evaluation.command", extra="export")


@click.command(cls=Command)
@click.argument("directory", type=_PATH, default=Path("bundles"))
@click.argument("names", nargs=-1)
@click.option("--pack", "action", flag_value="pack", help="Store model files as differences from one that all share.")
@click.option("--unpack", "action", flag_value="unpack", help="Store model files as their engine's tools load them.")
@click.option("--prune", "action", flag_value="prune", help="Delete bundles that are not live, and what none needs.")
@click.option("--yes", is_flag=True, help="Do not ask before --prune deletes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, sizes in bytes.")
def bundles(directory: Path, names: tuple[str, ...], action: str | None, yes: bool, as_json: bool) -> None:
    """Show the bundles in DIRECTORY (default: ./bundles) and the disk that they take.

    NAMES, of domains or bundles, say which ones to pack or unpack; without any, all are. A packed bundle serves as a
    plain one does, and keeps its name.

    \b
    fmalloc bundles bundles --pack
    fmalloc bundles bundles --unpack it
    """
    from fmalloc_export.bundles.manage import manage, show

    if action is not None:
        manage(directory, action, names, ask=not yes)
    elif names:
        raise click.UsageError("names go with --pack or --unpack")
    show(directory, as_json)


@click.command(cls=Command)
@click.argument("paths", metavar="BUNDLE...", type=_PATH, nargs=-1, required=True)
@click.option("--store", type=_PATH, help="Compile the bundles again from this store, and compare every byte.")
@click.option(
    "--calibration",
    type=_PATH,
    multiple=True,
    help="Text that bundles of -O1 and -O2 were calibrated with; which one is for which is told by its digest.",
)
def verify(paths: tuple[Path, ...], store: Path | None, calibration: tuple[Path, ...]) -> None:
    """Check bundles: BUNDLE is one, or a directory of bundles.

    Every file must have its digest, and the engine must give the golden translations. With --store, the domain is
    compiled again with the bundle's options, which checks its parity with the learned model, and must give
    the same bytes.

    \b
    fmalloc verify bundles
    fmalloc verify bundles/it@0123456789ab --store store
    """
    if store is not None:
        needs("torch", "transformers", extra="export")
    from fmalloc_export.verify import verify_all

    verify_all(paths, store, calibration)
