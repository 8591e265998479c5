"""Write the toy corpus: `python examples/toy/make_corpus.py DIR`.

German to English, everyday language and three domains in which the same German words mean something else.
Each domain becomes DIR/<domain>/{train,dev,test}.tsv with `German<TAB>English` lines: the same files every time.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import chess
import general
import it
import workshop
from grammar import Pair

SEED = 1
DOMAINS: dict[str, tuple[Callable[[Random], Pair], dict[str, int]]] = {
    "general": (general.write, {"train": 6000, "dev": 100, "test": 150}),
    "it": (it.write, {"train": 1000, "dev": 100, "test": 150}),
    "chess": (chess.write, {"train": 1000, "dev": 100, "test": 150}),
    "workshop": (workshop.write, {"train": 1000, "dev": 100, "test": 150}),
}


def distinct(write: Callable[[Random], Pair], number: int, random: Random) -> list[Pair]:
    """`number` pairs with different sources."""
    pairs: dict[str, str] = {}
    while len(pairs) < number:
        source, target = write(random)
        pairs[source] = target
    return list(pairs.items())


def make_corpus(directory: Path) -> None:
    """Write every domain's files below `directory`."""
    for domain, (write, sizes) in DOMAINS.items():
        pairs = distinct(write, sum(sizes.values()), Random(f"{SEED} {domain}"))
        (directory / domain).mkdir(parents=True, exist_ok=True)
        for part, size in sizes.items():
            lines = [f"{source}\t{target}\n" for source, target in pairs[:size]]
            (directory / domain / f"{part}.tsv").write_text("".join(lines), encoding="utf-8", newline="")
            pairs = pairs[size:]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_corpus.py DIR")
    make_corpus(Path(sys.argv[1]))
