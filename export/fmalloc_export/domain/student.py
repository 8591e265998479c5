"""A domain whose model was distilled: what passes and emitters take in place of the learned one at -O3."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fmalloc.distillation.student import load_student
from fmalloc.model.architectures import feed_forward_layers
from fmalloc.store.distilled import Distilled
from fmalloc_export.domain.domain import Domain, domain_model
from fmalloc_export.domain.transformer import with_cells
from fmalloc_export.domain.vocabulary import vocabulary_of
from fmalloc_shared.annotations import Markers


@dataclass(frozen=True)
class Student(Domain):
    """`base` is the distilled model itself, all of whose cells are on."""

    distilled: Distilled

    @classmethod
    def of(cls, teacher: Domain, distilled: Distilled) -> "Student":
        """Load the student of a domain; FmallocError if its weights do not fit the store's base."""
        base, tokenizer = load_student(teacher.store, distilled)
        masks = {layer.name: np.ones(layer.width, dtype=np.bool_) for layer in feed_forward_layers(base)}
        vocabulary = vocabulary_of(base, tokenizer)
        model = domain_model(teacher.name, base, masks, vocabulary.writable)
        return cls(teacher.store, teacher.task, base, tokenizer, vocabulary, model, distilled)

    @property
    def described(self) -> str:
        """Where it began, and how long it learned."""
        record = self.distilled.record
        layers = ", ".join(map(str, record.decoder_layers))
        start = " of the shallow general model" if record.claim.start else ""
        return f"began with the decoder layers {layers}{start} (counted from 0), learned for {record.updates} updates"

    @property
    def distillation(self) -> str:
        """Digest of its record."""
        return self.distilled.digest

    @property
    def markers(self) -> dict[str, Markers]:
        """None: a student is not taught to read annotations."""
        return {}

    @cached_property
    def masked(self) -> Any:
        """The student as it was distilled."""
        return self.base

    @cached_property
    def sliced(self) -> Any:
        """The student put together from the cells that passes take."""
        return with_cells(self.base, self.model)
