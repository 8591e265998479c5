"""A self-contained ONNX file that translates: ONNX Runtime's BeamSearch operator around encoder and decoder.

Inputs, all int32 but the last: `input_ids` and `attention_mask` (batch, source); `max_length`, `num_beams` and, float,
`length_penalty`, each (1,). Output: `sequences` int32 (batch, 1, max_length): the start token, the target prefix, the
translation, and end tokens up to the bound, which counts all of these. The search is transformers' with
`early_stopping=True`; it counts one token more for outputs that the bound cut off, and on a CPU it takes no float16.
ONNX Runtime 1.28 loads the file, 1.25 does not (it sees no weights of the outer graph from the inner ones).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.model import DomainModel
from fmalloc_export.domain.vocabulary import Vocabulary
from fmalloc_export.emit.onnx.data import Inline
from fmalloc_export.emit.onnx.graph import MICROSOFT, Graph, Weights, model_bytes
from fmalloc_export.emit.onnx.transformer import cache_shape, decode, encode
from fmalloc_export.emit.onnx.weights import Transformer, transformer_of
from fmalloc_export.options import SINGLE_FILE
from fmalloc_shared.errors import FmallocError

# A protobuf message has less than 2 GiB; the nodes take some of it.
_LARGEST = 2**31 - (1 << 20)
# A logit that leaves no probability.
_NEVER = -10000.0


def emit_beam_search(
    domain: Domain, model: DomainModel, directory: Path, quantization: str, target_prefix: Sequence[str] = ()
) -> None:
    """Write beam_search.onnx into `directory`; FmallocError if it would be larger than 2 GB.

    `target_prefix`: at most one token, with which every translation begins.
    """
    if len(target_prefix) > 1:
        raise FmallocError(f"target prefix {' '.join(target_prefix)}: {SINGLE_FILE} can force one token, not more")
    transformer, vocabulary = transformer_of(domain.base, model), domain.vocabulary
    end, *prefix = (_index(model, vocabulary, token) for token in (vocabulary.end, *target_prefix))
    weights = Weights(quantization, Inline())
    encoder, decoder = _encoder(transformer, weights), _decoder(transformer, weights, prefix)
    shared = {tensor.name: tensor for graph in (encoder, decoder) for tensor in graph.initializers()}
    size = sum(tensor.ByteSize() for tensor in shared.values())
    if size > _LARGEST:
        raise FmallocError(
            f"domain {domain.name!r}: {SINGLE_FILE} would have {size / 1e9:.1f} GB, but one file can have 2 at most: "
            "use int8 or float16, or do without it"
        )
    (directory / SINGLE_FILE).write_bytes(
        _file(transformer.start, end, encoder, decoder, list(shared.values()), bool(prefix))
    )


def _index(model: DomainModel, vocabulary: Vocabulary, token: str) -> int:
    found = np.flatnonzero(model.target_tokens == vocabulary.target.index(token))
    if not len(found):
        raise FmallocError(f"domain {model.domain!r}: {token!r} is not a target token")
    return int(found[0])


def _file(start: int, end: int, encoder: Graph, decoder: Graph, weights: list[TensorProto], prefixed: bool) -> bytes:
    shapes = {
        "input_ids": ["batch", "source"],
        "attention_mask": ["batch", "source"],
        "max_length": [1],
        "num_beams": [1],
    }
    constants = {
        # Of start token, prefix and output: none is empty behind a prefix.
        "min_length": np.array([3 if prefixed else 0], dtype=np.int32),
        "num_return_sequences": np.ones(1, dtype=np.int32),
        "repetition_penalty": np.ones(1, dtype=np.float32),
    }
    search = helper.make_node(
        "BeamSearch",
        [
            *("input_ids", "max_length", "min_length", "num_beams", "num_return_sequences", "length_penalty"),
            *("repetition_penalty", "", "", "attention_mask"),
        ],
        ["sequences"],
        domain=MICROSOFT,
        model_type=1,
        early_stopping=1,
        no_repeat_ngram_size=0,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=start,
        encoder=encoder.proto([]),
        decoder=decoder.proto([]),
    )
    graph = helper.make_graph(
        [search],
        "beam_search",
        [
            *(helper.make_tensor_value_info(name, TensorProto.INT32, shape) for name, shape in shapes.items()),
            helper.make_tensor_value_info("length_penalty", TensorProto.FLOAT, [1]),
        ],
        [helper.make_tensor_value_info("sequences", TensorProto.INT32, ["batch", 1, "max_length"])],
        [*weights, *(numpy_helper.from_array(array, name) for name, array in constants.items())],
    )
    return model_bytes(graph)


def _encoder(model: Transformer, weights: Weights) -> Graph:
    """The operator's encoder: ids and mask → keys and values of each decoder layer."""
    graph = Graph("encoder", weights)
    ids, mask = (
        graph.input(name, TensorProto.INT32, ["batch", "source"])
        for name in ("encoder_input_ids", "encoder_attention_mask")
    )
    for index, cache in enumerate(encode(graph, model, ids, mask)[1]):
        for part, value in zip(("key", "value"), cache, strict=True):
            name = f"present_{part}_cross_{index}"
            graph.output(name, value, graph.float_type, cache_shape(model, "batch", "source"))
    return graph


def _decoder(model: Transformer, weights: Weights, prefix: Sequence[int]) -> Graph:
    """The operator's decoder: a step with caches of self-attention and, behind them, of cross-attention.

    Its first step gives all probability to the `prefix`, so that it counts for no score.
    """
    graph = Graph("decoder", weights)
    # The operator gives whole sequences where it does not read a 1 here.
    ids = graph.input("input_ids", TensorProto.INT32, ["rows", 1])
    mask = graph.input("encoder_attention_mask", TensorProto.INT32, ["rows", "source"])
    pasts, caches = (
        [
            [
                graph.input(f"past_{part}_{kind}_{index}", graph.float_type, cache_shape(model, "rows", tokens))
                for part in ("key", "value")
            ]
            for index in range(len(model.cross))
        ]
        for kind, tokens in (("self", "past"), ("cross", "source"))
    )
    decoded = decode(graph, model, ids, mask, caches, pasts)
    logits = decoded.logits
    if prefix:
        forced = np.full((1, 1, len(model.projection.weight)), _NEVER, dtype=np.float32)
        forced[..., prefix] = 0
        past = graph.node("Gather", graph.node("Shape", pasts[0][0]), graph.integers(2))
        is_first = graph.node("Equal", past, graph.integers(0))
        logits = graph.node("Where", is_first, graph.table("prefix", forced), logits)
    graph.output("logits", logits, graph.float_type, ["rows", 1, len(model.projection.weight)])
    for index, present in enumerate(decoded.presents):
        for part, value in zip(("key", "value"), present, strict=True):
            shape = cache_shape(model, "rows", "past + 1")
            graph.output(f"present_{part}_self_{index}", value, graph.float_type, shape)
    return graph
