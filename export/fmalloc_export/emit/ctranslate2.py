"""Emit a domain as a CTranslate2 model: the converter's own specification of the base, with this domain's cells.

CTranslate2's table of model loaders is private; only this module uses it, and a test pins what is relied upon.
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from ctranslate2.converters.transformers import _MODEL_LOADERS
from numpy.typing import NDArray

from fmalloc.model.architectures import FAMILIES
from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.model import DomainModel
from fmalloc_export.domain.vocabulary import MARIAN, Vocabulary, needed_tokens
from fmalloc_export.emit.emitter import Ids, Outputs, Problem
from fmalloc_runtime.engines.base import BATCH_TOKENS
from fmalloc_shared.errors import FmallocError

NAME = "ctranslate2"
MINIMUM_VERSION = "4.8.2"
QUANTIZATIONS = (
    "float32",
    "int8",
    "int8_float32",
    "int8_float16",
    "int8_bfloat16",
    "int16",
    "float16",
    "bfloat16",
)
# Not 0, but underflows to 0 in both products of a layer: see _avoid_zero_scales.
_NEARLY_ZERO = np.float32(1e-20)


def loader_of(base: Any) -> Any:
    """CTranslate2's loader for this transformers model; FmallocError if it has none."""
    family = FAMILIES.get(base.config.model_type)
    name = (family and family.converter) or type(base.config).__name__
    if name not in _MODEL_LOADERS:
        raise FmallocError(f"CTranslate2 converts no models with a {name}; update it or use another base model")
    return _MODEL_LOADERS[name]


def emit(domain: Domain, model: DomainModel, directory: Path, quantization: str) -> None:
    """See Emitter.emit."""
    model.check_emittable()
    check_target_tokens(domain, model)
    spec = specification(domain.base)
    _replace_cells(spec, model)
    vocabulary = domain.vocabulary
    _keep_tokens(spec, len(vocabulary.source), model.target_tokens)
    if quantization == "int16":
        _avoid_zero_scales(spec)
    spec.decoder.alignment_layer = np.int16(domain.alignment.layer)
    spec.decoder.alignment_heads = np.int16(domain.alignment.heads)
    _set_tokens(spec.config, domain)
    spec.register_source_vocabulary(list(vocabulary.source))
    spec.register_target_vocabulary([vocabulary.target[index] for index in model.target_tokens])
    try:
        spec.validate()
    except ValueError as error:
        raise FmallocError(f"domain {domain.name!r}: CTranslate2 refuses the model: {error}") from error
    spec.optimize(quantization)
    spec.save(str(directory))


def specification(base: Any) -> Any:
    """The dense model in its own memory: loaders change configurations, and quantization changes tensors."""
    loader = loader_of(base)
    base = copy.deepcopy(base)
    config = base.config
    family = FAMILIES[config.model_type]
    # Loaders ask the configuration: older ones said so, newer models just are so.
    config.normalize_before, config.normalize_embedding = family.pre_norm, family.embedding_norm
    try:
        spec = loader.get_model_spec(base)
    except KeyError as error:
        raise FmallocError(f"CTranslate2 has no activation function {config.activation_function!r}") from error
    if config.model_type == MARIAN:
        # The loader leaves out the last row of each table, where the pad token need not be.
        spec.encoder.embeddings[0].weight = base.model.encoder.embed_tokens.weight.detach()
        spec.decoder.embeddings.weight = base.model.decoder.embed_tokens.weight.detach()
        spec.decoder.projection.weight = base.lm_head.weight.detach()
        if spec.decoder.projection.has_bias():
            spec.decoder.projection.bias = base.final_logits_bias[0]
    spec.decoder.num_heads = np.int16(config.decoder_attention_heads)  # loaders set the encoder's number on both
    return spec


def _set_tokens(config: Any, domain: Domain) -> None:
    """Set what loaders set, and mBART's start token too: a bundle translates into one language."""
    base, tokenizer, vocabulary = domain.base, domain.tokenizer, domain.vocabulary
    config.eos_token, config.unk_token = vocabulary.end, vocabulary.unknown
    if tokenizer.bos_token is not None:
        config.bos_token = tokenizer.bos_token
    # Marian starts from a zero embedding, whatever the token.
    is_marian = base.config.model_type == MARIAN
    start = vocabulary.end if is_marian else vocabulary.target[base.config.decoder_start_token_id]
    config.decoder_start_token = start


def check_target_tokens(domain: Domain, model: DomainModel) -> None:
    """Raise FmallocError unless the model can write what every output needs."""
    vocabulary = domain.vocabulary
    if int(model.target_tokens[-1]) >= len(vocabulary.target):
        raise FmallocError(
            f"domain {domain.name!r} writes token {model.target_tokens[-1]}, the model's last is "
            f"{len(vocabulary.target) - 1}"
        )
    kept = {vocabulary.target[index] for index in model.target_tokens}
    needed = needed_tokens(domain.base, domain.tokenizer, vocabulary)
    if missing := [token for token in needed if token not in kept]:
        raise FmallocError(
            f"domain {domain.name!r}: the trimmed vocabulary lacks {', '.join(missing)}, which every output needs: "
            "keep these target tokens"
        )


def _replace_cells(spec: Any, model: DomainModel) -> None:
    layers = {
        f"{stack}.{index}": layer
        for stack in ("encoder", "decoder")
        for index, layer in enumerate(getattr(spec, stack).layer)
    }
    if list(layers) != list(model.widths):
        raise FmallocError(
            f"domain {model.domain!r} has layers {', '.join(model.widths)}, its base {', '.join(layers)}"
        )
    for block in model.feed_forward:
        first, second = layers[block.name].ffn.linear_0, layers[block.name].ffn.linear_1
        first.weight, first.bias = np.array(block.fc1_weight), np.array(block.fc1_bias)
        second.weight, second.bias = np.array(block.fc2_weight), np.array(block.fc2_bias)


def _keep_tokens(spec: Any, source_tokens: int, kept: NDArray[np.int64]) -> None:
    """Keep the first rows of the encoder's embeddings, and some of the decoder's and of the projection."""
    spec.encoder.embeddings[0].weight = spec.encoder.embeddings[0].weight[:source_tokens]
    decoder = spec.decoder
    decoder.embeddings.weight = _rows(decoder.embeddings.weight, kept)
    decoder.projection.weight = _rows(decoder.projection.weight, kept)
    if decoder.projection.has_bias():
        decoder.projection.bias = _rows(decoder.projection.bias, kept)


def _rows(tensor: Any, kept: NDArray[np.int64]) -> Any:
    if np.array_equal(kept, np.arange(len(kept))):
        return tensor[: len(kept)]
    return np.array(tensor.detach().numpy()[kept], dtype=np.float32)


def _avoid_zero_scales(spec: Any) -> None:
    """Make a layer without cells writable as int16, whose scale is 1024 divided by the largest weight.

    Its single cell gets keys and values of 1e-20, whose product is below the smallest float.
    """
    for layer in (*spec.encoder.layer, *spec.decoder.layer):
        for linear in (layer.ffn.linear_0, layer.ffn.linear_1):
            if not linear.weight.any():
                linear.weight[0, 0] = _NEARLY_ZERO


def outputs(directory: Path, problem: Problem, vocabulary: Vocabulary, beam_size: int) -> Outputs:
    """See Emitter.outputs."""
    # One thread: the result must not depend on the number of cores, and a busy machine should not spin in OpenMP.
    translator = ctranslate2.Translator(str(directory), device="cpu", compute_type="float32", intra_threads=1)
    ids = {token: index for index, token in enumerate(vocabulary.target)}
    sources = [[vocabulary.source[i] for i in source] for source in problem.sources]
    prefix = [vocabulary.target[i] for i in problem.prefix]

    def search(beam_size: int) -> list[Ids]:
        results = translator.translate_batch(
            sources,
            target_prefix=[prefix] * len(sources) if prefix else None,
            max_batch_size=BATCH_TOKENS,
            batch_type="tokens",
            beam_size=beam_size,
            length_penalty=1.0,
            max_decoding_length=problem.longest,
            min_decoding_length=problem.shortest,
            max_input_length=0,
        )
        return [tuple(ids[token] for token in result.hypotheses[0][len(prefix) :]) for result in results]

    def score(pairs: Sequence[tuple[int, Ids]]) -> list[list[float]]:
        scored = translator.score_batch(
            [sources[source] for source, _ in pairs],
            [[*prefix, *(vocabulary.target[i] for i in output)] for _, output in pairs],
            max_batch_size=BATCH_TOKENS,
            batch_type="tokens",
            max_input_length=0,
        )
        return [list(result.log_probs) for result in scored]

    return Outputs("emitted", search(1), search(beam_size), score)
