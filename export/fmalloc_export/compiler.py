"""One domain of a store, through the passes, into an engine's files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fmalloc.corpus import Languages
from fmalloc.models import load_dense
from fmalloc.store import Store
from fmalloc_export import pipeline
from fmalloc_export.build import domain_model
from fmalloc_export.emitter import Emitter, emitter_of
from fmalloc_export.model import DomainModel
from fmalloc_export.tokenizer import check_tokenizer, write_tokenizer
from fmalloc_export.vocabulary import Vocabulary, vocabulary_of
from fmalloc_runtime.tokenizer import Tokenizer


@dataclass(frozen=True)
class Compiled:
    """A domain before and after the passes, with the base model and tokenizer that it is emitted with."""

    emitter: Emitter
    base: Any
    tokenizer: Any
    vocabulary: Vocabulary
    before: DomainModel
    after: DomainModel
    reports: tuple[tuple[str, str], ...]

    @property
    def maximum_length(self) -> int:
        """Positions of the model, in tokens."""
        return int(self.base.config.max_position_embeddings)

    @property
    def parameters(self) -> tuple[int, int]:
        """Numbers in the model before and after the passes, tied ones counted once."""
        total = sum(parameter.numel() for parameter in self.base.parameters())
        return total, total - _numbers(self.before) + _numbers(self.after)

    def emit(self, directory: Path, quantization: str) -> None:
        """Write the engine's files into a new `directory`."""
        directory.mkdir()
        self.emitter.emit(self.base, self.tokenizer, self.vocabulary, self.after, directory, quantization)

    def emit_tokenizer(self, store: Store, directory: Path) -> Tokenizer:
        """Write the tokenizer's files into a new `directory`; check them on the domain's samples."""
        directory.mkdir()
        languages = Languages(store.description.languages.source, store.description.languages.target)
        family = store.description.family
        written = write_tokenizer(store.base, self.tokenizer, self.vocabulary, family, languages, directory)
        texts = [pair.source for pair in store.samples(self.before.domain)]
        check_tokenizer(written, self.tokenizer, self.vocabulary, texts)
        return written


def compile_domain(store: Store, name: str, quantization: str, engine: str = "ctranslate2") -> Compiled:
    """Read a domain from the store and run the passes for `quantization`."""
    base, tokenizer = load_dense(store, name)
    vocabulary = vocabulary_of(base, tokenizer)
    before = domain_model(name, base, store.mask(name), len(vocabulary.target))
    after, reports = pipeline.run(before, pipeline.passes(quantization))
    return Compiled(emitter_of(engine), base, tokenizer, vocabulary, before, after, tuple(reports))


def _numbers(model: DomainModel) -> int:
    arrays = ((layer.fc1_weight, layer.fc1_bias, layer.fc2_weight) for layer in model.feed_forward)
    return sum(array.size for layer in arrays for array in layer)
