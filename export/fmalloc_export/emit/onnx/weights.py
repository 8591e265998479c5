"""A domain's Transformer as plain arrays: its base, with the domain's cells and target tokens."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmalloc.model.decoding import positions_of
from fmalloc_export.domain.model import DomainModel, FeedForward
from fmalloc_shared.errors import FmallocError

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Linear:
    """y = weight x + bias: `weight` (outputs, inputs), `bias` (outputs,) or None."""

    weight: Array
    bias: Array | None


@dataclass(frozen=True)
class Norm:
    """Layer normalisation: `weight` and `bias` (d,)."""

    weight: Array
    bias: Array
    epsilon: float


@dataclass(frozen=True)
class SelfAttention:
    """Multi-head self-attention, its three projections as one, and the normalisation of its block."""

    query_key_value: Linear
    output: Linear
    norm: Norm
    heads: int


@dataclass(frozen=True)
class CrossAttention:
    """Multi-head attention over the encoder's output, keys and values as one projection."""

    query: Linear
    key_value: Linear
    output: Linear
    norm: Norm
    heads: int


@dataclass(frozen=True)
class LayerWeights:
    """A layer of either stack, without cross-attention."""

    attention: SelfAttention
    fc1: Linear
    fc2: Linear
    norm: Norm


@dataclass(frozen=True)
class Stack:
    """Encoder or decoder: `embedding` (tokens, d) is multiplied by `scale`, `positions` (positions, d) are added.

    `norm` follows the last layer where layers normalise their input; it is None where they normalise their output.
    """

    embedding: Array
    scale: float
    positions: Array
    embedding_norm: Norm | None
    layers: tuple[LayerWeights, ...]
    norm: Norm | None


@dataclass(frozen=True)
class Transformer:
    """Encoder, decoder and `projection` (target tokens, d), whose rows are the target tokens in their order.

    `cross` are the blocks between self-attention and feed-forward of the decoder's layers. `start`: row of the
    decoder's embedding for the start token. Tied weights are one array, or a view of one. `trimmed`: the decoder's
    embedding and the projection are not the base's.
    """

    encoder: Stack
    decoder: Stack
    cross: tuple[CrossAttention, ...]
    projection: Linear
    activation: str
    start: int
    trimmed: bool


def transformer_of(base: Any, domain: DomainModel) -> Transformer:
    """The arrays of a transformers model, which is not changed, with the cells and target tokens of `domain`.

    A decoder start token that cannot be written gets a row after the others.
    Raises FmallocError if the two do not fit, or if bake-mask or pad-width are missing.
    """
    domain.check_emittable()
    encoder, decoder = base.model.encoder, base.model.decoder
    names = [f"{name}.{i}" for name, stack in (("encoder", encoder), ("decoder", decoder)) for i in range(_size(stack))]
    if names != list(domain.widths):
        raise FmallocError(
            f"domain {domain.domain!r} has layers {', '.join(domain.widths)}, its base {', '.join(names)}"
        )
    rows = domain.target_tokens
    first = int(base.config.decoder_start_token_id)
    found = np.flatnonzero(rows == first)
    start = int(found[0]) if len(found) else len(rows)
    embedding = _array(decoder.embed_tokens.weight)
    projection = _projection(base)
    return Transformer(
        encoder=_stack(base, encoder, _array(encoder.embed_tokens.weight), domain.feed_forward[: _size(encoder)]),
        decoder=_stack(
            base,
            decoder,
            _rows(embedding, rows if len(found) else np.append(rows, first)),
            domain.feed_forward[_size(encoder) :],
        ),
        cross=tuple(_cross_attention(layer) for layer in decoder.layers),
        projection=Linear(_rows(projection.weight, rows), None if projection.bias is None else projection.bias[rows]),
        activation=domain.activation,
        start=start,
        trimmed=bool(rows[-1] != len(rows) - 1),
    )


def _stack(base: Any, stack: Any, embedding: Array, cells: Sequence[FeedForward]) -> Stack:
    config = base.config
    return Stack(
        embedding=embedding,
        scale=math.sqrt(config.d_model) if config.scale_embedding else 1.0,
        positions=_array(positions_of(config, stack.embed_positions)),
        embedding_norm=_norm(stack.layernorm_embedding) if hasattr(stack, "layernorm_embedding") else None,
        layers=tuple(_layer(layer, block) for layer, block in zip(stack.layers, cells, strict=True)),
        norm=_norm(stack.layer_norm) if hasattr(stack, "layer_norm") else None,
    )


def _layer(layer: Any, cells: FeedForward) -> LayerWeights:
    attention = layer.self_attn
    return LayerWeights(
        attention=SelfAttention(
            query_key_value=_joined(attention.q_proj, attention.k_proj, attention.v_proj),
            output=_linear(attention.out_proj),
            norm=_norm(layer.self_attn_layer_norm),
            heads=int(attention.num_heads),
        ),
        fc1=Linear(cells.fc1_weight, cells.fc1_bias),
        fc2=Linear(cells.fc2_weight, cells.fc2_bias),
        norm=_norm(layer.final_layer_norm),
    )


def _cross_attention(layer: Any) -> CrossAttention:
    attention = layer.encoder_attn
    return CrossAttention(
        query=_linear(attention.q_proj),
        key_value=_joined(attention.k_proj, attention.v_proj),
        output=_linear(attention.out_proj),
        norm=_norm(layer.encoder_attn_layer_norm),
        heads=int(attention.num_heads),
    )


def _projection(base: Any) -> Linear:
    if not hasattr(base, "final_logits_bias"):
        return _linear(base.lm_head)
    return Linear(_array(base.lm_head.weight), _array(base.final_logits_bias)[0])


def _rows(table: Array, rows: NDArray[np.int64]) -> Array:
    """Rows of a table: a view if they are its first ones, so that tied tables stay tied."""
    count = len(rows)
    return table[:count] if np.array_equal(rows, np.arange(count)) else table[rows]


def _joined(*modules: Any) -> Linear:
    """Linear layers of one input as one layer."""
    weights, biases = ([_array(getattr(module, name)) for module in modules] for name in ("weight", "bias"))
    return Linear(np.concatenate(weights), np.concatenate(biases))


def _linear(module: Any) -> Linear:
    return Linear(_array(module.weight), None if module.bias is None else _array(module.bias))


def _norm(module: Any) -> Norm:
    return Norm(_array(module.weight), _array(module.bias), float(module.eps))


def _array(tensor: Any) -> Array:
    array: Array = tensor.detach().cpu().numpy()
    return array


def _size(stack: Any) -> int:
    return len(stack.layers)
