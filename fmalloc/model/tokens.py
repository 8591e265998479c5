"""What a tokenizer does to texts: the languages that it marks them with, and what stands around a target."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from fmalloc_shared.errors import FmallocError
from fmalloc_shared.languages import LanguagePair


def set_languages(tokenizer: Any, languages: LanguagePair) -> None:
    """Tell a many-language tokenizer (M2M100, NLLB, mBART) what it reads and writes."""
    if is_multilingual(tokenizer):
        for code in languages:
            language_id(tokenizer, code)
        tokenizer.src_lang, tokenizer.tgt_lang = languages


def is_multilingual(tokenizer: Any) -> bool:
    """Whether the tokenizer marks texts with their language; a bilingual one does not."""
    return hasattr(tokenizer, "set_src_lang_special_tokens")


def language_id(tokenizer: Any, code: str) -> int:
    """The id of a language's token in a many-language tokenizer; raise FmallocError if it has none."""
    # M2M100 writes de as __de__; NLLB and mBART write their codes as they are.
    tokens = getattr(tokenizer, "lang_code_to_token", None) or {token: token for token in tokenizer.all_special_tokens}
    found = tokenizer.convert_tokens_to_ids(tokens[code]) if code in tokens else tokenizer.unk_token_id
    if found in (None, tokenizer.unk_token_id):
        raise FmallocError(
            f"language {code!r}: this model's tokenizer does not know it (codes are like de, deu_Latn or de_DE)"
        )
    return int(found)


class Frame(NamedTuple):
    """Ids that stand around every target: `prefix` before its pieces, the end token, `behind` after the latter.

    Behind the end token MBart names the language; its decoder starts with that token instead of writing it.
    """

    prefix: tuple[int, ...]
    behind: tuple[int, ...]


def target_frame(tokenizer: Any) -> Frame:
    """What the tokenizer, with its languages set, puts around a target."""
    ids = tuple(_targets(tokenizer, [""])[0])
    end = ids.index(tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id)
    return Frame(ids[:end], ids[end + 1 :])


def target_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Ids of target texts as the decoder writes them: prefix, pieces, end token."""
    behind = len(target_frame(tokenizer).behind)
    return [ids[: len(ids) - behind] for ids in _targets(tokenizer, texts)]


def _targets(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    return list(tokenizer(text_target=list(texts), verbose=False)["input_ids"])
