"""Write a bundle's tokenizer folder from the base model's tokenizer, and see that both read text alike."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from fmalloc.batches import set_languages
from fmalloc.corpus import Languages
from fmalloc_export.vocabulary import MARIAN, Vocabulary, language_token
from fmalloc_runtime.tokenizer import CONFIG_FILE, Tokenizer, TokenizerConfig
from fmalloc_shared.errors import FmallocError

# A bundle's tokenizer.json is our own description, so the file of the same name that transformers saves is renamed.
_TOKENIZERS = ("tokenizer.json", "pieces.json")
_SENTENCEPIECE = ("sentencepiece.bpe.model", "sentencepiece.bpe.model")


def write_tokenizer(
    base: Path, tokenizer: Any, vocabulary: Vocabulary, family: str, languages: Languages, directory: Path
) -> Tokenizer:
    """Fill the existing, empty `directory` and load it as serving will.

    Raises FmallocError if a file is missing in `base` or the model does not know a language.
    """
    kind: Literal["sentencepiece", "tokenizers"] = "sentencepiece"
    prefix: tuple[str, ...] = ()
    suffix: tuple[str, ...] = (vocabulary.end,)
    target_prefix: tuple[str, ...] = ()
    if family == MARIAN:
        files = [("source.spm", "source.spm"), ("target.spm", "target.spm")]
    else:
        language_token(vocabulary, languages.source)
        target_prefix = (language_token(vocabulary, languages.target),)
        set_languages(tokenizer, languages)
        prefix, suffix = (
            tuple(tokenizer.convert_ids_to_tokens(ids)) for ids in (tokenizer.prefix_tokens, tokenizer.suffix_tokens)
        )
        if tokenizer.is_fast:
            kind = "tokenizers"
        files = [_TOKENIZERS if kind == "tokenizers" else _SENTENCEPIECE]
    for source, name in files:
        if not (base / source).is_file():
            raise FmallocError(f"{base / source}: missing, but the model's tokenizer needs it")
        shutil.copyfile(base / source, directory / name)
    config = TokenizerConfig(
        kind=kind,
        source_model=files[0][1],
        target_model=files[-1][1],
        source_prefix=prefix,
        source_suffix=suffix,
        target_prefix=target_prefix,
        special_tokens=tuple(token for token in vocabulary.special if len(token) > 1),
    )
    (directory / CONFIG_FILE).write_bytes(config.to_bytes())
    return Tokenizer.load(directory)


def check_tokenizer(found: Tokenizer, expected: Any, vocabulary: Vocabulary, texts: Iterable[str]) -> None:
    """Raise FmallocError at the first text that the bundle's tokenizer reads otherwise than transformers' one.

    Texts that spell out a special token are passed over: serving never takes text for one, transformers does.
    """
    ids = {token: index for index, token in enumerate(vocabulary.source)}
    unknown = ids[vocabulary.unknown]
    for text in texts:
        if any(token in text for token in vocabulary.special):
            continue
        wanted = list(expected(text)["input_ids"])
        if [ids.get(token, unknown) for token in found.encode(text)] != wanted:
            raise FmallocError(
                f"the bundle's tokenizer reads {text!r} as {' '.join(found.encode(text))}, the model was trained to "
                f"read {' '.join(expected.convert_ids_to_tokens(wanted))}"
            )
