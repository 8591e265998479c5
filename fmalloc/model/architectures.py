"""Where the feed-forward layers of each supported model family are."""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fmalloc.corpus import Languages
from fmalloc.model.tokens import set_languages, target_frame
from fmalloc_shared.errors import FmallocError

# A logit that leaves no probability in float32, but that float16 and the loss can hold.
_NEVER = -1000.0


@dataclass(frozen=True)
class Family:
    """A model family: transformers' model type, and the stacks whose layers hold `fc1`, `activation_fn` and `fc2`."""

    model_type: str
    covers: str
    stacks: tuple[tuple[str, str], ...] = (
        ("encoder", "model.encoder.layers"),
        ("decoder", "model.decoder.layers"),
    )


FAMILIES = {
    family.model_type: family
    for family in (
        Family("marian", "MarianMT, OPUS-MT"),
        Family("m2m_100", "M2M100, NLLB-200 (dense)"),
        Family("bart", "BART"),
        Family("mbart", "mBART, mBART-50"),
        Family("pegasus", "Pegasus"),
        Family("fsmt", "FSMT, WMT19"),
    )
}


@dataclass(frozen=True)
class FeedForwardLayer:
    """A feed-forward layer of a model: `module` holds fc1 (width, d_model), activation_fn and fc2 (d_model, width)."""

    name: str
    module: Any

    @property
    def width(self) -> int:
        """Number of memory cells."""
        return int(self.module.fc1.weight.shape[0])


def family_of(directory: Path) -> Family:
    """The family of the model in `directory`; raise FmallocError that lists the supported ones otherwise."""
    path = directory / "config.json"
    try:
        model_type = json.loads(path.read_text(encoding="utf-8"))["model_type"]
    except FileNotFoundError as error:
        raise FmallocError(f"{path}: no such file; expected a model as transformers saves it") from error
    except (ValueError, KeyError, TypeError) as error:
        raise FmallocError(f"{path}: not a configuration that names its model_type") from error
    if model_type not in FAMILIES:
        supported = "; ".join(f"{family.model_type} ({family.covers})" for family in FAMILIES.values())
        raise FmallocError(f"{path}: model family {model_type!r} is not supported; supported are {supported}")
    return FAMILIES[model_type]


@contextmanager
def quiet() -> Iterator[None]:
    """Transformers without its progress bars and without its advice on a normaliser that Marian models never call."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Recommended: pip install sacremoses")
        yield


def load_base(directory: Path, languages: Languages | None = None) -> tuple[Any, Any]:
    """The model, in float32 and evaluation mode with plain generation settings, and its tokenizer.

    `languages` is what the model shall read and write: an mBART's decoder starts with the target language's token.
    Raises FmallocError if the model cannot be loaded or does not know a language.
    """
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, GenerationConfig

    family = family_of(directory)
    try:
        with quiet():
            model = AutoModelForSeq2SeqLM.from_pretrained(directory, dtype=torch.float32, local_files_only=True)
            tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise FmallocError(f"{directory}: transformers cannot load this model: {error}") from error
    config = model.config
    if languages is not None:
        set_languages(tokenizer, languages)
        if behind := target_frame(tokenizer).behind:
            config.decoder_start_token_id = behind[0]
    if family.model_type == "fsmt":
        _forbid_padding(model)
    config.use_cache = False  # FSMT leaves out the causal mask with a cache, also where a whole target is scored
    model.generation_config = GenerationConfig(
        decoder_start_token_id=config.decoder_start_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        bad_words_ids=[[config.pad_token_id]] if family.model_type == "marian" else None,
        use_cache=True,
    )
    for module in model.modules():
        if hasattr(module, "layerdrop"):
            module.layerdrop = 0.0  # a layer left out of a training pass has no cells to rank or to learn
    return model.eval().requires_grad_(False), tokenizer


def _forbid_padding(model: Any) -> None:
    """Take the probability from padding: FSMT hides what it wrote as such from itself when a whole target is scored."""
    projection = model.model.decoder.output_projection
    bias = torch.zeros(projection.out_features)
    bias[model.config.pad_token_id] = _NEVER
    projection.bias = nn.Parameter(bias)


def feed_forward_layers(model: Any) -> tuple[FeedForwardLayer, ...]:
    """The model's feed-forward layers: encoder.0, …, decoder.0, …"""
    return tuple(_layers(model))


def _layers(model: Any) -> Iterator[FeedForwardLayer]:
    for stack, path in FAMILIES[model.config.model_type].stacks:
        modules = model.get_submodule(path)
        if not isinstance(modules, nn.ModuleList):
            raise TypeError(f"{path} is no list of layers")
        for index, module in enumerate(modules):
            yield FeedForwardLayer(f"{stack}.{index}", module)


def languages_of(directory: Path) -> Languages | None:
    """The language pair that a bilingual base's tokenizer names, None if it names none."""
    path = directory / "tokenizer_config.json"
    family = family_of(directory).model_type
    if family not in ("marian", "fsmt") or not path.is_file():
        return None
    config = json.loads(path.read_text(encoding="utf-8"))
    named = config.get("langs") if family == "fsmt" else (config.get("source_lang"), config.get("target_lang"))
    return Languages(*named) if named and all(named) else None
