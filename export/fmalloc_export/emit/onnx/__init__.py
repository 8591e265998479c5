"""Emit a domain for ONNX Runtime, in files that are named as optimum names them.

- `encoder_model.onnx` also gives each decoder layer's cross-attention keys and values; `decoder_with_past_model.onnx`
  takes them and a past of any length, including 0. The runtime uses these two and `cache_gather.onnx`.
- `decoder_model.onnx` is the first step, for tools that follow optimum's protocol.
- All graphs share their weights: `base.onnx_data` is the same file for every domain of a base; `domain.onnx_data` holds
  the cells and, with a trimmed vocabulary, the target tokens' rows.
- `vocabulary.json` is for the runtime; `config.json` and `generation_config.json` are for other tools.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.model import DomainModel
from fmalloc_export.domain.vocabulary import Vocabulary
from fmalloc_export.emit.emitter import Ids, Outputs, Problem
from fmalloc_export.emit.onnx.data import ExternalData
from fmalloc_export.emit.onnx.graph import Weights
from fmalloc_export.emit.onnx.models import (
    cache_gather_graph,
    decoder_graph,
    decoder_with_past_graph,
    encoder_graph,
)
from fmalloc_export.emit.onnx.weights import Transformer, transformer_of
from fmalloc_runtime.engines.beam import BeamSearch, Decoder
from fmalloc_runtime.engines.onnx import search_batches
from fmalloc_runtime.engines.onnx_model import VOCABULARY_FILE, OnnxModel, OnnxVocabulary
from fmalloc_shared.errors import FmallocError

NAME = "onnx"
# Since 1.24 ONNX Runtime loads external data from memory; up to 1.20 its attention gives other results.
MINIMUM_VERSION = "1.24"
QUANTIZATIONS = ("float32", "int8", "float16")
_SCORED = 8  # sentences per batch: scoring holds the whole vocabulary at every position


def emit(domain: Domain, model: DomainModel, directory: Path, quantization: str) -> None:
    """See Emitter.emit."""
    transformer = transformer_of(domain.base, model)
    tokens = vocabulary_file(domain.vocabulary, model, transformer)
    with ExternalData(directory) as data:
        weights = Weights(quantization, data)
        graphs = {
            "encoder_model.onnx": encoder_graph(transformer, weights),
            "decoder_model.onnx": decoder_graph(transformer, weights),
            "decoder_with_past_model.onnx": decoder_with_past_graph(transformer, weights, domain.alignment),
            "cache_gather.onnx": cache_gather_graph(transformer, weights),
        }
        for name, graph in graphs.items():
            (directory / name).write_bytes(graph.to_bytes())
    (directory / VOCABULARY_FILE).write_bytes(tokens.to_bytes())
    _write_configuration(domain.base.config, tokens, directory)


def vocabulary_file(vocabulary: Vocabulary, model: DomainModel, transformer: Transformer) -> OnnxVocabulary:
    """The vocabulary that the runtime reads; FmallocError if the end token cannot be written."""
    target = tuple(vocabulary.target[index] for index in model.target_tokens)
    if vocabulary.end not in target:
        raise FmallocError(f"domain {model.domain!r}: the end token {vocabulary.end!r} is not a target token")
    return OnnxVocabulary(
        source=vocabulary.source,
        target=None if target == vocabulary.source else target,
        start=transformer.start,
        end=vocabulary.end,
        unknown=vocabulary.unknown,
    )


def _write_configuration(config: Any, tokens: OnnxVocabulary, directory: Path) -> None:
    """Write the base's configuration with the ids of the trimmed decoder; source ids stay."""
    end = tokens.target_tokens.index(tokens.end)
    ids = {"decoder_start_token_id": tokens.start, "eos_token_id": end, "forced_eos_token_id": None}
    described = config.to_diff_dict() | ids
    for key in ("_name_or_path", "transformers_version"):
        described.pop(key, None)
    _write_json(directory / "config.json", described)
    generation = ids | {"pad_token_id": end, "max_length": config.max_position_embeddings}
    _write_json(directory / "generation_config.json", generation)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def outputs(directory: Path, problem: Problem, vocabulary: Vocabulary, beam_size: int) -> Outputs:
    """See Emitter.outputs."""
    del vocabulary
    # One thread: the result must not depend on the number of cores.
    model = OnnxModel(directory, "cpu", 1)
    ids = {int(token): index for index, token in enumerate(problem.target_tokens)}
    prompt = (model.vocabulary.start, *(ids[token] for token in problem.prefix))
    end = model.vocabulary.target_tokens.index(model.vocabulary.end)

    def search(beam_size: int) -> list[Ids]:
        settings = BeamSearch(
            beam_size=beam_size,
            end=end,
            longest=problem.maximum_length,
            shortest=problem.shortest - len(problem.prefix) if problem.prefix else 0,
        )
        found = search_batches(model, problem.sources, prompt, settings)
        return [tuple(int(problem.target_tokens[index]) for index in best.ids) for best, *_ in found]

    def score(pairs: Sequence[tuple[int, Ids]]) -> list[list[float]]:
        targets = [[*prompt, *(ids[token] for token in output), end] for _, output in pairs]
        order = sorted(range(len(pairs)), key=lambda index: len(targets[index]))
        scores: list[list[float]] = [[]] * len(pairs)
        for start in range(0, len(order), _SCORED):
            batch = order[start : start + _SCORED]
            decoder = model.encode([problem.sources[pairs[index][0]] for index in batch])
            found = token_scores(decoder, [targets[index] for index in batch])
            for index, of_tokens in zip(batch, found, strict=True):
                scores[index] = of_tokens
        return scores

    return Outputs("emitted", search(1), search(beam_size), score)


def token_scores(decoder: Decoder, targets: Sequence[Sequence[int]]) -> list[list[float]]:
    """Log-probability of each token of the targets, except their first."""
    longest = max(map(len, targets))
    rows = np.array([[*ids, *[ids[-1]] * (longest - len(ids))] for ids in targets])
    logits = decoder.advance(rows[:, :-1])
    logits -= logits.max(axis=-1, keepdims=True)
    chosen = np.take_along_axis(logits, rows[:, 1:, None], axis=-1)[..., 0]
    log_probs = chosen - np.log(np.exp(logits).sum(axis=-1))
    return [log_probs[row, : len(ids) - 1].tolist() for row, ids in enumerate(targets)]
