"""Which decoder layer's cross-attention aligns words best: where copied tokens look at their own source token.

A token that occurs once in a source and once in its translation (a number, a punctuation mark, a name's piece) shows
where the decoder should look while it writes it. The layer whose heads, averaged, look there most is chosen.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fmalloc.model.text.batches import IGNORED, Example, batch_indices, collate
from fmalloc_export.domain.vocabulary import Vocabulary

_PAIRS = 64
_BATCH_TOKENS = 1024
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


@torch.inference_mode()
def _attended(model: Any, chosen: Sequence[tuple[Example, list[Copy]]]) -> Iterator[NDArray[np.float64]]:
    """Per batch (layers, copied tokens): the attention, averaged over heads, to a copied token's source."""
    config = model.config
    inputs = [Example(example.source, [config.decoder_start_token_id, *example.target[:-1]]) for example, _ in chosen]
    with _eager(model):
        for group in batch_indices([example.length for example in inputs], _BATCH_TOKENS):
            batch = collate([inputs[index] for index in group], config.pad_token_id).to(model.device)
            attentions = model(
                input_ids=batch.source,
                attention_mask=batch.source_mask,
                decoder_input_ids=batch.target.masked_fill(batch.target == IGNORED, config.pad_token_id),
                output_attentions=True,
                use_cache=False,
            ).cross_attentions
            where = [(row, *copy) for row, index in enumerate(group) for copy in chosen[index][1]]
            rows, targets, sources = (torch.tensor(indices) for indices in zip(*where, strict=True))
            means = torch.stack([layer.double().mean(dim=1)[rows, targets, sources] for layer in attentions])
            yield means.cpu().numpy()


@contextmanager
def _eager(model: Any) -> Iterator[None]:
    """Compute attention as matrices, which the faster implementations never form."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)
