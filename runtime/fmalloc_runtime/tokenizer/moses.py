"""Moses tokenization and byte-pair encoding, as FSMT (WMT19) models use them."""

import unicodedata
from functools import lru_cache
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any

from fmalloc_shared.errors import FmallocError
from fmalloc_shared.strict import StrictModel

_WORD_END = "</w>"
_CACHED_WORDS = 50_000


class MosesModel(StrictModel):
    """The Moses file of one side."""

    language: str
    """As sacremoses names it."""
    lower_case: bool
    """Whether text is lower-cased first."""
    merges: tuple[str, ...]
    """`left right`, the first one first; empty for the target, which is only joined."""


class Moses:
    """Normalises, tokenises and splits sources; joins and detokenises outputs."""

    def __init__(self, source: Path, target: Path) -> None:
        sacremoses = _import_sacremoses(source)
        model, language = MosesModel.read(source), MosesModel.read(target).language
        self._lower_case = model.lower_case
        self._normalizer = sacremoses.MosesPunctNormalizer(lang=model.language, pre_replace_unicode_punct=True)
        self._tokenizer = sacremoses.MosesTokenizer(lang=model.language)
        self._detokenizer = sacremoses.MosesDetokenizer(lang=language)
        self._ranks: dict[tuple[str, ...], int] = {}
        for merge in model.merges:
            self._ranks[tuple(merge.split(" "))] = len(self._ranks)
        self._pieces = lru_cache(_CACHED_WORDS)(self._split_word)

    def split(self, text: str) -> list[str]:
        """The pieces of a text; the last one of each word ends in `</w>`."""
        text = self._normalizer.normalize(text.lower() if self._lower_case else text)
        text = "".join(letter for letter in text if not unicodedata.category(letter).startswith("C"))
        words = self._tokenizer.tokenize(text, aggressive_dash_splits=True, return_str=False, escape=True)
        return [piece for word in words if word for piece in self._pieces(word)]

    # A translation is split as a source: near enough to compare two of them.
    split_target = split

    def has(self, piece: str) -> bool:
        """Whether the vocabulary has a piece. It is not listed here, so that every piece counts as known."""
        return bool(piece)

    def join(self, pieces: list[str]) -> str:
        """The text of pieces."""
        words = "".join(pieces).replace(_WORD_END, " ").split()
        return str(self._detokenizer.detokenize(words))

    def surface(self, piece: str) -> str:
        """The text of one piece."""
        return unescape(piece.removesuffix(_WORD_END)).replace("@-@", "-")

    def _split_word(self, word: str) -> tuple[str, ...]:
        """Byte-pair encoding (Sennrich et al. 2016): merge the pair of lowest rank until none is left."""
        pieces = [*word[:-1], word[-1] + _WORD_END]
        while len(pieces) > 1:
            best = min(pairwise(pieces), key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if best not in self._ranks:
                break
            joined, index = [], 0
            while index < len(pieces):
                together = tuple(pieces[index : index + 2]) == best
                joined.append("".join(best) if together else pieces[index])
                index += 2 if together else 1
            pieces = joined
        return tuple(pieces)


def _import_sacremoses(path: Path) -> Any:
    try:
        import sacremoses
    except ImportError as error:
        raise FmallocError(f"{path}: this model's text needs sacremoses: pip install 'fmalloc[moses]'") from error
    return sacremoses
