"""Activations of the cells on the domain's own text, layer by layer."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fmalloc.corpus import Pair
from fmalloc.model.architectures import FeedForwardLayer, feed_forward_layers
from fmalloc.model.batches import IGNORED, Batch, Example, encode, ordered_batches
from fmalloc.model.objective import shifted_right
from fmalloc_export.domain.model import DomainModel
from fmalloc_export.domain.transformer import set_cells
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair

# Tokens per side: several per cell of a layer.
POSITIONS = 16_384
_BATCH_TOKENS = 2048
_LONGEST = 256


class _Reached(Exception):  # noqa: N818 - no error
    """The layer that was asked for has been computed."""


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
        self._encoded: tuple[tuple[Any, ...], list[Tensor]] = ((), [])

    def positions(self) -> tuple[int, int]:
        """Number of source and of target tokens."""
        return self._positions

    @torch.inference_mode()
    def fired(self, model: DomainModel) -> Mapping[str, NDArray[np.bool_]]:
        """By layer, whether each cell is other than 0 anywhere."""
        names = list(model.widths)
        found = {name: np.zeros(width, dtype=np.bool_) for name, width in model.widths.items()}

        def note(name: str, active: Tensor) -> None:
            found[name] |= (active != 0).any(dim=0).numpy()
            if name == names[-1]:
                raise _Reached

        set_cells(self._model, model)
        for batch in self._batches:
            with self._watched(batch, names, note):
                self._decode(batch, self._encode(batch))
        return found

    @torch.inference_mode()
    def activations(self, model: DomainModel, layer: str) -> NDArray[np.float32]:
        """(positions, width) of one layer."""
        collected: list[NDArray[np.float32]] = []

        def note(_name: str, active: Tensor) -> None:
            collected.append(active.numpy())
            raise _Reached

        set_cells(self._model, model)
        in_encoder = layer.startswith("encoder")
        states = [None] * len(self._batches) if in_encoder else self._states(model)
        for batch, state in zip(self._batches, states, strict=True):
            with self._watched(batch, [layer], note):
                self._decode(batch, self._encode(batch) if state is None else state)
        return np.concatenate(collected)

    def _states(self, model: DomainModel) -> list[Tensor]:
        """The encoder's outputs, computed once for the same cells."""
        cells = tuple(layer for layer in model.feed_forward if layer.name.startswith("encoder"))
        held, states = self._encoded
        if len(held) != len(cells) or any(a is not b for a, b in zip(held, cells, strict=True)):
            states = [self._encode(batch) for batch in self._batches]
            self._encoded = cells, states
        return states

    def _encode(self, batch: Batch) -> Tensor:
        encoder = self._model.get_encoder()
        return encoder(input_ids=batch.source, attention_mask=batch.source_mask)[0]  # type: ignore[no-any-return]

    def _decode(self, batch: Batch, state: Tensor) -> None:
        self._model(
            input_ids=batch.source,  # not read, but without it an FSMT's decoder has no causal mask
            encoder_outputs=(state,),
            attention_mask=batch.source_mask,
            decoder_input_ids=shifted_right(batch.target, self._model.config),
            use_cache=False,
        )

    @contextmanager
    def _watched(self, batch: Batch, names: Sequence[str], note: Callable[[str, Tensor], None]) -> Iterator[None]:
        """Call `note` with the activations (positions, width) of the layers `names`, until it raises _Reached."""
        masks = {"encoder": batch.source_mask.bool(), "decoder": batch.target != IGNORED}
        handles = [
            layer.module.fc2.register_forward_pre_hook(_hook(layer, masks[layer.stack], note))
            for layer in feed_forward_layers(self._model)
            if layer.name in names
        ]
        try:
            with suppress(_Reached):
                yield
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
