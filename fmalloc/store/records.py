"""The JSON records of a memory store, read strictly; see docs/formats.md."""

import json
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fmalloc.corpus import Pair
from fmalloc_shared.errors import FmallocError

VERSION = 1


class Record(BaseModel):
    """Read strictly: no unknown key, no value of another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Score(Record):
    """Corpus BLEU and chrF, 0 to 100, with 95 % bootstrap intervals [low, high]; nll: nats a target token."""

    bleu: float
    chrf: float
    nll: float | None = None
    bleu_interval: list[float] | None = Field(default=None, min_length=2, max_length=2)
    chrf_interval: list[float] | None = Field(default=None, min_length=2, max_length=2)


class Scores(Record):
    """Scores by domain, with sacreBLEU's signatures."""

    domains: dict[str, Score]
    signatures: dict[str, str]


class LanguagePair(Record):
    """Language codes as the base's tokenizer knows them."""

    source: str
    target: str


class Layer(Record):
    """A feed-forward layer and its number of cells."""

    name: str
    width: int


class ImportanceRecord(Record):
    """How cell importance was measured."""

    batches: int
    batch_tokens: int
    seed: int
    rank_correlation: float
    dead_cells: dict[str, int]


class CurvePoint(Record):
    """One validation during learning, under the hard mask.

    nll, nll_shuffled: nats a target token on dev. loss: mean training loss since the point before. earlier: dev NLL of
    each domain learned before, by the model that would serve it at that moment.
    """

    update: int
    bleu: float
    chrf: float
    nll: float
    nll_shuffled: float
    claimed: int
    loss: float | None = None
    earlier: dict[str, float] = {}


class RecoveryRecord(Record):
    """How the pruned model recovered: settings, the SHA-256 of the base's files before it, and what validation saw."""

    settings: dict[str, Any]
    base: dict[str, str]
    curve: list[CurvePoint]


class StoreRecord(Record):
    """store.json, see docs/formats.md."""

    version: Literal[1] = 1
    family: str
    languages: LanguagePair
    layers: list[Layer]
    sparsity: float
    importance: ImportanceRecord
    base_scores: Scores
    general_scores: Scores
    recovery: RecoveryRecord | None = None
    environment: dict[str, str] = {}
    files: dict[str, str]


class DataRecord(Record):
    """The pairs of one part of a corpus, as used."""

    pairs: int
    sha256: str


class TaskRecord(Record):
    """task.json, see docs/formats.md. dropped: pairs left out of `data` by cleaning, by reason."""

    version: Literal[1] = 1
    name: str
    order: int
    reads: list[str]
    private: list[str] = []
    settings: dict[str, Any]
    data: dict[str, DataRecord]
    dropped: dict[str, int] = {}
    scores: Scores
    dev: Score
    curve: list[CurvePoint]
    environment: dict[str, str] = {}
    files: dict[str, str]

    @property
    def selected(self) -> CurvePoint | None:
        """The last validation whose scores are those of the state that was kept; None if none was recorded."""
        kept = (point for point in self.curve if (point.bleu, point.chrf) == (self.dev.bleu, self.dev.chrf))
        return max(kept, key=lambda point: (-point.nll, point.update), default=None)


_RecordType = TypeVar("_RecordType", bound=Record)


def read_record(path: Path, kind: type[_RecordType]) -> _RecordType:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise FmallocError(f"{path}: no such file; is {path.parent} a memory store?") from error
    except ValueError as error:
        raise FmallocError(f"{path}: not JSON: {error}") from error
    if isinstance(content, dict) and content.get("version") != VERSION:
        raise FmallocError(f"{path}: version {content.get('version')!r}, this program reads version {VERSION}")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise FmallocError(f"{path}: {problems}") from error


def to_json(record: BaseModel) -> bytes:
    """A record as UTF-8 JSON with sorted keys."""
    return (json.dumps(record.model_dump(), indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


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
