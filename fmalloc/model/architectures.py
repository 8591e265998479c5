"""The supported model families: how each is loaded, and where its feed-forward layers are."""

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fmalloc.model import fsmt
from fmalloc.model.tokens import set_languages, target_frame
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair

# Where the layers are that hold `fc1`, `activation_fn` and `fc2`, in every family.
STACKS = {"encoder": "model.encoder.layers", "decoder": "model.decoder.layers"}


def _marian_languages(tokenizer_config: dict[str, Any]) -> Sequence[str | None]:
    return tokenizer_config.get("source_lang"), tokenizer_config.get("target_lang")


@dataclass(frozen=True)
class Family:
    """A model family: transformers' model type, and all in which its implementation differs from the others'.

    pre_norm, embedding_norm: layers normalise their input instead of their output; embeddings are normalised too.
    languages: the pair that a bilingual model's tokenizer_config.json names.
    align: brings a loaded model and its tokenizer in line with the other families.
    length_first: activations are of shape (length, batch, width).
    projects_in_decoder: the output projection is a part of the decoder.
    moses: text is cut as the Moses scripts cut it, and byte pairs are merged inside words.
    converter: the configuration by whose name CTranslate2 finds a converter, where it has none for the family's own.
    """

    model_type: str
    covers: str
    pre_norm: bool = False
    embedding_norm: bool = False
    languages: Callable[[dict[str, Any]], Sequence[str | None]] | None = None
    align: Callable[[Any, Any], None] | None = None
    length_first: bool = False
    projects_in_decoder: bool = False
    moses: bool = False
    converter: str | None = None


FAMILIES = {
    family.model_type: family
    for family in (
        Family("marian", "MarianMT, OPUS-MT", languages=_marian_languages),
        Family("m2m_100", "M2M100, NLLB-200 (dense)", pre_norm=True),
        Family("bart", "BART", embedding_norm=True),
        Family("mbart", "mBART, mBART-50", pre_norm=True, embedding_norm=True),
        Family("pegasus", "Pegasus", pre_norm=True),
        Family(
            "fsmt",
            "FSMT, WMT19",
            languages=fsmt.languages,
            align=fsmt.align,
            length_first=True,
            projects_in_decoder=True,
            moses=True,
            converter="BartConfig",
        ),
    )
}


@dataclass(frozen=True)
class FeedForwardLayer:
    """A feed-forward layer of a model: `module` holds fc1 (width, d_model), activation_fn and fc2 (d_model, width)."""

    name: str
    module: Any
    length_first: bool = False

    @property
    def stack(self) -> str:
        """`encoder` or `decoder`."""
        return self.name.partition(".")[0]

    def batch_first(self, activations: Tensor) -> Tensor:
        """What goes through the layer as (batch, length, width), in whichever order the model computes it."""
        return activations.transpose(0, 1) if self.length_first else activations

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


def load_base(directory: Path, languages: LanguagePair | None = None) -> tuple[Any, Any]:
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
    if family.align:
        family.align(model, tokenizer)
    config = model.config
    if languages is not None:
        set_languages(tokenizer, languages)
        if behind := target_frame(tokenizer).behind:
            config.decoder_start_token_id = behind[0]
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


def feed_forward_layers(model: Any) -> tuple[FeedForwardLayer, ...]:
    """The model's feed-forward layers: encoder.0, …, decoder.0, …"""
    return tuple(_layers(model))


def _layers(model: Any) -> Iterator[FeedForwardLayer]:
    length_first = FAMILIES[model.config.model_type].length_first
    for stack, path in STACKS.items():
        modules = model.get_submodule(path)
        if not isinstance(modules, nn.ModuleList):
            raise TypeError(f"{path} is not a list of layers")
        for index, module in enumerate(modules):
            yield FeedForwardLayer(f"{stack}.{index}", module, length_first)


def languages_of(directory: Path) -> LanguagePair | None:
    """The language pair that a bilingual base's tokenizer names, None if it names none."""
    path = directory / "tokenizer_config.json"
    find = family_of(directory).languages
    if find is None or not path.is_file():
        return None
    codes = [code for code in find(json.loads(path.read_text(encoding="utf-8"))) if code]
    return LanguagePair(*codes) if len(codes) == 2 else None
