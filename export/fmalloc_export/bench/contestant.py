"""The models whose speed is compared: bundles, and what people use instead, by the paths that a user names."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from fmalloc_runtime.bundle.bundle import LIVE_FILE, MANIFEST_FILE, Bundle, LiveIndex
from fmalloc_runtime.engines.base import BEAM_SIZE, TranslationOptions
from fmalloc_runtime.live.translator import EngineSettings, Translator, check_loadable
from fmalloc_runtime.text.translation import TextOptions
from fmalloc_runtime.tokenizer.tokenizer import Tokenizer
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair

Precision = Literal["float32", "bfloat16"]
# The text of each line in, its translation out.
Translate = Callable[[Sequence[str]], list[str]]


@dataclass(frozen=True)
class Loaded:
    """A model in memory: from text to text, and from tokens to tokens.

    `encode`: what `decode` takes of a batch, and how many tokens each line has. `decode`: how many tokens each
    translation has. Both count the end.
    """

    translate: Translate
    encode: Callable[[Sequence[str]], tuple[Any, list[int]]]
    decode: Callable[[Any], list[int]]


# Tokens of a translation at most, for all alike.
LONGEST = 256
_CTRANSLATE2_FILE = "model.bin"
_TRANSFORMERS_FILE = "config.json"


@dataclass(frozen=True)
class Contestant:
    """A model, and how it is run: `bundle` as the server runs it, `ctranslate2` and `transformers` by those libraries.

    `kind`: one of these three, or what only the command that is given to Runner.start can load. `tokenizer`: of a model
    of CTranslate2, which has none of its own: the folder of a bundle or of a transformers model. `threads`: of the CPU,
    0 for what the library takes. `beam_size`: a bundle's own, or 4, unless stated. `precision`: in which transformers
    computes. `longest`: most tokens of a translation, its end counted.
    """

    name: str
    kind: str
    path: Path
    languages: LanguagePair
    tokenizer: Path | None = None
    threads: int = 1
    beam_size: int = BEAM_SIZE
    device: str = "cpu"
    precision: Precision = "float32"
    longest: int = LONGEST

    def at(self, threads: int, beam_size: int | None, device: str) -> "Contestant":
        """The same model, run otherwise; `beam_size` None leaves it."""
        return replace(self, threads=threads, beam_size=beam_size or self.beam_size, device=device)

    def disk_bytes(self) -> int:
        """Of all files of the model."""
        return sum(path.stat().st_size for path in self.path.rglob("*") if path.is_file())

    def load(self) -> Loaded:
        """Load the model.

        Raises:
            FmallocError: it cannot be loaded, or not on this machine.
        """
        return {"bundle": _bundle, "ctranslate2": _ctranslate2, "transformers": _transformers}[self.kind](self)


def find(path: Path, tasks: Sequence[str], tokenizer: Path | None) -> list[Contestant]:
    """The models at a path: a bundle, those of a directory that are live (`tasks` alone, if given), or one of others.

    `tokenizer`: for a model of CTranslate2.

    Raises:
        FmallocError: there is none, or none of that name; a model of CTranslate2 is given no tokenizer.
    """
    if (path / MANIFEST_FILE).is_file():
        return [_of_bundle(path.name, path)]
    if (path / LIVE_FILE).is_file():
        live = LiveIndex.of(path).domains
        if unknown := [name for name in tasks if name not in live]:
            raise FmallocError(f"{path}: no domain {unknown[0]!r} is live; live are {', '.join(sorted(live))}")
        return [_of_bundle(live[name], path / live[name]) for name in tasks or sorted(live)]
    if (path / _CTRANSLATE2_FILE).is_file():
        if tokenizer is None:
            raise FmallocError(f"{path}: a model of CTranslate2 has no tokenizer; name a model with one by --tokenizer")
        languages = _languages(tokenizer)
        return [Contestant(path.resolve().name, "ctranslate2", path, languages, tokenizer)]
    if (path / _TRANSFORMERS_FILE).is_file():
        return [Contestant(path.resolve().name, "transformers", path, _languages(path))]
    raise FmallocError(
        f"{path}: expected bundles ({LIVE_FILE}), a bundle ({MANIFEST_FILE}), a model of CTranslate2 "
        f"({_CTRANSLATE2_FILE}) or of transformers ({_TRANSFORMERS_FILE})"
    )


def converted(contestant: Contestant, quantization: str, folder: Path) -> Contestant:
    """A model of transformers as CTranslate2's own converter writes it, into a new folder.

    Raises:
        FmallocError: CTranslate2 cannot convert it.
    """
    from ctranslate2.converters import TransformersConverter

    name = f"{contestant.name} {quantization}"
    try:
        TransformersConverter(str(contestant.path)).convert(str(folder), quantization=quantization)
    except (ValueError, NotImplementedError, OSError) as error:
        raise FmallocError(f"{contestant.path}: CTranslate2 cannot convert it: {error}") from error
    return replace(contestant, name=name, kind="ctranslate2", path=folder, tokenizer=contestant.path)


def _of_bundle(name: str, path: Path) -> Contestant:
    bundle = Bundle.open(path)
    check_loadable(bundle)
    beam_size = bundle.manifest.beam_size or BEAM_SIZE
    return Contestant(name, "bundle", path, bundle.manifest.languages, beam_size=beam_size)


def _languages(path: Path) -> LanguagePair:
    if (path / MANIFEST_FILE).is_file():
        return Bundle.read(path).manifest.languages
    from fmalloc.model.architectures import languages_of

    return languages_of(path)


def _bundle(contestant: Contestant) -> Loaded:
    settings = EngineSettings(contestant.device, intra_threads=contestant.threads)
    translator = Translator.load(Bundle.read(contestant.path), settings)
    search = TranslationOptions(contestant.beam_size, min(contestant.longest - 1, translator.maximum_length))
    options = TextOptions(splitting="lines", protect=False, search=search)
    prefix = translator.tokenizer.target_prefix

    def encode(lines: Sequence[str]) -> tuple[Any, list[int]]:
        tokens = [translator.encode(line) for line in lines]
        return tokens, list(map(len, tokens))

    def decode(sources: Any) -> list[int]:
        return [len(best.tokens) + 1 for best, *_ in translator.engine.translate(sources, prefix, search)]

    return Loaded(lambda lines: [found.text for found in translator.translate_texts(lines, options)], encode, decode)


def _ctranslate2(contestant: Contestant) -> Loaded:
    import ctranslate2

    tokens = _tokens(contestant)
    try:
        engine = ctranslate2.Translator(
            str(contestant.path), device=contestant.device, intra_threads=contestant.threads
        )
    except (RuntimeError, ValueError) as error:
        raise FmallocError(f"{contestant.path}: CTranslate2 cannot load it: {error}") from error

    def search(sources: list[list[str]]) -> list[list[str]]:
        try:
            found = engine.translate_batch(
                sources,
                target_prefix=[tokens.prefix] * len(sources) if tokens.prefix else None,
                beam_size=contestant.beam_size,
                max_decoding_length=min(contestant.longest, tokens.longest) - 1,  # the end is not counted
            )
        except RuntimeError as error:
            raise FmallocError(f"CTranslate2 cannot translate the text: {error}") from error
        return [result.hypotheses[0][len(tokens.prefix) :] for result in found]

    def encode(lines: Sequence[str]) -> tuple[Any, list[int]]:
        sources = [tokens.encode(line) for line in lines]
        return sources, list(map(len, sources))

    return Loaded(
        lambda lines: [tokens.decode(found) for found in search(encode(lines)[0])],
        encode,
        lambda sources: [len(found) + 1 for found in search(sources)],
    )


class _Tokens(NamedTuple):
    """Text to tokens and back, the tokens that every translation begins with, and how many there may be."""

    encode: Callable[[str], list[str]]
    decode: Callable[[Sequence[str]], str]
    prefix: list[str]
    longest: int


def _tokens(contestant: Contestant) -> _Tokens:
    assert contestant.tokenizer is not None
    if (contestant.tokenizer / MANIFEST_FILE).is_file():
        bundle = Bundle.read(contestant.tokenizer)
        own = Tokenizer.load(bundle.tokenizer)
        return _Tokens(own.encode, own.decode, list(own.target_prefix), bundle.manifest.maximum_length)
    from fmalloc.model.architectures import load_tokenizer
    from fmalloc.model.base import CONFIG, configuration
    from fmalloc.model.text.tokens import is_multilingual, set_languages, target_frame

    tokenizer = load_tokenizer(contestant.tokenizer)
    set_languages(tokenizer, contestant.languages)

    def encode(line: str) -> list[str]:
        tokens: list[str] = tokenizer.convert_ids_to_tokens(tokenizer(line)["input_ids"])
        return tokens

    def decode(tokens: Sequence[str]) -> str:
        text: str = tokenizer.decode(tokenizer.convert_tokens_to_ids(list(tokens)), skip_special_tokens=True)
        return text

    behind = target_frame(tokenizer).behind if is_multilingual(tokenizer) else ()
    positions = configuration(contestant.tokenizer / CONFIG).get("max_position_embeddings", LONGEST)
    return _Tokens(encode, decode, list(tokenizer.convert_ids_to_tokens(list(behind))), positions)


def _transformers(contestant: Contestant) -> Loaded:
    """As its documentation says: `generate`, sentences of a batch padded to the longest."""
    import torch

    from fmalloc.model.architectures import load_base

    if contestant.threads:
        torch.set_num_threads(contestant.threads)
    model: Any
    model, tokenizer = load_base(contestant.path, contestant.languages)
    model.to(contestant.device, dtype=getattr(torch, contestant.precision))
    longest = min(contestant.longest, getattr(model.config, "max_position_embeddings", LONGEST) - 1)
    beam_size = contestant.beam_size

    def encode(lines: Sequence[str]) -> tuple[Any, list[int]]:
        batch = tokenizer(list(lines), return_tensors="pt", padding=True).to(contestant.device)
        return batch, batch["attention_mask"].sum(dim=1).tolist()

    def search(batch: Any) -> Any:
        with torch.inference_mode():
            return model.generate(**batch, num_beams=beam_size, max_new_tokens=longest, early_stopping=beam_size > 1)

    def translate(lines: Sequence[str]) -> list[str]:
        texts: list[str] = tokenizer.batch_decode(search(encode(lines)[0]), skip_special_tokens=True)
        return texts

    def decode(batch: Any) -> list[int]:
        # What the decoder starts with is no token of the translation; it may be the token of padding, too.
        written: list[int] = (search(batch)[:, 1:] != model.config.pad_token_id).sum(dim=1).tolist()
        return written

    return Loaded(translate, encode, decode)
