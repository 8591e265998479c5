"""`fmalloc export`: its options."""

from pathlib import Path

import click

from fmalloc_export.options import LEVELS, MAXIMUM_QUALITY_DROP, Options
from fmalloc_shared.command import Command
from fmalloc_shared.flags import flag


@click.command("export", cls=Command, extra="export", underscores=True)
@click.option("--task", "tasks", multiple=True, metavar="NAME", help="A task to export, or general; repeat it.")
@click.option("--all", "everything", is_flag=True, help="Export general and every task.")
@flag("--store")
@flag("--output-dir", default=Path("bundles"), help="Directory of bundles to add to.")
@click.option(
    "-O",
    "level",
    type=click.Choice([level[1:] for level in LEVELS]),
    default="0",
    help="Optimisation level. 0 changes no translation. 1 cuts cells that never fire on the domain's text, and tokens "
    "that it never uses. 2 also compacts the remaining cells, as far as --max-quality-drop allows.",
)
@click.option(
    "--calibration",
    multiple=True,
    metavar="[NAME=]PATH",
    help="Parallel text of the domain, for -O1 and -O2: some thousands of pairs, read as `fmalloc train` reads text. "
    "With several tasks, NAME= says which one it is for; repeat it.",
)
@click.option(
    "--keep", type=float, help="-O2: share of the cells to keep, instead of the smallest that is good enough."
)
@click.option(
    "--max-quality-drop",
    type=float,
    show_default=f"{MAXIMUM_QUALITY_DROP} at -O1 and -O2, none at -O0",
    help="Most that compiling may cost on held-out pairs of the domain, in BLEU and in chrF, quantization included; a "
    "model that loses more is not published.",
)
@click.option("--allow-quality-drop", is_flag=True, help="Publish also a model that loses more; its manifest says so.")
@click.option(
    "--vocabulary",
    type=int,
    help="-O1, -O2: most target tokens, the domain's most frequent; other words are spelled in smaller pieces.",
)
@click.option(
    "--engine", type=click.Choice(["ctranslate2", "onnx"]), default="ctranslate2", help="Engine to compile for."
)
@click.option(
    "--quantization",
    default="float32",
    metavar="TYPE",
    help="Type of the saved weights. float32 changes nothing; int8 takes a quarter of the bytes and is fastest on "
    "CPUs. ctranslate2 also has int8_float16, int16, float16, bfloat16 and others; onnx has float16.",
)
@flag("--force", help="Write a bundle again if the one that is there is damaged.")
@click.option("--no-live", is_flag=True, help="Leave live.json, which says what is served, as it is.")
@flag("--dry-run", help="Run the passes and show what they do, but write nothing.")
@click.option("--explain", is_flag=True, help="Say what each pass would do, without running it.")
def export(
    tasks: tuple[str, ...],
    everything: bool,
    store: Path,
    output_dir: Path,
    level: str,
    calibration: tuple[str, ...],
    keep: float | None,
    max_quality_drop: float | None,
    allow_quality_drop: bool,
    vocabulary: int | None,
    engine: str,
    quantization: str,
    force: bool,
    no_live: bool,
    dry_run: bool,
    explain: bool,
) -> None:
    """Compile learned domains into bundles.

    A bundle is a small model that `fmalloc serve` and `fmalloc translate` load: it holds only the memory cells that
    its domain uses. Before it appears, the emitted model is compared with the compiled one: the same tokens, greedy and
    with beam 4, and the same scores. On held-out pairs, BLEU and chrF are measured too; at -O1 and -O2 a model that
    loses more than --max-quality-drop does not appear. The same store and options give the same bytes, so exporting
    again changes nothing.

    It needs a memory store, and parallel text of the domain for -O1 and -O2.

    \b
    Example:
      fmalloc export --all --store store --output-dir bundles
      fmalloc export --task it -O2 --quantization int8 --calibration corpora/it
    """
    if everything == bool(tasks):
        raise click.UsageError("give one --task or more, or --all")
    options = Options(engine, quantization, LEVELS[int(level)], keep, max_quality_drop, allow_quality_drop, vocabulary)
    from fmalloc_export.export import Exporter

    exporter = Exporter.of(store, tasks, options, calibration)
    if explain or dry_run:
        exporter.plan(explain=explain)
    else:
        exporter.export(output_dir, force=force, live=not no_live)
