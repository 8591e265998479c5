"""`fmalloc shallow`: its options."""

from pathlib import Path

import click

from fmalloc.distillation.settings import UPDATES, DistillationSettings
from fmalloc_shared.commands.command import Command
from fmalloc_shared.commands.flags import PATH, flag


@click.command("shallow", cls=Command, extra="export")
@click.argument("store", type=PATH, default=Path("store"))
@click.option("--general", type=PATH, help="General parallel text.")
@click.option("--sources", type=PATH, help="General text without translations, one sentence per line.")
@click.option("--depth", type=click.IntRange(min=1), default=2, help="Decoder layers.")
@flag("--updates", help=f"Updates of the student.  [default: {UPDATES}]")
@click.option("--minutes", type=float, help="Time for them instead, at the pace of the first ones.")
@flag(
    "--sentences",
    "translations",
    default=DistillationSettings.translations,
    show_default=True,
    help="Most sentences that the general model translates for it.",
)
@flag("--device")
@flag("--dry-run")
def shallow(
    store: Path,
    general: Path | None,
    sources: Path | None,
    depth: int,
    updates: int | None,
    minutes: float | None,
    translations: int,
    device: str,
    dry_run: bool,
) -> None:
    """Distil the general model to fewer decoder layers.

    The student is kept in the store, and no other model changes. `fmalloc export -O3` compiles it as the bundle of
    general, and begins every domain's student with it: what takes hours is done once, and a domain takes minutes. A
    run that was killed, or stopped by Ctrl-C, goes on with the same command.

    It needs general text: parallel (a .tsv or .tmx file, a pair of files, or a folder with train), sources alone, or
    both. STORE is a memory store, ./store by default.

    \b
    Example:
      fmalloc shallow store --general corpora/general --depth 2 --minutes 120
    """
    if general is None and sources is None:
        raise click.UsageError("give --general, --sources or both: text to learn from")
    if updates is not None and minutes is not None:
        raise click.UsageError("give --updates or --minutes, not both")
    from fmalloc_export.students.shallow import shallow
    from fmalloc_export.students.students import StudentArguments

    settings = DistillationSettings(depth=depth, updates=updates or UPDATES, minutes=minutes, translations=translations)
    given = [str(sources)] if sources else []
    shallow(store, StudentArguments(settings, given, general, device), dry_run=dry_run)  # type: ignore[arg-type]
