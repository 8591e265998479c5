"""What -O3 keeps of quality: students of a real store's domains. Their speed is the scoreboard's (`--student`).

Students are made as `fmalloc shallow` and `fmalloc export -O3` make them, in a copy of the store below `--work`: a run
that was killed goes on where it stopped. Writes results/distil.json.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from benchmarks.common import Goal, machine, megabytes, once, versions, write_results
from fmalloc.corpus import Pair, read_corpus, read_pairs
from fmalloc.distillation.settings import DistillationSettings
from fmalloc.evaluation.evaluate import MAXIMUM_NEW_TOKENS, score
from fmalloc.evaluation.significance import METRICS
from fmalloc.model.devices import select
from fmalloc.store.distilled import Distilled
from fmalloc.store.store import Store
from fmalloc_export.bundles.publish import CPU, writing
from fmalloc_export.checks.quality import drop
from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.student import Student
from fmalloc_export.options import Options
from fmalloc_export.passes.text import CalibrationText, TextSplit
from fmalloc_export.publication import Exported, export_domain
from fmalloc_export.students.students import Distillation, Lesson
from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.live.translator import Translator
from fmalloc_shared.commands.progress import console
from fmalloc_shared.languages import LanguagePair
from fmalloc_shared.names import GENERAL

_LANGUAGES = LanguagePair("de", "en")
_LEARNED = "-O0, ctranslate2 int8"


def _student_name(depth: int) -> str:
    return f"-O3, {depth} decoder layers, ctranslate2 int8"


@dataclass(frozen=True)
class Budget:
    """Minutes of the general model and of each domain's student after it, and sentences translated for each."""

    general: float
    domain: float
    translations: int

    def distillation(self, depth: int, minutes: float, general: tuple[Pair, ...] = ()) -> Distillation:
        """As the commands make it, on whatever device there is."""
        settings = DistillationSettings(depth=depth, minutes=minutes, translations=self.translations)
        return Distillation(settings, {}, general, select())


def general_student(store: Store, corpora: Path, depth: int, budget: Budget) -> Distilled:
    """What `fmalloc shallow --general corpora/general` makes."""
    domain = Domain.load(store, GENERAL)
    text = read_pairs(corpora / GENERAL, _LANGUAGES)
    distillation = budget.distillation(depth, budget.general)
    return Lesson.of(domain, distillation, text, domain.samples, anew=True).student()


def measure_domain(store: Store, name: str, corpora: Path, depths: tuple[int, ...], budget: Budget, work: Path) -> Any:
    """Scores on the whole test set, divergence and megabytes of -O0 and the students of a domain."""
    domain = Domain.load(store, name)
    # Held-out are the pairs that the store kept; test sets are scored beside them.
    text = CalibrationText(CalibrationText.read(corpora / name, _LANGUAGES).pairs)
    general = read_pairs(corpora / GENERAL, _LANGUAGES)
    learned = _exported(domain, Options(quantization="int8"), None, None, work / f"{name}-O0")
    bundles, rows = {_LEARNED: learned.path}, dict[str, Any]()
    for depth in depths:
        split = TextSplit.of(domain.samples, text, required=True)
        lesson = Lesson.of(
            domain, budget.distillation(depth, budget.domain, general), split.calibration, split.held_out
        )
        made = lesson.student()
        options = Options(quantization="int8", level="O3", allow_quality_drop=True)
        done = _exported(domain, options, text, Student.of(domain, made), work / f"{name}-O3-{depth}")
        bundles[_student_name(depth)] = done.path
        rows[_student_name(depth)] = _of_student(made, done)
    test = read_corpus(corpora / name, _LANGUAGES).test
    translated = {model: _translated(Bundle.open(path), test) for model, path in bundles.items()}
    references = [pair.target for pair in test]
    for model, texts in translated.items():
        found = score(texts, references).score
        lost = {metric: drop(metric, translated[_LEARNED], texts, references).model_dump() for metric in METRICS}
        size = megabytes(bundles[model] / "model")
        rows.setdefault(model, {}).update(bleu=found.bleu, chrf=found.chrf, lost=lost, megabytes=size)
    return {
        "machine": machine(),
        "test_lines": len(test),
        "models": rows,
    }


def _exported(
    domain: Domain, options: Options, text: CalibrationText | None, student: Student | None, bundles: Path
) -> Exported:
    with writing(bundles):
        return export_domain(domain, bundles, options, text, student, live=False, on_step=console.print)


def _of_student(made: Distilled, done: Exported) -> dict[str, Any]:
    """How it learned, what its held-out quality was, and what the passes left."""
    manifest, record = done.manifest, made.record
    nats = {row.name: row.divergence for row in done.built.size_rows if row.divergence is not None}
    return {
        "decoder_layers": list(record.decoder_layers),
        "updates": record.updates,
        "dev_nll": [point.nll for point in record.curve],
        "teacher_nll": record.teacher_nll,
        "from_shallow_general": record.claim.start is not None,
        "keep": manifest.keep,
        "cells": sum(manifest.widths.values()),
        "target_tokens": manifest.target_tokens,
        "nats": nats,
        "held_out": manifest.quality.model_dump() if manifest.quality else None,
        "out_of_domain": manifest.out_of_domain.model_dump() if manifest.out_of_domain else None,
    }


def _translated(bundle: Bundle, test: tuple[Pair, ...]) -> list[str]:
    options = TranslationOptions(max_length=MAXIMUM_NEW_TOKENS)
    found = Translator.load(bundle, CPU).translate([pair.source for pair in test], options)
    return [line.text for line in found]


def goals(results: Mapping[str, Any]) -> list[Goal]:
    """What -O3 is meant to reach."""
    found: list[Goal] = []

    for domain, measured in results["domains"].items():
        for name, row in measured["models"].items():
            if "decoder_layers" not in row:
                continue
            for metric, label in (("bleu", "BLEU"), ("chrf", "chrF")):
                lost = row["lost"][metric]["value"]
                goal = f"{domain}, {name}: {label} lost against -O0 on the test set"
                found.append({"name": goal, "value": lost, "goal": "<= 0.3", "met": lost <= 0.3})
    return found


@click.command()
@click.option("--store", "store_path", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--corpora", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path(".work/distil"))
@click.option("--domain", "domains", multiple=True, required=True, help="Task whose students to make; repeat it.")
@click.option("--depth", "depths", multiple=True, type=int, default=(2,), show_default=True)
@click.option(
    "--general-minutes",
    default=25.0,
    show_default=True,
    help="Of each shallow general model; 0 makes none.",
)
@click.option("--minutes", default=20.0, show_default=True, help="Of each domain's student.")
@click.option("--translations", default=20_000, show_default=True, help="Most sentences translated for a student.")
def main(
    store_path: Path,
    corpora: Path,
    work: Path,
    domains: tuple[str, ...],
    depths: tuple[int, ...],
    general_minutes: float,
    minutes: float,
    translations: int,
) -> None:
    """Measure -O3."""
    if not (work / "store").exists():
        shutil.copytree(store_path, work / "store", copy_function=shutil.copyfile)
    store, budget = Store.open(work / "store"), Budget(general_minutes, minutes, translations)
    results: dict[str, Any] = {"domains": {}}
    shallow = {}
    if budget.general:
        shallow = {depth: general_student(store, corpora, depth, budget) for depth in depths}
    for name in domains:
        measure = partial(measure_domain, store, name, corpora, depths, budget, work)
        results["domains"][name] = once(work / f"{name}.json", measure)
    results["general"] = {
        str(depth): {
            "updates": made.record.updates,
            "dev_nll": [point.nll for point in made.record.curve],
            "teacher_nll": made.record.teacher_nll,
        }
        for depth, made in shallow.items()
    }
    of = versions("torch", "transformers", "ctranslate2", "numpy", "sacrebleu")
    payload = {
        **results,
        "budget": {**asdict(budget), "device": select().torch.type},
        "versions": of,
    }
    console.print(f"wrote {write_results('distil', payload, goals(results))}")
    console.print(json.dumps(goals(results), indent=1))


if __name__ == "__main__":
    main()
