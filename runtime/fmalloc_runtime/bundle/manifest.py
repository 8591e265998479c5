"""`manifest.json`: what a bundle is, how it was compiled, and what files it has."""

from hashlib import sha256
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue

from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair
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


class EngineInfo(StrictModel):
    """The engine that runs `model/`, its minimum version, and the type of the weights (`float32`, `int8` …)."""

    name: str
    """`ctranslate2` or `onnx`."""
    minimum_version: Annotated[str, Field(pattern=r"^\d+(\.\d+)*$")]
    """The oldest that reads the model."""
    quantization: str
    """Type of the weights: `float32`, `int8` …."""


class PassInfo(StrictModel):
    """A compiler pass and its report."""

    name: str
    """Of the pass."""
    report: JsonValue
    """What it did, or why it does not apply."""


class SourceInfo(StrictModel):
    """Digests of what the bundle was compiled from."""

    store: Digest
    """SHA-256 of store.json."""
    task: Digest | None
    """SHA-256 of task.json; null for `general`."""
    calibration: Digest | None
    """SHA-256 of the calibration pairs; null at `O0`."""


class Identical(StrictModel):
    """In how many sentences two models give the same tokens.

    The sliced PyTorch model is compared with the masked one; the emitted float32 model with a PyTorch model of the
    compiled cells and target tokens, which at `O0` is the masked one.
    """

    sliced_greedy: Count
    """Sliced PyTorch model."""
    sliced_beam: Count
    """Sliced PyTorch model, beam search."""
    emitted_greedy: Count
    """Emitted float32 model."""
    emitted_beam: Count
    """Emitted float32 model, beam search."""


class Parity(StrictModel):
    """Sliced and emitted float32 model, compared with the masked PyTorch model."""

    real_sentences: Count
    """How many were compared."""
    random_sentences: Count
    """How many were compared."""
    tolerance: float
    """Of log-probabilities, float32."""
    identical: Identical
    """Sentences with the same tokens."""


class Drop(StrictModel):
    """The loss of a score, with the 95 % confidence interval of a paired bootstrap."""

    value: float
    """Score before less score after."""
    low: float
    """Of the 95 % interval of a paired bootstrap."""
    high: float
    """Of the same interval."""


class Quality(StrictModel):
    """Masked PyTorch model (before) and emitted model (after) on held-out pairs of the domain."""

    pairs: Count
    """Held-out pairs."""
    held_out: Digest
    """SHA-256 of the held-out pairs."""
    bleu_before: float
    """Masked PyTorch model."""
    bleu_after: float
    """Emitted model."""
    bleu_drop: Drop
    """With interval."""
    chrf_before: float
    """Masked PyTorch model."""
    chrf_after: float
    """Emitted model."""
    chrf_drop: Drop
    """With interval."""
    signature: str
    """Signature of sacreBLEU."""
    bound: Annotated[float, Field(ge=0, le=100)] | None
    """Most that BLEU and chrF may fall; null at `O0` unless one was given."""
    allowed: bool
    """Whether a drop is above the bound, and was allowed with `--allow-quality-drop`."""


class Manifest(StrictModel):
    """The content of `manifest.json`. Its digest names the bundle."""

    version: Literal[1] = 1
    """Of the bundle's format."""
    domain: DomainName
    """Name."""
    languages: LanguagePair
    """Of the pair."""
    engine: EngineInfo
    """What runs `model/`."""
    level: Literal["O0", "O1", "O2"]
    """Of the compiler."""
    keep: Annotated[float, Field(gt=0, le=1)] | None
    """Share of the cells that compact-cells left; null below `O2`."""
    passes: tuple[PassInfo, ...]
    """In order."""
    widths: dict[str, Annotated[int, Field(ge=1)]]
    """Cells kept per layer, padding included."""
    target_tokens: Annotated[int, Field(ge=1)]
    """How many can be written."""
    maximum_length: Annotated[int, Field(ge=1)]
    """Tokens of input and of output that the model can take."""
    source: SourceInfo
    """What it was compiled from."""
    parity: Parity
    """Against the learned model."""
    quality: Quality | None
    """Null without held-out pairs, which only `O0` can do without."""
    files: dict[FilePath, Digest]
    """SHA-256 of all other files."""

    @property
    def bundle_name(self) -> str:
        """`<domain>@<hash>`: the name of the directory that holds this manifest."""
        return f"{self.domain}@{sha256(self.to_bytes()).hexdigest()[:12]}"
