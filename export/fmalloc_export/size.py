"""How large a compiled model is and how much work a token is."""

from typing import Any

from torch import nn

from fmalloc.architectures import feed_forward_layers
from fmalloc_export.domain import Domain
from fmalloc_export.model import DomainModel

_BYTES = {"int8": 1, "int16": 2, "float16": 2, "bfloat16": 2, "float32": 4}


def parameters(domain: Domain, model: DomainModel) -> int:
    """Numbers in the model, shared ones counted once.

    A trimmed target vocabulary shares nothing with the source's any more, so that a base with one embedding for both
    sides has two then.
    """
    dense = sum(int(parameter.numel()) for parameter in domain.base.parameters())
    total = dense - _cells(domain.model) + _cells(model)
    trimmed = len(domain.model.target_tokens) - len(model.target_tokens)
    if not trimmed:
        return total
    width = int(_output(domain.base).shape[1])
    if _shares_sides(domain.base):
        return total + len(model.target_tokens) * width
    copies = 1 if domain.base.get_output_embeddings().weight is _decoder_embeddings(domain.base) else 2
    return total - copies * trimmed * width


def megabytes(domain: Domain, model: DomainModel, quantization: str) -> float:
    """Millions of bytes of weights, to the nearest that can be said before the engine's files are written."""
    return parameters(domain, model) * _BYTES[quantization.split("_")[0]] / 1e6


def flops_per_token(domain: Domain, model: DomainModel) -> int:
    """Floating-point operations of a source token and a target token together: two for each weight of a matrix.

    Attention over positions, which grows with the sentence, is left out.
    """
    matrices = sum(
        int(module.weight.numel())
        for stack in (domain.base.get_encoder(), domain.base.get_decoder())
        for module in stack.modules()
        if isinstance(module, nn.Linear)
    )
    layers = feed_forward_layers(domain.base)
    dense = sum(int(layer.module.fc1.weight.numel() + layer.module.fc2.weight.numel()) for layer in layers)
    kept = sum(layer.fc1_weight.size + layer.fc2_weight.size for layer in model.feed_forward)
    return 2 * (matrices - dense + kept + len(model.target_tokens) * int(_output(domain.base).shape[1]))


def _cells(model: DomainModel) -> int:
    arrays = ((layer.fc1_weight, layer.fc1_bias, layer.fc2_weight) for layer in model.feed_forward)
    return sum(array.size for layer in arrays for array in layer)


def _output(base: Any) -> Any:
    return base.get_output_embeddings().weight


def _decoder_embeddings(base: Any) -> Any:
    return base.get_decoder().embed_tokens.weight


def _shares_sides(base: Any) -> bool:
    return bool(base.get_encoder().embed_tokens.weight is _decoder_embeddings(base))
