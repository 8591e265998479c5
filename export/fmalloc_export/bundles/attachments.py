"""What a bundle holds beside its model where export was asked for it: a translation memory and a glossary."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fmalloc.corpus import Pair, digest
from fmalloc_runtime.bundle.bundle import GLOSSARY_FILE, TermRecord, lines_of
from fmalloc_runtime.bundle.manifest import MemoryInfo
from fmalloc_runtime.memory.file import MEMORY_FILE, write_memory


def attach(
    folder: Path, memory: Sequence[tuple[str, str]] | None, glossary: Sequence[tuple[str, str]] | None
) -> dict[str, Any]:
    """Write what there is of pairs and terms, each source and target, and return the manifest's keys for it."""
    held: dict[str, Any] = {}
    if memory is not None:
        pairs = [Pair(*pair) for pair in dict.fromkeys(memory)]
        kept = write_memory(folder / MEMORY_FILE, pairs)
        held["memory"] = MemoryInfo(pairs=kept, sha256=digest(pairs))
    if glossary:
        terms = [TermRecord(source=source, target=target) for source, target in glossary]
        (folder / GLOSSARY_FILE).write_bytes(lines_of(terms))
        held["glossary"] = len(terms)
    return held
