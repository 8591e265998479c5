"""A domain's model at one stage of its compilation, in figures."""

from dataclasses import dataclass

from fmalloc_export.domain import Domain
from fmalloc_export.model import DomainModel
from fmalloc_export.size import flops_per_token, megabytes, parameters


@dataclass(frozen=True)
class Stage:
    """As learned, after a pass, or as emitted. `flops`: see flops_per_token. `bleu`: on held-out pairs, if measured."""

    name: str
    cells: int
    target_tokens: int
    parameters: int
    megabytes: float
    flops: int
    bleu: float | None
    note: str

    @classmethod
    def of(
        cls, name: str, domain: Domain, model: DomainModel, *, quantization: str, bleu: float | None, note: str
    ) -> "Stage":
        """Count what `model` holds."""
        return cls(
            name=name,
            cells=sum(model.widths.values()),
            target_tokens=len(model.target_tokens),
            parameters=parameters(domain, model),
            megabytes=megabytes(domain, model, quantization),
            flops=flops_per_token(domain, model),
            bleu=bleu,
            note=note,
        )
