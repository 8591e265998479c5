"""A domain as it is read from a store: the input of every compilation."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmalloc.corpus import Pair
from fmalloc.model.architectures import feed_forward_layers
from fmalloc.model.assembly import load_dense, load_masked, load_sliced
from fmalloc.model.batches import encode
from fmalloc.store.store import Store
from fmalloc_export.domain.alignment import Alignment, choose_alignment, last_layer
from fmalloc_export.domain.model import DomainModel, FeedForward
from fmalloc_export.domain.tokenizer import check_tokenizer, write_tokenizer
from fmalloc_export.domain.vocabulary import Vocabulary, vocabulary_of
from fmalloc_runtime.tokenizer.tokenizer import Tokenizer
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair

_ALIGNED_TOKENS = 128


@dataclass(frozen=True)
class Domain:
    """A task, or general, as the passes and the emitters take it.

    `base`: the base model with this domain's cells written in, all switched on. `model`: its cells and mask.
    """

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
    def languages(self) -> LanguagePair:
        """The store's language pair."""
        return self.store.description.languages

    @property
    def maximum_length(self) -> int:
        """Positions of the model, in tokens."""
        return int(self.base.config.max_position_embeddings)

    def write_tokenizer(self, directory: Path) -> Tokenizer:
        """Write the tokenizer's files into a new `directory`, and check them on the domain's samples."""
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
        """The attention heads that align words, chosen on the samples."""
        if not self.samples:
            return last_layer(self.base)
        examples = encode(self.tokenizer, self.samples, self.languages, maximum_length=_ALIGNED_TOKENS).examples
        return choose_alignment(self.masked, self.vocabulary, examples)

    @cached_property
    def masked(self) -> Any:
        """The learned model with cells switched off by multiplication: the reference for all other forms."""
        return load_masked(self.store, self.name)[0]

    @cached_property
    def sliced(self) -> Any:
        """The learned model as fmalloc slices it."""
        return load_sliced(self.store, self.name)[0]


def domain_model(domain: str, dense: Any, masks: Mapping[str, NDArray[np.bool_]], target_tokens: int) -> DomainModel:
    """Copy every cell of the dense model (see fmalloc.model.assembly); `masks` bool (width,) by layer switch them.

    `target_tokens`: size of the target vocabulary, all of which can be written.
    Raises FmallocError if the masks do not fit the layers.
    """
    layers = feed_forward_layers(dense)
    if [layer.name for layer in layers] != list(masks):
        raise FmallocError(
            f"domain {domain!r} has masks for {', '.join(masks)}, its base has layers "
            f"{', '.join(layer.name for layer in layers)}"
        )
    model = DomainModel(
        domain=domain,
        family=dense.config.model_type,
        activation=dense.config.activation_function,
        target_tokens=np.arange(target_tokens, dtype=np.int64),
        feed_forward=tuple(
            FeedForward(
                name=layer.name,
                cells=np.arange(layer.width, dtype=np.int64),
                mask=np.array(masks[layer.name], dtype=np.bool_),
                fc1_weight=_array(layer.module.fc1.weight),
                fc1_bias=_array(layer.module.fc1.bias),
                fc2_weight=_array(layer.module.fc2.weight),
                fc2_bias=_array(layer.module.fc2.bias),
            )
            for layer in layers
        ),
    )
    model.verify()
    return model


def _array(tensor: Any) -> NDArray[np.float32]:
    return np.array(tensor.detach().cpu().numpy(), dtype=np.float32, order="C")
