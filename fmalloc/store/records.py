"""The JSON records of a memory store, read strictly; see docs/formats.md."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from fmalloc.corpus import Pair
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair
from fmalloc_shared.strict import StrictModel

VERSION = 1


class Score(StrictModel):
    """Corpus BLEU and chrF, 0 to 100, with 95 % bootstrap intervals [low, high]; nll: nats per target token."""

    bleu: float
    chrf: float
    nll: float | None = None
    bleu_interval: list[float] | None = Field(default=None, min_length=2, max_length=2)
    chrf_interval: list[float] | None = Field(default=None, min_length=2, max_length=2)


class Scores(StrictModel):
    """Scores by domain, with sacreBLEU's signatures."""

    domains: dict[str, Score]
    signatures: dict[str, str]


class Layer(StrictModel):
    """A feed-forward layer and its number of cells."""

    name: str
    width: int


class ImportanceRecord(StrictModel):
    """How cell importance was measured."""

    batches: int
    batch_tokens: int
    seed: int
    rank_correlation: float
    dead_cells: dict[str, int]


class CurvePoint(StrictModel):
    """One validation during learning, under the hard mask.

    nll, nll_shuffled: nats per target token on dev. loss: mean training loss since the previous point. earlier: dev
    NLL of each domain learned before, by the model that would serve it at that moment.
    """

    update: int
    bleu: float
    chrf: float
    nll: float
    nll_shuffled: float
    claimed: int
    loss: float | None = None
    earlier: dict[str, float] = Field(default_factory=dict)


class RecoveryRecord(StrictModel):
    """How the pruned model recovered: settings, the SHA-256 of the base's files before it, and what validation saw."""

    settings: dict[str, Any]
    base: dict[str, str]
    curve: list[CurvePoint]


class StoreRecord(StrictModel):
    """store.json, see docs/formats.md."""

    INDENT = 1

    version: Literal[1] = 1
    family: str
    languages: LanguagePair
    layers: list[Layer]
    sparsity: float
    importance: ImportanceRecord
    base_scores: Scores
    general_scores: Scores
    recovery: RecoveryRecord | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    files: dict[str, str]


class DataRecord(StrictModel):
    """The pairs of one part of a corpus, as used."""

    pairs: int
    sha256: str


class TaskRecord(StrictModel):
    """task.json, see docs/formats.md. dropped: pairs left out of `data` by cleaning, by reason."""

    INDENT = 1

    version: Literal[1] = 1
    name: str
    order: int
    reads: list[str]
    private: list[str] = Field(default_factory=list)
    settings: dict[str, Any]
    data: dict[str, DataRecord]
    dropped: dict[str, int] = Field(default_factory=dict)
    scores: Scores
    dev: Score
    curve: list[CurvePoint]
    environment: dict[str, str] = Field(default_factory=dict)
    files: dict[str, str]


def read_samples(path: Path) -> tuple[Pair, ...]:
    """The pairs of a samples.jsonl file."""
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            content = json.loads(line)
            pairs.append(Pair(content["source"], content["target"]))
        except (ValueError, KeyError, TypeError) as error:
            raise FmallocError(f'{path}:{number}: expected {{"source": …, "target": …}}: {line[:80]!r}') from error
    return tuple(pairs)


def samples_bytes(pairs: tuple[Pair, ...]) -> bytes:
    """The content of a samples.jsonl file."""
    lines = (json.dumps(pair._asdict(), sort_keys=True, ensure_ascii=False) for pair in pairs)
    return "".join(f"{line}\n" for line in lines).encode()
