"""Whether one batch is faster on one thread or on all, measured on a live bundle: it depends on the machine."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from fmalloc_runtime import machine
from fmalloc_runtime.bundle.bundle import Bundle, LiveIndex
from fmalloc_runtime.live.loading import model_bytes
from fmalloc_runtime.live.translator import EngineSettings, Translator
from fmalloc_runtime.settings import Loaded
from fmalloc_shared.commands.findings import Check, Finding
from fmalloc_shared.errors import FmallocError

_SENTENCES = 4
_ROUNDS = 3
# A difference that noise alone would not make.
_MATTERS = 1.15


def checks(bundles: Path) -> list[Check]:
    """All checks of this part."""
    return [partial(threads, bundles)]


def threads(bundles: Path) -> Iterator[Finding]:
    """Milliseconds of a sentence alone on one thread and on all; nothing on a GPU, or where no bundle can tell."""
    most = int(machine.cpus())
    if most < 2 or machine.cuda_devices():
        return
    try:
        bundle = _largest(bundles)
        sentences = [record.source for record in bundle.golden()[:_SENTENCES]] if bundle else []
        if not bundle or not sentences:
            return
        translators = [Translator.load(bundle, EngineSettings("cpu", intra_threads=count)) for count in (1, most)]
        configured = Loaded.of().settings.threads
    except FmallocError:
        return  # what is wrong with bundles or settings is for other checks to say
    # In turn, so that what else the machine does meets both; the first round warms up.
    rounds = [[_milliseconds(translator, sentences) for translator in translators] for _ in range(_ROUNDS + 1)]
    one, together = (median(times) for times in zip(*rounds[1:], strict=True))
    found = f"{bundle.name}: a sentence takes {one:.1f} ms on 1 thread, {together:.1f} ms on {most}"
    yield _verdict(found, one / together, most, configured)


def _verdict(found: str, gain: float, most: int, configured: int) -> Finding:
    """`gain`: how many times as fast all threads are as one; `configured`: threads per batch."""
    if configured != 1 and gain < 1 / _MATTERS:
        return Finding("threads", "warn", f"{found}; it is set to {configured}", "set FMALLOC_THREADS=1")
    if configured == 1 and gain > _MATTERS:
        found += f"; FMALLOC_THREADS={most} FMALLOC_WORKERS=1 answers a single request sooner, and fewer at once"
    return Finding("threads", "ok", found)


def _milliseconds(translator: Translator, sentences: Sequence[str]) -> float:
    began = time.perf_counter()
    for sentence in sentences:
        translator.translate([sentence])
    return 1e3 * (time.perf_counter() - began) / len(sentences)


def _largest(bundles: Path) -> Bundle | None:
    """The live bundle whose model is the largest; None: none is live. FmallocError if one is damaged."""
    live = [Bundle.read(bundles / name) for name in LiveIndex.of(bundles).domains.values()]
    return Bundle.open(max(live, key=model_bytes).path) if live else None
