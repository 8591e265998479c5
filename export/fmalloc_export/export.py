"""What `fmalloc export` does: several domains of a store, one after another, and the tables about them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from rich.table import Table

from fmalloc.progress import bar, console
from fmalloc.store.store import Store
from fmalloc_export.builder import Exported, export_domain
from fmalloc_export.bundles.publish import writing
from fmalloc_export.checks.quality import warning
from fmalloc_export.checks.size import SizeRow
from fmalloc_export.compiler import compile_at, passes
from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.transformer import one_thread
from fmalloc_export.emit.emitter import emitter_of
from fmalloc_export.options import Options
from fmalloc_export.passes.text import CalibrationText, TextSplit, domain_text
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.names import GENERAL


@dataclass(frozen=True)
class Exporter:
    """What to export: domains by name, how, and the calibration text of each (none at -O0)."""

    store: Store
    names: Sequence[str]
    options: Options
    texts: Mapping[str, CalibrationText | None]

    @classmethod
    def of(cls, path: Path, tasks: Sequence[str], options: Options, calibration: Sequence[str]) -> "Exporter":
        """Read and check everything. `tasks` empty: general and every task; `calibration`: `[NAME=]PATH` each.

        Raises UsageError for what does not fit together, FmallocError for a damaged store or text, or where there is
        no held-out text to measure quality on.
        """
        if options.quantization not in (offered := emitter_of(options.engine).QUANTIZATIONS):
            raise click.UsageError(
                f"--quantization {options.quantization}: {options.engine} offers {', '.join(offered)}"
            )
        store = Store.open(path)
        names = list(dict.fromkeys(tasks)) or [GENERAL, *(task.name for task in store.tasks())]
        for name in names:
            if name != GENERAL:
                store.task(name)
        store.verify()
        texts = _texts(calibration, names, store, options)
        for name in names:
            with _naming(name):
                TextSplit.of(store.samples(name), texts[name], required=options.bound is not None)
        return cls(store, names, options, texts)

    def plan(self, *, explain: bool) -> None:
        """Print what each pass does; with `explain`, what it would do, without running it."""
        for name in self.names:
            _print_plan(Domain.load(self.store, name), self.options, self.texts[name], run=not explain)

    def export(self, output_dir: Path, *, force: bool, live: bool) -> None:
        """Write the bundles, and print what became of each."""
        with writing(output_dir):
            exported = [
                _export(self.store, name, output_dir, self.options, self.texts[name], force, live)
                for name in self.names
            ]
        _print_results(exported)


def _texts(
    calibration: Sequence[str], names: Sequence[str], store: Store, options: Options
) -> Mapping[str, CalibrationText | None]:
    """Calibration text by task."""
    if options.level == "O0":
        if calibration:
            raise click.UsageError("--calibration: -O0 needs no text; use -O1 or -O2")
        return dict.fromkeys(names)
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
    return {name: CalibrationText.read(path, store.description.languages) for name, path in paths.items()}


def _export(
    store: Store, name: str, output_dir: Path, options: Options, text: CalibrationText | None, force: bool, live: bool
) -> Exported:
    with _naming(name), bar(name, None) as advance:
        result = export_domain(
            Domain.load(store, name),
            output_dir,
            options,
            text,
            force=force,
            live=live,
            on_step=lambda step: advance(1, note=step),
        )
        advance(1, note="done")
    state = "written" if result.written else "already there, unchanged"
    click.echo(f"{name}: {result.path} {state}{'' if live else ' (not live)'}")
    return result


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Errors say which domain they are about."""
    try:
        yield
    except FmallocError as error:
        raise FmallocError(f"export of {name!r}: {error}") from error


def _print_plan(domain: Domain, options: Options, given: CalibrationText | None, *, run: bool) -> None:
    """What each pass would do or, with `run`, does."""
    split = TextSplit.of(domain.samples, given, required=options.bound is not None)
    click.echo(f"{domain.name}: {_quality_plan(options, split)}")
    with one_thread():
        text = domain_text(domain, split, options.vocabulary) if given else None
        keep = options.keep
        if options.level == "O2" and keep is None:
            click.echo(f"{domain.name}: the share of cells is found by trying")
            keep = 0.5
            click.echo(f"{domain.name}: what follows is for {keep:.0%} (--keep sets another)")
        if not run:
            click.echo(f"{domain.name}, -{options.level}:")
            for step in passes(options, text, keep):
                click.echo(f"  {step.name}: {step.explain(domain.model)}")
            return
        compiled = compile_at(domain, options, text, keep)
    rows = [SizeRow.of("learned", domain, domain.model, quantization="float32", bleu=None, note="")]
    rows += [
        SizeRow.of(step.name, domain, step.model, quantization=options.quantization, bleu=None, note=step.report)
        for step in compiled.steps
    ]
    click.echo(f"{domain.name} cells  {_widths(domain.model.widths, compiled.after.widths)}")
    _print_size_rows(domain.name, rows)


def _quality_plan(options: Options, split: TextSplit) -> str:
    if not split.held_out:
        return "quality is not measured: the store has no samples of the domain"
    measured = f"quality is measured on {len(split.held_out)} held-out pairs ({split.origin})"
    if options.bound is None:
        return f"{measured}, and not bound at -{options.level}"
    more = "is published too" if options.allow_quality_drop else "is refused"
    return f"{measured}: at most {options.bound} BLEU and chrF lost, what loses more {more}"


def _print_results(results: Sequence[Exported]) -> None:
    for result in results:
        manifest = result.manifest
        click.echo(f"{manifest.domain} cells  {_widths(result.widths_before, dict(manifest.widths))}")
        _print_size_rows(f"{manifest.domain} -{manifest.level}", result.size_rows)
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
    for result in results:
        quality = result.manifest.quality
        if quality and (found := warning(quality)):
            console.print(f"Warning: {result.manifest.domain}: {found}", markup=False)


def _print_size_rows(title: str, rows: Sequence[SizeRow]) -> None:
    table = Table("", "cells", "target tokens", "M parameters", "MB", "MFLOP per token", "BLEU", title=title)
    for row in rows:
        bleu = "" if row.bleu is None else f"{row.bleu:.2f}"
        figures = (f"{row.parameters / 1e6:.2f}", f"{row.megabytes:.2f}", f"{row.flops / 1e6:.2f}", bleu)
        table.add_row(row.name, str(row.cells), str(row.target_tokens), *figures)
    console.print(table)
    for row in rows:
        if row.note:
            console.print(f"  {row.name}: {row.note}")


def _widths(before: Mapping[str, int], after: Mapping[str, int]) -> str:
    return "  ".join(f"{layer} {width}→{after[layer]}" for layer, width in before.items())
