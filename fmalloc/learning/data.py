"""A task's text as learning needs it: encoded pairs, seeded batches, and what validation scores."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fmalloc.corpus import Pair
from fmalloc.learning.run import Run
from fmalloc.model.text.batches import Example, TrainingBatches, encode
from fmalloc.recipe import LearningSettings
from fmalloc.training.validation import Validator, Watched
from fmalloc_shared.commands.progress import console
from fmalloc_shared.errors import FmallocError


@dataclass(frozen=True)
class TaskData:
    """Encoded training pairs, encoded dev pairs for the NLL, and the dev pairs that are translated."""

    train: Sequence[Example]
    dev: Sequence[Example]
    dev_pairs: Sequence[Pair]

    @classmethod
    def of(
        cls, run: Run, name: str, tokenizer: Any, settings: LearningSettings, further: Sequence[Pair] = ()
    ) -> "TaskData":
        """Encode a domain's train and dev pairs, and `further` ones to train on.

        Raises:
            FmallocError: no pair of a part is short enough.
        """
        corpus, parts = run.corpora[name], {}
        dev = corpus.dev[: settings.validation_pairs]
        for part, pairs in (("train", corpus.train), ("dev", dev)):
            encoded = encode(tokenizer, pairs, run.languages, maximum_length=settings.maximum_length, cache=run.cache)
            console.print(f"{name} {part}: {encoded.described(settings.maximum_length)}")
            if not encoded.examples:
                raise FmallocError(f"{name}: no {part} pair of at most maximum_length {settings.maximum_length} tokens")
            parts[part] = encoded.examples
        if further:
            more = encode(tokenizer, further, run.languages, maximum_length=settings.maximum_length).examples
            return cls([*parts["train"], *more], parts["dev"], corpus.dev)
        return cls(parts["train"], parts["dev"], corpus.dev)

    def batches(self, tokenizer: Any, settings: LearningSettings) -> TrainingBatches:
        """The seeded sequence of training batches."""
        return TrainingBatches(self.train, settings.batch_tokens, tokenizer.pad_token_id, settings.seed)

    def validator(
        self, run: Run, tokenizer: Any, settings: LearningSettings, watch: Callable[[Any], Mapping[str, float]]
    ) -> Validator:
        """What scores dev during learning."""
        pairs = self.dev_pairs[: settings.validation_sentences]
        return Validator(tokenizer, run.languages, self.dev, pairs, run.device, settings.batch_tokens, watch)


def watched(run: Run, tokenizer: Any, domains: Sequence[str], settings: LearningSettings) -> Watched:
    """Dev pairs of the domains learned before, as many as the recipe's evaluation.continual asks for."""
    count = run.recipe.evaluation.continual
    examples = {}
    for name in domains:
        pairs = run.corpora[name].dev[:count] if name in run.corpora else ()
        encoded = encode(tokenizer, pairs, run.languages, maximum_length=settings.maximum_length).examples
        if encoded:
            examples[name] = encoded
    return Watched(examples, run.device, settings.batch_tokens, tokenizer.pad_token_id)
