"""Text to the tokens of a model and back, without transformers."""

from collections.abc import Sequence
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Annotated, Literal, Protocol

import sentencepiece
import tokenizers
from pydantic import Field

from fmalloc_runtime.tokenizer.moses import Moses
from fmalloc_runtime.tokenizer.offsets import Span, locate
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.strict import StrictModel

CONFIG_FILE = "tokenizer.json"
_UNKNOWN = "<unk>"
_SPACE = "▁"

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=200)]
# A special token in text is split into its characters, so one of a single character could not be told from text.
SpecialToken = Annotated[str, Field(min_length=2, max_length=200)]


class TokenizerConfig(StrictModel):
    """`tokenizer/tokenizer.json` of a bundle.

    The models are two SentencePiece files, two MosesModel files, or one file of the tokenizers library, named twice.
    """

    version: Literal[1] = 1
    """Of this file."""
    kind: Literal["sentencepiece", "tokenizers", "moses"]
    """Library that made the models."""
    source_model: FileName
    """File in the same folder."""
    target_model: FileName
    """File in the same folder; with `tokenizers` the same one."""
    source_prefix: tuple[str, ...]
    """Tokens before every source."""
    source_suffix: tuple[str, ...]
    """Tokens after every source."""
    target_prefix: tuple[str, ...]
    """Tokens that every target starts with."""
    special_tokens: tuple[SpecialToken, ...]
    """Never produced from text, dropped from output."""


_CACHED_CHARACTERS = 8192


class _Pieces(Protocol):
    def split(self, text: str) -> list[str]: ...

    def split_target(self, text: str) -> list[str]: ...

    def has(self, piece: str) -> bool: ...

    def join(self, pieces: list[str]) -> str: ...

    def surface(self, piece: str) -> str: ...


class _SentencePiece:
    def __init__(self, source: Path, target: Path) -> None:
        self._source = _load_sentencepiece(source)
        self._target = _load_sentencepiece(target)

    def split(self, text: str) -> list[str]:
        return list(self._source.encode(text, out_type=str))

    def split_target(self, text: str) -> list[str]:
        return list(self._target.encode(text, out_type=str))

    def has(self, piece: str) -> bool:
        return not self._source.is_unknown(self._source.piece_to_id(piece))

    def join(self, pieces: list[str]) -> str:
        return str(self._target.decode_pieces(pieces)).replace(_SPACE, " ").strip()

    def surface(self, piece: str) -> str:
        return piece.replace(_SPACE, " ").strip()


class _Tokenizers:
    def __init__(self, path: Path) -> None:
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise FmallocError(f"{path}: not a tokenizers file: {error}") from error
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def split(self, text: str) -> list[str]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).tokens)

    split_target = split

    def has(self, piece: str) -> bool:
        return piece != _UNKNOWN and self._tokenizer.token_to_id(piece) is not None

    def join(self, pieces: list[str]) -> str:
        decoder = self._tokenizer.decoder
        return (str(decoder.decode(pieces)) if decoder is not None else " ".join(pieces)).strip()

    def surface(self, piece: str) -> str:
        return self.join([piece])


class Tokenizer:
    """The tokenizer in a bundle's `tokenizer/` folder."""

    def __init__(self, config: TokenizerConfig, directory: Path) -> None:
        self.config = config
        source, target = directory / config.source_model, directory / config.target_model
        if config.kind == "tokenizers" and source != target:
            raise FmallocError(
                f"{directory / CONFIG_FILE}: source_model and target_model must name the same file, "
                f"found {config.source_model!r} and {config.target_model!r}"
            )
        self._pieces: _Pieces
        if config.kind == "tokenizers":
            self._pieces = _Tokenizers(source)
        else:
            self._pieces = (Moses if config.kind == "moses" else _SentencePiece)(source, target)
        # Not of a method: the cache would keep the tokenizer from being freed with its bundle.
        self._knows_character = lru_cache(_CACHED_CHARACTERS)(partial(_knows, self._pieces))

    @classmethod
    def load(cls, directory: Path) -> "Tokenizer":
        """Read a tokenizer folder; FmallocError if a file is missing or malformed."""
        return cls(TokenizerConfig.read(directory / CONFIG_FILE), directory)

    @property
    def target_prefix(self) -> tuple[str, ...]:
        """Tokens that each output starts with, such as a language token."""
        return self.config.target_prefix

    @cached_property
    def _special(self) -> frozenset[str]:
        return frozenset(self.config.special_tokens)

    def encode(self, text: str) -> list[str]:
        """Prefix, pieces and suffix. A special token in `text` is split into its characters."""
        return [*self.config.source_prefix, *self._literal(self._pieces.split(text)), *self.config.source_suffix]

    def encode_target(self, text: str) -> list[str]:
        """The pieces of a translation, without prefix and end token."""
        return self._literal(self._pieces.split_target(text))

    def _literal(self, split: Sequence[str]) -> list[str]:
        pieces: list[str] = []
        for piece in split:
            # Some models of the tokenizers library give <unk> for unknown characters; all others keep the characters.
            literal = piece in self._special and not (piece == _UNKNOWN and self.config.kind == "tokenizers")
            pieces.extend(piece if literal else [piece])
        return pieces

    def knows(self, text: str) -> bool:
        """Whether all of a word or sign becomes tokens of the source vocabulary. Moses files do not list theirs: True.

        The text has no lone surrogates.
        """
        return self._knows_character(text) if len(text) == 1 else _knows(self._pieces, text)

    def decode(self, tokens: Sequence[str]) -> str:
        """The text of output tokens, without special tokens."""
        return self._pieces.join([token for token in tokens if token not in self._special])

    def source_spans(self, text: str, tokens: Sequence[str]) -> list[Span]:
        """Character span of each token of `encode(text)`; empty for prefix and suffix."""
        before, after = len(self.config.source_prefix), len(self.config.source_suffix)
        pieces = tokens[before : len(tokens) - after]
        inner = locate(text, [self._pieces.surface(piece) for piece in pieces])
        return [*[(0, 0)] * before, *inner, *[(len(text), len(text))] * after]

    def target_spans(self, text: str, tokens: Sequence[str]) -> list[Span]:
        """Character span of each decoded token in `text`; special tokens get what their neighbours leave."""
        return locate(text, ["" if token in self._special else self._pieces.surface(token) for token in tokens])


def _load_sentencepiece(path: Path) -> sentencepiece.SentencePieceProcessor:
    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.Load(str(path))
    except (OSError, RuntimeError) as error:
        raise FmallocError(f"{path}: not a SentencePiece model: {error}") from error
    return processor


def _knows(pieces: _Pieces, text: str) -> bool:
    found = [(piece, surface) for piece in pieces.split(text) if (surface := pieces.surface(piece))]
    if not all(pieces.has(piece) for piece, _ in found):
        return False
    # Some models leave out what they do not know.
    reach = 0
    for begin, end in locate(text, [surface for _, surface in found]):
        if begin > reach:
            return False
        reach = max(reach, end)
    return reach == len(text)
