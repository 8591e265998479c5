"""A decoder that is run token by token: keys and values are kept, and a sentence's hypotheses share the encoder's.

Transformers' own modules compute everything but attention, so a replaced projection or feed-forward layer is what runs.
What is not called is its `generate`, which copies keys and values of both attentions at every token.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

# Families whose first position is this row of the table; in others it is the row after the padding token's.
_FIRST_POSITION = {"marian": 0, "pegasus": 0, "bart": 2, "mbart": 2}
_ROOM = 32  # tokens that room is made for at first; doubled when they are used up


def positions_of(config: Any, module: Any) -> Tensor:
    """The position embeddings of an encoder or decoder, (positions, d_model), from the first position on."""
    table: Tensor = module.weights if hasattr(module, "weights") else module.weight
    first = _FIRST_POSITION.get(config.model_type, config.pad_token_id + 1)
    return table[first : first + config.max_position_embeddings]


def encode(model: Any, sources: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """The encoder's output (sentences, length of the longest, d_model), and a mask that is 1 where it is no padding."""
    width, pad = max(map(len, sources)), model.config.pad_token_id
    ids = torch.tensor([[*source, *[pad] * (width - len(source))] for source in sources], device=model.device)
    mask = mask_of([len(source) for source in sources], model.device)
    return model.model.encoder(input_ids=ids, attention_mask=mask, return_dict=True).last_hidden_state, mask


def mask_of(lengths: Sequence[int], device: torch.device) -> Tensor:
    """1 where a row of so many tokens has one, (rows, most of them)."""
    return (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long().to(device)


class Decoding:
    """The decoder's state for some sentences, of each of which it continues the same number of hypotheses.

    Rows are hypotheses, those of a sentence adjacent.
    """

    def __init__(self, model: Any, memory: Tensor, mask: Tensor, hypotheses: int) -> None:
        """`memory`, `mask`: of `encode`."""
        self._model, self._decoder, self._hypotheses = model, model.model.decoder, hypotheses
        self._positions = positions_of(model.config, self._decoder.embed_positions)
        self._scale = getattr(self._decoder, "embed_scale", 1.0)  # where the embedding does not multiply by it itself
        self._source_mask = None if bool(mask.all()) else mask[:, None, None, :].bool()
        self._cross = [
            torch.stack([_heads(attention.k_proj(memory), attention), _heads(attention.v_proj(memory), attention)])
            for attention in (layer.encoder_attn for layer in self._decoder.layers)
        ]
        rows = len(mask) * hypotheses
        # Keys and values of each layer: (layers, 2, rows, room, d_model); the first `_length` tokens are in use.
        self._past = memory.new_empty(len(self._decoder.layers), 2, rows, _ROOM, memory.shape[-1])
        self._length = 0

    def logits(self, ids: Tensor) -> Tensor:
        """Append tokens `ids` (rows, tokens) to the hypotheses: logits of the next one, float32, (rows, vocabulary)."""
        decoder, first = self._decoder, self._length
        self._make_room(first + ids.shape[1])
        self._length += ids.shape[1]
        hidden = decoder.embed_tokens(ids) * self._scale + self._positions[first : self._length]
        if hasattr(decoder, "layernorm_embedding"):
            hidden = decoder.layernorm_embedding(hidden)
        before = hasattr(decoder, "layer_norm")  # layers normalise their input, and this their last output
        for index, layer in enumerate(decoder.layers):
            for norm, part in (
                (layer.self_attn_layer_norm, lambda x, i=index, a=layer.self_attn: self._attend(i, a, x)),
                (layer.encoder_attn_layer_norm, lambda x, i=index, a=layer.encoder_attn: self._attend_source(i, a, x)),
                (layer.final_layer_norm, lambda x, m=layer: m.fc2(m.activation_fn(m.fc1(x)))),
            ):
                hidden = hidden + part(norm(hidden)) if before else norm(hidden + part(hidden))
        hidden = hidden[:, -1]
        if before:
            hidden = decoder.layer_norm(hidden)
        logits: Tensor = self._model.lm_head(hidden).float()
        bias = getattr(self._model, "final_logits_bias", None)
        return logits if bias is None else logits.add_(bias[0])

    def reorder(self, rows: Tensor) -> None:
        """Continue with hypotheses `rows` (rows,), which may repeat, each from a place of its own sentence."""
        if self._hypotheses == 1:
            return
        places = torch.arange(len(rows), device=rows.device)
        moved = (rows != places).nonzero().flatten()
        if len(moved):
            past = self._past[:, :, :, : self._length]
            past.index_copy_(2, moved, past.index_select(2, rows[moved]))

    def keep(self, sentences: Tensor) -> None:
        """Go on with these sentences alone (indices, ascending)."""
        own = torch.arange(self._hypotheses, device=sentences.device)
        rows = (sentences[:, None] * self._hypotheses + own).flatten()
        past, self._past = self._past, self._empty(len(rows), self._past.shape[3])
        self._past[:, :, :, : self._length] = past[:, :, :, : self._length].index_select(2, rows)
        self._cross = [keys_values.index_select(1, sentences) for keys_values in self._cross]
        if self._source_mask is not None:
            self._source_mask = self._source_mask.index_select(0, sentences)

    def _make_room(self, tokens: int) -> None:
        rows, room = self._past.shape[2:4]
        if tokens > room:
            past, self._past = self._past, self._empty(rows, max(tokens, 2 * room))
            self._past[:, :, :, : self._length] = past[:, :, :, : self._length]

    def _empty(self, rows: int, room: int) -> Tensor:
        layers, two, _, _, width = self._past.shape
        return self._past.new_empty((layers, two, rows, room, width))

    def _attend(self, index: int, attention: Any, hidden: Tensor) -> Tensor:
        """Self-attention; hidden: (rows, tokens, d_model)."""
        past = self._past[index, :, :, : self._length]
        past[0, :, -hidden.shape[1] :] = attention.k_proj(hidden)
        past[1, :, -hidden.shape[1] :] = attention.v_proj(hidden)
        query, keys, values = (_heads(x, attention) for x in (attention.q_proj(hidden), *past))
        # More than one token is the prompt, which nothing stands before.
        found = F.scaled_dot_product_attention(query, keys, values, is_causal=hidden.shape[1] > 1)
        return attention.out_proj(found.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _attend_source(self, index: int, attention: Any, hidden: Tensor) -> Tensor:
        """Attention to the source; a sentence's hypotheses are tokens of one target, so they share keys and values."""
        keys, values = self._cross[index]
        query = _heads(attention.q_proj(hidden).view(keys.shape[0], -1, hidden.shape[-1]), attention)
        found = F.scaled_dot_product_attention(query, keys, values, attn_mask=self._source_mask)
        return attention.out_proj(found.transpose(1, 2).reshape(hidden.shape))  # type: ignore[no-any-return]


def _heads(states: Tensor, attention: Any) -> Tensor:
    """(rows, tokens, d_model) -> (rows, heads, tokens, width of a head), a view."""
    return states.view(*states.shape[:2], attention.num_heads, -1).transpose(1, 2)
