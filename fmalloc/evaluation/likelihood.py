"""How likely a model finds each pair of a text, not their mean."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from fmalloc.corpus import Pair
from fmalloc.model.objective import logits
from fmalloc.model.text.batches import IGNORED, batch_indices, collate, encode
from fmalloc_shared.languages import LanguagePair

_BATCH_TOKENS = 4096
_ANY_LENGTH = 2**30


@torch.inference_mode()
def losses(
    model: Any, tokenizer: Any, pairs: Sequence[Pair], languages: LanguagePair, *, longest: int = 128
) -> NDArray[np.float64]:
    """Nats per target token of every pair, NaN for those with a side of more than `longest` tokens; shape (pairs,)."""
    found = np.full(len(pairs), np.nan)
    encoded = encode(tokenizer, pairs, languages, maximum_length=_ANY_LENGTH).examples
    places = [place for place, example in enumerate(encoded) if example.length <= longest]
    examples = [encoded[place] for place in places]
    for group in batch_indices([example.length for example in examples], _BATCH_TOKENS):
        batch = collate([examples[index] for index in group], tokenizer.pad_token_id).on(model.device, model.config)
        scores, target = logits(model, batch), batch.target
        each = F.cross_entropy(scores.transpose(1, 2), target, ignore_index=IGNORED, reduction="none").sum(1)
        means = each / (target != IGNORED).sum(1)
        for index, value in zip(group, means.tolist(), strict=True):
            found[places[index]] = value
    return found
