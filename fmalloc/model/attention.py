"""What a model's decoder looks at in a source while it writes a given target."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from fmalloc.model.text.batches import IGNORED, Example, batch_indices, collate

_BATCH_TOKENS = 1024


@torch.inference_mode()
def cross_attention(model: Any, examples: Sequence[Example]) -> Iterator[tuple[int, Tensor]]:
    """Of each example, shorter ones first, its index and (layers, target tokens, source tokens): the mean over heads.

    Row t is where the decoder looks while it writes target token t. float64, on the CPU.
    """
    config = model.config
    inputs = [Example(example.source, [config.decoder_start_token_id, *example.target[:-1]]) for example in examples]
    with _eager(model):
        for group in batch_indices([example.length for example in inputs], _BATCH_TOKENS):
            batch = collate([inputs[index] for index in group], config.pad_token_id).to(model.device)
            attentions = model.model(
                input_ids=batch.source,
                attention_mask=batch.source_mask,
                decoder_input_ids=batch.target.masked_fill(batch.target == IGNORED, config.pad_token_id),
                output_attentions=True,
                use_cache=False,
            ).cross_attentions
            means = torch.stack([layer.double().mean(dim=1) for layer in attentions]).cpu()
            for row, index in enumerate(group):
                yield index, means[:, row, : len(inputs[index].target), : len(inputs[index].source)]


@contextmanager
def _eager(model: Any) -> Iterator[None]:
    """Compute attention as matrices, which the faster implementations never form."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)
