"""A domain with every cell of its base switched on: what slicing and compacting are compared with."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from fmalloc.store.store import Store
from fmalloc_export.compiler import compile_at
from fmalloc_export.domain.domain import Domain
from fmalloc_export.options import Options


def unsliced(domain: Domain) -> Domain:
    """The same domain with no cell switched off."""
    layers = tuple(replace(layer, mask=np.ones_like(layer.mask)) for layer in domain.model.feed_forward)
    return replace(domain, model=replace(domain.model, feed_forward=layers))


def emit_unsliced(store: Store, name: str, directory: Path, quantization: str = "float32") -> Path:
    """Write the CTranslate2 model of a domain, unsliced, into a new `directory`."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    compile_at(unsliced(Domain.load(store, name)), Options(quantization=quantization)).emit(directory, quantization)
    return directory
