"""fmalloc correct: a new version of a domain is learned from corrections, and becomes current if it passes a gate."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from fmalloc.corpus import Pair, read_corpus
from fmalloc.corpus.corrections import read_corrections
from fmalloc.corpus.report import Tally, described
from fmalloc.evaluation.evaluate import translate
from fmalloc.evaluation.likelihood import losses
from fmalloc.lifecycle.corrections.gate import (
    Compared,
    Translate,
    Verdict,
    dev_criterion,
    held_out_criterion,
    learned_criterion,
    others_criterion,
)
from fmalloc.lifecycle.corrections.sifting import sift
from fmalloc.lifecycle.freeing import certificate_of, complete, free
from fmalloc.lifecycle.relearn import FITTED, relearn
from fmalloc.lifecycle.versions import set_current
from fmalloc.model.assembly import load_sliced
from fmalloc.model.devices import DeviceName, select
from fmalloc.recipe import LearningSettings
from fmalloc.store.chain.versions import domain_of, number_of
from fmalloc.store.store import Store, writing
from fmalloc_shared.commands.progress import console
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256_files
from fmalloc_shared.names import GENERAL

# Fewer cannot show that they helped.
_LEAST = 20
# One in so many is held out, by the hash of its source, so that it is never learned however the file grows.
_HELD_OUT = 10
# What a version of a domain may change in a store, besides its own folder.
_OWN = ("head.json", "current/", ".lock", ".work/")
_LANGUAGE_FILES = ("train", "dev", "test")


@dataclass(frozen=True)
class Request:
    """What to learn from, and how.

    data: the domain's own text, of which `replay` pairs per correction are learned along; without it, the corrections
    alone, and the store's sample sentences are its dev text. sentences: of each text that is translated for the gate.
    """

    store: Path
    domain: str
    corrections: Path
    data: Path | None = None
    updates: int = 60
    rate_scale: float = 0.1
    replay: int = 4
    sentences: int = 200
    beam_size: int = 4
    device: DeviceName = "auto"


@dataclass(frozen=True)
class Material:
    """The text of a correction: what is learned, what is not, and the domain's own text."""

    learned: tuple[Pair, ...]
    held_out: tuple[Pair, ...]
    replayed: tuple[Pair, ...]
    dev: tuple[Pair, ...]
    test: tuple[Pair, ...]


def correct(request: Request, *, dry_run: bool = False) -> Verdict | None:
    """Learn a version, judge it, and make it current or free it; None if there is nothing to judge.

    That is with `dry_run`, and if the current version has learned the same corrections already.
    Raises FmallocError as relearn, and for too few corrections.
    """
    began, tally = time.monotonic(), Tally()
    store = Store.open(request.store)
    if request.domain == GENERAL:
        raise FmallocError(f"{request.store}: {GENERAL} is the pruned base, which all domains read; it has no versions")
    current = store.resolve(request.domain)
    material = gathered(request, store, current, tally)
    sifted = time.monotonic()
    with _written(material, store) as folder:
        before = _files(request.store)
        record = relearn(
            request.store,
            request.domain,
            folder,
            overrides=_settings(request, share_of(store, current)),
            make_current=False,
            dry_run=dry_run,
        )
    if dry_run:
        return None
    if record.name == current:
        console.print(f"{current}: has learned these corrections already", markup=False)
        return None
    learned = time.monotonic()
    verdict = _judged(request, material, current, record.name, before, tally)
    seconds = {"sift": sifted - began, "learn": learned - sifted, "gate": time.monotonic() - learned}
    verdict = verdict.model_copy(update={"seconds": {name: round(value, 1) for name, value in seconds.items()}})
    settle(request.store, record.name, passed=verdict.passed)
    return verdict


def settle(path: Path, name: str, *, passed: bool) -> None:
    """Make a version current, or free it; its certificate then lies in the store."""
    if passed:
        set_current(path, name)
        return
    with writing(path):
        store = Store.open(path)
        complete(store)
        free(store, certificate_of(store, [name], ()))


def gathered(request: Request, store: Store, current: str, tally: Tally) -> Material:
    """Read and sift the corrections, hold a tenth out, and draw what is replayed."""
    languages = store.description.languages
    found = read_corrections(request.corrections, request.domain, languages, tally)
    replayed, dev, test = _own_text(request, store, current)
    model, tokenizer = load_sliced(store, current)
    model.to(select(request.device).torch)
    found = sift(partial(losses, model, tokenizer, languages=languages), found, dev, tally)
    known = {pair.source for pair in (*dev, *test)}
    if judged_by := sum(pair.source in known for pair in found):
        tally.drop("in dev or test", pairs=judged_by)
    found = tuple(pair for pair in found if pair.source not in known)
    if tally.dropped:
        console.print(f"{request.corrections}: refused {described(tally.dropped)}", markup=False)
    if len(found) < _LEAST:
        raise FmallocError(
            f"{request.corrections}: {len(found)} of {tally.read} corrections are left, at least {_LEAST} are needed "
            "to tell whether they help"
        )
    held_out = tuple(pair for pair in found if is_held_out(pair))
    learned = tuple(pair for pair in found if not is_held_out(pair))
    console.print(f"{request.domain}: {len(learned)} corrections to learn, {len(held_out)} held out", markup=False)
    return Material(learned, held_out, _drawn(replayed, request.replay * len(learned), found, current), dev, test)


def _drawn(text: Sequence[Pair], count: int, corrected: Sequence[Pair], current: str) -> tuple[Pair, ...]:
    """So many pairs at random, others after another version; none of a source that was corrected."""
    known, drawn = {pair.source for pair in corrected}, list[int]()
    for index in np.random.default_rng(crc32(current.encode())).permutation(len(text)).tolist():
        if len(drawn) == count:
            break
        if text[index].source not in known:
            drawn.append(index)
    return tuple(text[index] for index in sorted(drawn))


def _settings(request: Request, share: float) -> dict[str, Any]:
    """Keys of the recipe that differ from those of the current version: the schedule is that of so many updates."""
    schedule = LearningSettings().fitted(request.updates).model_dump()
    found: dict[str, Any] = {f"learning.{key}": schedule[key] for key in ("updates", *FITTED)}
    return {**found, "learning.share": share, "learning.rate_scale": request.rate_scale, "device": request.device}


def share_of(store: Store, current: str) -> float:
    """Of the free cells, as many as the current version has in every layer, so that the next one is its copy.

    What a later version that is not current claims counts as free: it is what this one is going to be.
    """
    table = store.cells()
    later = [task.order for task in store.versions(domain_of(current)) if number_of(task.name) > number_of(current)]
    free = table.free_count()
    for order in later:
        free = {layer: count + table.count(order)[layer] for layer, count in free.items()}
    claimed = table.count(store.task(current).order)
    return min(1.0, max(count / free[layer] if free[layer] else 1.0 for layer, count in claimed.items() if count))


def is_held_out(pair: Pair) -> bool:
    """Whether a correction is never learned."""
    return int.from_bytes(sha256(pair.source.encode()).digest()[:8]) % _HELD_OUT == 0


def _own_text(
    request: Request, store: Store, current: str
) -> tuple[Sequence[Pair], tuple[Pair, ...], tuple[Pair, ...]]:
    """The domain's own pairs to replay, its dev and its test text."""
    if request.data is not None:
        corpus = read_corpus(request.data, store.description.languages)
        return corpus.train, corpus.dev, corpus.test
    samples = store.samples(current)
    if not samples:
        raise FmallocError(
            f"{request.store}: {current} keeps no sample sentences to judge a new version by; give --data, its own text"
        )
    return (), samples, samples


@contextmanager
def _written(material: Material, store: Store) -> Iterator[Path]:
    """A folder with train, dev and test for relearn."""
    parts = ((*material.replayed, *material.learned), material.dev, material.test)
    with tempfile.TemporaryDirectory(prefix="fmalloc-correct-") as name:
        folder = Path(name)
        for part, pairs in zip(_LANGUAGE_FILES, parts, strict=True):
            for side, language in enumerate(store.description.languages):
                text = "".join(f"{pair[side]}\n" for pair in pairs)
                (folder / f"{part}.{language}").write_text(text, encoding="utf-8", newline="\n")
        yield folder


def _judged(
    request: Request, material: Material, current: str, candidate: str, before: dict[str, str], tally: Tally
) -> Verdict:
    store, most = Store.open(request.store), request.sentences
    models = [_translator(request, store, name) for name in (current, candidate)]
    # Of a log, whose lines are in the order of time, the last ones are those that the current version has not learned.
    texts = material.dev[:most], material.learned[-most:], material.held_out[-most:]
    compared = [Compared(pairs, *models) for pairs in texts]
    criteria = [
        criterion(of)
        for criterion, of in zip((dev_criterion, learned_criterion, held_out_criterion), compared, strict=True)
    ]
    return Verdict(
        domain=request.domain,
        current=current,
        candidate=candidate,
        criteria=[*criteria, others_criterion(before, _files(request.store))],
        learned=len(material.learned),
        held_out=len(material.held_out),
        refused={reason: count.pairs for reason, count in tally.dropped.items()},
        seconds={},
    )


def _translator(request: Request, store: Store, name: str) -> Translate:
    model, tokenizer = load_sliced(store, name)
    model.to(select(request.device).torch)
    languages = store.description.languages

    def found(sources: Sequence[str]) -> list[str]:
        return translate(model, tokenizer, sources, languages, beam_size=request.beam_size).texts

    return found


def _files(path: Path) -> dict[str, str]:
    """Digests of what learning a version must not change."""
    return {name: digest for name, digest in sha256_files(path).items() if not name.startswith(_OWN)}
