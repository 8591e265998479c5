"""How far a compiled model's predictions are from the learned model's: a measure without the noise of BLEU.

Two models that differ by nothing lie half a point of BLEU apart on 200 sentences, by chance. Their Kullback-Leibler
divergence under teacher forcing is a mean over thousands of distributions, is never negative, and grows with every cell
that goes; some hundred sentences tell two per cent of the cells apart.
"""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fmalloc.corpus import Pair
from fmalloc.model.objective import logits
from fmalloc.model.text.batches import IGNORED, encode, ordered_batches
from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.model import DomainModel
from fmalloc_export.domain.transformer import set_cells

# Target positions: the most, the fewest, and log-probabilities that are kept of the learned model at most (1 GB).
_MOST, _FEWEST, _KEPT = 8192, 1024, 2**28
_BATCH_TOKENS = 1024


class Divergence:
    """Measured on held-out `pairs`, at least one that fits into the model; references are the decoder's input.

    `student`: the domain whose models are compared with the learned one, if it is another.
    """

    def __init__(self, domain: Domain, pairs: Sequence[Pair], student: Domain | None = None) -> None:
        self._domain = domain
        self._model = copy.deepcopy((student or domain).base).eval()
        self._teacher = copy.deepcopy(domain.base).eval() if student else self._model
        examples = encode(domain.tokenizer, pairs, domain.languages, maximum_length=domain.maximum_length - 2).examples
        limit = max(_FEWEST, min(_MOST, _KEPT // len(domain.vocabulary.target)))
        ends = np.cumsum([len(example.target) for example in examples])
        taken = examples[: int(np.searchsorted(ends, limit)) + 1]
        self._batches = list(ordered_batches(taken, _BATCH_TOKENS, domain.base.config.pad_token_id))
        self._learned: tuple[bytes, list[Tensor]] = (b"", [])

    def of(self, model: DomainModel) -> float:
        """KL(learned || model) in nats per target token, over the target tokens that `model` can write.

        Probability that the learned model gives to other tokens goes to these, in proportion.
        """
        total, positions = 0.0, 0
        found = self._predicted(self._model, model)
        for learned, predicted in zip(self._of_learned(model.target_tokens), found, strict=True):
            total += float((learned.exp() * (learned - predicted)).sum())
            positions += len(learned)
        return max(0.0, total / max(1, positions))

    def _of_learned(self, tokens: NDArray[np.int64]) -> list[Tensor]:
        """The learned model's log-probabilities, computed once for the same tokens."""
        known, found = self._learned
        if known != tokens.tobytes():
            whole = self._domain.model
            found = self._predicted(self._teacher, replace(whole, target_tokens=tokens))
            self._learned = tokens.tobytes(), found
        return found

    @torch.inference_mode()
    def _predicted(self, computed: Any, model: DomainModel) -> list[Tensor]:
        """Per batch, log-probabilities (positions, tokens that the model can write)."""
        set_cells(computed, model)
        tokens = torch.from_numpy(model.target_tokens)
        return [
            torch.log_softmax(logits(computed, batch)[batch.target != IGNORED][:, tokens], dim=-1)
            for batch in self._batches
        ]
