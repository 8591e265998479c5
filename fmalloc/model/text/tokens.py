"""What a tokenizer does to texts: the languages that it marks them with, and what stands around a target."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from types import MethodType
from typing import Any, NamedTuple

from fmalloc_shared.annotations import Markers, markers_known
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair, closest_code

# OPUS-MT's token of a target language, which stands before every source.
_MARK = re.compile(r">>(.+)<<")
_SHOWN_CODES = 60


def align(tokenizer: Any) -> None:
    """Give a loaded tokenizer what learning, search and export rely on.

    Marian: text is text, also where it begins like a language's token, which `set_languages` alone puts before it.
    NLLB: `legacy_behaviour` is about sources; targets begin with their language, as the published models write them.
    """
    if is_marian(tokenizer):
        tokenizer.remove_language_code = lambda text: ([], text)
    if getattr(tokenizer, "legacy_behaviour", False):
        tokenizer.set_tgt_lang_special_tokens = MethodType(_mark_target, tokenizer)


def _mark_target(tokenizer: Any, language: str) -> None:
    tokenizer.legacy_behaviour = False
    type(tokenizer).set_tgt_lang_special_tokens(tokenizer, language)
    tokenizer.legacy_behaviour = True


def set_languages(tokenizer: Any, languages: LanguagePair) -> None:
    """Tell a tokenizer that marks texts with languages (M2M100, NLLB, mBART, some of OPUS-MT) what it reads and writes.

    Raises FmallocError, which names the languages that it knows, if one of them is missing.
    """
    if is_multilingual(tokenizer):
        tokens = language_tokens(tokenizer)
        tokenizer.src_lang, tokenizer.tgt_lang = (own_code(tokens, code) for code in languages)
    elif mark := target_mark(tokenizer, languages):
        tokenizer.build_inputs_with_special_tokens = partial(_marked, tokenizer, tokenizer.encoder[mark])
        tokenizer.num_special_tokens_to_add = lambda *_, **__: 2


def target_mark(tokenizer: Any, languages: LanguagePair) -> str | None:
    """The token before every source that tells OPUS-MT what to write; None where the tokenizer has no such tokens."""
    tokens = {} if is_multilingual(tokenizer) else language_tokens(tokenizer)
    return tokens[own_code(tokens, languages.target)] if tokens else None


def _marked(tokenizer: Any, mark: int, ids: list[int], _pair: None = None) -> list[int]:
    """Ids of a source with the target language's token before them; a target has none."""
    is_source = tokenizer.current_spm is tokenizer.spm_source
    return [mark, *ids, tokenizer.eos_token_id] if is_source else [*ids, tokenizer.eos_token_id]


def is_multilingual(tokenizer: Any) -> bool:
    """Whether the tokenizer marks texts of either side with their own language."""
    return hasattr(tokenizer, "set_src_lang_special_tokens")


def is_marian(tokenizer: Any) -> bool:
    """Whether it is a Marian tokenizer."""
    return hasattr(tokenizer, "remove_language_code")


def language_tokens(tokenizer: Any) -> dict[str, str]:
    """The tokens of the languages that a tokenizer marks texts with, by code; empty for a bilingual one.

    `de` is `__de__` in M2M100, `deu_Latn` and `de_DE` are themselves in NLLB and mBART. OPUS-MT's models of several
    target languages know those alone: `fra` is `>>fra<<`.
    """
    if is_multilingual(tokenizer):
        others = {str(token) for token in tokenizer.special_tokens_map.values() if isinstance(token, str)}
        own = {token: token for token in tokenizer.all_special_tokens if token not in others}
        return dict(getattr(tokenizer, "lang_code_to_token", None) or own)
    if not is_marian(tokenizer):
        return {}
    found = ((match[1], token) for token in tokenizer.encoder if (match := _MARK.fullmatch(token)))
    return dict(found)


def own_code(tokens: Mapping[str, str], code: str) -> str:
    """A tokenizer's own code of a language, among its `language_tokens`; FmallocError lists them otherwise."""
    if (found := closest_code(code, tokens)) is None:
        raise FmallocError(f"language {code!r}: this base does not know it; it knows {listed(tokens)}")
    return found


def listed(codes: Iterable[str]) -> str:
    """Codes in a row, the first ones of many."""
    found = sorted(codes)
    more = f", … ({len(found)} in all)" if len(found) > _SHOWN_CODES else ""
    return ", ".join(found[:_SHOWN_CODES]) + more


def known_markers(tokenizer: Any) -> Markers:
    """The markers of annotations for a base, by its tokenizer; FmallocError if it knows none."""

    def knows(sign: str) -> bool:
        return tokenizer.unk_token_id not in tokenizer(sign, add_special_tokens=False)["input_ids"]

    found = markers_known(knows)
    if found is None:
        raise FmallocError("terminology, memory: the base knows no signs that could stand around an annotation")
    return found


def decode(tokenizer: Any, rows: Sequence[Sequence[int]]) -> list[str]:
    """Texts of rows of target ids, without special and language tokens.

    Marian's are told by the target's vocabulary: transformers takes the ids of special tokens from the source's.
    """
    if not is_marian(tokenizer):
        return list(tokenizer.batch_decode(rows, skip_special_tokens=True))
    hidden = {*tokenizer.all_special_tokens, *language_tokens(tokenizer).values()}
    tokens = ([tokenizer.decoder[index] for index in row] for row in rows)
    return [tokenizer.convert_tokens_to_string([token for token in row if token not in hidden]) for row in tokens]


class Frame(NamedTuple):
    """Ids that stand around every target: `prefix` before its pieces, the end token, `behind` after the latter.

    Behind the end token MBart names the language; its decoder starts with that token instead of writing it.
    """

    prefix: tuple[int, ...]
    behind: tuple[int, ...]


def target_frame(tokenizer: Any) -> Frame:
    """What the tokenizer, with its languages set, puts around a target."""
    ids = tuple(_targets(tokenizer, [""])[0])
    end = ids.index(end_of(tokenizer))
    return Frame(ids[:end], ids[end + 1 :])


def end_of(tokenizer: Any) -> int:
    """Id of the end token."""
    return int(tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id)


def target_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Ids of target texts as the decoder writes them: prefix, pieces, end token."""
    behind = len(target_frame(tokenizer).behind)
    return [ids[: len(ids) - behind] for ids in _targets(tokenizer, texts)]


def _targets(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    return list(tokenizer(text_target=list(texts), verbose=False)["input_ids"])
