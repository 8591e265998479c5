"""What is measured on an accelerator, and its tiny form with which a CPU rehearses it."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.compiler.shapes import OPUS_MT
from benchmarks.compiler.shapes import Shape as RandomShape
from benchmarks.learning.contenders import Case
from fmalloc.model.scratch import Shape, new_model
from fmalloc.model.text.batches import Example
from fmalloc.recipe import LearningSettings

# Sentences as long as those of text: of the pieces of a sentence, log-normal.
_MEAN, _DEVIATION, _LONGEST = 3.2, 0.6, 126
_EXAMPLES = 20_000
_VOCABULARY = 57_851


@dataclass(frozen=True)
class Sizes:
    """Shapes, padded tokens per batch, and how much of each is measured.

    shape: of pretraining. random: of learning, with random weights. lines: translated by each engine. seconds: of each
    measurement of speed.
    """

    shape: Shape
    tokens: int
    random: RandomShape
    learning_tokens: int
    sentences: int
    lines: int
    seconds: float
    profiled: int
    updates: int

    def described(self) -> dict[str, Any]:
        """What a reader has to know."""
        return {"pretraining": vars(self.shape) | {"batch_tokens": self.tokens}} | {
            "learning": vars(self.random) | {"batch_tokens": self.learning_tokens, "vocabulary": _VOCABULARY}
        }

    def examples(self, vocabulary: int) -> list[Example]:
        """Random tokens in sentences of usual lengths, the same on every machine."""
        draw = np.random.default_rng(5)
        lengths = np.clip(draw.lognormal(_MEAN, _DEVIATION, (_EXAMPLES, 2)).astype(int), 3, _LONGEST)
        return [Example(*(draw.integers(2, vocabulary - 1, n).tolist() for n in pair)) for pair in lengths.tolist()]

    def model(self) -> Any:
        """A new model of the shape of pretraining; its last token is the padding, 0 the end."""
        return new_model(SimpleNamespace(pad_token_id=self.shape.vocabulary, eos_token_id=0), self.shape, 1)

    def case(self) -> Case:
        """What is compared with gradient masking."""
        settings = LearningSettings(batch_tokens=self.learning_tokens, maximum_length=128, fresh_cells=False)
        examples = self.examples(_VOCABULARY)
        return Case(self.random.name, Path(), self.random, examples, _VOCABULARY - 1, settings.fitted(2000))


# The shape of the first run on a GPU, which goals relate to.
FULL = Sizes(
    shape=Shape(vocabulary=8000, d_model=384, encoder_layers=6, decoder_layers=2, heads=6, ffn=1536),
    tokens=32_768,
    random=OPUS_MT,
    learning_tokens=8192,
    sentences=400,
    lines=100,
    seconds=15.0,
    profiled=8,
    updates=400,
)
TINY = Sizes(
    shape=Shape(vocabulary=60, d_model=16, encoder_layers=1, decoder_layers=1, heads=2, ffn=32),
    tokens=300,
    random=RandomShape("tiny", 16, 32, 2, 40, "swish", 1),
    learning_tokens=200,
    sentences=4,
    lines=4,
    seconds=0.2,
    profiled=2,
    updates=30,
)
