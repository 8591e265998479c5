"""`manifest.json`: what a bundle is, how it was compiled, and what files it has."""

import re
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, JsonValue, SerializerFunctionWrapHandler, model_serializer

from fmalloc_shared.annotations import Markers
from fmalloc_shared.languages import LanguagePair
from fmalloc_shared.names import DomainName
from fmalloc_shared.strict import Count, Digest, StrictModel

MANIFEST_FILE = "manifest.json"
_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")


def _inner_path(name: str) -> str:
    path = PurePosixPath(name)
    if not _PATH.fullmatch(name) or ".." in path.parts or path.as_posix() != name or name in (".", MANIFEST_FILE):
        raise ValueError("expected the relative path of a file inside the bundle")
    return name


Word = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,32}$")]
LayerName = Annotated[str, Field(pattern=r"^(encoder|decoder)\.(0|[1-9]\d{0,3})$")]
FilePath = Annotated[str, AfterValidator(_inner_path)]


class _Extended(StrictModel):
    """A record that has `ADDED` keys since its version began; without them it has the bytes that it always had."""

    ADDED: ClassVar[tuple[str, ...]]

    @model_serializer(mode="wrap")
    def _as_before(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in serialize(self).items() if key not in self.ADDED or value is not None}


class EngineInfo(StrictModel):
    """The engine that runs `model/`, its minimum version, and the type of the weights (`float32`, `int8` …)."""

    name: Word
    """`ctranslate2` or `onnx`."""
    minimum_version: Annotated[str, Field(pattern=r"^\d{1,9}(\.\d{1,9}){0,3}$")]
    """The oldest that reads the model."""
    quantization: Word
    """Type of the weights: `float32`, `int8` …."""


class PassInfo(StrictModel):
    """A compiler pass and its report."""

    name: str
    """Of the pass."""
    report: JsonValue
    """What it did, or why it does not apply."""


class SourceInfo(_Extended):
    """Digests of what the bundle was compiled from."""

    ADDED = ("distilled",)

    store: Digest
    """SHA-256 of store.json."""
    task: Digest | None
    """SHA-256 of task.json; null for `general`."""
    calibration: Digest | None
    """SHA-256 of the calibration pairs; null at `O0`."""
    distilled: Digest | None = None
    """SHA-256 of the record of the distilled model; absent below `O3`."""


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


_Share = Annotated[float, Field(ge=0, le=1)]
_Weight = Annotated[float, Field(ge=-1e6, le=1e6)]


class Weights(StrictModel):
    """Of a logistic regression, per feature of a sentence's translation; 0 where too few pairs tell about one."""

    log_probability: _Weight
    """Of the translation, in nats per token."""
    ratio: _Weight
    """Absolute logarithm of the translation's characters per character of the source."""
    length: _Weight
    """Logarithm of the source's characters."""
    coverage: _Weight
    """Share of the source's distinct words that the domain's text has."""
    unknown: _Weight
    """Share of the source's characters that the vocabulary lacks."""


class Reliability(StrictModel):
    """How well an estimate tells which translations need editing."""

    auroc: _Share
    """Area under the ROC curve: how often of two translations the one that needs editing has the higher estimate."""
    calibration_error: _Share
    """Expected calibration error in ten bins of equal width."""


class Confidence(StrictModel):
    """How the estimate `needs_editing` follows from a sentence and its translation, and how far it can be relied on."""

    below: Annotated[float, Field(gt=0, le=100)]
    """A translation needs editing if its sentence chrF, with the reference, is below this."""
    pairs: Count
    """Held-out pairs that it was fitted on: those of `quality`."""
    share: _Share
    """Of these pairs, those whose translation needs editing."""
    intercept: _Weight
    """Of the logistic regression."""
    weights: Weights
    """By feature."""
    estimate: Reliability
    """Of the estimate, in tenfold cross-validation on these pairs."""
    plain: Reliability
    """Of 1 less the mean probability per token, on the same pairs."""


class MemoryInfo(StrictModel):
    """A translation memory: the bundle holds text of the domain."""

    pairs: Count
    """How many, each once."""
    sha256: Digest
    """Of the pairs that it was made from."""


class Manifest(_Extended):
    """The content of `manifest.json`. Its digest names the bundle."""

    ADDED = ("confidence", "glossary", "term_markers", "memory_markers", "memory", "out_of_domain", "beam_size")

    version: Literal[1] = 1
    """Of the bundle's format."""
    domain: DomainName
    """Name."""
    languages: LanguagePair
    """Of the pair."""
    engine: EngineInfo
    """What runs `model/`."""
    level: Literal["O0", "O1", "O2", "O3"]
    """Of the compiler."""
    keep: Annotated[float, Field(gt=0, le=1)] | None
    """Share of the cells that compact-cells left; null below `O2`."""
    passes: tuple[PassInfo, ...]
    """In order."""
    widths: dict[LayerName, Annotated[int, Field(ge=1, le=2**24)]]
    """Cells kept per layer, padding included."""
    target_tokens: Annotated[int, Field(ge=1, le=2**24)]
    """How many can be written."""
    maximum_length: Annotated[int, Field(ge=1, le=2**20)]
    """Tokens of input and of output that the model can take."""
    beam_size: Annotated[int, Field(ge=1, le=64)] | None = None
    """Of the search where a request states none, and that quality was measured with; absent: 4."""
    source: SourceInfo
    """What it was compiled from."""
    parity: Parity
    """Against the learned model."""
    quality: Quality | None
    """Null without held-out pairs, which only `O0` can do without."""
    out_of_domain: Quality | None = None
    """The same on general pairs, without a bound; absent below `O3`, for `general`, and without general samples."""
    confidence: Confidence | None = None
    """What `needs_editing` is estimated with; absent where too few held-out pairs tell, and in older bundles."""
    memory: MemoryInfo | None = None
    """What `memory.sqlite` holds; absent without one."""
    term_markers: Markers | None = None
    """Before and after a term's translation in a source; absent where the domain did not learn to read that."""
    memory_markers: Markers | None = None
    """The same, twice each, of the translation of a similar source."""
    glossary: Annotated[int, Field(ge=1)] | None = None
    """Terms in `glossary.jsonl`, which every translation is to have; absent without one."""
    files: dict[FilePath, Digest]
    """SHA-256 of all other files."""

    @property
    def bundle_name(self) -> str:
        """`<domain>@<hash>`: the name of the directory that holds this manifest."""
        return f"{self.domain}@{sha256(self.to_bytes()).hexdigest()[:12]}"
