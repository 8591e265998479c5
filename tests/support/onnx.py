"""Tiny ONNX models of random bases."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fmalloc.model.text.tokens import target_frame
from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.model import DomainModel
from fmalloc_export.emit import onnx
from fmalloc_export.passes import pipeline
from fmalloc_runtime.tokenizer.tokenizer import Tokenizer
from tests.support.bases import BASES
from tests.support.stores import write_store


@dataclass(frozen=True)
class Emitted:
    """A domain, what the passes of -O0 made of it (and the test of its target tokens), and its ONNX files."""

    domain: Domain
    model: DomainModel
    directory: Path

    @property
    def target_prefix(self) -> tuple[str, ...]:
        """Target tokens that every output starts with."""
        return tuple(self.domain.vocabulary.target[i] for i in target_frame(self.domain.tokenizer).prefix)

    def sources(self, count: int = 16, seed: int = 0) -> list[tuple[int, ...]]:
        """Random sentences that end in the end token."""
        vocabulary, draw = self.domain.vocabulary, np.random.default_rng(seed)
        end = vocabulary.source.index(vocabulary.end)
        pieces = [i for i, token in enumerate(vocabulary.source) if token not in vocabulary.special]
        lengths = draw.integers(1, 14, size=count)
        return [(*(int(i) for i in draw.choice(pieces, size=length)), end) for length in lengths]

    def source_tokens(self, count: int = 16) -> list[list[str]]:
        """The same as tokens."""
        return [[self.domain.vocabulary.source[i] for i in source] for source in self.sources(count)]

    def tokenizer(self, directory: Path) -> Tokenizer:
        """The runtime's tokenizer."""
        return self.domain.write_tokenizer(directory)


def load(directory: Path, kind: str, name: str = "odd") -> Domain:
    """A domain of a new store of the base `kind`."""
    assert kind in BASES
    return Domain.load(write_store(directory / "store", kind), name)


def emitted(domain: Domain, directory: Path, quantization: str = "float32", *, trimmed: bool = False) -> Emitted:
    """Emit at -O0; `trimmed` leaves a part of the target tokens, with those that nothing goes without."""
    model = pipeline.run(domain.model, pipeline.exact(quantization))[-1].model
    if trimmed:
        vocabulary = domain.vocabulary
        kept = np.random.default_rng(3).random(len(vocabulary.target)) < 0.6
        kept[[vocabulary.target.index(token) for token in (vocabulary.end, vocabulary.unknown)]] = True
        kept[list(target_frame(domain.tokenizer).prefix)] = True
        model = replace(model, target_tokens=np.flatnonzero(kept))
    directory.mkdir()
    onnx.emit(domain, model, directory, quantization)
    return Emitted(domain, model, directory)
