"""How much each word of a translation comes from each word of its source."""

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
    """From attention (target tokens, source tokens) to (target words, source words), each row at most 1.

    Spans say where tokens and words stand in their texts. A word without tokens comes from what stands at its place.
    """
    to_target = _shares(target_words, target_tokens)
    to_source = _shares(source_tokens, source_words)
    rows = to_target.sum(axis=1, keepdims=True)
    weights: Weights = to_target / np.maximum(rows, 1e-9) @ np.nan_to_num(attention) @ to_source
    guess = proportional_weights(source_words, target_words)
    return np.where(rows > 0, weights, guess).astype(np.float32)


def proportional_weights(source_words: Sequence[Span], target_words: Sequence[Span]) -> Weights:
    """What each word comes from if nothing is known but that both texts say the same in the same order."""
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
    """For each target word that comes from anywhere: (source word, target word), by target word."""
    if not weights.size:
        return []
    best = weights.argmax(axis=1)
    return [(int(source), target) for target, source in enumerate(best) if weights[target, source] > 0]


def _shares(rows: Sequence[Span], columns: Sequence[Span]) -> Weights:
    """(rows, columns): how much of each row's characters are in each column."""
    if not rows or not columns:
        return np.zeros((len(rows), len(columns)), dtype=np.float32)
    begins, ends = np.array(rows, dtype=np.float32).T
    first, last = np.array(columns, dtype=np.float32).T
    common = np.minimum(ends[:, None], last) - np.maximum(begins[:, None], first)
    shares: Weights = np.maximum(common, 0) / np.maximum(ends - begins, 1)[:, None]
    return shares
