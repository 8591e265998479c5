"""Token ids of many texts at once, the very ones that the tokenizer gives, on all cores where that can be had."""

import re
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fmalloc.corpus import Pair
from fmalloc.corpus.pairs import blocks
from fmalloc.corpus.workers import cores
from fmalloc.model.architectures import quiet
from fmalloc.model.text.tokens import is_marian, target_ids
from fmalloc_shared.files import sha256_files

# Texts of each side that are read in both ways before the fast one is trusted.
_COMPARED = 200
_AHEAD = 2  # blocks
_one_side = Lock()
_LIBRARIES = ("transformers", "tokenizers", "sentencepiece", "sacremoses")


class Ids(NamedTuple):
    """Ids of texts one after another, int32, and how many each has, int64 of shape (texts,)."""

    ids: NDArray[np.int32]
    sizes: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> "Ids":
        """Ids that lie in lists."""
        sizes = np.fromiter(map(len, rows), np.int64, len(rows))
        return cls(np.fromiter(chain.from_iterable(rows), np.int32, int(sizes.sum())), sizes)


class SentencePiece(Protocol):
    """What is used of a SentencePieceProcessor."""

    def encode(self, texts: list[str], *, num_threads: int) -> list[list[int]]:
        """Ids of the pieces of each text."""

    def id_to_piece(self, ids: list[int]) -> list[str]:
        """Pieces."""

    def get_piece_size(self) -> int:
        """How many pieces there are."""

    def unk_id(self) -> int:
        """The piece of what no piece is."""


class Side:
    """Sources or targets of a tokenizer whose languages are set; `many`: whether a preparation pays.

    Both sides of a tokenizer may be read at a time; it itself, which knows one side at a time, is asked in turn.
    """

    def __init__(self, tokenizer: Any, *, target: bool, many: bool) -> None:
        lists = _targets(tokenizer) if target else _sources(tokenizer)

        def alone(texts: Sequence[str]) -> list[list[int]]:
            with _one_side:
                return lists(texts)

        self._lists: Lists = alone
        self._pieces = Pieces.of(tokenizer, self._lists, target=target) if many else None
        self._compared = False

    def ids(self, texts: Sequence[str]) -> Ids:
        """Ids of texts."""
        if self._pieces is not None and not self._compared:
            some = texts[:_COMPARED]
            found, expected = self._pieces.ids(some), Ids.of(self._lists(some))
            if not (np.array_equal(found.ids, expected.ids) and np.array_equal(found.sizes, expected.sizes)):
                self._pieces = None
            self._compared = True
        return Ids.of(self._lists(texts)) if self._pieces is None else self._pieces.ids(texts)


Lists = Callable[[Sequence[str]], list[list[int]]]


def _sources(tokenizer: Any) -> Lists:
    return lambda texts: list(tokenizer(list(texts), verbose=False)["input_ids"]) if texts else []


def _targets(tokenizer: Any) -> Lists:
    return lambda texts: target_ids(tokenizer, texts) if texts else []


class Pieces:
    """SentencePiece's own threads, around transformers' tokenizers that call it for one text at a time.

    A text in which the tokenizer sees more than pieces, and one that is not all pieces, go the tokenizer's own way.
    """

    def __init__(self, processor: SentencePiece, table: NDArray[np.int32], odd: re.Pattern[str], lists: Lists) -> None:
        self._processor, self._table, self._odd, self._lists = processor, table, odd, lists
        self._unknown, self._threads = processor.unk_id(), cores()
        self._before, self._behind = np.empty(0, np.int32), np.empty(0, np.int32)

    @classmethod
    def of(cls, tokenizer: Any, lists: Lists, *, target: bool) -> "Pieces | None":
        """For Marian and M2M100; None for others: those in Rust use all cores, and Moses' rules are Python's."""
        if getattr(tokenizer, "sp_model_kwargs", None) or type(tokenizer).__name__ not in _PROCESSORS:
            return None
        processor: SentencePiece = getattr(tokenizer, _PROCESSORS[type(tokenizer).__name__][target])
        pieces = processor.id_to_piece(list(range(processor.get_piece_size())))
        if target:
            tokenizer._switch_to_target_mode()
        try:
            table = np.array(tokenizer.convert_tokens_to_ids(pieces), np.int32)
        finally:
            tokenizer._switch_to_input_mode()
        special = {*tokenizer.added_tokens_encoder, *tokenizer.all_special_tokens, *tokenizer.tokens_trie._tokens}
        odd = "|".join(re.escape(token) for token in sorted(special) if token)
        found = cls(processor, table, re.compile(rf"\A>>|{odd}" if is_marian(tokenizer) else odd), lists)
        return found if found._frame() else None

    def _frame(self) -> bool:
        """Find out what the tokenizer puts around the pieces; False if it does something else to them."""
        whole, pieces = self._lists(["a"])[0], self.ids(["a"]).ids.tolist()
        for start in range(len(whole) - len(pieces) + 1):
            if pieces and whole[start : start + len(pieces)] == pieces:
                self._before = np.array(whole[:start], np.int32)
                self._behind = np.array(whole[start + len(pieces) :], np.int32)
                return True
        return False

    def ids(self, texts: Sequence[str]) -> Ids:
        """Ids of texts."""
        found = Ids.of(self._processor.encode(list(texts), num_threads=self._threads))
        slow = np.fromiter((self._odd.search(text) is not None for text in texts), np.bool_, len(texts))
        of_text = np.repeat(np.arange(len(texts)), found.sizes)
        slow[of_text[found.ids == self._unknown]] = True
        rows = self._lists([texts[index] for index in np.flatnonzero(slow).tolist()])
        sizes = found.sizes + len(self._before) + len(self._behind)
        sizes[slow] = list(map(len, rows))
        starts = np.cumsum(sizes) - sizes
        ids = np.empty(int(sizes.sum()), np.int32)
        quick = ~slow
        for place, token in enumerate(self._before):
            ids[starts[quick] + place] = token
        for place, token in enumerate(self._behind, start=-len(self._behind)):
            ids[(starts + sizes)[quick] + place] = token
        within = np.arange(len(found.ids)) - np.repeat(np.cumsum(found.sizes) - found.sizes, found.sizes)
        kept = quick[of_text]
        ids[(starts[of_text] + len(self._before) + within)[kept]] = self._table[found.ids[kept]]
        for start, row in zip(starts[slow].tolist(), rows, strict=True):
            ids[start : start + len(row)] = row
        return Ids(ids, sizes)


def ids_of(sides: Sequence[Side], pairs: Sequence[Pair]) -> Iterator[list[Ids]]:
    """Ids of each side for a block of pairs after another; the next ones are made while one is used."""
    waiting: deque[list[Future[Ids]]] = deque()
    with ThreadPoolExecutor(len(sides)) as pool:
        for texts in blocks(pairs):
            waiting.append([pool.submit(side.ids, of_side) for side, of_side in zip(sides, texts, strict=True)])
            if len(waiting) > _AHEAD:
                yield [found.result() for found in waiting.popleft()]
        while waiting:
            yield [found.result() for found in waiting.popleft()]


def identity(tokenizer: Any) -> dict[str, Any]:
    """All that decides a tokenizer's ids, JSON-able: its files, as it writes them, and the libraries that read them."""
    with tempfile.TemporaryDirectory() as folder, quiet():
        tokenizer.save_pretrained(folder)
        files = sha256_files(Path(folder))
    found = {library: version(library) for library in _LIBRARIES if find_spec(library)}
    return {"tokenizer": files, "libraries": found}


# Where the tokenizers keep their processors, of sources and of targets.
_PROCESSORS = {"MarianTokenizer": ("spm_source", "spm_target"), "M2M100Tokenizer": ("sp_model", "sp_model")}
