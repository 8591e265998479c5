"""A Transformer as ONNX nodes: the encoder, a step of the decoder, and the blocks that both are made of.

B sentences of S source tokens; R rows of T target tokens (the beams of a sentence lie together); P tokens in the cache;
H heads of size h. A cache of keys or values has the shape (rows, H, tokens, h).

Cross-attention takes keys and values of B rows even if R = B * beams: the beams of a sentence are treated as tokens of
one target, so they share its keys and values without a copy. A tool that repeats keys and values for every beam gets
the same result, because then B = R.
"""

from dataclasses import dataclass

from onnx import TensorProto

from fmalloc_export.domain.alignment import Alignment
from fmalloc_export.emit.onnx.graph import Graph
from fmalloc_export.emit.onnx.weights import (
    CrossAttention,
    LayerWeights,
    Linear,
    Norm,
    SelfAttention,
    Stack,
    Transformer,
)
from fmalloc_shared.errors import FmallocError

# Subtracted from the scores of padding: leaves no probability, and fits into float16.
_HIDING = 10000.0
# By transformers' name: the ONNX operator and its attributes. Swish needs two operators.
_SWISH = ("silu", "swish")
_ACTIVATIONS: dict[str, tuple[str, dict[str, str]]] = {
    "relu": ("Relu", {}),
    "tanh": ("Tanh", {}),
    "gelu": ("Gelu", {"approximate": "none"}),
    "gelu_new": ("Gelu", {"approximate": "tanh"}),
    "gelu_pytorch_tanh": ("Gelu", {"approximate": "tanh"}),
}


def encode(graph: Graph, model: Transformer, ids: str, mask: str) -> tuple[str, list[list[str]]]:
    """The encoder's output (B, S, d), and keys and values of each decoder layer; `mask` int32 (B, S)."""
    shape = graph.node("Shape", ids)
    length = graph.node("Gather", shape, graph.integers(1))
    hidden = _embedded(graph, "encoder", model.encoder, ids, graph.integers(0), length)
    split = graph.node("Concat", shape, graph.integers(-1), axis=0)
    for index, layer in enumerate(model.encoder.layers):
        block = _Block(graph, model.encoder, f"encoder.layers.{index}.attention", layer.attention.norm)
        inner, *_ = _self_attention(graph, block.enter(hidden), block.name, layer.attention, split, ["", mask])
        hidden = block.leave(hidden, inner)
        hidden = _feed_forward(graph, model.encoder, hidden, f"encoder.layers.{index}", layer, model.activation)
    hidden = _final_norm(graph, hidden, "encoder", model.encoder)
    caches = [
        keys_values(graph, hidden, f"decoder.layers.{index}.cross", cross, shape)
        for index, cross in enumerate(model.cross)
    ]
    return graph.node("Reshape", hidden, split), caches


@dataclass(frozen=True)
class Decoded:
    """`logits` (R, T, target tokens), each layer's new keys and values, `attention` (R, T, S) or None."""

    logits: str
    presents: list[list[str]]
    attention: str | None


def decode(
    graph: Graph,
    model: Transformer,
    ids: str,
    mask: str,
    caches: list[list[str]],
    pasts: list[list[str]] | None,
    alignment: Alignment | None = None,
) -> Decoded:
    """A step of the decoder, the first one if `pasts` is None; `mask` int32 (B, S)."""
    shape = graph.node("Shape", ids)
    first = graph.integers(0)
    if pasts is not None:
        first = graph.node("Gather", graph.node("Shape", pasts[0][0]), graph.integers(2))
    last = graph.node("Add", first, graph.node("Gather", shape, graph.integers(1)))
    hidden = _embedded(graph, "decoder", model.decoder, ids, first, last, of_domain=model.trimmed)
    split = graph.node("Concat", shape, graph.integers(-1), axis=0)
    sentences = graph.node("Gather", graph.node("Shape", mask), graph.integers(0))
    by_sentence = graph.node("Concat", sentences, graph.integers(-1, model.decoder.positions.shape[1]), axis=0)
    presents, attention = [], None
    for index, (layer, cross) in enumerate(zip(model.decoder.layers, model.cross, strict=True)):
        block = _Block(graph, model.decoder, f"decoder.layers.{index}.attention", layer.attention.norm)
        past = [] if pasts is None else ["", "", "", *pasts[index]]
        inner, *present = _self_attention(
            graph, block.enter(hidden), block.name, layer.attention, split, past, causal=True
        )
        presents.append(present)
        hidden = block.leave(hidden, inner)

        block = _Block(graph, model.decoder, f"decoder.layers.{index}.cross", cross.norm)
        query = graph.linear(block.enter(hidden), f"{block.name}.query", cross.query)
        operands = [graph.node("Reshape", query, by_sentence), *caches[index], "", mask]
        (inner,) = graph.attention(1, *operands, num_heads=cross.heads)
        if alignment is not None and alignment.layer == index:
            averaged = _mean_attention(graph, operands[0], caches[index][0], mask, cross, alignment.heads)
            attention = graph.node("Reshape", averaged, split)
        hidden = block.leave(hidden, _output(graph, inner, block.name, cross.output))

        hidden = _feed_forward(graph, model.decoder, hidden, f"decoder.layers.{index}", layer, model.activation)
    hidden = _final_norm(graph, hidden, "decoder", model.decoder)
    logits = graph.linear(hidden, "projection", model.projection, of_domain=model.trimmed)
    return Decoded(graph.node("Reshape", logits, split), presents, attention)


def _embedded(graph: Graph, name: str, stack: Stack, ids: str, first: str, last: str, of_domain: bool = False) -> str:
    """Embeddings of `ids` (rows, tokens) at the positions first … last - 1, as (rows * tokens, d)."""
    rows = graph.embedding(ids, f"{name}.embedding", stack.embedding, stack.scale, of_domain)
    positions = graph.table(f"{name}.positions", stack.positions)
    value = graph.node("Add", rows, graph.node("Slice", positions, first, last, graph.integers(0)))
    value = graph.node("Reshape", value, graph.integers(-1, stack.positions.shape[1]))
    return value if stack.embedding_norm is None else graph.norm(value, f"{name}.embedding_norm", stack.embedding_norm)


@dataclass(frozen=True)
class _Block:
    """hidden + f(norm(hidden)) if a norm follows the last layer of the stack, else norm(hidden + f(hidden))."""

    graph: Graph
    stack: Stack
    name: str
    norm: Norm

    def enter(self, hidden: str) -> str:
        """The input of f."""
        return hidden if self.stack.norm is None else self._normalized(hidden)

    def leave(self, hidden: str, inner: str) -> str:
        """The block's output, from its input and the output of f."""
        total = self.graph.node("Add", hidden, inner)
        return self._normalized(total) if self.stack.norm is None else total

    def _normalized(self, value: str) -> str:
        return self.graph.norm(value, f"{self.name}.norm", self.norm)


def _final_norm(graph: Graph, hidden: str, name: str, stack: Stack) -> str:
    return hidden if stack.norm is None else graph.norm(hidden, f"{name}.norm", stack.norm)


def _feed_forward(graph: Graph, stack: Stack, hidden: str, name: str, layer: LayerWeights, activation: str) -> str:
    block = _Block(graph, stack, f"{name}.feed_forward", layer.norm)
    inner = graph.linear(block.enter(hidden), f"{name}.fc1", layer.fc1, of_domain=True)
    inner = graph.linear(_activate(graph, inner, activation), f"{name}.fc2", layer.fc2, of_domain=True)
    return block.leave(hidden, inner)


def _activate(graph: Graph, value: str, activation: str) -> str:
    if activation in _SWISH:
        return graph.node("Mul", value, graph.node("Sigmoid", value))
    if activation not in _ACTIVATIONS:
        known = ", ".join(sorted([*_SWISH, *_ACTIVATIONS]))
        raise FmallocError(f"activation function {activation!r} cannot be written as ONNX, expected one of {known}")
    operator, attributes = _ACTIVATIONS[activation]
    return graph.node(operator, value, **attributes)


def _self_attention(
    graph: Graph,
    value: str,
    name: str,
    attention: SelfAttention,
    split: str,
    operands: list[str],
    *,
    causal: bool = False,
) -> list[str]:
    """The block's output and, if causal, its keys and values; `operands` follow query, key and value."""
    joined = graph.node("Reshape", graph.linear(value, f"{name}.query_key_value", attention.query_key_value), split)
    query_key_value = graph.nodes("Split", 3, joined, axis=-1, num_outputs=3)
    result, *present = graph.attention(
        3 if causal else 1, *query_key_value, *operands, num_heads=attention.heads, unidirectional=int(causal)
    )
    return [_output(graph, result, name, attention.output), *present]


def _mean_attention(graph: Graph, query: str, key: str, mask: str, cross: CrossAttention, heads: int) -> str:
    """Attention (B, tokens, S), float32, as the mean of the first `heads` heads.

    `query` (B, tokens, d), `key` (B, H, S, h), `mask` int32 (B, S). MultiHeadAttention does not output attention.
    """
    size = cross.output.weight.shape[1] // cross.heads
    queries = graph.node("Reshape", query, graph.integers(0, 0, cross.heads, size))
    queries = graph.node("Transpose", queries, perm=[0, 2, 1, 3])
    scores = graph.node("MatMul", queries, graph.node("Transpose", key, perm=[0, 1, 3, 2]))
    scores = graph.node("Mul", scores, graph.number(size**-0.5))
    hidden = graph.node("Sub", graph.node("Cast", mask, to=graph.float_type), graph.number(1.0))
    hidden = graph.node("Mul", graph.node("Unsqueeze", hidden, graph.integers(1, 2)), graph.number(_HIDING))
    scores = graph.node("Cast", graph.node("Add", scores, hidden), to=TensorProto.FLOAT)
    attention = graph.node("Softmax", scores, axis=-1)
    if heads < cross.heads:
        attention = graph.node("Slice", attention, graph.integers(0), graph.integers(heads), graph.integers(1))
    return graph.node("ReduceMean", attention, graph.integers(1), keepdims=0)


def _output(graph: Graph, value: str, name: str, layer: Linear) -> str:
    size = layer.weight.shape[1]
    return graph.linear(graph.node("Reshape", value, graph.integers(-1, size)), f"{name}.output", layer)


def keys_values(graph: Graph, memory: str, name: str, cross: CrossAttention, shape: str) -> list[str]:
    """Keys and values (B, H, S, h) of the encoder's output (B * S, d); `shape` holds B and S."""
    size = cross.output.weight.shape[1] // cross.heads
    by_head = graph.node("Concat", shape, graph.integers(2 * cross.heads, size), axis=0)
    joined = graph.node("Reshape", graph.linear(memory, f"{name}.key_value", cross.key_value), by_head)
    return graph.nodes("Split", 2, graph.node("Transpose", joined, perm=[0, 2, 1, 3]), axis=1, num_outputs=2)
