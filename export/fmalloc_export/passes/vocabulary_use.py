"""The target tokens that a domain's text uses, and the safety set that every domain keeps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmalloc.corpus import Pair
from fmalloc.model.text.tokens import set_languages, target_ids
from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.vocabulary import Vocabulary, needed_tokens
from fmalloc_export.passes.trim_vocabulary import TrimVocabulary

# Marks of the beginning or the end of a word in the pieces of SentencePiece and BPE vocabularies.
_WORD_MARKS = ("▁", "Ġ", "</w>", "@@")
_LINES = 10_000


def trimming(
    domain: Domain, text: Sequence[Pair], held_out: Sequence[Pair], limit: int | None = None
) -> TrimVocabulary:
    """The pass for a domain, which keeps what its `text` uses; its coverage is measured on `held_out` text.

    `limit`: the most tokens, safety set included; the most frequent ones stay.
    A token is used if it occurs in a target, or in a source encoded as target text: names and numbers are copied.
    """
    vocabulary, tokenizer = domain.vocabulary, domain.tokenizer
    set_languages(tokenizer, domain.languages)
    needed = needed_tokens(domain.base, tokenizer, vocabulary)
    written = token_counts(vocabulary, tokenizer, [pair.target for pair in text])
    copied = token_counts(vocabulary, tokenizer, [pair.source for pair in text])
    safety = safety_set(vocabulary, needed)
    return TrimVocabulary(
        used=most_frequent(written, copied, safety, limit),
        safety=safety,
        counts=token_counts(vocabulary, tokenizer, [pair.target for pair in held_out]),
    )


def token_counts(vocabulary: Vocabulary, tokenizer: Any, texts: Sequence[str]) -> NDArray[np.int64]:
    """int64 (target vocabulary,): how often each token occurs when `texts` are encoded as target text."""
    size = len(vocabulary.target)
    counts = np.zeros(size, dtype=np.int64)
    for start in range(0, len(texts), _LINES):
        encoded = target_ids(tokenizer, texts[start : start + _LINES])
        ids = np.array([token for sentence in encoded for token in sentence], dtype=np.int64)
        counts += np.bincount(ids[ids < size], minlength=size)
    return counts


def most_frequent(
    written: NDArray[np.int64], copied: NDArray[np.int64], safety: NDArray[np.int64], limit: int | None
) -> NDArray[np.int64]:
    """Ascending ids of the tokens that occur: all, or as many as fit into `limit` beside `safety`.

    The tokens that targets use most come first (`written`, counts by id), then those that sources use (`copied`).
    """
    used = np.flatnonzero(written + copied)
    if limit is None:
        return used
    others = np.setdiff1d(used, safety)
    order = others[np.lexsort((-copied[others], -written[others]))]
    return np.union1d(np.intersect1d(used, safety), order[: max(0, limit - len(safety))])


def safety_set(vocabulary: Vocabulary, needed: Sequence[str]) -> NDArray[np.int64]:
    """Special and language tokens, single characters, bytes, and tokens without letters: digits, punctuation."""
    special = {*vocabulary.special, *needed}
    return np.array(
        [index for index, token in enumerate(vocabulary.target) if token in special or _is_safe(token)], dtype=np.int64
    )


def _is_safe(token: str) -> bool:
    if token.startswith("<0x") and token.endswith(">"):
        return True
    text = token
    for mark in _WORD_MARKS:
        text = text.removeprefix(mark).removesuffix(mark)
    return len(text) <= 1 or not any(character.isalpha() for character in text)
