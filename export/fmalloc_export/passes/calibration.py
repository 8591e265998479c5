"""Activations of the cells on the domain's own text, layer by layer."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fmalloc.corpus import Pair
from fmalloc.model.architectures import FeedForwardLayer, feed_forward_layers
from fmalloc.model.objective import forward
from fmalloc.model.text.batches import IGNORED, Example, encode, ordered_batches
from fmalloc_export.domain.model import DomainModel
from fmalloc_export.domain.transformer import set_cells
from fmalloc_export.passes.saliency import Moments, MomentSums
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair

# Tokens per side: several per cell of a layer.
POSITIONS = 16_384
_BATCH_TOKENS = 2048
_LONGEST = 256


class TextCalibration:
    """Calibration (see passes/base.py) on sentence pairs: references are the decoder's input, dropout is off.

    Uses evenly spaced pairs, as many as give both sides about `positions` tokens.
    """

    def __init__(
        self, base: Any, tokenizer: Any, pairs: Sequence[Pair], languages: LanguagePair, positions: int = POSITIONS
    ) -> None:
        self._model = copy.deepcopy(base).eval()
        longest = min(_LONGEST, base.config.max_position_embeddings - 2)
        examples = _spread(encode(tokenizer, pairs, languages, maximum_length=longest).examples, positions)
        if not examples:
            raise FmallocError(f"calibration text: none of its {len(pairs)} pairs fits into {longest} tokens per side")
        self._batches = list(ordered_batches(examples, _BATCH_TOKENS, base.config.pad_token_id))
        self._positions = sum(len(e.source) for e in examples), sum(len(e.target) for e in examples)
        self._fired: tuple[tuple[bytes, ...], dict[str, NDArray[np.bool_]]] = ((), {})

    def positions(self) -> tuple[int, int]:
        """Number of source and of target tokens."""
        return self._positions

    def fired(self, model: DomainModel) -> Mapping[str, NDArray[np.bool_]]:
        """By layer, whether each cell is other than 0 anywhere; computed once for the same cells."""
        known, found = self._fired
        if known != model.cut:
            found = {name: np.zeros(width, dtype=np.bool_) for name, width in model.widths.items()}

            def note(name: str, active: Tensor) -> None:
                found[name] |= (active != 0).any(dim=0).numpy()

            self._run(model, note)
            self._fired = model.cut, found
        return found

    def moments(self, model: DomainModel) -> Mapping[str, Moments]:
        """By layer, mean and covariance of its cells' activations."""
        sums = {name: MomentSums(width) for name, width in model.widths.items()}
        self._run(model, lambda name, active: sums[name].add(active.numpy()))
        return {name: found.moments() for name, found in sums.items()}

    @torch.inference_mode()
    def _run(self, model: DomainModel, note: Callable[[str, Tensor], None]) -> None:
        """Call `note` with every layer's name and activations (positions, width), batch by batch."""
        set_cells(self._model, model)
        for batch in self._batches:
            masks = {"encoder": batch.source_mask.bool(), "decoder": batch.target != IGNORED}
            handles = [
                layer.module.fc2.register_forward_pre_hook(_hook(layer, masks[layer.stack], note))
                for layer in feed_forward_layers(self._model)
            ]
            try:
                forward(self._model.base_model, self._model.config, batch)
            finally:
                for handle in handles:
                    handle.remove()


def _hook(layer: FeedForwardLayer, mask: Tensor, note: Callable[[str, Tensor], None]) -> Callable[..., None]:
    def hook(_module: Any, inputs: tuple[Tensor]) -> None:
        note(layer.name, layer.batch_first(inputs[0])[mask])

    return hook


def _spread(examples: Sequence[Example], positions: int) -> list[Example]:
    """Evenly spaced examples, as many as give both sides about `positions` tokens, or all."""
    tokens = min(sum(len(e.source) for e in examples), sum(len(e.target) for e in examples)) if examples else 0
    count = min(len(examples), -(-len(examples) * positions // max(1, tokens)))
    return [examples[index * len(examples) // count] for index in range(count)]
