"""Compile a bundle's domain again with the options in its manifest, and compare every byte."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from fmalloc.corpus import Pair, digest
from fmalloc.store.distilled import find_distilled
from fmalloc.store.store import Store
from fmalloc_export.builder import build
from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.student import Student
from fmalloc_export.options import Options
from fmalloc_export.passes.text import CalibrationText
from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.memory.file import MEMORY_FILE, pairs_of
from fmalloc_shared.errors import FmallocError

# A name, and what is run for it: returns a few words on success, raises FmallocError otherwise.
Check = tuple[str, Callable[[], str]]


class Recompiler:
    """Compares bundles with a store; FmallocError if the store is damaged or a text cannot be read.

    `calibration`: the texts that the bundles were calibrated with, found by their digests.
    """

    def __init__(self, store: Path, calibration: Sequence[Path]) -> None:
        self._store = Store.open(store)
        self._store.verify()
        texts = [CalibrationText.read(path, self._store.description.languages) for path in calibration]
        self._texts = {digest(text.pairs): text for text in texts}

    def checks(self, bundle: Bundle) -> Iterator[Check]:
        """Whether the bundle was compiled from the store, and whether compiling again gives the same bytes."""
        yield "source", lambda: self._source(bundle)
        yield "recompiled", lambda: self._recompiled(bundle)

    def _source(self, bundle: Bundle) -> str:
        source, domain = bundle.manifest.source, bundle.manifest.domain
        task = self._task(bundle)
        of_store, of_task = self._store.digest(task)
        if (source.store, source.task) != (of_store, of_task):
            raise FmallocError(
                f"it was compiled from store {source.store} and task {source.task}, but {self._store.path} has "
                f"{of_store} and {of_task}: give the store that it was exported from"
            )
        return f"{task} of {self._store.path}" if task == domain else f"{domain}, version {task}, of {self._store.path}"

    def _task(self, bundle: Bundle) -> str:
        """The version of its domain that the bundle was compiled from, or the current one."""
        domain, record = bundle.manifest.domain, bundle.manifest.source.task
        versions = [task.name for task in self._store.versions(domain)]
        return next((task for task in versions if self._store.digest(task)[1] == record), None) or self._store.resolve(
            domain
        )

    def _recompiled(self, bundle: Bundle) -> str:
        manifest = bundle.manifest
        bound = manifest.quality.bound if manifest.quality else None
        options = Options(
            manifest.engine.name,
            manifest.engine.quantization,
            manifest.level,
            manifest.keep,
            bound,
            # Where a drop is above the bound, the manifests are compared, and both have to say so.
            allow_quality_drop=manifest.level != "O0" or bound is not None,
            # The number that the bundle has selects the same tokens, whether or not --vocabulary was given.
            vocabulary=manifest.target_tokens if manifest.level != "O0" else None,
            beam_size=manifest.beam_size,
            # Older bundles have none.
            confidence=manifest.confidence is not None,
            memory=_memory(bundle),
            glossary=tuple((term.source, term.target) for term in bundle.glossary()) or None,
        )
        domain = Domain.load(self._store, self._task(bundle))
        student = None
        if distilled := manifest.source.distilled:
            student = Student.of(domain, find_distilled(self._store.path, distilled))
        elif manifest.level == "O3":
            raise FmallocError("its manifest names no distilled model in `source`, which -O3 compiles")
        with tempfile.TemporaryDirectory() as work:
            again = build(domain, options, self._text(bundle), student, Path(work)).bundle
            if again.name == bundle.name:
                return "parity holds, and every byte is the same"
            raise FmallocError(
                f"compiling again gives {again.name}, which differs in {', '.join(_differences(bundle, again))}: "
                "other versions of PyTorch or the engine, or another kind of CPU, may do that; "
                "a bundle from elsewhere may have been changed"
            )

    def _text(self, bundle: Bundle) -> CalibrationText | None:
        wanted = bundle.manifest.source.calibration
        if wanted is None:
            return None
        if wanted not in self._texts:
            raise FmallocError(
                f"it was calibrated with the text whose SHA-256 is {wanted}: give that with --calibration "
                f"({len(self._texts)} given)"
            )
        return self._texts[wanted]


def _memory(bundle: Bundle) -> tuple[Pair, ...] | None:
    """The pairs of the bundle's own translation memory: no store has them."""
    if bundle.manifest.memory is None:
        return None
    return tuple(Pair(*pair) for pair in pairs_of(bundle.path / MEMORY_FILE))


def _differences(bundle: Bundle, again: Bundle) -> list[str]:
    before, after = bundle.manifest, again.manifest
    names = sorted({*before.files, *after.files})
    files = [name for name in names if before.files.get(name) != after.files.get(name)]
    one, other = before.model_dump(exclude={"files"}), after.model_dump(exclude={"files"})
    return files + [f"manifest.json {key}" for key in one if one[key] != other[key]]
