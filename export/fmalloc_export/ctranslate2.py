"""Emit a domain as a CTranslate2 model: the converter's own specification of the base, with this domain's cells.

CTranslate2's table of model loaders is private; it is touched here only, and a test pins what is relied upon.
"""

import copy
from pathlib import Path
from typing import Any

import numpy as np
from ctranslate2.converters.transformers import _MODEL_LOADERS

from fmalloc_export.model import DomainModel
from fmalloc_export.vocabulary import Vocabulary
from fmalloc_shared.errors import FmallocError

NAME = "ctranslate2"
MINIMUM_VERSION = "4.8.2"
QUANTIZATIONS = ("float32", "int8", "float16", "bfloat16")


def loader_of(base: Any) -> Any:
    """CTranslate2's loader for this transformers model; FmallocError if it has none."""
    name = type(base.config).__name__
    if name not in _MODEL_LOADERS:
        raise FmallocError(f"CTranslate2 converts no models with a {name}; update it or use another base model")
    return _MODEL_LOADERS[name]


def emit(
    base: Any, tokenizer: Any, vocabulary: Vocabulary, domain: DomainModel, directory: Path, quantization: str
) -> None:
    """Write the model of `domain` into the existing, empty `directory`.

    `base` gives everything but the feed-forward cells; it stays as it was. Equal inputs give equal bytes.
    """
    check_layers(domain)
    loader = loader_of(base)
    # Loaders change the configuration and quantization writes into the tensors that it is given.
    base = copy.deepcopy(base)
    spec = loader.get_model_spec(base)
    loader.set_config(spec.config, base, tokenizer)
    loader.set_vocabulary(spec, list(vocabulary.tokens))
    _replace_cells(spec, domain)
    try:
        spec.validate()
    except ValueError as error:
        raise FmallocError(f"domain {domain.domain!r}: CTranslate2 refuses the model: {error}") from error
    spec.optimize(quantization)
    spec.save(str(directory))


def check_layers(domain: DomainModel) -> None:
    """Raise FmallocError unless bake-mask and pad-width have made the model one that the engine takes."""
    for layer in domain.feed_forward:
        if not layer.mask.all():
            raise FmallocError(f"{layer.name}: {int((~layer.mask).sum())} cells are off, but not cut: run bake-mask")
        if layer.width == 0:
            raise FmallocError(f"{layer.name}: no cell is left, which the engine does not survive: run pad-width")


def _replace_cells(spec: Any, domain: DomainModel) -> None:
    layers = {
        f"{stack}.{index}": layer
        for stack in ("encoder", "decoder")
        for index, layer in enumerate(getattr(spec, stack).layer)
    }
    if list(layers) != list(domain.widths):
        raise FmallocError(
            f"domain {domain.domain!r} has layers {', '.join(domain.widths)}, its base {', '.join(layers)}"
        )
    for block in domain.feed_forward:
        first, second = layers[block.name].ffn.linear_0, layers[block.name].ffn.linear_1
        first.weight, first.bias = np.array(block.fc1_weight), np.array(block.fc1_bias)
        second.weight, second.bias = np.array(block.fc2_weight), np.array(block.fc2_bias)
