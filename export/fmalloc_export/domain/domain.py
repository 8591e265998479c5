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
from fmalloc.model.text.batches import encode
from fmalloc.model.text.tokens import known_markers
from fmalloc.store.chain.versions import domain_of
from fmalloc.store.store import Store
from fmalloc_export.domain.alignment import Alignment, choose_alignment, last_layer
from fmalloc_export.domain.model import DomainModel, FeedForward
from fmalloc_export.domain.tokenizer import check_tokenizer, write_tokenizer
from fmalloc_export.domain.vocabulary import Vocabulary, vocabulary_of
from fmalloc_runtime.tokenizer.tokenizer import Tokenizer
from fmalloc_shared.annotations import Markers
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair
from fmalloc_shared.names import GENERAL

_ALIGNED_TOKENS = 128
# The manifest's keys of annotations, and what a recipe asks for each with.
_ANNOTATIONS = {"term_markers": "terminology", "memory_markers": "memory"}


@dataclass(frozen=True)
class Domain:
    """A task, or general, as the passes and the emitters take it.

    `task`: the version of the domain, as the store names it. `base`: the base model with this domain's cells written
    in, all switched on. `model`: its cells and mask.
    """

    store: Store
    task: str
    base: Any
    tokenizer: Any
    vocabulary: Vocabulary
    model: DomainModel

    @classmethod
    def load(cls, store: Store, task: str) -> "Domain":
        """Read what a task, or general, uses."""
        base, tokenizer = load_dense(store, task)
        vocabulary = vocabulary_of(base, tokenizer)
        model = domain_model(domain_of(task), base, store.mask(task), vocabulary.writable)
        return cls(store, task, base, tokenizer, vocabulary, model)

    @property
    def name(self) -> str:
        """Of the domain, whichever version of it this is."""
        return domain_of(self.task)

    @property
    def distillation(self) -> str | None:
        """Digest of the record of a distilled model; None: it is the learned one."""
        return None

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
        return self.store.samples(self.task)

    @cached_property
    def alignment(self) -> Alignment:
        """The attention heads that align words, chosen on the samples."""
        if not self.samples:
            return last_layer(self.base)
        longest = min(_ALIGNED_TOKENS, self.maximum_length)
        examples = encode(self.tokenizer, self.samples, self.languages, maximum_length=longest).examples
        return choose_alignment(self.masked, self.vocabulary, examples)

    @property
    def markers(self) -> dict[str, Markers]:
        """What it has learned to read around annotations, by the manifest's key."""
        settings = {} if self.name == GENERAL else self.store.task(self.task).settings
        return {key: known_markers(self.tokenizer) for key, name in _ANNOTATIONS.items() if settings.get(name)}

    @cached_property
    def masked(self) -> Any:
        """The learned model with cells switched off by multiplication: the reference for all other forms."""
        return load_masked(self.store, self.task)[0]

    @cached_property
    def sliced(self) -> Any:
        """The learned model as fmalloc slices it."""
        return load_sliced(self.store, self.task)[0]


def domain_model(
    domain: str, dense: Any, masks: Mapping[str, NDArray[np.bool_]], target_tokens: NDArray[np.int64]
) -> DomainModel:
    """Copy every cell of the dense model (see fmalloc.model.assembly); `masks` bool (width,) by layer switch them.

    `target_tokens`: ids of the target vocabulary that can be written, ascending.
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
        target_tokens=target_tokens,
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
