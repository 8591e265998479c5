"""The files of a base: a configuration within bounds; weights as safetensors alone, whole, in shape and finite."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import check_plain
from fmalloc_shared.strict import read_json

CONFIG = "config.json"
_SIZES = (
    *("d_model", "vocab_size", "max_position_embeddings", "encoder_layers", "decoder_layers"),
    *("encoder_ffn_dim", "decoder_ffn_dim", "encoder_attention_heads", "decoder_attention_heads"),
)
_LARGEST = 2**24
# Numbers in a table of positions, which no file holds.
_MOST_POSITIONS = 2**24
# Tensors of older checkpoints that models compute themselves, or never had a use for.
_NEEDLESS = re.compile(r"(^|\.)(embed_positions\.(weights?|_float_tensor)|version)$|^final_logits_bias$")
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")
_PRECISIONS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_NAMED = 5
_CONVERT = (
    "import sys, transformers as t; d = sys.argv[1]; t.AutoModelForSeq2SeqLM.from_pretrained(d).save_pretrained(d)"
)


def configuration(path: Path) -> dict[str, Any]:
    """A JSON object of settings; FmallocError if the file is none."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise FmallocError(f"{path}: expected a JSON object")
    return content


def check_sizes(directory: Path, stored: int) -> None:
    """Raise FmallocError if config.json describes a larger model than there is: it is made before weights are read.

    `stored`: bytes of the base's files.
    """
    path = directory / CONFIG
    config = configuration(path)
    sizes = {name: config[name] for name in _SIZES if config.get(name) is not None}
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= _LARGEST:
            raise FmallocError(f"{path}: {name} {str(size)[:80]}: expected a whole number from 1 to {_LARGEST}")
    width = sizes.get("d_model", 1)
    parameters = sizes.get("vocab_size", 1) * width
    for stack in ("encoder", "decoder"):
        layer = 4 * width * width + 2 * width * sizes.get(f"{stack}_ffn_dim", 1)
        parameters += sizes.get(f"{stack}_layers", 1) * layer
    # Weights take two bytes at least.
    if 2 * parameters > stored or sizes.get("max_position_embeddings", 1) * width > _MOST_POSITIONS:
        raise FmallocError(
            f"{path}: describes a model of at least {parameters:,} parameters, but its files have {stored:,} bytes"
        )


def weight_files(directory: Path) -> list[Path]:
    """The files of weights that are read; raise FmallocError if there are none in safetensors."""
    if (directory / _WEIGHTS).exists():
        return [check_plain(directory / _WEIGHTS)]
    if (directory / _INDEX).is_file():
        return [check_plain(path) for path in sorted(directory.glob("*.safetensors"))]
    for path in sorted(directory.iterdir()):
        if path.suffix in _OTHER_WEIGHTS:
            raise FmallocError(
                f"{path}: only safetensors are read, since reading pickled weights can run code. If you trust it, "
                f"convert it once: python -c {shlex.quote(_CONVERT)} {shlex.quote(str(directory))}"
            )
    raise FmallocError(f"{directory / _WEIGHTS}: no such file; expected a model as transformers saves it")


def stored_precision(directory: Path) -> str:
    """The type that most of a base's weights are stored in, `float32` or another that is read as such.

    Raises FmallocError, with their names, if a tensor is of no such type: quantized weights are none to learn on.
    """
    counts: dict[str, int] = {}
    for path in weight_files(directory):
        try:
            with safe_open(path, framework="numpy") as file:
                types = {name: str(file.get_slice(name).get_dtype()) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise FmallocError(f"{path}: cannot be read: {error}") from error
        if other := [f"{name} is {kind}" for name, kind in types.items() if kind not in _PRECISIONS]:
            raise FmallocError(f"{path}: {_first(other)}; expected {', '.join(_PRECISIONS.values())}")
        for kind in types.values():
            counts[_PRECISIONS[kind]] = counts.get(_PRECISIONS[kind], 0) + 1
    return max(counts, key=lambda kind: counts[kind], default="float32")


def check_whole(directory: Path, found: dict[str, Any]) -> None:
    """What is missing transformers would draw at random, anew at each load: all that is learned on it is worthless."""
    problems = []
    if missing := sorted(found["missing_keys"]):
        problems.append(f"missing {_first(missing)}")
    if unexpected := sorted(name for name in found["unexpected_keys"] if not _NEEDLESS.search(name)):
        problems.append(f"unexpected {_first(unexpected)}")
    if misshapen := sorted(
        f"{name} {list(stored)}, expected {list(wanted)}" for name, stored, wanted in found["mismatched_keys"]
    ):
        problems.append(f"of another shape {_first(misshapen)}")
    if errors := found["error_msgs"]:
        problems.append(_first([str(error) for error in errors]))
    if problems:
        raise FmallocError(f"{directory}: its weights are not those of the model in config.json: {'; '.join(problems)}")


def check_finite(model: Any, directory: Path) -> None:
    """Raise FmallocError that names the tensors of a model that hold NaN or infinite values."""
    broken = [name for name, tensor in model.state_dict().items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise FmallocError(f"{directory}: NaN or infinite values in {_first(sorted(broken))}")


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
