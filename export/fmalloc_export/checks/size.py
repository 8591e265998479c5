"""The size of a compiled model, and the work per token; a row of the table that export prints."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from fmalloc.model.architectures import feed_forward_layers
from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.model import DomainModel

_BYTES = {"int8": 1, "int16": 2, "float16": 2, "bfloat16": 2, "float32": 4}


@dataclass(frozen=True)
class SizeRow:
    """The model as learned, after a pass, or as emitted.

    `flops`: see flops_per_token. On held-out pairs, None where it was not measured: `divergence` of its predictions
    from the learned model's, in nats per token, and `bleu`.
    """

    name: str
    cells: int
    target_tokens: int
    parameters: int
    megabytes: float
    flops: int
    divergence: float | None
    bleu: float | None
    note: str

    @classmethod
    def of(
        cls,
        name: str,
        domain: Domain,
        model: DomainModel,
        *,
        quantization: str,
        divergence: float | None = None,
        bleu: float | None = None,
        note: str = "",
    ) -> "SizeRow":
        """Count what `model` holds."""
        return cls(
            name=name,
            cells=sum(model.widths.values()),
            target_tokens=len(model.target_tokens),
            parameters=parameters(domain, model),
            megabytes=megabytes(domain, model, quantization),
            flops=flops_per_token(domain, model),
            divergence=divergence,
            bleu=bleu,
            note=note,
        )


def parameters(domain: Domain, model: DomainModel) -> int:
    """Number of parameters, shared ones counted once.

    A trimmed target vocabulary no longer shares embeddings with the source: a base with one embedding for both sides
    then has two.
    """
    dense = sum(int(parameter.numel()) for parameter in domain.base.parameters())
    total = dense - _cells(domain.model) + _cells(model)
    kept = len(model.target_tokens)
    trimmed = len(domain.model.target_tokens) - kept
    if not trimmed:
        return total
    projection, embeddings = domain.base.lm_head, _embeddings(domain.base.get_decoder())
    width = int(embeddings.shape[1])
    if projection.bias is not None:
        total -= trimmed
    if projection.weight is not embeddings:
        total -= trimmed * width
    if embeddings is _embeddings(domain.base.get_encoder()):
        return total + kept * width
    return total - trimmed * width


def megabytes(domain: Domain, model: DomainModel, quantization: str) -> float:
    """Size of the weights in millions of bytes, estimated before the engine's files are written."""
    return parameters(domain, model) * _BYTES[quantization.split("_")[0]] / 1e6


def flops_per_token(domain: Domain, model: DomainModel) -> int:
    """Floating-point operations per source token and target token together: two per weight of a matrix.

    Attention over positions is left out: it grows with the sentence.
    """
    projection = domain.base.lm_head
    matrices = sum(
        int(module.weight.numel())
        for stack in (domain.base.get_encoder(), domain.base.get_decoder())
        for module in stack.modules()
        if isinstance(module, nn.Linear) and module is not projection
    )
    layers = feed_forward_layers(domain.base)
    dense = sum(int(layer.module.fc1.weight.numel() + layer.module.fc2.weight.numel()) for layer in layers)
    kept = sum(layer.fc1_weight.size + layer.fc2_weight.size for layer in model.feed_forward)
    return 2 * (matrices - dense + kept + len(model.target_tokens) * int(projection.weight.shape[1]))


def _cells(model: DomainModel) -> int:
    arrays = ((layer.fc1_weight, layer.fc1_bias, layer.fc2_weight) for layer in model.feed_forward)
    return sum(array.size for layer in arrays for array in layer)


def _embeddings(stack: Any) -> Any:
    return stack.embed_tokens.weight
