"""A domain as it is read from a store: where every compilation of it starts."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fmalloc.batches import encode
from fmalloc.corpus import Languages, Pair
from fmalloc.models import load_dense, load_masked, load_sliced
from fmalloc.store import Store
from fmalloc_export.alignment import Alignment, choose, last_layer
from fmalloc_export.build import domain_model
from fmalloc_export.model import DomainModel
from fmalloc_export.tokenizer import check_tokenizer, write_tokenizer
from fmalloc_export.vocabulary import Vocabulary, vocabulary_of
from fmalloc_runtime.tokenizer import Tokenizer

_ALIGNED_TOKENS = 128


@dataclass(frozen=True)
class Domain:
    """`base`: the base model with this domain's cells written in, all switched on. `model`: its cells and mask."""

    store: Store
    name: str
    base: Any
    tokenizer: Any
    vocabulary: Vocabulary
    model: DomainModel

    @classmethod
    def load(cls, store: Store, name: str) -> "Domain":
        """Read what `name` (a task, or general) uses."""
        base, tokenizer = load_dense(store, name)
        vocabulary = vocabulary_of(base, tokenizer)
        model = domain_model(name, base, store.mask(name), len(vocabulary.target))
        return cls(store, name, base, tokenizer, vocabulary, model)

    @property
    def languages(self) -> Languages:
        """The store's language pair."""
        pair = self.store.description.languages
        return Languages(pair.source, pair.target)

    @property
    def maximum_length(self) -> int:
        """Positions of the model, in tokens."""
        return int(self.base.config.max_position_embeddings)

    def write_tokenizer(self, directory: Path) -> Tokenizer:
        """Write the tokenizer's files into a new `directory`; check them on the domain's samples."""
        directory.mkdir()
        family = self.store.description.family
        written = write_tokenizer(self.store.base, self.tokenizer, self.vocabulary, family, self.languages, directory)
        check_tokenizer(written, self.tokenizer, self.vocabulary, [pair.source for pair in self.samples])
        return written

    @cached_property
    def samples(self) -> tuple[Pair, ...]:
        """Held-out pairs that the store keeps of this domain."""
        return self.store.samples(self.name)

    @cached_property
    def alignment(self) -> Alignment:
        """Where the decoder looks at the source token that it translates, measured on the samples."""
        if not self.samples:
            return last_layer(self.base)
        examples = encode(self.tokenizer, self.samples, self.languages, maximum_length=_ALIGNED_TOKENS).examples
        return choose(self.masked, self.vocabulary, examples)

    @cached_property
    def masked(self) -> Any:
        """The learned model, with cells switched off by multiplication: the reference for all others."""
        return load_masked(self.store, self.name)[0]

    @cached_property
    def sliced(self) -> Any:
        """The learned model as fmalloc slices it."""
        return load_sliced(self.store, self.name)[0]
