"""Every level and type of weights that a learned store compiles to: quality on test sets, megabytes, seconds.

Bundles are exported as `fmalloc export` does it, with its defaults, and scored as `fmalloc eval` does it: as the server
runs them, one sentence per line, nothing in it protected. `compiled` returns, for JSON:

    beam_size, signatures           of the search; of sacreBLEU, by metric
    reference                       label of the bundles that all others are compared with
    domains.NAME.sentences          lines of the domain's test set
    domains.NAME.bundles            a list, the reference first, then as levels and types were named:
        label                       `O1-onnx-int8`: also the folder of the bundles, below `work`/bundles
        level, engine, quantization
        bundle                      its name, with its hash
        bleu, chrf                  0 to 100
        bleu_interval, chrf_interval            [low, high], 95 %
        difference.bleu, difference.chrf        from the reference: `value`, `interval`, `p_value` (paired bootstrap)
        lines_differ                lines whose translation is another than the reference's
        megabytes                   of all files of the bundle
        seconds, cpu_seconds        of the export, checks included
        keep                        share of the cells that is left at -O2 and above, else null
        cells, target_tokens        numbers of them
        held_out                    what the export itself measured on dev text: `pairs`, `bleu_drop`, `chrf_drop`,
                                    `over_bound`: it lost more than the command lets pass, which at -O0 has no bound
"""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks.common import megabytes, once
from fmalloc.corpus import digest
from fmalloc.distillation.settings import DistillationSettings
from fmalloc.evaluation.significance import METRICS, difference
from fmalloc.store.chain.versions import domain_of
from fmalloc.store.store import Store
from fmalloc_export.evaluation.results import Results, signatures
from fmalloc_export.evaluation.scoring import Evaluation, TestPairs
from fmalloc_export.evaluation.systems import Systems
from fmalloc_export.export import Exporter
from fmalloc_export.options import Level, Options
from fmalloc_export.students.students import StudentArguments
from fmalloc_runtime.bundle.bundle import Bundle, LiveIndex
from fmalloc_shared.commands.progress import console
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.names import GENERAL

LEVELS: tuple[Level, ...] = ("O0", "O1", "O2")
# Engine and type of weights.
TYPES = (("ctranslate2", "float32"), ("ctranslate2", "int8"), ("onnx", "float32"), ("onnx", "int8"))
_COUNTED = ("bleu", "bleu_interval", "chrf", "chrf_interval")


@dataclass(frozen=True)
class Build:
    """What is compiled for, and how far."""

    level: Level
    engine: str
    quantization: str

    @property
    def label(self) -> str:
        """Name of its folders."""
        return f"{self.level}-{self.engine}-{self.quantization}"


REFERENCE = Build("O0", "ctranslate2", "float32")


def compiled(
    store: Path,
    corpora: Path,
    work: Path,
    *,
    domains: Sequence[str] = (),
    levels: Sequence[Level] = LEVELS,
    types: Sequence[tuple[str, str]] = TYPES,
    sentences: int | None = None,
    beam_size: int = 4,
    keep: float | None = None,
    students: DistillationSettings | None = None,
) -> dict[str, Any]:
    """Export and score `domains` of a store (none named: general and all) at all `levels` and `types`; see above.

    `corpora`: a folder per domain, with train, dev and test. `sentences`: the first ones of each test set only.
    `keep`: of -O2 and above; None finds it, as the command does. `students`: needed at -O3, which keeps them in the
    store. What `work` has already of the same store and options is not exported or translated again.

    Raises FmallocError for what the export refuses, but not for a loss of quality.
    """
    if "O3" in levels and students is None:
        raise FmallocError("O3: its students need settings, such as depth and updates")
    compilation = _Compilation(Store.open(store), corpora, work, beam_size, keep, students)
    tasks = {domain_of(task): task for task in compilation.store.chosen(domains)}
    languages = compilation.store.description.languages
    tests = {name: TestPairs.read(f"{name}={corpora / name}", languages).first(sentences) for name in tasks}
    builds = [Build(level, *kind) for level in levels for kind in types]
    builds = [REFERENCE, *(build for build in builds if build != REFERENCE)]
    rows = {name: [compilation.row(build, task, tests[name]) for build in builds] for name, task in tasks.items()}
    return {
        "beam_size": beam_size,
        "signatures": signatures(),
        "reference": REFERENCE.label,
        "domains": {name: {"sentences": len(tests[name].pairs), "bundles": found} for name, found in rows.items()},
    }


def folder_of(work: Path, build: Build) -> Path:
    """The directory of bundles, live ones of all domains, that `compiled` fills."""
    return work / "bundles" / build.label


@dataclass(frozen=True)
class _Compilation:
    store: Store
    corpora: Path
    work: Path
    beam_size: int
    keep: float | None
    students: DistillationSettings | None

    def row(self, build: Build, task: str, test: TestPairs) -> dict[str, Any]:
        """Everything about one bundle."""
        exported = self._exported(build, task)
        found, reference = self._scored(build, task, test), self._scored(REFERENCE, task, test)
        path = folder_of(self.work, build) / exported["bundle"]
        manifest = Bundle.read(path).manifest
        quality = manifest.quality
        score = found.scores[0].model_dump()
        row = {
            "label": build.label,
            **asdict(build),
            **exported,
            **{name: score[name] for name in _COUNTED},
            "difference": _differences(found, reference),
            "lines_differ": _lines_differ(self._translated(build, test), self._translated(REFERENCE, test)),
            "megabytes": megabytes(path),
            "keep": manifest.keep,
            "cells": sum(manifest.widths.values()),
            "target_tokens": manifest.target_tokens,
            "held_out": quality
            and {
                "pairs": quality.pairs,
                "bleu_drop": quality.bleu_drop.value,
                "chrf_drop": quality.chrf_drop.value,
                "over_bound": quality.allowed,
            },
        }
        console.print(f"{test.name}, {build.label}: BLEU {row['bleu']:.2f}, {row['megabytes']:.1f} MB", markup=False)
        return row

    def _exported(self, build: Build, task: str) -> dict[str, Any]:
        """Name of the bundle and seconds of its export, which is done once."""
        options = self._options(build)
        students = asdict(self.students) if self.students and build.level == "O3" else None
        of = [self.store.digest(task), asdict(options), students]
        key = sha256(json.dumps(of).encode()).hexdigest()[:12]
        kept = self.work / "exports" / f"{domain_of(task)}-{build.label}-{key}.json"
        found: dict[str, Any] = once(kept, partial(self._export, build, options, domain_of(task)))
        return found

    def _export(self, build: Build, options: Options, domain: str) -> dict[str, Any]:
        bundles = folder_of(self.work, build)
        started, cpu = time.perf_counter(), time.process_time()
        calibration = [f"{domain}={self.corpora / domain}"] if build.level != "O0" else []
        exporter = Exporter.of(self.store.path, [domain], bundles, options, calibration, self._arguments(build))
        exporter.export(force=False, live=True)
        return {
            "bundle": LiveIndex.of(bundles).domains[domain],
            "seconds": time.perf_counter() - started,
            "cpu_seconds": time.process_time() - cpu,
        }

    def _options(self, build: Build) -> Options:
        """The command's defaults, but what loses more than the bound is a finding too."""
        compacts = build.level in ("O2", "O3")
        return Options(
            build.engine,
            build.quantization,
            build.level,
            self.keep if compacts else None,
            allow_quality_drop=build.level != "O0",
        )

    def _arguments(self, build: Build) -> StudentArguments | None:
        if build.level != "O3" or self.students is None:
            return None
        return StudentArguments(self.students, (), self.corpora / GENERAL, "auto")

    def _scored(self, build: Build, task: str, test: TestPairs) -> Results:
        """The bundle on its domain's test set; counts of the same bundle and text are kept."""
        bundle = folder_of(self.work, build) / self._exported(build, task)["bundle"]
        folder = self._scores(build, test)
        kept = folder / f"{test.name}.json"
        known = Results.read(kept) if kept.exists() else None
        evaluation = Evaluation(Systems.find(bundle, device="cpu"), (test,), self.beam_size, folder)
        return evaluation.run(known, lambda results: results.write(kept))

    def _translated(self, build: Build, test: TestPairs) -> Path:
        """Where the evaluation wrote the translations."""
        return self._scores(build, test) / test.name / f"{test.name}.txt"

    def _scores(self, build: Build, test: TestPairs) -> Path:
        return self.work / "scores" / build.label / f"beam-{self.beam_size}-{digest(test.pairs)[:12]}"


def _differences(found: Results, reference: Results) -> dict[str, Any]:
    """By metric, from the counts per sentence."""
    ours, theirs = found.statistics[0], reference.statistics[0]
    return {metric: asdict(difference(ours.statistics(metric), theirs.statistics(metric))) for metric in METRICS}


def _lines_differ(one: Path, other: Path) -> int:
    pairs = zip(*(path.read_text(encoding="utf-8").split("\n") for path in (one, other)), strict=True)
    return sum(ours != theirs for ours, theirs in pairs)
