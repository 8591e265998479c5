"""The scoreboard: fmalloc beside what people would use instead. `python -m benchmarks.scoreboard`.

Writes results/bench.json, of which `python -m benchmarks.scoreboard.page` makes docs/benchmarks.md. Contenders are made
once below the work folder. The machine must be quiet: its load is written beside the results.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from benchmarks.common import RESULTS, add_entry, machine, once, versions
from benchmarks.scoreboard.contenders.compiled import compiled
from benchmarks.scoreboard.contenders.gathering import Choice, gather, read
from benchmarks.scoreboard.domains.domains import COUNTS, measure_domains, models_of
from benchmarks.scoreboard.domains.made import path_of
from benchmarks.scoreboard.goals import goals_of
from benchmarks.scoreboard.limits import Machine
from benchmarks.scoreboard.overhead.overhead import measure_overhead
from benchmarks.scoreboard.servers.libretranslate import LibreTranslate
from benchmarks.scoreboard.servers.servers import Setting, measure_servers
from benchmarks.scoreboard.shaped import measure_shape
from benchmarks.scoreboard.translation import Amount, Test, forget, measure_domain
from fmalloc.corpus import read_corpus
from fmalloc.store.store import Store
from fmalloc_export.domain.domain import Domain
from fmalloc_shared.commands.command import Command
from fmalloc_shared.commands.progress import console
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.names import GENERAL

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
PARTS = ("translation", "domains", "shape", "servers", "overhead")
# Documents under mixed traffic, and how often they are translated.
_DOCUMENTS, _REPEATS = 60, 3
_SERVED_LINES = 120


@click.command(cls=Command)
@click.option("--store", "store_path", type=FOLDER, required=True, help="A learned store; a copy of it is used.")
@click.option("--corpora", type=FOLDER, required=True, help="A folder per domain, with train, dev and test.")
@click.option("--work", type=click.Path(path_type=Path), default=Path(".work/scoreboard"), show_default=True)
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="Only this part; repeat it.")
@click.option("--domain", "domains", multiple=True, metavar="NAME", help="Of the store; repeat it; without it, all.")
@click.option("--sentences", type=click.IntRange(2), default=50, show_default=True, help="Measured, per domain.")
@click.option(
    "--slow-sentences", type=click.IntRange(2), default=8, show_default=True, help="The same of PyTorch and Marian."
)
@click.option("--scored", type=click.IntRange(1), default=200, show_default=True, help="Test sentences for quality.")
@click.option(
    "--minutes", type=click.FloatRange(0), default=6.0, show_default=True, help="After which no round begins."
)
@click.option("--spread", type=click.FloatRange(0.001, 1), default=0.03, show_default=True, help="As of fmalloc bench.")
@click.option("--threads", type=int, multiple=True, default=(1, 2), show_default=True, help="Repeat it.")
@click.option("--beam-size", type=click.IntRange(1), default=4, show_default=True)
@click.option("--keep", type=click.FloatRange(0.01, 1), default=0.5, show_default=True, help="Share of cells at -O2.")
@click.option("--tuning-minutes", default=0.0, show_default=True, help="Of fine-tuning and of LoRA, per domain.")
@click.option("--student", "students", multiple=True, metavar="DOMAIN=BUNDLE", help="A bundle of -O3; repeat it.")
@click.option("--marian", type=click.Path(path_type=Path, exists=True), help="A Python that has pymarian.")
@click.option("--count", "counts", type=click.IntRange(1), multiple=True, default=COUNTS, help="Of domains; repeat it.")
@click.option("--server-seconds", type=click.FloatRange(1), default=15.0, show_default=True, help="Of each load.")
@click.option("--libretranslate", type=click.Path(path_type=Path, exists=True), help="A Python that has it and spaCy.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, help="Folder to write bench.json to.")
@click.option("--resume", is_flag=True, help="Go on with a run that was stopped: what it measured is kept.")
def main(
    store_path: Path,
    corpora: Path,
    work: Path,
    parts: tuple[str, ...],
    domains: tuple[str, ...],
    sentences: int,
    slow_sentences: int,
    scored: int,
    minutes: float,
    spread: float,
    threads: tuple[int, ...],
    beam_size: int,
    keep: float,
    tuning_minutes: float,
    students: tuple[str, ...],
    marian: Path | None,
    counts: tuple[int, ...],
    server_seconds: float,
    libretranslate: Path | None,
    resume: bool,
    results: Path,
) -> None:
    """Measure the scoreboard."""
    bundles = {name: Path(path) for name, path in _pairs("--student", students).items()}
    store = _copied(store_path, work)
    names = domains or tuple(task.name for task in store.tasks())
    _check(store, names, corpora)
    if not resume:
        for folder in (work / "measured", *(work / part / "measured" for part in PARTS[1:])):
            forget(folder)
    if unknown := sorted(set(bundles) - set(names)):
        raise click.UsageError(f"--student {unknown[0]}=…: measured are {', '.join(names)}")
    choice = Choice(keep, tuning_minutes, bundles, marian)
    amount = Amount(sentences, slow_sentences, scored, minutes, spread, beam_size, threads)
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "translation": lambda: _translation(store, names, corpora, work, choice, amount),
        "domains": lambda: _domains(store, names[0], corpora, work, sorted(counts), beam_size),
        "shape": lambda: measure_shape(corpora, keep, amount, work / "shape"),
        "servers": lambda: _servers(store, names, corpora, work, server_seconds, libretranslate),
        "overhead": lambda: measure_overhead(_two_bundles(store, names, corpora, work, keep), corpora, beam_size, work),
    }
    for part in parts or PARTS:
        console.rule(part)
        load = os.getloadavg()[0]
        payload = measures[part]() | {"machine": machine() | {"load_average_before": load}}
        console.print(f"wrote {add_entry('bench', part, payload, goals_of(part, payload), directory=results)}")


def _translation(
    store: Store, names: tuple[str, ...], corpora: Path, work: Path, choice: Choice, amount: Amount
) -> dict[str, Any]:
    found = dict[str, Any]()
    # Kept, so that a run that goes on has the contenders that it began with.
    reference = once(work / "measured" / "products.json", lambda: Machine.measured(1).products)
    for name in names:
        console.rule(name)
        field = gather(store, name, corpora, work / "contenders", choice, reference)
        pairs = read_corpus(corpora / name, store.description.languages).test
        test = Test([pair.source for pair in pairs], [pair.target for pair in pairs])
        found[name] = measure_domain(field, test, amount, work / "measured" / name)
    return {
        "versions": versions("fmalloc", "torch", "transformers", "ctranslate2", "onnxruntime", "sacrebleu"),
        "store": store.digest(GENERAL)[0],
        "settings": {**asdict(amount), "keep": choice.keep, "tuning_minutes": choice.minutes},
        "domains": found,
    }


def _domains(
    store: Store, name: str, corpora: Path, work: Path, counts: Sequence[int], beam_size: int
) -> dict[str, Any]:
    sources = _sources(store, name, corpora)
    return measure_domains(store, sources, counts, _DOCUMENTS, _REPEATS, beam_size, work / "domains")


def _servers(
    store: Store, names: tuple[str, ...], corpora: Path, work: Path, seconds: float, libretranslate: Path | None
) -> dict[str, Any]:
    made = models_of(store, len(names), work / "domains")
    bundles = {name: path_of(made.bundles, name) for name in names}
    lines = {name: _sources(store, name, corpora)[:_SERVED_LINES] for name in names}
    folder = work / "servers"
    other = None
    if libretranslate:
        packages = folder.absolute() / "libretranslate"
        other = LibreTranslate(libretranslate.absolute(), made.copy, store.base, made.languages, packages)
    measured = measure_servers(Setting(bundles, lines, made.copy, folder, seconds, other))
    return measured | {"domains": list(names)}


def _two_bundles(
    store: Store, names: tuple[str, ...], corpora: Path, work: Path, keep: float
) -> dict[str, tuple[Path, Path]]:
    """Of each domain, at -O0 and -O2."""
    found = {}
    for name in names:
        domain = Domain.load(store, name)
        rows = compiled(domain, read(corpora, name, domain), keep, work / "contenders" / name)
        paths = {row.level: row.contestant.path for row in rows if row.name.endswith("CTranslate2 int8")}
        found[name] = (paths["O0"], paths["O2"])
    return found


def _sources(store: Store, name: str, corpora: Path) -> list[str]:
    return [pair.source for pair in read_corpus(corpora / name, store.description.languages).test]


def _check(store: Store, names: tuple[str, ...], corpora: Path) -> None:
    known = [task.name for task in store.tasks()]
    for name in names:
        if name not in known:
            raise FmallocError(f"{store.path}: no domain {name!r}; it has {', '.join(known)}")
        if not (corpora / name).is_dir():
            raise FmallocError(f"{corpora / name}: no such folder; it has to hold text of {name}")


def _copied(path: Path, work: Path) -> Store:
    """The store, of which a copy is opened: nothing is written into what others use."""
    kept = work / "store"
    if not (kept / "store.json").exists():
        shutil.rmtree(kept, ignore_errors=True)
        work.mkdir(parents=True, exist_ok=True)
        shutil.copytree(path, kept, copy_function=shutil.copyfile)
    return Store.open(kept)


def _pairs(flag: str, given: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for value in given:
        name, _, other = value.partition("=")
        if not name or not other:
            raise click.UsageError(f"{flag} {value}: expected NAME=…")
        found[name] = other
    return found


if __name__ == "__main__":
    main()
