"""fmalloc-export: compile learned domains into bundles."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from rich.table import Table

from fmalloc.corpus import Pair, read_pairs
from fmalloc.progress import bar, console
from fmalloc.store.store import Store
from fmalloc_export.bundles.publish import writing
from fmalloc_export.checks.size import SizeRow
from fmalloc_export.compiler import compile_at, passes
from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.transformer import one_thread
from fmalloc_export.emit.emitter import ENGINES, emitter_of
from fmalloc_export.export import Exported, export
from fmalloc_export.options import LEVELS, MAXIMUM_BLEU_DROP, Options
from fmalloc_export.passes.text import text_of
from fmalloc_export.triton.command import lay_out
from fmalloc_shared.command import Command
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.names import GENERAL

_PATH = click.Path(path_type=Path)


@click.command(cls=Command)
@click.option("--task", "tasks", multiple=True, metavar="NAME", help="A task to export, or general; may be repeated.")
@click.option("--all", "everything", is_flag=True, help="Export general and every task.")
@click.option("--store", "store_path", type=_PATH, default=Path("store"), show_default=True)
@click.option("--output_dir", "--output-dir", type=_PATH, default=Path("bundles"), show_default=True)
@click.option(
    "-O",
    "level",
    type=click.Choice([level[1:] for level in LEVELS]),
    default="0",
    show_default=True,
    help="0 changes no translation. 1 cuts cells that never fire on the domain's text and tokens that it never "
    "writes. 2 also compacts the cells that are left, as far as --max-bleu-drop allows.",
)
@click.option(
    "--calibration",
    multiple=True,
    metavar="[NAME=]PATH",
    help="Text of the domain for -O1 and -O2: a TSV file, a pair of files without their endings, or a folder with "
    "train.tsv. Some thousands of pairs; NAME= tells which task it is for where there are several.",
)
@click.option("--keep", type=float, help="-O2: this share of the cells, instead of the smallest that is good enough.")
@click.option(
    "--max-bleu-drop",
    "--max_bleu_drop",
    type=float,
    default=MAXIMUM_BLEU_DROP,
    show_default=True,
    help="-O2: what compiling may cost on held-out pairs of the domain, in BLEU and in chrF.",
)
@click.option(
    "--vocabulary",
    type=int,
    metavar="N",
    help="-O1 and -O2: at most N target tokens, the domain's most frequent; the rest is spelled in smaller pieces.",
)
@click.option("--engine", type=click.Choice(list(ENGINES)), default="ctranslate2", show_default=True)
@click.option(
    "--quantization",
    default="float32",
    show_default=True,
    metavar="TYPE",
    help="Type of the saved weights. float32 changes nothing; int8 is a quarter of the size and the fastest on "
    "CPUs; the table shows what it costs. ctranslate2 also has int8_float16, int16, float16, bfloat16 and "
    "others, onnx float16.",
)
@click.option("--single-file", is_flag=True, help="onnx: add a file that has encoder, decoder and beam search in one.")
@click.option(
    "--layout",
    type=click.Choice(["bundles", "triton"]),
    default="bundles",
    show_default=True,
    help="triton: afterwards, lay out all that is live for NVIDIA Triton too, in the folder triton of --output_dir.",
)
@click.option("--force", is_flag=True, help="Write a bundle again if the one that is there is damaged.")
@click.option("--no-live", is_flag=True, help="Leave live.json, which says what is served, as it is.")
@click.option("--dry-run", is_flag=True, help="Run the passes and show what they do, but emit and write nothing.")
@click.option("--explain", is_flag=True, help="Say what each pass would do, without doing it.")
def main(
    tasks: tuple[str, ...],
    everything: bool,
    store_path: Path,
    output_dir: Path,
    level: str,
    calibration: tuple[str, ...],
    keep: float | None,
    max_bleu_drop: float,
    vocabulary: int | None,
    engine: str,
    quantization: str,
    single_file: bool,
    layout: str,
    force: bool,
    no_live: bool,
    dry_run: bool,
    explain: bool,
) -> None:
    """Compile learned domains into bundles: small models that fmalloc-serve and fmalloc-translate load.

    A domain's bundle holds only the memory cells that the domain uses. Before it appears, the emitted model is compared
    with the compiled one: the same tokens, greedy and with beam 4, and the same scores; at -O1 and -O2 BLEU before
    and after is measured too. The same store and options give the same bytes, so exporting again changes nothing.

    \b
    Example:
      fmalloc-export --task it -O2 --quantization int8 --calibration corpora/it
      echo 'Hallo Welt' | fmalloc-translate --domain it
    """
    if everything == bool(tasks):
        raise click.UsageError("give one --task or more, or --all")
    options = Options(engine, quantization, LEVELS[int(level)], keep, max_bleu_drop, vocabulary, single_file)
    if quantization not in (offered := emitter_of(engine).QUANTIZATIONS):
        raise click.UsageError(f"--quantization {quantization}: {engine} offers {', '.join(offered)}")
    store = Store.open(store_path)
    names = [GENERAL, *(task.name for task in store.tasks())] if everything else list(dict.fromkeys(tasks))
    for name in names:
        if name != GENERAL:
            store.task(name)
    store.verify()
    texts = _texts(calibration, names, store, options)
    if explain or dry_run:
        for name in names:
            _print_plan(Domain.load(store, name), options, texts[name], run=not explain)
        return
    with writing(output_dir):
        exported = [_export(store, name, output_dir, options, texts[name], force, not no_live) for name in names]
    if layout == "triton":
        lay_out(output_dir, output_dir / "triton", force=True)
    _print_results(exported)


def _texts(
    calibration: Sequence[str], names: Sequence[str], store: Store, options: Options
) -> Mapping[str, tuple[Pair, ...]]:
    """Calibration pairs by task."""
    if options.level == "O0":
        if calibration:
            raise click.UsageError("--calibration: -O0 needs no text; use -O1 or -O2")
        return dict.fromkeys(names, ())
    paths: dict[str, Path] = {}
    for given in calibration:
        name, _, path = given.rpartition("=")
        if not name and len(names) > 1:
            raise click.UsageError(f"--calibration {given}: which task is it for? Write NAME={given}")
        paths[name or names[0]] = Path(path)
    if unknown := [name for name in paths if name not in names]:
        raise click.UsageError(f"--calibration {unknown[0]}=…: {unknown[0]} is not exported; {', '.join(names)} are")
    if missing := [name for name in names if name not in paths]:
        raise click.UsageError(
            f"-{options.level} needs text of each domain: --calibration {missing[0]}=PATH is missing"
        )
    return {name: read_pairs(path, store.description.languages) for name, path in paths.items()}


def _export(
    store: Store, name: str, output_dir: Path, options: Options, pairs: Sequence[Pair], force: bool, live: bool
) -> Exported:
    try:
        with bar(name, None) as advance:
            result = export(
                Domain.load(store, name),
                output_dir,
                options,
                pairs,
                force=force,
                live=live,
                on_step=lambda step: advance(1, note=step),
            )
            advance(1, note="done")
    except FmallocError as error:
        raise FmallocError(f"export of {name!r}: {error}") from error
    state = "written" if result.written else "already there, unchanged"
    click.echo(f"{name}: {result.path} {state}{'' if live else ' (not live)'}")
    return result


def _print_plan(domain: Domain, options: Options, pairs: Sequence[Pair], *, run: bool) -> None:
    """What each pass would do or, with `run`, does."""
    with one_thread():
        text = text_of(domain, pairs, domain.samples, options.vocabulary)[0] if options.level != "O0" else None
        keep = options.keep
        if options.level == "O2" and keep is None:
            bound = options.max_bleu_drop
            click.echo(f"{domain.name}: the share of cells is found by trying; at most {bound} BLEU and chrF lost")
            keep = 0.5
            click.echo(f"{domain.name}: what follows is for {keep:.0%} (--keep sets another)")
        if not run:
            click.echo(f"{domain.name}, -{options.level}:")
            for step in passes(options, text, keep):
                click.echo(f"  {step.name}: {step.explain(domain.model)}")
            return
        compiled = compile_at(domain, options, text, keep)
    stages = [SizeRow.of("learned", domain, domain.model, quantization="float32", bleu=None, note="")]
    stages += [
        SizeRow.of(step.name, domain, step.model, quantization=options.quantization, bleu=None, note=step.report)
        for step in compiled.steps
    ]
    click.echo(f"{domain.name} cells  {_widths(domain.model.widths, compiled.after.widths)}")
    _print_stages(domain.name, stages)


def _print_results(results: Sequence[Exported]) -> None:
    for result in results:
        manifest = result.manifest
        click.echo(f"{manifest.domain} cells  {_widths(result.widths_before, dict(manifest.widths))}")
        _print_stages(f"{manifest.domain} -{manifest.level}", result.stages)
    table = Table("domain", "level", "parity", "max Δ log p", "BLEU lost (95 %)", "chrF lost (95 %)")
    for result in results:
        manifest = result.manifest
        parity, quality = manifest.parity, manifest.quality
        sentences = parity.real_sentences + parity.random_sentences
        worst = min(parity.identical.model_dump().values())
        drops = (quality.bleu_drop, quality.chrf_drop) if quality else ()
        lost = [f"{drop.value:.2f} ({drop.low:.2f} to {drop.high:.2f})" for drop in drops] or ["–", "–"]
        row = (manifest.domain, f"-{manifest.level}", f"{worst}/{sentences}", f"{result.largest_difference:.1e}", *lost)
        table.add_row(*row)
    console.print(table)


def _print_stages(title: str, stages: Sequence[SizeRow]) -> None:
    table = Table("", "cells", "target tokens", "M parameters", "MB", "MFLOP a token", "BLEU", title=title)
    for stage in stages:
        bleu = "" if stage.bleu is None else f"{stage.bleu:.2f}"
        figures = (f"{stage.parameters / 1e6:.2f}", f"{stage.megabytes:.2f}", f"{stage.flops / 1e6:.2f}", bleu)
        table.add_row(stage.name, str(stage.cells), str(stage.target_tokens), *figures)
    console.print(table)
    for stage in stages:
        if stage.note:
            console.print(f"  {stage.name}: {stage.note}")


def _widths(before: Mapping[str, int], after: Mapping[str, int]) -> str:
    return "  ".join(f"{layer} {width}→{after[layer]}" for layer, width in before.items())


if __name__ == "__main__":
    main(prog_name="fmalloc-export")
