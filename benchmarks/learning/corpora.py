"""Speed and memory of large corpora: `python -m benchmarks.learning.corpora --base DIR --corpora DIR` (ten minutes).

Writes results/corpora.json. The corpus is the general one, repeated until it has as many pairs as are asked for, each
time with two words exchanged and one more between them, and about one pair in a hundred twice. Each size is read by a
process of its own.
"""

import json
import os
import random
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import click

from benchmarks.common import Goal, versions, write_results
from fmalloc.cache.cache import Cache
from fmalloc.corpus import Pair, read_corpus
from fmalloc.corpus.cleaning import CorpusSettings
from fmalloc.corpus.workers import cores
from fmalloc_shared.commands.command import Command
from fmalloc_shared.languages import LanguagePair

_LANGUAGES = LanguagePair("de", "en")
_MAXIMUM_LENGTH = 128
_BATCH_TOKENS, _BATCHES = 4096, 1000
_BY_LISTS = 20_000
_TWICE = 0.01
_SPEED, _MEMORY = 40_000, 1e9
_SAMPLED_EVERY = 0.05  # seconds
_PAGE = os.sysconf("SC_PAGE_SIZE")


def write_corpus(folder: Path, general: Path, pairs: int) -> None:
    """A folder with so many training pairs, and dev and test of the general corpus."""
    if (folder / "train.tsv").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("dev", "test"):
        shutil.copyfile(general / f"{part}.tsv", folder / f"{part}.tsv")
    partial = folder / "partial"
    with partial.open("w", encoding="utf-8") as file:
        file.writelines(islice(_repeated((general / "train.tsv").read_text("utf-8").splitlines()), pairs))
    partial.rename(folder / "train.tsv")


def _repeated(lines: list[str]) -> Iterator[str]:
    draw = random.Random(1)
    words = [[word for line in lines[:5000] for word in line.split("\t")[side].split(" ")] for side in (0, 1)]
    for turn in count():
        for line in lines:
            sides = line.split("\t")
            if turn:
                sides = [_perturbed(side.split(" "), of_side, draw) for side, of_side in zip(sides, words, strict=True)]
            found = "\t".join(sides) + "\n"
            yield found
            if draw.random() < _TWICE:
                yield found


def _perturbed(words: list[str], others: list[str], draw: random.Random) -> str:
    """Some word and the next one change places, and another one comes between them."""
    place = int(draw.random() * (len(words) - 1))
    words[place : place + 2] = [*words[place + 1 : place + 2], others[int(draw.random() * len(others))], words[place]]
    return " ".join(words)


class Memory:
    """The most resident memory of this process, and of it and all its children together, in bytes.

    Pages that processes share are counted once per process, so that the sum is an upper bound.
    """

    def __init__(self) -> None:
        self.alone = self.together = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(_SAMPLED_EVERY):
            own = _resident(os.getpid())
            self.alone = max(self.alone, own)
            self.together = max(self.together, own + sum(map(_resident, _children(os.getpid()))))


def _resident(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _children(process: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        for child in path.read_text().split():
            found += [int(child), *_children(int(child))]
    return found


def measure(corpus: Path, base: Path, cache: Path) -> dict[str, Any]:
    """Read, clean and tokenise a corpus, read it again from the cache, and make batches of it."""
    from fmalloc.model.architectures import load_tokenizer
    from fmalloc.model.text.batches import TrainingBatches, encode

    kept, seconds = Cache(cache), dict[str, float]()
    tokenizer = load_tokenizer(base)
    before, begun = _resident(os.getpid()), time.process_time()
    with Memory() as memory:

        def timed(name: str, function: Callable[[], Any]) -> Any:
            begin = time.perf_counter()
            found = function()
            seconds[name] = round(time.perf_counter() - begin, 2)
            return found

        def read() -> Any:
            return read_corpus(corpus, _LANGUAGES, CorpusSettings(), kept)

        def tokenise() -> Any:
            return encode(tokenizer, text.train, _LANGUAGES, maximum_length=_MAXIMUM_LENGTH, cache=kept)

        text = timed("clean", read)
        timed("tokenise", tokenise)
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        cpu = sum(of.ru_utime + of.ru_stime for of in used) - begun
        text = timed("clean_again", read)
        encoded = timed("tokenise_again", tokenise)
        batches = TrainingBatches(encoded.examples, _BATCH_TOKENS, tokenizer.pad_token_id, 1)
        timed("first_batch", lambda: batches.batch(0))
        timed(
            f"next_{_BATCHES}_batches", lambda: [batches.batch(1 + update).target_tokens for update in range(_BATCHES)]
        )
    read_pairs = text.report.read - len(text.dev) - len(text.test)
    return {
        "pairs": read_pairs,
        "kept": len(text.train),
        "too_long": encoded.too_long,
        "dropped": {name: found.pairs for name, found in text.report.dropped.items()},
        "seconds": seconds,
        "cpu_seconds": round(cpu, 1),
        "load": round(os.getloadavg()[1], 1),
        "pairs_per_second": round(read_pairs / (seconds["clean"] + seconds["tokenise"])),
        "resident_bytes": {"before": before, "alone": memory.alone, "together": memory.together},
        "text_bytes": (corpus / "train.tsv").stat().st_size,
        "cache_bytes": sum(file.stat().st_size for file in cache.rglob("*") if file.is_file()),
    }


def bounds(corpus: Path, base: Path) -> dict[str, Any]:
    """CPU microseconds per pair of each step, of SentencePiece alone, and of transformers' own way."""
    from fmalloc.corpus.blocks import Block
    from fmalloc.corpus.formats.formats import records
    from fmalloc.corpus.pairs import Pairs, blocks
    from fmalloc.corpus.reading import _blocks
    from fmalloc.corpus.report import Tally
    from fmalloc.model.architectures import load_tokenizer
    from fmalloc.model.text.pieces import Side
    from fmalloc.model.text.tokens import set_languages

    tokenizer, files = load_tokenizer(base), (corpus / "train.tsv",)
    set_languages(tokenizer, _LANGUAGES)
    found: dict[str, float] = {}

    def timed(name: str, function: Callable[[], Any]) -> Any:
        begin = time.process_time()
        result = function()
        found[name] = round((time.process_time() - begin) / _BY_LISTS * 1e6, 2)
        return result

    rows = timed("read", lambda: [*_blocks(islice(records(files, _LANGUAGES, Tally()), _BY_LISTS))])
    timed("clean", lambda: [Block.of(files[0], CorpusSettings(), (), block) for block in rows])
    pairs = Pairs.of(Pair(source, target) for block in rows for _, source, target in block)
    texts = [*blocks(pairs)]
    sides = [Side(tokenizer, target=target, many=True) for target in (False, True)]
    for side in sides:
        side.ids(["a"])
    timed("tokenise", lambda: [side.ids(text) for both in texts for side, text in zip(sides, both, strict=True)])
    pieces = (tokenizer.spm_source, tokenizer.spm_target)
    timed(
        "sentencepiece",
        lambda: [of.encode(text, num_threads=cores()) for both in texts for of, text in zip(pieces, both, strict=True)],
    )
    lists = [Side(tokenizer, target=target, many=False) for target in (False, True)]
    timed("transformers", lambda: [side.ids(text) for both in texts for side, text in zip(lists, both, strict=True)])
    return found


def _goals(sizes: list[dict[str, Any]]) -> list[Goal]:
    largest, together = sizes[-1], "resident_bytes"
    pairs = f"{largest['pairs']:,} pairs"
    speed = largest["pairs_per_second"]
    memory = {name: round(largest[together][name] / 1e9, 3) for name in ("alone", "together")}
    return [
        Goal(name=f"{pairs} cleaned and tokenised per second", value=speed, goal=f">= {_SPEED}", met=speed >= _SPEED),
        *(
            Goal(name=f"{pairs}: resident GB, {what}", value=memory[name], goal="<= 1", met=memory[name] <= 1)
            for name, what in (("alone", "of the process"), ("together", "of all processes"))
        ),
    ]


@click.command(cls=Command)
@click.option("--base", type=click.Path(path_type=Path), required=True, help="Marian model whose tokenizer is used.")
@click.option("--corpora", type=click.Path(path_type=Path), required=True, help="Folder with general/.")
@click.option("--pairs", "sizes", multiple=True, type=int, default=(1_000_000, 10_000_000), help="Sizes to measure.")
@click.option("--work", type=click.Path(path_type=Path), default=Path(".work/corpora"), help="Folder of the corpora.")
@click.option("--measure", "measured", type=click.Path(path_type=Path), hidden=True)
def main(base: Path, corpora: Path, sizes: tuple[int, ...], work: Path, measured: Path | None) -> None:
    """Measure cleaning and tokenising of large corpora, and write results/corpora.json.

    \b
    Example:
      python -m benchmarks.learning.corpora --base ../shared/base-de-en-19m --corpora ../shared/corpora
    """
    if measured:
        click.echo(json.dumps(measure(measured, base, measured / "cache")))
        return
    found = []
    for pairs in sizes:
        folder = work / str(pairs)
        write_corpus(folder, corpora / "general", pairs)
        shutil.rmtree(folder / "cache", ignore_errors=True)
        command = [sys.executable, "-m", "benchmarks.learning.corpora", "--base", str(base), "--corpora", str(corpora)]
        output = subprocess.run([*command, "--measure", str(folder)], check=True, stdout=subprocess.PIPE, text=True)
        found.append(json.loads(output.stdout))
        click.echo(f"{pairs:,} pairs: {found[-1]['pairs_per_second']:,} per second, {found[-1]['resident_bytes']}")
        shutil.rmtree(folder / "cache")
    for size in found:
        # What all cores could do if no other process took of them.
        size["pairs_per_second_of_cpu"] = round(cores() * size["pairs"] / size["cpu_seconds"])
    payload = {
        "base": base.name,
        "sizes": found,
        "microseconds_per_pair": bounds(work / str(sizes[0]), base),
        "cores": cores(),
        "versions": versions("transformers", "sentencepiece", "tokenizers", "numpy"),
    }
    write_results("corpora", payload, _goals(found))


if __name__ == "__main__":
    main()
