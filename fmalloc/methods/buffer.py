"""A few training pairs of a domain that a method keeps: the same ones whenever it asks."""

from typing import Any

import numpy as np

from fmalloc.learning.run import Run
from fmalloc.model.batches import Example, encode
from fmalloc.recipe import LearningSettings
from fmalloc_shared.errors import FmallocError


def kept_examples(run: Run, domain: str, tokenizer: Any, settings: LearningSettings, count: int) -> tuple[Example, ...]:
    """At most `count` encoded training pairs of a domain, drawn with the recipe's seed.

    Raises:
        FmallocError: all of them are too long.
    """
    pairs = run.corpora[domain].train
    drawn = np.random.default_rng(run.recipe.learning.seed).permutation(len(pairs))[:count]
    chosen = [pairs[index] for index in sorted(drawn.tolist())]
    examples = encode(tokenizer, chosen, run.languages, maximum_length=settings.maximum_length).examples
    if not examples:
        raise FmallocError(
            f"{domain}: none of {len(chosen)} pairs to keep has at most maximum_length {settings.maximum_length} tokens"
        )
    return examples
