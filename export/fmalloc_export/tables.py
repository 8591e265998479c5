"""The tables that `fmalloc export` prints: what each pass did, and what became of each domain."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from fmalloc_export.checks.confidence import described
from fmalloc_export.checks.quality import losses, warning
from fmalloc_export.checks.size import SizeRow
from fmalloc_export.compiler import Compiled
from fmalloc_export.publication import Exported
from fmalloc_export.students.points import Point
from fmalloc_shared.commands.command import echo
from fmalloc_shared.commands.progress import console


def print_passes(compiled: Compiled, quantization: str) -> None:
    """Sizes after each pass of a model that is not emitted."""
    domain = compiled.domain
    rows = [SizeRow.of("learned", domain, domain.model, quantization="float32")]
    rows += [
        SizeRow.of(step.name, domain, step.model, quantization=quantization, note=step.report)
        for step in compiled.steps
    ]
    echo(f"{domain.name} cells  {_widths(domain.model.widths, compiled.after.widths)}")
    _print_size_rows(domain.name, rows)


def print_results(results: Sequence[Exported]) -> None:
    """Of each bundle its sizes, parity and what it lost."""
    for result in results:
        manifest = result.manifest
        echo(f"{manifest.domain} cells  {_widths(result.built.widths_before, dict(manifest.widths))}")
        _print_size_rows(f"{manifest.domain} -{manifest.level}", result.built.size_rows)
    table = Table("domain", "level", "parity", "max Δ log p", "BLEU lost (95 %)", "chrF lost (95 %)")
    for result in results:
        manifest = result.manifest
        parity, quality = manifest.parity, manifest.quality
        sentences = parity.real_sentences + parity.random_sentences
        worst = min(parity.identical.model_dump().values())
        drops = (quality.bleu_drop, quality.chrf_drop) if quality else ()
        lost = [f"{drop.value:.2f} ({drop.low:.2f} to {drop.high:.2f})" for drop in drops] or ["–", "–"]
        row = (
            manifest.domain,
            f"-{manifest.level}",
            f"{worst}/{sentences}",
            f"{result.built.largest_difference:.1e}",
            *lost,
        )
        table.add_row(*row)
    console.print(table)
    for result in results:
        console.print(f"{result.manifest.domain}: {described(result.manifest)}", markup=False)
        if outside := result.manifest.out_of_domain:
            console.print(f"{result.manifest.domain} on general text: loses {losses(outside)}", markup=False)
        quality = result.manifest.quality
        if quality and (found := warning(quality)):
            console.print(f"Warning: {result.manifest.domain}: {found}", markup=False)


def print_frontier(name: str, points: Sequence[Point]) -> None:
    """What each model is worth that was tried, in the order in which they were."""
    columns = ("layers", "cells", "tokens", "beam", "ms", "-O0 = 1", "MB", "BLEU (lost)", "chrF (lost)", "bound", "")
    table = Table(*columns, title=f"{name} -O3: ms per sentence, by decoder layers, cells, target tokens and beam")
    for point in points:
        quality = point.quality
        scores = ((quality.bleu_after, quality.bleu_drop.value), (quality.chrf_after, quality.chrf_drop.value))
        table.add_row(
            *map(str, (point.depth, point.cells, point.target_tokens, point.beam_size)),
            f"{point.milliseconds:.1f}",
            f"{point.speed:.2f}",
            f"{point.megabytes:.2f}",
            *(f"{score:.2f} ({lost:.2f})" for score, lost in scores),
            "kept" if point.holds else "exceeded",
            point.note or "bundle",
        )
    console.print(table)


def _print_size_rows(title: str, rows: Sequence[SizeRow]) -> None:
    table = Table("", "cells", "target tokens", "M parameters", "MB", "MFLOP per token", "nats", "BLEU", title=title)
    for row in rows:
        bleu = "" if row.bleu is None else f"{row.bleu:.2f}"
        nats = "" if row.divergence is None else f"{row.divergence:.4f}"
        figures = (f"{row.parameters / 1e6:.2f}", f"{row.megabytes:.2f}", f"{row.flops / 1e6:.2f}", nats, bleu)
        table.add_row(row.name, str(row.cells), str(row.target_tokens), *figures)
    console.print(table)
    for row in rows:
        if row.note:
            console.print(f"  {row.name}: {row.note}")


def _widths(before: Mapping[str, int], after: Mapping[str, int]) -> str:
    """Layers that a student is without have none."""
    return "  ".join(f"{layer} {width}→{after.get(layer, 0)}" for layer, width in before.items())
