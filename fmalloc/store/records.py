"""The JSON records of a memory store, read strictly; docs/formats.md is made from their docstrings."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from fmalloc.corpus import Pair
from fmalloc.store.chain.versions import TaskName, number_of
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import open_plain
from fmalloc_shared.languages import LanguagePair
from fmalloc_shared.names import DomainName
from fmalloc_shared.strict import Count, Digest, StrictModel, parse_json

# sacreBLEU's sum of logarithms gives a perfect translation a trifle above 100.
Points = Annotated[float, Field(ge=0, le=100.001)]
PrivateKind = Literal["norms", "biases", "attention", "feedforward", "embeddings", "output"]
Part = Literal["train", "dev", "test"]


# Key of the settings of a version that began as a copy of others.
BEGUN_AS = "begun_as"


class Score(StrictModel):
    """Corpus BLEU and chrF of one model on one test set, with 95 % bootstrap intervals."""

    bleu: Points
    """0 to 100."""
    chrf: Points
    """0 to 100."""
    nll: float | None = None
    """Nats per target token; null on dev and in older stores."""
    bleu_interval: list[float] | None = Field(default=None, min_length=2, max_length=2)
    """Low and high end of the middle 95 % of 1,000 bootstrap draws of the sentences; null where nll is."""
    chrf_interval: list[float] | None = Field(default=None, min_length=2, max_length=2)
    """As bleu_interval."""


class Scores(StrictModel):
    """Scores by domain, with sacreBLEU's signatures."""

    domains: dict[DomainName, Score]
    """One score per domain."""
    signatures: dict[str, str]
    """Signatures of sacreBLEU, by metric."""
    digests: dict[DomainName, Digest] = Field(default_factory=dict)
    """SHA-256 of all that each score follows from; empty in older records."""
    proven: list[DomainName] = Field(default_factory=list)
    """Domains whose score is that of an earlier record with the same digest, instead of measured again."""


class Layer(StrictModel):
    """A feed-forward layer and its number of cells."""

    name: Annotated[str, Field(pattern=r"^(encoder|decoder)\.(0|[1-9][0-9]{0,3})$")]
    """`encoder.0` … `decoder.5`."""
    width: Annotated[int, Field(ge=1, le=2**24)]
    """Number of cells."""


class ImportanceRecord(StrictModel):
    """How cell importance was measured."""

    batches: Count
    """How many were measured."""
    batch_tokens: Count
    """Tokens per batch."""
    seed: int
    """Of the random choices."""
    rank_correlation: float
    """Of the importance by two halves of the batches."""
    dead_cells: dict[str, Count]
    """Cells that never fired, per layer."""


class CurvePoint(StrictModel):
    """One validation during learning, under the hard mask."""

    update: Count
    """Number of updates so far."""
    bleu: Points
    """On dev."""
    chrf: Points
    """On dev."""
    nll: float
    """On dev, nats per target token."""
    nll_shuffled: float
    """The same with sources shuffled: no gap means that the source is ignored."""
    claimed: Count
    """Cells whose gate is open."""
    loss: float | None = None
    """Mean training loss since the previous point."""
    earlier: dict[DomainName, float] = Field(default_factory=dict)
    """Dev NLL per domain learned before, by the model that would serve it now."""


class RecoveryRecord(StrictModel):
    """How the pruned model recovered: the weights under `base/` are those that recovery left."""

    settings: dict[str, Any]
    """`recovery` of the recipe."""
    base: dict[str, Digest]
    """SHA-256 of the base's files as they came."""
    curve: list[CurvePoint]
    """What validation saw."""


class StoreRecord(StrictModel):
    """store.json: the base, the pruned model and how it came about."""

    INDENT = 1

    version: Literal[1, 2] = 2
    """Of the store's format."""
    family: str
    """`marian`, `m2m_100`, `bart`, `mbart`, `pegasus` or `fsmt`."""
    languages: LanguagePair
    """Of the base."""
    layers: Annotated[list[Layer], Field(min_length=1, max_length=2000)]
    """Feed-forward layers in order."""
    sparsity: Annotated[float, Field(ge=0, le=1)]
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
    files: dict[str, Digest]
    """SHA-256 of every file under `base/` and of the three general files."""


class DataRecord(StrictModel):
    """The pairs of one part of a corpus, as used."""

    pairs: Count
    """How many."""
    sha256: Digest
    """Of the pairs."""


class TaskRecord(StrictModel):
    """task.json: what one task was given, what it claimed and what it scores."""

    INDENT = 1

    version: Literal[1, 2, 3] = 3
    """Of this file."""
    previous: Digest | None = None
    """SHA-256 of the record before it: task.json of the task before, or store.json; in version 2 alone."""
    name: TaskName
    """The domain's for its first version, with `@2`, `@3` … for later ones."""
    order: Annotated[int, Field(ge=0, le=2**20)] = 0
    """1, 2, …; absent in version 3, where the place in head.json says it."""
    reads: list[str]
    """Earlier tasks whose cells the mask switches on."""
    private: list[PrivateKind] = Field(default_factory=list)
    """Kinds of private parameters."""
    settings: dict[str, Any]
    """`learning` of the recipe, as it held for this task."""
    data: dict[Part, DataRecord]
    """`train`, `dev` and `test` as used."""
    dropped: dict[str, Count] = Field(default_factory=dict)
    """Pairs that cleaning left out of train, by reason."""
    scores: Scores
    """Row i of the matrix R."""
    dev: Score
    """Under the hard mask."""
    curve: list[CurvePoint]
    """What validation saw."""
    environment: dict[str, str] = Field(default_factory=dict)
    """As in store.json; empty in older records."""
    files: dict[str, Digest]
    """SHA-256 of the task's other files."""

    @model_validator(mode="after")
    def _linked(self) -> Self:
        if (self.previous is None) == (self.version == 2):
            raise ValueError("version 2 has the SHA-256 of the record before as previous, versions 1 and 3 have none")
        begun = self.settings.get(BEGUN_AS, [])
        if not isinstance(begun, list) or not all(isinstance(name, str) for name in begun):
            raise ValueError(f"settings.{BEGUN_AS} is {begun!r}, expected a list of versions")
        if (self.version == 3) == ("order" in self.model_fields_set):
            raise ValueError("versions 1 and 2 have an order, version 3 has none: its place in head.json says it")
        return self

    @model_serializer(mode="wrap")
    def _written(self, default: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = default(self)
        # A record that does not say where it stands keeps its bytes, whatever is freed or merged before it.
        return {key: value for key, value in content.items() if self.version < 3 or key not in ("order", "previous")}

    def placed(self, order: int) -> Self:
        """The same record with the order that head.json gives it."""
        return self.model_copy(update={"order": order})

    @property
    def begun_as(self) -> tuple[str, ...]:
        """The version of its domain that it began as a copy of, then those that this one began as; mostly none."""
        return tuple(self.settings.get(BEGUN_AS, ()))

    @property
    def selected(self) -> CurvePoint | None:
        """The last validation whose scores are those of the state that was kept; None if none was recorded."""
        kept = (point for point in self.curve if (point.bleu, point.chrf) == (self.dev.bleu, self.dev.chrf))
        return max(kept, key=lambda point: (-point.nll, point.update), default=None)


class Link(StrictModel):
    """One record of the chain, in the place where it was written."""

    kind: Literal["task", "freed", "growth", "freeing", "current", "reservation", "merge"]
    """`task`, or `freed` where its folder is gone; `growth`: cells were added; `freeing`: a certificate; `current`: a
    version was made current; `reservation`: only some of the free cells may be claimed from here on; `merge`: stores
    were united."""
    name: TaskName
    """Of the task; `1`, `2`, … of all others, by kind."""
    record: Digest
    """SHA-256 of the record."""
    chained: bool = False
    """Whether the record itself names the head before it, as tasks of version 2 do: then its digest is the head."""


class HeadRecord(StrictModel):
    """head.json: the chain of records and its end; the one file that every commit replaces."""

    INDENT = 1

    version: Literal[2, 3, 4] = 3
    """Of this file; 4 only where a domain has, or had, versions, or where a store was divided or merged."""
    tasks: Count
    """How many there are."""
    head: Digest
    """The end of the chain, which covers all that was ever recorded."""
    links: list[Link] | None = None
    """In the order in which they were written; absent in version 2, which has tasks only, by their order."""

    @model_validator(mode="after")
    def _listed(self) -> Self:
        if (self.links is None) == (self.version >= 3):
            raise ValueError("version 3 has links, and 4 too; version 2 has none")
        if self.version < 4 and any(map(_of_version_4, self.links or ())):
            raise ValueError("links tell of versions of a domain, parts or merges, which version 4 alone has")
        return self

    @classmethod
    def of(cls, tasks: int, head: str, links: list[Link]) -> Self:
        """Of the lowest version that can say it, so that older programs read what they can."""
        return cls(version=4 if any(map(_of_version_4, links)) else 3, tasks=tasks, head=head, links=links)


def _of_version_4(link: Link) -> bool:
    return link.kind in ("current", "reservation", "merge") or number_of(link.name) > 1


def read_samples(path: Path) -> tuple[Pair, ...]:
    """The pairs of a samples.jsonl file."""
    pairs = []
    with open_plain(path) as file:
        for number, line in enumerate(file, start=1):
            content = parse_json(line, f"{path}:{number}")
            texts = content.values() if isinstance(content, dict) and set(content) == set(Pair._fields) else [None]
            if not all(map(_is_text, texts)):
                raise FmallocError(f'{path}:{number}: expected {{"source": …, "target": …}}, found {line[:80]!r}')
            pairs.append(Pair(**content))
    return tuple(pairs)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def samples_bytes(pairs: tuple[Pair, ...]) -> bytes:
    """The content of a samples.jsonl file."""
    lines = (json.dumps(pair._asdict(), sort_keys=True, ensure_ascii=False) for pair in pairs)
    return "".join(f"{line}\n" for line in lines).encode()
