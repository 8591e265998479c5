"""What our own protocol says of the domains that are served."""

from pydantic import BaseModel

from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.bundle.manifest import Confidence, MemoryInfo, Quality
from fmalloc_runtime.files.formats import SUFFIXES
from fmalloc_runtime.live.snapshot import Snapshot
from fmalloc_runtime.settings import Settings
from fmalloc_shared.languages import LanguagePair, short_code
from fmalloc_shared.names import GENERAL


class Domain(BaseModel):
    """A domain that is served. `default`: texts of uncertain domain go there; `loaded`: its model is in memory.

    `glossary`: how many terms of its own it has.
    """

    name: str
    bundle: str
    engine: str
    quantization: str
    level: str
    loaded: bool
    default: bool
    quality: Quality | None
    confidence: Confidence | None
    memory: MemoryInfo | None
    glossary: int | None
    size_bytes: int
    widths: dict[str, int]


class DocumentLimits(BaseModel):
    """Which documents are taken: by the ends of their names, of at most `bytes`."""

    suffixes: list[str]
    bytes: int


class Features(BaseModel):
    """What this server has besides translation. `glossaries` and `corrections`: whether it keeps any; `documents`: null
    where it takes none.
    """

    glossaries: bool
    corrections: bool
    documents: DocumentLimits | None

    @classmethod
    def of(cls, settings: Settings) -> "Features":
        """What these settings turn on."""
        size = min(settings.document_limit, settings.bodies_limit)
        documents = DocumentLimits(suffixes=list(SUFFIXES), bytes=size) if settings.documents else None
        return cls(
            glossaries=settings.glossaries is not None,
            corrections=settings.corrections is not None,
            documents=documents,
        )


class DomainsAnswer(BaseModel):
    """All domains. `languages`: the pair as the models name it; `codes`: as glossaries do, in ISO 639's shortest form.
    `threshold`: the least posterior probability for another domain than the default.
    """

    languages: LanguagePair
    codes: LanguagePair
    threshold: float
    domains: list[Domain]
    features: Features


def described(snapshot: Snapshot, features: Features) -> DomainsAnswer:
    """All domains of a snapshot."""
    return DomainsAnswer(
        languages=snapshot.languages,
        codes=LanguagePair(*map(short_code, snapshot.languages)),
        features=features,
        threshold=snapshot.router.threshold,
        domains=[
            Domain(
                name=name,
                bundle=bundle.name,
                engine=bundle.manifest.engine.name,
                quantization=bundle.manifest.engine.quantization,
                level=bundle.manifest.level,
                loaded=snapshot.loaded(name) is not None,
                default=name == GENERAL,
                quality=bundle.manifest.quality,
                confidence=bundle.manifest.confidence,
                memory=bundle.manifest.memory,
                glossary=bundle.manifest.glossary,
                size_bytes=_size(bundle),
                widths=bundle.manifest.widths,
            )
            for name, bundle in sorted(snapshot.bundles.items())
        ],
    )


def _size(bundle: Bundle) -> int:
    """Bytes on disk, without what a packed bundle shares with others."""
    return sum(path.stat().st_size for path in bundle.path.rglob("*") if path.is_file())
