"""A model that says anything at all."""

import numpy as np

from fmalloc_runtime.engines.base import Hypothesis
from fmalloc_runtime.live.translator import Translator
from fmalloc_runtime.text.translation import Found, SourceBatch


class Adversary:
    """Answers batches with any tokens that the model could write, and any attention."""

    def __init__(self, model: Translator, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._model = model

    def answer(self, batch: SourceBatch) -> Found:
        if batch.targets:
            return [(Hypothesis(target, float(self._random.normal(-1))),) for target in batch.targets]
        return [
            tuple(self._hypothesis(source, batch) for _ in range(batch.options.hypotheses)) for source in batch.sources
        ]

    def _hypothesis(self, source: tuple[str, ...], batch: SourceBatch) -> Hypothesis:
        pieces = [*self._model.encode("%s {0} 5 % a@b.de <b> & </b> Die {name} http://a.de/?b=c"), *source]
        tokens = tuple(self._random.choice(pieces, self._random.integers(0, 30)).tolist())
        if self._random.random() < 0.3:
            tokens = source[:-1]
        attention = None
        if batch.options.attention and self._random.random() < 0.9:
            attention = self._random.dirichlet(np.full(len(source), 0.2), len(tokens)).astype(np.float32)
        return Hypothesis(tokens, -1.0, attention)
