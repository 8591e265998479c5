"""`manifest.json`: what a bundle is, how it was compiled, and what files it has."""

from hashlib import sha256
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue

from fmalloc_shared.errors import FmallocError
from fmalloc_shared.names import check_name
from fmalloc_shared.strict import StrictModel

MANIFEST_FILE = "manifest.json"


def _domain(name: str) -> str:
    try:
        return check_name(name)
    except FmallocError as error:
        raise ValueError(str(error)) from error


def _inner_path(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or path.as_posix() != name or name in (".", MANIFEST_FILE):
        raise ValueError("expected the relative path of a file inside the bundle")
    return name


DomainName = Annotated[str, AfterValidator(_domain)]
FilePath = Annotated[str, AfterValidator(_inner_path)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]


class Languages(StrictModel):
    """Language codes of the pair."""

    source: str
    target: str


class EngineInfo(StrictModel):
    """The engine that runs `model/`, its minimum version, and the type of the weights (`float32`, `int8` …)."""

    name: str
    minimum_version: Annotated[str, Field(pattern=r"^\d+(\.\d+)*$")]
    quantization: str


class PassInfo(StrictModel):
    """A compiler pass and its report."""

    name: str
    report: JsonValue


class SourceInfo(StrictModel):
    """SHA-256 of store.json, of task.json (None for general), and of the calibration text (None at O0)."""

    store: Digest
    task: Digest | None
    calibration: Digest | None


class Identical(StrictModel):
    """The number of sentences in which a model gives the same tokens as the masked PyTorch model."""

    sliced_greedy: Count
    sliced_beam: Count
    emitted_greedy: Count
    emitted_beam: Count


class Parity(StrictModel):
    """Sliced and emitted float32 model compared with the masked PyTorch model; `tolerance` of log-probabilities."""

    real_sentences: Count
    random_sentences: Count
    tolerance: float
    identical: Identical


class Drop(StrictModel):
    """The loss of a score, with the 95 % confidence interval of a paired bootstrap."""

    value: float
    low: float
    high: float


class Quality(StrictModel):
    """Masked PyTorch model (before) and emitted model (after) on held-out pairs of the domain."""

    pairs: Count
    bleu_before: float
    bleu_after: float
    bleu_drop: Drop
    chrf_before: float
    chrf_after: float
    chrf_drop: Drop
    signature: str


class Manifest(StrictModel):
    """The content of `manifest.json`. Its digest names the bundle."""

    version: Literal[1] = 1
    domain: DomainName
    languages: Languages
    engine: EngineInfo
    level: Literal["O0", "O1", "O2"]
    keep: Annotated[float, Field(gt=0, le=1)] | None
    passes: tuple[PassInfo, ...]
    widths: dict[str, Annotated[int, Field(ge=1)]]
    target_tokens: Annotated[int, Field(ge=1)]
    maximum_length: Annotated[int, Field(ge=1)]
    source: SourceInfo
    parity: Parity
    quality: Quality | None
    files: dict[FilePath, Digest]

    @property
    def bundle_name(self) -> str:
        """`<domain>@<hash>`: the name of the directory that holds this manifest."""
        return f"{self.domain}@{sha256(self.to_bytes()).hexdigest()[:12]}"
