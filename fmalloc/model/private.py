"""Private parameters of a task: small changes beside its cells that fold into the weights, so that they cost no time.

    norms       gains and biases of the layer norms
    biases      biases of fc2 and of the attention projections (Ben Zaken et al. 2022, BitFit)
    attention   a low-rank addition up @ down to the attention projections' weights (Hu et al. 2022, LoRA)
    feedforward the same for keys and values of the general model's cells, and of no other cells
    embeddings  the same for the tables of tokens, of both sides and of the output
    output      the bias of the output logits: how frequent each token is in the domain

Each task starts from the base's values and keeps its own; no other task ever reads them.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.parametrize import register_parametrization

from fmalloc.model.architectures import feed_forward_layers
from fmalloc.store.cells import Cells
from fmalloc_shared.errors import FmallocError

Tensors = Mapping[str, NDArray[np.float32]]

_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")
_DOWN, _UP = ".down", ".up"
_OUTPUT = "output_bias"


class LowRank(nn.Module):
    """A learned product of rank r that is added to a frozen weight (out, in) wherever it is used; it begins as 0.

    down: (r, in), up: (out, r). `rows` and `columns` of the weight do not move: the parameters stay 0 there.
    """

    def __init__(
        self,
        weight: Tensor,
        rank: int,
        generator: torch.Generator,
        *,
        rows: Sequence[int] | Cells = (),
        columns: Sequence[int] | Cells = (),
    ) -> None:
        super().__init__()
        # Values (d_model, cells) start as keys (cells, d_model) do, although they have more columns.
        down = torch.randn(rank, weight.shape[1], generator=generator) / min(weight.shape) ** 0.5
        self.down = nn.Parameter(down.to(weight))
        self.up = nn.Parameter(weight.new_zeros(len(weight), rank))
        _hold(self.up, 0, rows)
        _hold(self.down, 1, columns)

    def forward(self, weight: Tensor) -> Tensor:
        """weight: (out, in) -> (out, in)."""
        return weight + self.up @ self.down


def _hold(parameter: nn.Parameter, dimension: int, places: Sequence[int] | Cells) -> None:
    """Let some rows (dimension 0) or columns (1) of a matrix be 0, and stay so when it learns."""
    if len(places):
        index = torch.as_tensor(places, device=parameter.device)
        parameter.data.index_fill_(dimension, index, 0)
        parameter.register_hook(lambda gradient: gradient.index_fill(dimension, index, 0))  # type: ignore[no-untyped-call]


class Ranks(NamedTuple):
    """Of low-rank additions: to weights of layers, and to embeddings."""

    layers: int
    embeddings: int


def install(
    model: Any, kinds: Collection[str], general: Mapping[str, Cells], ranks: Ranks, *, seed: int
) -> dict[str, nn.Parameter]:
    """Make the private parameters of these kinds trainable in an untouched model; by the name they are stored under.

    `general`: the general model's cells by layer. Low-rank additions are drawn with `seed`.
    """
    found: dict[str, nn.Parameter] = {}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    generator = torch.Generator().manual_seed(seed)

    def add_product(modules: Sequence[Any], rank: int = ranks.layers, **fixed: Sequence[int] | Cells) -> None:
        weight = modules[0].weight
        product = LowRank(weight, rank, generator, **fixed)
        for module in modules:
            register_parametrization(module, "weight", product)
        name = names[id(weight)]
        found.update({f"{name}{_DOWN}": product.down, f"{name}{_UP}": product.up})

    projections = [m for name, m in model.named_modules() if name.rpartition(".")[2] in _PROJECTIONS]
    if "norms" in kinds:
        norms = [module for module in model.modules() if isinstance(module, nn.LayerNorm)]
        found |= {names[id(parameter)]: parameter for norm in norms for parameter in norm.parameters()}
    if "biases" in kinds:
        linear = [*(layer.module.fc2 for layer in feed_forward_layers(model)), *projections]
        found |= {names[id(module.bias)]: module.bias for module in linear if module.bias is not None}
    if "attention" in kinds:
        for projection in projections:
            add_product([projection])
    if "feedforward" in kinds:
        for layer in feed_forward_layers(model):
            others = np.setdiff1d(np.arange(layer.width), general[layer.name])
            add_product([layer.module.fc1], rows=others)
            add_product([layer.module.fc2], columns=others)
    if "embeddings" in kinds:
        for tables in _embeddings(model):
            add_product(tables, ranks.embeddings, rows=[_fixed_row(model, tables)])
    if "output" in kinds:
        holder, name = _output_bias(model)
        bias = getattr(holder, name)
        if not isinstance(bias, nn.Parameter):
            delattr(holder, name)
            bias = nn.Parameter(bias)
            setattr(holder, name, bias)
        found[_OUTPUT] = bias
    for parameter in found.values():
        parameter.requires_grad_(True)
    return found


def _embeddings(model: Any) -> list[list[Any]]:
    """The modules that hold a table of tokens, those of one table together."""
    stacks = (model.model.encoder, model.model.decoder)
    modules = [*(stack.embed_tokens for stack in stacks), model.lm_head]
    if hasattr(model.model, "shared"):
        modules.append(model.model.shared)
    tables: dict[int, dict[int, Any]] = {}
    for module in modules:
        tables.setdefault(id(module.weight), {})[id(module)] = module
    return [list(holders.values()) for holders in tables.values()]


def _fixed_row(model: Any, table: Sequence[Any]) -> int:
    """The padding's row of a table. It starts Marian's decoder; the target's may be another than the source's."""
    is_target = model.config.model_type == "marian" and model.model.decoder.embed_tokens in table
    return int(model.config.decoder_start_token_id if is_target else model.config.pad_token_id)


def _output_bias(model: Any) -> tuple[Any, str]:
    """The module and the name of the output logits' bias, made of zeros where the base has none.

    Most families have it as a buffer.
    """
    if hasattr(model, "final_logits_bias"):
        return model, "final_logits_bias"
    projection = model.lm_head
    if projection.bias is None:
        projection.bias = nn.Parameter(projection.weight.new_zeros(projection.out_features), requires_grad=False)
    return projection, "bias"


def fold(model: Any, tensors: Tensors) -> None:
    """Write a task's private parameters into an untouched base model: gains and biases replaced, products added.

    Raises:
        FmallocError: a tensor that has no place in the model, or another shape.
    """
    parameters: dict[str, Tensor] = dict(model.named_parameters())
    if _OUTPUT in tensors:
        parameters[_OUTPUT] = getattr(*_output_bias(model))
    with torch.no_grad():
        for name, values in tensors.items():
            target = name.removesuffix(_DOWN).removesuffix(_UP)
            try:
                parameter = parameters[target]
                if name == target:
                    parameter.copy_(torch.from_numpy(values).reshape(parameter.shape))
                elif name.endswith(_UP):
                    parameter += torch.from_numpy(values @ tensors[f"{target}{_DOWN}"]).reshape(parameter.shape)
                elif f"{target}{_UP}" not in tensors:
                    raise KeyError(name)
            except (KeyError, RuntimeError, ValueError) as error:
                raise FmallocError(f"private parameter {name!r} {list(values.shape)} does not fit the base") from error
