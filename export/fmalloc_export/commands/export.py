"""`fmalloc export`: its options."""

from pathlib import Path
from typing import Any, Literal

import click
from click.core import ParameterSource

from fmalloc.distillation.settings import UPDATES, DistillationSettings
from fmalloc_export.options import LEVELS, MAXIMUM_QUALITY_DROP, Options
from fmalloc_shared.commands.command import Command
from fmalloc_shared.commands.flags import PATH, flag


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
    "that it never uses. 2 also compacts the remaining cells, as far as --max-quality-drop allows. 3 does so on a "
    "student with fewer decoder layers, which learns from the domain's model first.",
)
@click.option(
    "--calibration",
    multiple=True,
    metavar="[NAME=]PATH",
    help="Parallel text of the domain, from -O1 on: some thousands of pairs, read as `fmalloc train` reads text. "
    "With several tasks, NAME= says which one it is for; repeat it.",
)
@click.option(
    "--keep", type=float, help="-O2, -O3: share of the cells to keep, instead of the smallest that is good enough."
)
@click.option(
    "--max-quality-drop",
    type=float,
    show_default=f"{MAXIMUM_QUALITY_DROP} from -O1 on, none at -O0",
    help="Most that compiling may cost on held-out pairs of the domain, in BLEU and in chrF, quantization included; a "
    "model that loses more is not published.",
)
@click.option("--allow-quality-drop", is_flag=True, help="Publish also a model that loses more; its manifest says so.")
@click.option(
    "--vocabulary",
    type=int,
    help="From -O1 on: most target tokens, the domain's most frequent; other words are spelled in smaller pieces.",
)
@flag(
    "--beam-size",
    default=None,
    help="Width of the beam search of requests that state none, kept in the bundle; 1 is greedy. What it costs counts "
    "against --max-quality-drop.  [default: 4]",
)
@click.option("--depth", type=click.IntRange(min=1), help="-O3: decoder layers of the student.  [default: 2]")
@click.option(
    "--for",
    "use",
    type=click.Choice(["latency", "throughput"]),
    help="-O3: search for depth, target tokens and beam, instead of --depth: the fastest within --max-quality-drop, "
    "one sentence at a time or in batches of 32.",
)
@click.option(
    "--budget",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MINUTES",
    help="With --for: time of the whole search of a domain, instead of --updates or --minutes of each student. Trials "
    "tell which depth it is spent on.",
)
@click.option(
    "--sources",
    multiple=True,
    metavar="[NAME=]PATH",
    help="-O3: more text of the domain without translations, one sentence per line; its model translates it.",
)
@click.option("--general", type=PATH, help="-O3: general parallel text, half of what the student sees if given.")
@flag("--updates", help=f"-O3: updates of the student.  [default: {UPDATES}]")
@click.option("--minutes", type=float, help="-O3: time for each student instead, at the pace of its first updates.")
@flag("--device", default=None, help="-O3: where the student learns; auto takes a GPU if there is one.")
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
@click.option(
    "--memory",
    "memories",
    multiple=True,
    metavar="[NAME=]PATH",
    help="Parallel text of the domain that the bundle is to hold as a translation memory: whoever has the bundle can "
    "read that text, and whoever may ask the server can find it. Without it a bundle holds none. Repeat it per task.",
)
@click.option(
    "--glossary",
    "glossaries",
    multiple=True,
    metavar="[NAME=]PATH",
    help="Terms of the domain and how to translate them (.tsv, .csv or .tbx), kept in every translation by its bundle; "
    "a request's own terms count before them. Repeat it per task.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["bundle", "transformers"]),
    default="bundle",
    help="transformers: a plain checkpoint per domain that transformers loads by itself, in the output directory.",
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
    beam_size: int | None,
    use: Literal["latency", "throughput"] | None,
    sources: tuple[str, ...],
    general: Path | None,
    device: Literal["auto", "cpu", "cuda"] | None,
    engine: str,
    quantization: str,
    memories: tuple[str, ...],
    glossaries: tuple[str, ...],
    kind: str,
    force: bool,
    no_live: bool,
    dry_run: bool,
    explain: bool,
    **budget: Any,
) -> None:
    """Compile learned domains into bundles.

    A bundle is a small model that `fmalloc serve` and `fmalloc translate` load: it holds only the memory cells that
    its domain uses. Before it appears, the emitted model is compared with the compiled one: the same tokens, greedy and
    with beam 4, and the same scores. On held-out pairs, BLEU and chrF are measured too; from -O1 on a model that
    loses more than --max-quality-drop does not appear. The same store and options give the same bytes, so exporting
    again changes nothing.

    It needs a memory store, and parallel text of the domain from -O1 on. A student is kept in the store: the same text
    and options find it again, and a run that was stopped goes on with the same command.

    With --format transformers, a domain leaves as a checkpoint that needs no fmalloc: cells that it leaves off are
    zero, private parameters are folded in, and transformers by itself writes the same tokens.

    \b
    Example:
      fmalloc export --all --store store --output-dir bundles
      fmalloc export --task it -O2 --quantization int8 --calibration corpora/it
      fmalloc export --task it -O3 --for latency --budget 20 --quantization int8 --calibration corpora/it
      fmalloc export --task it --memory corpora/it --glossary terms.tsv
      fmalloc export --task it --format transformers --output-dir checkpoints
    """
    if everything == bool(tasks):
        raise click.UsageError("give one --task or more, or --all")
    if kind == "transformers":
        _check_plain()
        from fmalloc_export.checkpoint import export_checkpoints

        export_checkpoints(store, tasks, output_dir, force=force)
        return
    options = Options(
        engine, quantization, LEVELS[int(level)], keep, max_quality_drop, allow_quality_drop, vocabulary, beam_size
    )
    given = {name: value for name, value in budget.items() if value is not None}
    whole = given.pop("budget", None)
    students = {"for": use, "budget": whole, "sources": sources, "general": general, "device": device, **given}
    if options.level != "O3" and (unused := [name for name, value in students.items() if value]):
        raise click.UsageError(f"--{unused[0]}: only -O3 makes students, this is -{options.level}")
    if len({"updates", "minutes"} & {*given}) > 1:
        raise click.UsageError("give --updates or --minutes, not both")
    if whole and not use:
        raise click.UsageError("--budget: the time of a search, which --for asks for")
    if whole and (other := {"updates", "minutes"} & {*given}):
        raise click.UsageError(f"--{other.pop()}: of each student; --budget is of all of them: give one of the two")
    if use and "depth" in given:
        raise click.UsageError("--for searches for the depth, which --depth names: give one of them")
    if use and allow_quality_drop:
        raise click.UsageError("--for looks for a student within the bound: --allow-quality-drop goes with --depth")
    from fmalloc_export.export import Exporter
    from fmalloc_export.students.students import StudentArguments

    arguments = None
    if options.level == "O3":
        arguments = StudentArguments(DistillationSettings(**given), sources, general, device or "auto", use, whole)
    exporter = Exporter.of(store, tasks, output_dir, options, calibration, arguments, memories, glossaries)
    if explain or dry_run:
        exporter.plan(explain=explain)
    else:
        exporter.export(force=force, live=not no_live)


def _check_plain() -> None:
    """Raise UsageError for options that are about compiling."""
    context, ours = click.get_current_context(), {"tasks", "everything", "store", "output_dir", "kind", "force"}
    for parameter in context.command.params:
        name = parameter.name or ""
        if name not in ours and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{parameter.opts[0]}: goes with bundles, --format transformers compiles nothing")
