"""Which decoder layer's cross-attention aligns words best: where copied tokens look at their own source token.

A token that occurs once in a source and once in its translation (a number, a punctuation mark, a name's piece) shows
where the decoder should look while it writes it. The layer whose heads, averaged, look there most is chosen.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fmalloc.model.attention import cross_attention
from fmalloc.model.text.batches import Example
from fmalloc_export.domain.vocabulary import Vocabulary

_PAIRS = 64
# Pieces with letters that more of the pairs hold are words of a language rather than names.
_RARE = 4

# Positions of one token in a target and in its source.
Copy = tuple[int, int]


@dataclass(frozen=True)
class Alignment:
    """The decoder layer, counted from 0, whose first `heads` heads are averaged to a word alignment."""

    layer: int
    heads: int


def last_layer(model: Any) -> Alignment:
    """The default where no pairs are available for measuring."""
    return Alignment(model.config.decoder_layers - 1, model.config.decoder_attention_heads)


def choose_alignment(model: Any, vocabulary: Vocabulary, examples: Sequence[Example]) -> Alignment:
    """The best layer and all its heads, measured on at most 64 pairs; the last layer if they copy no token.

    `model`: the transformers model as the domain uses it. `examples`: pairs as
    fmalloc.model.text.batches encodes them.
    Means are rounded to six places before they are compared: the choice must not depend on the number of threads.
    """
    copies = copied_tokens(examples[:_PAIRS], vocabulary)
    chosen = [(example, found) for example, found in zip(examples, copies, strict=False) if found]
    if not chosen:
        return last_layer(model)
    attended = np.concatenate(list(_attended(model, chosen)), axis=1)
    return Alignment(int(np.argmax(attended.mean(axis=1).round(6))), model.config.decoder_attention_heads)


def copied_tokens(examples: Sequence[Example], vocabulary: Vocabulary) -> list[list[Copy]]:
    """For each pair the tokens that occur once on both sides: digits, punctuation, and rare pieces of words."""
    texts = [
        ([vocabulary.source[i] for i in example.source], [vocabulary.target[i] for i in example.target])
        for example in examples
    ]
    occurrences = Counter(token for _, target in texts for token in set(target))
    special = frozenset(vocabulary.special)

    def says_where(token: str) -> bool:
        letters = token.strip("▁Ġ").removesuffix("</w>")
        if not letters or token in special:
            return False
        return occurrences[token] <= _RARE or not any(letter.isalpha() for letter in letters)

    return [
        [
            (position, source.index(token))
            for position, token in enumerate(target)
            if source.count(token) == target.count(token) == 1 and says_where(token)
        ]
        for source, target in texts
    ]


def _attended(model: Any, chosen: Sequence[tuple[Example, list[Copy]]]) -> Iterator[NDArray[np.float64]]:
    """Per example (layers, copied tokens): the attention, averaged over heads, to a copied token's source."""
    for index, attention in cross_attention(model, [example for example, _ in chosen]):
        targets, sources = (torch.tensor(places) for places in zip(*chosen[index][1], strict=True))
        yield attention[:, targets, sources].numpy()
