"""Write a bundle's tokenizer folder from the base model's tokenizer, and check that both encode text alike."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from fmalloc.model.architectures import FAMILIES
from fmalloc.model.text.tokens import is_multilingual, set_languages, target_frame
from fmalloc_export.domain.vocabulary import MARIAN, Vocabulary, language_token
from fmalloc_runtime.tokenizer.moses import MosesModel
from fmalloc_runtime.tokenizer.tokenizer import CONFIG_FILE, Tokenizer, TokenizerConfig
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair

# A bundle's tokenizer.json is our description of the tokenizer; the file that transformers saves as such is renamed.
_PIECES = "pieces.json"
_MARIAN = ("source.spm", "target.spm")
_SENTENCEPIECE = ("sentencepiece.bpe.model", "sentencepiece.bpe.model")
_MOSES = ("source.json", "target.json")

Kind = Literal["sentencepiece", "tokenizers", "moses"]


def write_tokenizer(
    base: Path, tokenizer: Any, vocabulary: Vocabulary, family: str, languages: LanguagePair, directory: Path
) -> Tokenizer:
    """Write into the existing, empty `directory`, and load the files as the runtime does.

    Raises FmallocError if a file is missing in `base` or the model does not know a language.
    """
    set_languages(tokenizer, languages)
    if is_multilingual(tokenizer):
        for code in (tokenizer.src_lang, tokenizer.tgt_lang):
            language_token(vocabulary, code)
    kind, models = _write_models(base, tokenizer, family, directory)
    ids = tokenizer("")["input_ids"]
    around = [vocabulary.source[index] for index in ids if index < len(vocabulary.source)]
    if len(around) < len(ids) or vocabulary.end not in around:
        raise FmallocError(f"{base}: its vocabulary lacks the tokens that end a sentence")
    end = around.index(vocabulary.end)
    config = TokenizerConfig(
        kind=kind,
        source_model=models[0],
        target_model=models[1],
        source_prefix=tuple(around[:end]),
        source_suffix=tuple(around[end:]),
        target_prefix=tuple(vocabulary.target[index] for index in target_frame(tokenizer).prefix),
        special_tokens=tuple(token for token in vocabulary.special if len(token) > 1),
    )
    (directory / CONFIG_FILE).write_bytes(config.to_bytes())
    return Tokenizer.load(directory)


def _write_models(base: Path, tokenizer: Any, family: str, directory: Path) -> tuple[Kind, tuple[str, str]]:
    if FAMILIES[family].moses:
        merges = tuple(" ".join(pair) for pair in tokenizer.bpe_ranks)
        for name, language in zip(_MOSES, (tokenizer.src_lang, tokenizer.tgt_lang), strict=True):
            model = MosesModel(language=language, lower_case=bool(tokenizer.do_lower_case), merges=merges)
            (directory / name).write_bytes(model.to_bytes())
            merges = ()  # outputs are joined without them
        return "moses", _MOSES
    if tokenizer.is_fast:
        # Not copied from the base: checkpoints with nothing but a SentencePiece model are converted on load.
        pieces = json.loads(tokenizer.backend_tokenizer.to_str())
        pieces |= {"truncation": None, "padding": None, "post_processor": None}
        (directory / _PIECES).write_text(json.dumps(pieces, ensure_ascii=False), encoding="utf-8")
        return "tokenizers", (_PIECES, _PIECES)
    files = _MARIAN if family == MARIAN else _SENTENCEPIECE
    for name in dict.fromkeys(files):
        if not (base / name).is_file():
            raise FmallocError(f"{base / name}: missing, but the model's tokenizer needs it")
        shutil.copyfile(base / name, directory / name)
    return "sentencepiece", files


def check_tokenizer(found: Tokenizer, expected: Any, vocabulary: Vocabulary, texts: Iterable[str]) -> None:
    """Raise FmallocError at the first text that the bundle's tokenizer encodes differently from transformers'.

    Texts that spell out a special token are skipped: the runtime never reads text as one, transformers does.
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
                f"read {' '.join(vocabulary.source[index] for index in wanted)}"
            )
