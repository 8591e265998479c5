"""What `fmalloc export` does: several domains of a store, one after another."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import click

from fmalloc.corpus import Pair
from fmalloc.model.architectures import FAMILIES, base_bytes
from fmalloc.store.chain.versions import domain_of
from fmalloc.store.store import Store
from fmalloc_export.bundles.publish import live_index, staging, writing
from fmalloc_export.compiler import compile_at, passes
from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.student import Student
from fmalloc_export.domain.transformer import one_thread
from fmalloc_export.emit.emitter import emitter_of
from fmalloc_export.options import Options
from fmalloc_export.passes.text import CalibrationText, TextSplit, domain_text
from fmalloc_export.publication import Exported, export_domain, publish_built
from fmalloc_export.students.points import Use, fastest, no_depth
from fmalloc_export.students.search import StudentSearch
from fmalloc_export.students.students import Distillation, Lesson, StudentArguments
from fmalloc_export.tables import print_frontier, print_passes, print_results
from fmalloc_runtime.bundle.bundle import GLOSSARY_FILE
from fmalloc_runtime.glossaries.reading import read_glossary
from fmalloc_runtime.live.translator import check_engine
from fmalloc_runtime.memory.file import MEMORY_FILE
from fmalloc_runtime.text.terms import Entry
from fmalloc_shared.commands.command import echo, needs
from fmalloc_shared.commands.outputs import check_folder
from fmalloc_shared.commands.progress import bar
from fmalloc_shared.errors import FmallocError


@dataclass(frozen=True)
class Exporter:
    """What to export: the task of each domain, where to, how, and the calibration text of each (none at -O0).

    `distillation`: how students are made, at -O3 alone; `use`: what they are searched for, if they are, in
    `budget` minutes each, if there is one. `memories` and `glossaries`: pairs and terms by domain that its bundle is to
    hold.
    """

    store: Store
    names: Mapping[str, str]
    output_dir: Path
    options: Options
    texts: Mapping[str, CalibrationText | None]
    distillation: Distillation | None = None
    use: Use | None = None
    budget: float | None = None
    memories: Mapping[str, tuple[Pair, ...]] = field(default_factory=dict)
    glossaries: Mapping[str, tuple[Entry, ...]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        path: Path,
        tasks: Sequence[str],
        output_dir: Path,
        options: Options,
        calibration: Sequence[str],
        students: StudentArguments | None = None,
        memories: Sequence[str] = (),
        glossaries: Sequence[str] = (),
    ) -> "Exporter":
        """Read and check everything. `tasks` empty: general and every task.

        `calibration`, `memories`, `glossaries`: `[NAME=]PATH` each. `students`: at -O3.

        Raises UsageError for what does not fit together, FmallocError for a damaged store or text, where a package,
        room or a right is missing, or where there is no held-out text to measure quality on.
        """
        if options.quantization not in (offered := emitter_of(options.engine).QUANTIZATIONS):
            raise click.UsageError(
                f"--quantization {options.quantization}: {options.engine} offers {', '.join(offered)}"
            )
        store = Store.open(path)
        names = {domain_of(task): task for task in store.chosen(tasks)}
        _check_needs(store, output_dir, options)
        store.verify()
        texts = _texts(calibration, list(names), store, options)
        for name, task in names.items():
            with _naming(name):
                TextSplit.of(store.samples(task), texts[name], required=options.bound is not None)
        distillation = None
        if students:
            sources = _named_paths("--sources", students.sources, list(names))
            distillation = Distillation.read(students, sources, store)
        use, budget = (students.use, students.budget) if students else (None, None)
        languages = store.description.languages
        remembered = {
            name: CalibrationText.read(path, languages).pairs
            for name, path in _named_paths("--memory", memories, list(names)).items()
        }
        terms = {
            name: tuple(read_glossary(path, languages))
            for name, path in _named_paths("--glossary", glossaries, list(names)).items()
        }
        return cls(store, names, output_dir, options, texts, distillation, use, budget, remembered, terms)

    def plan(self, *, explain: bool) -> None:
        """Print what each pass does; with `explain`, what it would do, without running it."""
        for name in self.names:
            with _naming(name):
                self._print_plan(name, run=not explain)

    def export(self, *, force: bool, live: bool) -> None:
        """Write the bundles, and print what became of each."""
        with writing(self.output_dir):
            exported = []
            for name in self.names:
                with _naming(name):
                    exported.append(self._export(name, force=force, live=live))
        print_results(exported)

    def _lesson(self, domain: Domain, split: TextSplit) -> Lesson | None:
        if not self.distillation:
            return None
        return Lesson.of(domain, self.distillation, split.calibration, split.held_out)

    def _split(self, domain: Domain) -> TextSplit:
        return TextSplit.of(domain.samples, self.texts[domain.name], required=self.options.bound is not None)

    def _export(self, name: str, *, force: bool, live: bool) -> Exported:
        domain, text = Domain.load(self.store, self.names[name]), self.texts[name]
        split = self._split(domain)
        if (search := self._search(domain, split)) and search.depths:
            return self._searched(search, force=force, live=live)
        lesson = self._lesson(domain, split)
        student = Student.of(domain, lesson.student()) if lesson else None
        with bar(name, None) as advance:
            result = export_domain(
                domain,
                self.output_dir,
                self._options_of(name),
                text,
                student,
                force=force,
                live=live,
                on_step=lambda step: advance(1, note=step),
            )
            advance(1, note="done")
        _say(result, live=live)
        return result

    def _search(self, domain: Domain, split: TextSplit) -> StudentSearch | None:
        text = self.texts[domain.name]
        if self.use is None or self.distillation is None or text is None:
            return None
        options = self._options_of(domain.name)
        return StudentSearch(domain, self.distillation, options, text, split, self.use, self.budget)

    def _options_of(self, name: str) -> Options:
        """The options, with the text and the terms that the bundle of a domain is to hold."""
        return replace(self.options, memory=self.memories.get(name), glossary=self.glossaries.get(name))

    def _searched(self, search: StudentSearch, *, force: bool, live: bool) -> Exported:
        """Publish the fastest student that keeps the bound on quality; FmallocError if none does."""
        with staging(self.output_dir) as work:
            points = search.frontier(work)
            print_frontier(search.domain.name, points)
            if (best := fastest(points)) is None or best.built is None:
                raise FmallocError(no_depth(points, self.options))
            result = publish_built(best.built, self.output_dir, force=force, live=live)
        _say(result, live=live)
        return result

    def _print_plan(self, name: str, *, run: bool) -> None:
        """What each pass would do or, with `run`, does; on the learned model where there is no student yet."""
        domain, options = Domain.load(self.store, self.names[name]), self.options
        split = self._split(domain)
        echo(f"{name}: {_quality_plan(options, split)}")
        if name in self.memories:
            echo(f"{name}: {_holds_text(len(self.memories[name]))}")
        if name in self.glossaries:
            echo(f"{name}: {_holds_terms(len(self.glossaries[name]))}")
        if (search := self._search(domain, split)) and search.depths:
            for line in search.explain():
                echo(f"{name}: {line}")
            echo(f"{name}: what follows is of the learned model")
        elif lesson := self._lesson(domain, split):
            echo(f"{name}: {lesson.explain()}")
            if kept := lesson.kept():
                domain = Student.of(domain, kept)
            else:
                echo(f"{name}: what follows is of the learned model, until the student is made")
        with one_thread():
            text = domain_text(domain, split, options.vocabulary) if self.texts[name] else None
            keep = options.keep
            if options.compacts and keep is None:
                echo(f"{name}: the share of cells is found by trying")
                keep = 0.5
                echo(f"{name}: what follows is for {keep:.0%} (--keep sets another)")
            if not run:
                echo(f"{name}, -{options.level}:")
                for step in passes(options, text, keep):
                    echo(f"  {step.name}: {step.explain(domain.model)}")
                return
            print_passes(compile_at(domain, options, text, keep), options.quantization)


def _check_needs(store: Store, output_dir: Path, options: Options) -> None:
    """See that what the finished bundles are checked with is installed, and that there is room for them."""
    check_engine(options.engine, emitter_of(options.engine).MINIMUM_VERSION, f"--engine {options.engine}")
    if FAMILIES[store.description.family].moses:
        needs("sacremoses", extra="moses")
    check_folder(output_dir, room=base_bytes(store.base))  # what is compared is float32, whatever is published
    live_index(output_dir)


def _texts(
    calibration: Sequence[str], names: Sequence[str], store: Store, options: Options
) -> Mapping[str, CalibrationText | None]:
    """Calibration text by task."""
    if options.level == "O0":
        if calibration:
            raise click.UsageError("--calibration: -O0 needs no text; use -O1 or -O2")
        return dict.fromkeys(names)
    paths = _named_paths("--calibration", calibration, names)
    if missing := [name for name in names if name not in paths]:
        raise click.UsageError(
            f"-{options.level} needs text of each domain: --calibration {missing[0]}=PATH is missing"
        )
    return {name: CalibrationText.read(path, store.description.languages) for name, path in paths.items()}


def _say(result: Exported, *, live: bool) -> None:
    state = "written" if result.written else "already there, unchanged"
    echo(f"{result.manifest.domain}: {result.path} {state}{'' if live else ' (not live)'}")
    if memory := result.manifest.memory:
        echo(f"{result.manifest.domain}: {_holds_text(memory.pairs)}")
    if terms := result.manifest.glossary:
        echo(f"{result.manifest.domain}: {_holds_terms(terms)}")


def _holds_text(pairs: int) -> str:
    return (
        f"ATTENTION: the bundle holds text, {pairs} pairs in {MEMORY_FILE}: whoever has it can read them, and whoever "
        "may ask a server that serves it can find them"
    )


def _holds_terms(count: int) -> str:
    return f"its own glossary, {count} terms in {GLOSSARY_FILE}: every translation is to have them"


def _named_paths(flag: str, given: Sequence[str], names: Sequence[str]) -> dict[str, Path]:
    """Paths by task, of `[NAME=]PATH` each."""
    paths: dict[str, Path] = {}
    for value in given:
        name, _, path = value.rpartition("=")
        if not name and len(names) > 1:
            raise click.UsageError(f"{flag} {value}: which task is it for? Write NAME={value}")
        paths[name or names[0]] = Path(path)
    if unknown := [name for name in paths if name not in names]:
        raise click.UsageError(f"{flag} {unknown[0]}=…: {unknown[0]} is not exported; {', '.join(names)} are")
    return paths


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Errors say which domain they are about."""
    try:
        yield
    except FmallocError as error:
        raise FmallocError(f"export of {name!r}: {error}") from error


def _quality_plan(options: Options, split: TextSplit) -> str:
    if not split.held_out:
        return "quality is not measured: the store has no samples of the domain"
    measured = f"quality is measured on {len(split.held_out)} held-out pairs ({split.origin})"
    if options.bound is None:
        return f"{measured}, and not bound at -{options.level}"
    more = "is published too" if options.allow_quality_drop else "is refused"
    return f"{measured}: at most {options.bound} BLEU and chrF lost, what loses more {more}"
