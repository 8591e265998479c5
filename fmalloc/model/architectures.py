"""The supported model families: how each is loaded, and where its feed-forward layers are."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from langcodes import tag_is_valid
from torch import Tensor, nn

from fmalloc.model import fsmt
from fmalloc.model.base import CONFIG, check_finite, check_sizes, check_whole, configuration, stored_precision
from fmalloc.model.text import tokens
from fmalloc.model.text.tokens import is_multilingual, language_tokens, listed, set_languages, target_frame
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import check_plain
from fmalloc_shared.languages import LanguagePair, closest_code

# Characters of transformers' own message.
_MOST_TOKENS = 2**31  # ids are kept in 32 bits
_SHOWN = 2000
# Where the layers are that hold `fc1`, `activation_fn` and `fc2`, in every family.
STACKS = {"encoder": "model.encoder.layers", "decoder": "model.decoder.layers"}


def _marian_languages(tokenizer_config: dict[str, Any]) -> Sequence[str | None]:
    return tokenizer_config.get("source_lang"), tokenizer_config.get("target_lang")


@dataclass(frozen=True)
class Family:
    """A model family: transformers' model type, and all in which its implementation differs from the others'.

    pre_norm, embedding_norm: layers normalise their input instead of their output; embeddings are normalised too.
    languages: the pair that a bilingual model's tokenizer_config.json names.
    align, align_tokenizer: bring a loaded model, and its tokenizer, in line with the other families.
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
    align: Callable[[Any], None] | None = None
    align_tokenizer: Callable[[Any], None] = tokens.align
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
            align_tokenizer=fsmt.align_tokenizer,
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
    path = directory / CONFIG
    if not path.exists():
        raise FmallocError(f"{path}: no such file; expected a model as transformers saves it")
    model_type = configuration(path).get("model_type")
    if not isinstance(model_type, str):
        raise FmallocError(f"{path}: not a configuration that names its model_type")
    if model_type not in FAMILIES:
        supported = "; ".join(f"{family.model_type} ({family.covers})" for family in FAMILIES.values())
        raise FmallocError(f"{path}: model family {model_type[:80]!r} is not supported; supported are {supported}")
    return FAMILIES[model_type]


def base_bytes(directory: Path) -> int:
    """Size of a base's files on disk; errors as of family_of."""
    family_of(directory)
    return sum(path.stat().st_size for path in directory.iterdir() if path.is_file())


def positions_of(directory: Path) -> int:
    """Most tokens that a base can read or write; errors as of family_of."""
    path = directory / CONFIG
    family_of(directory)
    positions = configuration(path).get("max_position_embeddings")
    if not isinstance(positions, int) or positions < 1:
        raise FmallocError(f"{path}: max_position_embeddings {positions!r}: expected a number of tokens")
    return positions


@contextmanager
def quiet() -> Iterator[None]:
    """Transformers without its progress bars, its reports on weights, and its advice on a normaliser never called."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Recommended: pip install sacremoses")
            yield
    finally:
        logging.set_verbosity(verbosity)


@contextmanager
def _loading(directory: Path) -> Iterator[None]:
    for path in sorted(directory.iterdir()):
        if not path.is_dir():
            check_plain(path)
    try:
        with quiet():
            yield
    except FmallocError:
        raise
    except Exception as error:  # whatever is wrong with the files: transformers raises nearly every kind
        raise FmallocError(f"{directory}: transformers cannot load this model: {str(error)[:_SHOWN]}") from error


def load_base(directory: Path, languages: LanguagePair | None = None) -> tuple[Any, Any]:
    """The model, in float32 and evaluation mode with plain generation settings, and its tokenizer.

    `languages` is what the model shall read and write: an mBART's decoder starts with the target language's token.

    Raises:
        FmallocError: the model cannot be loaded; its weights are pickled, or not just those of the model, each in its
            shape and finite; or it does not know a language.
    """
    from transformers import AutoModelForSeq2SeqLM, GenerationConfig

    family = family_of(directory)
    check_sizes(directory, base_bytes(directory))
    stored_precision(directory)
    with _loading(directory):
        model, found = AutoModelForSeq2SeqLM.from_pretrained(
            directory,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    check_whole(directory, found)
    check_finite(model, directory)
    tokenizer = load_tokenizer(directory)
    if family.align:
        family.align(model)
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
        # The padding piece of the target's vocabulary, with which Marian's decoder starts.
        bad_words_ids=[[config.decoder_start_token_id]] if family.model_type == "marian" else None,
        use_cache=True,
    )
    for module in model.modules():
        if hasattr(module, "layerdrop"):
            module.layerdrop = 0.0  # a layer left out of a training pass has no cells to rank or to learn
    model = model.eval().requires_grad_(False)
    with _loading(directory), torch.inference_mode():
        # What transformers loads from odd settings without a word fails when it is used.
        source = tokenizer("a", return_tensors="pt")["input_ids"]
        start = config.decoder_start_token_id  # an mBART has none without a language
        model(input_ids=source, decoder_input_ids=torch.tensor([[0 if start is None else start]]))
    return model, tokenizer


def load_tokenizer(directory: Path) -> Any:
    """The tokenizer of a base; raise FmallocError if it cannot be loaded."""
    from transformers import AutoTokenizer

    family = family_of(directory)
    with _loading(directory):
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        family.align_tokenizer(tokenizer)
        tokenizer.decode(tokenizer("a")["input_ids"])
        for token, index in tokenizer.get_vocab().items():
            if not isinstance(index, int) or not 0 <= index < _MOST_TOKENS:
                raise FmallocError(f"{directory}: vocabulary: token {token[:80]!r} has the id {str(index)[:80]!r}")
    return tokenizer


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


def languages_of(directory: Path, source: str | None = None, target: str | None = None) -> LanguagePair:
    """The language pair in the codes of a base's own tokenizer, from codes in any habit.

    What is not given is what the tokenizer of a bilingual base names.

    Raises:
        FmallocError: no language is given where none is named, or the base has no token for it.
    """
    find, path = family_of(directory).languages, directory / "tokenizer_config.json"
    named = list(find(configuration(path))) if find and path.exists() else []
    if not all(code is None or isinstance(code, str) for code in named):
        raise FmallocError(f"{path}: names languages {str(named)[:80]}, expected codes")
    # OPUS-MT names several languages ("fr+fr_CA+pt"), groups of them, or parts of its data's name.
    pair = [code if code and tag_is_valid(code.replace("_", "-")) else None for code in (*named, None, None)[:2]]
    tokenizer = load_tokenizer(directory)
    known = language_tokens(tokenizer)
    found = {}
    for side, code in (("source", source or pair[0]), ("target", target or pair[1])):
        marked = known and (side == "target" or is_multilingual(tokenizer))
        own = closest_code(code, known) if code and marked else code
        if own is None:
            problem = f"does not know the {side} language {code!r}" if code else f"names no {side} language"
            options = f", one of {listed(known)}" if marked else ""
            raise FmallocError(f"{directory}: this base {problem}; set languages: {side} (--{side}){options}")
        found[side] = own
    return LanguagePair(**found)
