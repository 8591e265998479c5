"""FSMT (WMT19): where transformers' implementation differs from every other family's, and how a loaded one is aligned.

Once aligned, an FSMT is read, trained, masked and compiled like any other model; see also its row in `FAMILIES`.
"""

from collections.abc import Sequence
from types import MethodType
from typing import Any

import torch

# A logit that leaves no probability in float32, but that float16 and the loss can hold.
_NEVER = -1000.0


def align(model: Any) -> None:
    """Give a loaded FSMT what the other families' models have."""
    decoder = model.model.decoder
    model.lm_head = decoder.output_projection
    _forbid_padding(model.lm_head, model.config.pad_token_id)
    for stack in (model.model.encoder, decoder):
        positions = stack.embed_positions
        positions.offset = positions.padding_idx + 1  # the rows up to the padding index are for no position


def align_tokenizer(tokenizer: Any) -> None:
    """Give a loaded FSMT tokenizer what the other families' have."""
    tokenizer.separate_vocabs = True
    tokenizer.source_encoder, tokenizer.source_language = tokenizer.encoder, tokenizer.src_lang
    tokenizer.target_encoder = {token: index for index, token in tokenizer.decoder.items()}
    # Transformers calls these two around `tokenizer(text_target=...)`. Without them FSMT's tokenizer has no target
    # mode: it would read targets with the source's vocabulary and language.
    tokenizer._switch_to_target_mode = MethodType(_read_targets, tokenizer)
    tokenizer._switch_to_input_mode = MethodType(_read_sources, tokenizer)


def languages(tokenizer_config: dict[str, Any]) -> Sequence[str | None]:
    """The language pair that a tokenizer's configuration names, empty if none."""
    named = tokenizer_config.get("langs")
    return named if isinstance(named, list) else ()


def _forbid_padding(projection: Any, pad: int) -> None:
    """Take the probability from padding: FSMT hides what it wrote as such from itself when a whole target is scored.

    The bias is a buffer, because no method shall train it.
    """
    bias = torch.zeros(projection.out_features)
    bias[pad] = _NEVER
    del projection.bias
    projection.register_buffer("bias", bias)


def _read_targets(tokenizer: Any) -> None:
    tokenizer.encoder, tokenizer.src_lang = tokenizer.target_encoder, tokenizer.tgt_lang


def _read_sources(tokenizer: Any) -> None:
    tokenizer.encoder, tokenizer.src_lang = tokenizer.source_encoder, tokenizer.source_language
