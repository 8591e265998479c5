"""fmalloc bench: latency and throughput of models on this machine, in turn, until chance has little left to say."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fmalloc.corpus.formats.files import lines as lines_of
from fmalloc_export.bench.contestant import Contestant, converted, find
from fmalloc_export.bench.report import described_machine, record, show
from fmalloc_export.bench.rounds import half_width, measure
from fmalloc_export.bench.runner import Runner
from fmalloc_runtime import machine
from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.engines.base import BEAM_SIZE
from fmalloc_shared.commands.command import echo, needs
from fmalloc_shared.commands.outputs import check_file
from fmalloc_shared.commands.progress import bar, console
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import write_atomically
from fmalloc_shared.languages import short_code

Purpose = Literal["latency", "throughput"]


@dataclass(frozen=True)
class Settings:
    """What is measured, and how long: `purpose` None for both, `threads` empty for one and all.

    `beam_size` None: a bundle's own, 4 of all else. `spread`: as of rounds.measure.
    """

    purpose: Purpose | None = None
    threads: tuple[int, ...] = ()
    beam_size: int | None = None
    batch: int = 32
    sentences: int = 100
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    quantization: str | None = "int8"
    spread: float = 0.03
    minutes: float = 5.0


@dataclass(frozen=True)
class Text:
    """Source sentences, and their references if there are any."""

    lines: list[str]
    references: list[str] | None
    origin: str


def run(
    paths: Sequence[Path],
    tasks: Sequence[str],
    tokenizer: Path | None,
    sources: Path | None,
    test: str | None,
    settings: Settings,
    output: Path | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Measure the models at the paths and print what was found.

    Raises:
        FmallocError: a path holds no model, models read different languages, there is no text, a model cannot be
            loaded.
    """
    if output is not None:
        check_file(output)
    if test is not None:
        needs("sacrebleu", extra="export")
    found = [contestant for path in paths for contestant in find(path, tasks, tokenizer)]
    if len({short_code(contestant.languages.source) for contestant in found}) > 1:
        shown = ", ".join(f"{contestant.name} ({contestant.languages.source})" for contestant in found)
        raise FmallocError(f"expected models that read one language: {shown}")
    given = _read(sources, test, found, settings.sentences)
    console.print(f"{len(given.lines)} sentences, {_words(given.lines)} words of {given.origin}")
    if dry_run:
        for contestant in found:
            echo(f"{contestant.name}: {contestant.kind}, {contestant.path}")
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        device = "cpu" if settings.device == "auto" and not machine.cuda_devices() else settings.device
        runners = []
        for contestant in _with_converted(found, settings.quantization, folder):
            for threads in settings.threads or _threads():
                chosen = contestant.at(threads, settings.beam_size, "cuda" if device == "auto" else device)
                console.print(f"loading {chosen.name}")
                runners.append(stack.enter_context(Runner.start(chosen, given.lines[0])))
        with bar("rounds", None) as advance:
            measured = measure(
                runners,
                given.lines,
                batch=settings.batch,
                single=settings.purpose != "throughput",
                batched=settings.purpose != "latency",
                decoded=settings.purpose != "latency",
                spread=settings.spread,
                seconds=60 * settings.minutes,
                advance=advance,
            )
        entries = record(runners, measured, given.lines, given.references)
    rounds = max(len(series) for own in measured for series in own.rounds())
    widest = max(half_width(series) for own in measured for series in own.rounds())
    document = {
        "machine": described_machine(),
        "settings": {
            "beam_size": settings.beam_size,
            "batch": settings.batch,
            "device": device,
            "sentences": len(given.lines),
            "words": _words(given.lines),
            "text": given.origin,
            "rounds": rounds,
        },
        "models": entries,
    }
    content = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False)
    if output is not None:
        write_atomically(output, f"{content}\n".encode())
    if as_json:
        echo(content)
        return
    show(entries, settings.batch)
    beam = f"beam {settings.beam_size}" if settings.beam_size else f"beam {BEAM_SIZE} or a bundle's own"
    echo(
        f"{rounds} rounds in turn, mean times within {widest:.1%} (95 %); {beam}; words/s: "
        f"of the source, text to text, tokenisation counted; tokens/s: of the target, tokens to tokens; loading is not "
        f"counted; × is speed relative to the first row"
    )
    if widest > settings.spread:
        echo(f"wider than --spread {settings.spread:g}: other work on the machine, or give more --minutes")


def _read(sources: Path | None, test: str | None, found: Sequence[Contestant], sentences: int) -> Text:
    if test is not None:
        from fmalloc_export.evaluation.scoring import TestPairs

        pairs = TestPairs.read(test, found[0].languages).first(sentences).pairs
        return Text([pair.source for pair in pairs], [pair.target for pair in pairs], test)
    if sources is not None:
        lines = [line.strip() for line in lines_of(sources) if line.strip()][:sentences]
        if not lines:
            raise FmallocError(f"{sources}: no text, expected a sentence per line")
        return Text(lines, None, str(sources))
    for contestant in found:
        if contestant.kind == "bundle" and (golden := Bundle.read(contestant.path).golden()):
            return Text([record.source for record in golden][:sentences], None, f"{contestant.name}'s golden.jsonl")
    raise FmallocError("no text to translate: give --sources FILE, a sentence per line, or --test, parallel text")


def _with_converted(found: Sequence[Contestant], quantization: str | None, folder: Path) -> Iterator[Contestant]:
    """The models, those of transformers also as CTranslate2 converts them."""
    for number, contestant in enumerate(found):
        yield contestant
        if contestant.kind == "transformers" and quantization:
            try:
                yield converted(contestant, quantization, folder / str(number))
            except FmallocError as error:
                console.print(f"left out: {error}", markup=False)


def _threads() -> tuple[int, ...]:
    every = int(machine.cpus())
    return (1, every) if every > 1 else (1,)


def _words(lines: Sequence[str]) -> int:
    return sum(len(line.split()) for line in lines)
