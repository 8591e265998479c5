"""Soft word alignment: how much each word of a translation comes from each word of its source."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fmalloc_runtime.tokenizer.offsets import Span

Weights = NDArray[np.float32]


def word_weights(
    attention: Weights,
    source_tokens: Sequence[Span],
    target_tokens: Sequence[Span],
    source_words: Sequence[Span],
    target_words: Sequence[Span],
) -> Weights:
    """Attention (target tokens, source tokens) as weights (target words, source words), rows summing to at most 1.

    Tokens and words are character spans of their texts. A word without tokens is aligned by its position.
    """
    to_target = _shares(target_words, target_tokens)
    to_source = _shares(source_tokens, source_words)
    rows = to_target.sum(axis=1, keepdims=True)
    weights: Weights = to_target / np.maximum(rows, 1e-9) @ np.nan_to_num(attention) @ to_source
    guess = proportional_weights(source_words, target_words)
    return np.where(rows > 0, weights, guess).astype(np.float32)


def proportional_weights(source_words: Sequence[Span], target_words: Sequence[Span]) -> Weights:
    """Weights by position alone, as if both texts said the same in the same order."""
    if not source_words or not target_words:
        return np.zeros((len(target_words), len(source_words)), dtype=np.float32)
    scaled = []
    for spans in (target_words, source_words):
        lengths = np.array([end - begin for begin, end in spans], dtype=np.float32)
        ends = np.cumsum(lengths) / lengths.sum()
        scaled.append((ends - lengths / lengths.sum(), ends))
    (begins, ends), (first, last) = scaled
    common = np.minimum(ends[:, None], last) - np.maximum(begins[:, None], first)
    weights: Weights = np.maximum(common, 0) / (ends - begins)[:, None]
    return weights


def links(weights: Weights) -> list[tuple[int, int]]:
    """Pairs (source word, target word) of the best source word per target word, in order of target words."""
    if not weights.size:
        return []
    best = weights.argmax(axis=1)
    return [(int(source), target) for target, source in enumerate(best) if weights[target, source] > 0]


def _shares(rows: Sequence[Span], columns: Sequence[Span]) -> Weights:
    """(rows, columns): the share of each row's characters that lie in each column."""
    if not rows or not columns:
        return np.zeros((len(rows), len(columns)), dtype=np.float32)
    begins, ends = np.array(rows, dtype=np.float32).T
    first, last = np.array(columns, dtype=np.float32).T
    common = np.minimum(ends[:, None], last) - np.maximum(begins[:, None], first)
    shares: Weights = np.maximum(common, 0) / np.maximum(ends - begins, 1)[:, None]
    return shares
