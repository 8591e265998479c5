"""The four ONNX models of a Transformer, with optimum's names of inputs and outputs; sizes as in transformer.py."""

from onnx import TensorProto

from fmalloc_export.domain.alignment import Alignment
from fmalloc_export.emit.onnx.graph import Graph, Weights
from fmalloc_export.emit.onnx.transformer import decode, encode, keys_values
from fmalloc_export.emit.onnx.weights import Transformer
from fmalloc_runtime.engines.onnx_model import ATTENTION


def encoder_graph(model: Transformer, weights: Weights) -> Graph:
    """input_ids, attention_mask (B, S) → last_hidden_state (B, S, d), present.N.encoder.key and value of each layer."""
    graph = Graph("encoder", weights)
    ids = graph.input("input_ids", TensorProto.INT64, ["batch", "source"])
    memory, caches = encode(graph, model, ids, _mask(graph, "attention_mask"))
    size = model.encoder.positions.shape[1]
    graph.output("last_hidden_state", memory, graph.float_type, ["batch", "source", size])
    for index, cache in enumerate(caches):
        _cache_output(graph, model, f"present.{index}.encoder", cache, "batch", "source")
    return graph


def decoder_graph(model: Transformer, weights: Weights) -> Graph:
    """The first step: input_ids (B, T), encoder_hidden_states (B, S, d) → logits (B, T, target tokens), all caches."""
    graph = Graph("decoder", weights)
    ids = graph.input("input_ids", TensorProto.INT64, ["rows", "target"])
    mask = _mask(graph, "encoder_attention_mask")
    size = model.decoder.positions.shape[1]
    memory = graph.input("encoder_hidden_states", graph.float_type, ["batch", "source", size])
    shape = graph.node("Slice", graph.node("Shape", memory), graph.integers(0), graph.integers(2))
    memory = graph.node("Reshape", memory, graph.integers(-1, size))
    caches = [
        keys_values(graph, memory, f"decoder.layers.{index}.cross", cross, shape)
        for index, cross in enumerate(model.cross)
    ]
    decoded = decode(graph, model, ids, mask, caches, None)
    _logits_output(graph, model, decoded.logits)
    for index, (present, cache) in enumerate(zip(decoded.presents, caches, strict=True)):
        _cache_output(graph, model, f"present.{index}.decoder", present, "rows", "target")
        _cache_output(graph, model, f"present.{index}.encoder", cache, "batch", "source")
    return graph


def decoder_with_past_graph(model: Transformer, weights: Weights, alignment: Alignment) -> Graph:
    """A step: input_ids (R, T), caches with P ≥ 0 tokens → logits (R, T, target tokens), the decoder's caches.

    Also alignment (R, T, S): the attention of each token to the source while the next is chosen. Only the runtime
    uses this output.
    """
    graph = Graph("decoder_with_past", weights)
    ids = graph.input("input_ids", TensorProto.INT64, ["rows", "target"])
    mask = _mask(graph, "encoder_attention_mask")
    pasts, caches = [], []
    for index in range(len(model.decoder.layers)):
        pasts.append(_cache_input(graph, model, f"past_key_values.{index}.decoder", "rows", "past"))
        caches.append(_cache_input(graph, model, f"past_key_values.{index}.encoder", "batch", "source"))
    decoded = decode(graph, model, ids, mask, caches, pasts, alignment)
    _logits_output(graph, model, decoded.logits)
    for index, present in enumerate(decoded.presents):
        _cache_output(graph, model, f"present.{index}.decoder", present, "rows", "past + target")
    if decoded.attention is not None:
        graph.output(ATTENTION, decoded.attention, TensorProto.FLOAT, ["rows", "target", "source"])
    return graph


def cache_gather_graph(model: Transformer, weights: Weights) -> Graph:
    """cache.N, rows → selected.N: rows of as many caches as the decoder has for one kind of attention."""
    graph = Graph("cache_gather", weights)
    rows = graph.input("rows", TensorProto.INT64, ["selected"])
    for index in range(2 * len(model.decoder.layers)):
        cache = graph.input(f"cache.{index}", graph.float_type, _cache_shape(model, "rows", "tokens"))
        selected = graph.node("Gather", cache, rows)
        graph.output(f"selected.{index}", selected, graph.float_type, _cache_shape(model, "selected", "tokens"))
    return graph


def _mask(graph: Graph, name: str) -> str:
    return graph.node("Cast", graph.input(name, TensorProto.INT64, ["batch", "source"]), to=TensorProto.INT32)


def _logits_output(graph: Graph, model: Transformer, logits: str) -> None:
    logits = graph.node("Cast", logits, to=TensorProto.FLOAT)
    graph.output("logits", logits, TensorProto.FLOAT, ["rows", "target", len(model.projection.weight)])


def _cache_shape(model: Transformer, rows: str, tokens: str) -> list[int | str]:
    """Shape of a cache of keys or values."""
    heads = model.cross[0].heads
    return [rows, heads, tokens, model.decoder.positions.shape[1] // heads]


def _cache_input(graph: Graph, model: Transformer, name: str, rows: str, tokens: str) -> list[str]:
    shape = _cache_shape(model, rows, tokens)
    return [graph.input(f"{name}.{part}", graph.float_type, shape) for part in ("key", "value")]


def _cache_output(graph: Graph, model: Transformer, name: str, cache: list[str], rows: str, tokens: str) -> None:
    shape = _cache_shape(model, rows, tokens)
    for part, value in zip(("key", "value"), cache, strict=True):
        graph.output(f"{name}.{part}", value, graph.float_type, shape)
