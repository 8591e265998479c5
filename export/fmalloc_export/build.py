"""From a base model that holds a domain's cells to the DomainModel that passes work on."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fmalloc.architectures import feed_forward_layers
from fmalloc_export.model import DomainModel, FeedForward
from fmalloc_shared.errors import FmallocError


def domain_model(domain: str, dense: Any, masks: Mapping[str, NDArray[np.bool_]], target_tokens: int) -> DomainModel:
    """Copy every cell of the dense model (see fmalloc.models.load_dense); `masks` (width,) by layer switch them.

    `target_tokens`: size of the target vocabulary, all of which can be written.

    Raises FmallocError if masks and layers do not fit.
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
