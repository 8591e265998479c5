"""fmalloc-export: compile learned domains into bundles."""

from collections.abc import Sequence
from pathlib import Path

import click
from rich.table import Table

from fmalloc.progress import bar, console
from fmalloc.store import Store
from fmalloc_export.assemble import STEPS, Exported, export
from fmalloc_export.compiler import compile_domain
from fmalloc_export.ctranslate2 import QUANTIZATIONS
from fmalloc_export.publish import writing
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
    "--quantization",
    type=click.Choice(QUANTIZATIONS),
    default=QUANTIZATIONS[0],
    show_default=True,
    help="Type of the saved weights. float32 changes nothing; int8 is a quarter of the size and the fastest on "
    "CPUs; the table shows what it costs.",
)
@click.option("--force", is_flag=True, help="Write a bundle again if the one that is there is damaged.")
@click.option("--no-live", is_flag=True, help="Leave live.json, which says what is served, as it is.")
@click.option("--dry-run", is_flag=True, help="Only say what would be exported, and how wide its layers would be.")
def main(
    tasks: tuple[str, ...],
    everything: bool,
    store_path: Path,
    output_dir: Path,
    quantization: str,
    force: bool,
    no_live: bool,
    dry_run: bool,
) -> None:
    """Compile learned domains into bundles: small models that fmalloc-serve and fmalloc-translate load.

    A domain's bundle holds only the memory cells that the domain uses. Before it appears, the emitted model is compared
    with the learned one: the same tokens, greedy and with beam 4, and the same scores. The same store and
    options give the same bytes, so exporting again changes nothing.

    \b
    Example:
      fmalloc-export --task it --quantization int8
      echo 'Hallo Welt' | fmalloc-translate --domain it
    """
    if everything == bool(tasks):
        raise click.UsageError("give one --task or more, or --all")
    store = Store.open(store_path)
    names = [GENERAL, *(task.name for task in store.tasks())] if everything else list(dict.fromkeys(tasks))
    for name in names:
        if name != GENERAL:
            store.task(name)
    store.verify()
    if dry_run:
        _print_plan(store, names, quantization, output_dir)
        return
    with writing(output_dir):
        exported = [_export(store, name, output_dir, quantization, force, not no_live) for name in names]
    _print_results(exported)


def _export(store: Store, name: str, output_dir: Path, quantization: str, force: bool, live: bool) -> Exported:
    try:
        with bar(name, len(STEPS)) as advance:
            steps = 0

            def on_step(step: str) -> None:
                nonlocal steps
                advance(1 if steps else 0, note=step)
                steps += 1

            result = export(store, name, output_dir, quantization, force=force, live=live, on_step=on_step)
            advance(1, note="done")
    except FmallocError as error:
        raise FmallocError(f"export of {name!r}: {error}") from error
    state = "written" if result.written else "already there, unchanged"
    click.echo(f"{name}: {result.path} {state}{'' if live else ' (not live)'}")
    return result


def _print_plan(store: Store, names: Sequence[str], quantization: str, output_dir: Path) -> None:
    for name in names:
        compiled = compile_domain(store, name, quantization)
        before, after = compiled.parameters
        click.echo(f"{name}: would go to {output_dir / name}@…, {before:,} -> {after:,} parameters")
        click.echo(f"  cells  {_widths(compiled.before.widths, compiled.after.widths)}")
        for step, report in compiled.reports:
            click.echo(f"  {step}: {report}")


def _print_results(results: Sequence[Exported]) -> None:
    for result in results:
        click.echo(f"{result.manifest.domain} cells  {_widths(result.widths_before, dict(result.manifest.widths))}")
    table = Table("domain", "cells", "million numbers", "MB", "parity", "max Δ log p", "BLEU", "after")
    for result in results:
        manifest = result.manifest
        parity, quality = manifest.parity, manifest.quality
        sentences = parity.real_sentences + parity.random_sentences
        worst = min(parity.identical.model_dump().values())
        table.add_row(
            manifest.domain,
            f"{sum(result.widths_before.values())} → {sum(manifest.widths.values())}",
            f"{result.parameters[0] / 1e6:.2f} → {result.parameters[1] / 1e6:.2f}",
            f"{result.model_bytes / 1e6:.2f}",
            f"{worst}/{sentences}",
            f"{result.largest_difference:.1e}",
            f"{quality.bleu_before:.2f}" if quality else "–",
            f"{quality.bleu_after:.2f}" if quality else "–",
        )
    console.print(table)


def _widths(before: dict[str, int], after: dict[str, int]) -> str:
    return "  ".join(f"{layer} {width}→{after[layer]}" for layer, width in before.items())


if __name__ == "__main__":
    main(prog_name="fmalloc-export")
