"""The JSON records of a memory store, read strictly; docs/formats.md is made from their docstrings."""

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
    """Corpus BLEU and chrF of one model on one test set, with 95 % bootstrap intervals."""

    bleu: float
    """0 to 100."""
    chrf: float
    """0 to 100."""
    nll: float | None = None
    """Nats per target token; null on dev and in older stores."""
    bleu_interval: list[float] | None = Field(default=None, min_length=2, max_length=2)
    """Low and high end of the middle 95 % of 1,000 bootstrap draws of the sentences; null where nll is."""
    chrf_interval: list[float] | None = Field(default=None, min_length=2, max_length=2)
    """As bleu_interval."""


class Scores(StrictModel):
    """Scores by domain, with sacreBLEU's signatures."""

    domains: dict[str, Score]
    """One score per domain."""
    signatures: dict[str, str]
    """Signatures of sacreBLEU, by metric."""


class Layer(StrictModel):
    """A feed-forward layer and its number of cells."""

    name: str
    """`encoder.0` … `decoder.5`."""
    width: int
    """Number of cells."""


class ImportanceRecord(StrictModel):
    """How cell importance was measured."""

    batches: int
    """How many were measured."""
    batch_tokens: int
    """Tokens per batch."""
    seed: int
    """Of the random choices."""
    rank_correlation: float
    """Of the importance by two halves of the batches."""
    dead_cells: dict[str, int]
    """Cells that never fired, per layer."""


class CurvePoint(StrictModel):
    """One validation during learning, under the hard mask."""

    update: int
    """Number of updates so far."""
    bleu: float
    """On dev."""
    chrf: float
    """On dev."""
    nll: float
    """On dev, nats per target token."""
    nll_shuffled: float
    """The same with sources shuffled: no gap means that the source is ignored."""
    claimed: int
    """Cells whose gate is open."""
    loss: float | None = None
    """Mean training loss since the previous point."""
    earlier: dict[str, float] = Field(default_factory=dict)
    """Dev NLL per domain learned before, by the model that would serve it now."""


class RecoveryRecord(StrictModel):
    """How the pruned model recovered: the weights under `base/` are those that recovery left."""

    settings: dict[str, Any]
    """`recovery` of the recipe."""
    base: dict[str, str]
    """SHA-256 of the base's files as they came."""
    curve: list[CurvePoint]
    """What validation saw."""


class StoreRecord(StrictModel):
    """store.json: the base, the pruned model and how it came about."""

    INDENT = 1

    version: Literal[1] = 1
    """Of the store's format."""
    family: str
    """`marian`, `m2m_100`, `bart`, `mbart`, `pegasus` or `fsmt`."""
    languages: LanguagePair
    """Of the base."""
    layers: list[Layer]
    """Feed-forward layers in order."""
    sparsity: float
    """Share of each layer's cells that pruning freed."""
    importance: ImportanceRecord
    """How importance was measured."""
    base_scores: Scores
    """Of the base on every domain known then."""
    general_scores: Scores
    """Of the pruned model on the same."""
    recovery: RecoveryRecord | None = None
    """Null: `base/` holds the base as it came."""
    environment: dict[str, str] = Field(default_factory=dict)
    """Versions of Python, fmalloc and the libraries, the device and its precision."""
    files: dict[str, str]
    """SHA-256 of every file under `base/` and of the three general files."""


class DataRecord(StrictModel):
    """The pairs of one part of a corpus, as used."""

    pairs: int
    """How many."""
    sha256: str
    """Of the pairs."""


class TaskRecord(StrictModel):
    """task.json: what one task was given, what it claimed and what it scores."""

    INDENT = 1

    version: Literal[1] = 1
    """Of the store's format."""
    name: str
    """Of the domain."""
    order: int
    """1, 2, …."""
    reads: list[str]
    """Earlier tasks whose cells the mask switches on."""
    private: list[str] = Field(default_factory=list)
    """Kinds of private parameters."""
    settings: dict[str, Any]
    """`learning` of the recipe, as it held for this task."""
    data: dict[str, DataRecord]
    """`train`, `dev` and `test` as used."""
    dropped: dict[str, int] = Field(default_factory=dict)
    """Pairs that cleaning left out of train, by reason."""
    scores: Scores
    """Row i of the matrix R."""
    dev: Score
    """Under the hard mask."""
    curve: list[CurvePoint]
    """What validation saw."""
    environment: dict[str, str] = Field(default_factory=dict)
    """As in store.json; empty in older records."""
    files: dict[str, str]
    """SHA-256 of the task's other files."""

    @property
    def selected(self) -> CurvePoint | None:
        """The last validation whose scores are those of the state that was kept; None if none was recorded."""
        kept = (point for point in self.curve if (point.bleu, point.chrf) == (self.dev.bleu, self.dev.chrf))
        return max(kept, key=lambda point: (-point.nll, point.update), default=None)


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
