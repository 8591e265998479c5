"""`fmalloc translate FILE --output FILE`, and a folder in, a folder out: only what is not done yet is translated."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from fmalloc_runtime.files.document import Document, Source, Wanted, batches, text_options
from fmalloc_runtime.files.formats import format_of, is_known
from fmalloc_runtime.files.memory import FileMemory, FileRecord, UnitMemory, digest
from fmalloc_runtime.live.snapshot import Snapshot
from fmalloc_runtime.routing.router import AUTO, Route
from fmalloc_runtime.text.pipeline import plain_lines
from fmalloc_runtime.text.translation import TextOptions
from fmalloc_shared import __version__
from fmalloc_shared.commands.command import echo
from fmalloc_shared.commands.outputs import check_file, check_folder
from fmalloc_shared.commands.progress import bar
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import locked, read_small, write_atomically

_UNITS, _FILES = ".fmalloc-units.jsonl", ".fmalloc-files.jsonl"
_BUSY = "another fmalloc translate writes there: wait for it, or choose another folder"


@dataclass(frozen=True)
class Job:
    """What is translated how. `domain`: of every file, or auto, each file's own; `force`: write over what is there."""

    snapshot: Snapshot
    domain: str = AUTO
    options: TextOptions = field(default_factory=TextOptions)
    again: bool = False
    force: bool = False
    dry_run: bool = False

    @property
    def wanted(self) -> Wanted:
        """What files are read for."""
        return Wanted(self.snapshot.languages, self.again)

    @property
    def settings(self) -> str:
        """A digest of all that decides what a file translates to."""
        bundles = self.snapshot.bundles
        names = sorted(self.snapshot.names) if self.domain not in bundles else [bundles[self.domain].name]
        return digest(json.dumps([__version__, names, self.domain, repr(self.options), self.again]).encode())


def translate_path(job: Job, source: Path, output: Path) -> None:
    """Translate a file or a folder.

    Raises FmallocError for what cannot be read or written; of a folder, for all such files together, at the end.
    """
    if source.is_dir():
        _translate_folder(job, source, output)
    else:
        _translate_one(job, source, output)


def _translate_one(job: Job, source: Path, output: Path) -> None:
    if format_of(source.name) is not format_of(output.name):
        raise FmallocError(f"{output}: expected a name that ends in {source.suffix}: formats are not converted")
    check_file(output)
    if output.exists() and not job.force:
        raise FmallocError(f"{output}: is there already: --force writes over it")
    document = _read(job, source, _content(job, source))
    if job.dry_run:
        echo(_described(source.name, document))
        return
    memory = UnitMemory(output.parent / f".{output.name}{_UNITS}")
    content = _translated(job, document, memory, source.name)
    write_atomically(output, content)
    memory.remove()


def _translate_folder(job: Job, source: Path, output: Path) -> None:
    if output.resolve().is_relative_to(source.resolve()) or source.resolve().is_relative_to(output.resolve()):
        raise FmallocError(f"{output}: expected a folder beside {source}, not in it, over it or the same")
    check_folder(output)
    names = list(_names(source))
    known = [name for name in names if is_known(name)]
    if not known:
        raise FmallocError(f"{source}: has no file of a format that is read")
    if other := len(names) - len(known):
        echo(f"{other} files of other formats are left out", err=True)
    problems: list[str] = []
    with nullcontext() if job.dry_run else locked(output, _BUSY):
        files, units = FileMemory(output / _FILES), UnitMemory(output / _UNITS)
        done = 0
        for number, name in enumerate(known, start=1):
            try:
                title = f"{number}/{len(known)} {name}"
                done += _translate_file(job, source / name, output / name, name, files, units, title)
            except FmallocError as error:
                problems.append(str(error))
                echo(error, err=True)
        if not job.dry_run:
            units.remove()
            echo(f"{done} files translated, {len(known) - done - len(problems)} were done before", err=True)
    if problems:
        raise FmallocError(f"{len(problems)} of {len(known)} files were not translated: see above")


def _translate_file(
    job: Job, source: Path, output: Path, name: str, files: FileMemory, units: UnitMemory, title: str
) -> bool:
    """Whether a file was translated, and not done before."""
    data, written = _content(job, source), digest(_content(job, output)) if output.exists() else None
    record = files.find(name)
    if record is not None and (record.source, record.settings, record.output) == (digest(data), job.settings, written):
        return False
    if written is not None and not job.force and not files.wrote(name, written):
        raise FmallocError(f"{output}: was not written by this, or changed since: --force writes over it")
    document = _read(job, source, data)
    if job.dry_run:
        echo(_described(name, document))
        return True
    content = _translated(job, document, units, title)
    output.parent.mkdir(parents=True, exist_ok=True)
    # Before the file itself: what was written is known for ours, also after a crash.
    files.add(FileRecord(name=name, source=digest(data), settings=job.settings, output=digest(content)))
    write_atomically(output, content)
    return True


def _content(job: Job, path: Path) -> bytes:
    return read_small(path, job.wanted.limits.size)


def _read(job: Job, path: Path, data: bytes) -> Document:
    return format_of(path.name).read(data, str(path), job.wanted)


def _names(folder: Path) -> Iterator[str]:
    """Paths of the files in a folder, in order; what begins with a dot is left out."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield (Path(root) / name).relative_to(folder).as_posix()


def _described(name: str, document: Document) -> str:
    return f"{name}: {format_of(name).name}, {len(document.units)} units, {document.characters} characters to translate"


def _translated(job: Job, document: Document, memory: UnitMemory, title: str) -> bytes:
    sources = document.sources()
    if not sources:
        echo(f"{title}: nothing to translate", err=True)
        return document.written({})
    route = job.snapshot.router.route(routed_lines(sources, job.options), job.domain)
    echo(f"{title}: {_shown(route)}", err=True)
    how = f"{__version__} {route.bundle} {job.options}"
    found = {source: known for source in sources if (known := memory.find(source, how)) is not None}
    waiting = [source for source in sources if source not in found]
    with bar(title, len(sources), len(found)) as advance:
        for batch in batches(waiting):
            options = text_options(job.options, batch)
            translations, _ = job.snapshot.translate([source.text for source in batch], route.domain, options)
            new = {source: made.text for source, made in zip(batch, translations, strict=True)}
            memory.add(new, how)
            found |= new
            advance(len(batch))
    content, left = document.result(found)
    if left:
        echo(f"{title}: {left} units stay as they are: what was translated has not all of their codes", err=True)
    return content


def routed_lines(sources: Sequence[Source], options: TextOptions) -> list[str]:
    """What the router scores of a file: its texts without markup."""
    return [
        line
        for batch in batches(sources)
        for line in plain_lines([source.text for source in batch], text_options(options, batch))
    ]


def _shown(route: Route) -> str:
    return f"domain {route.domain} ({route.reason}), bundle {route.bundle}"
