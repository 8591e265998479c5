"""Languages as clients name them: `de`, `DE`, `de-AT`, `deu_Latn` and `de_DE` are one language."""

import re

from langcodes import Language, tag_is_valid

from fmalloc_shared.languages import short_code

# DeepL's codes and names of the languages whose variants differ so much that a model writes one of them.
_VARIANTS = {
    "en": (("EN-GB", "English (British)"), ("EN-US", "English (American)")),
    "pt": (("PT-BR", "Portuguese (Brazilian)"), ("PT-PT", "Portuguese (European)")),
    "zh": (("ZH-HANS", "Chinese (simplified)"), ("ZH-HANT", "Chinese (traditional)")),
}


def language_name(code: str) -> str:
    """The language's English name; the code itself if it is unknown."""
    language = short_code(code)
    return Language.get(language).display_name() if tag_is_valid(language) else code


def is_language(asked: str, served: str) -> bool:
    """Whether a client that asks for `asked` means the language `served`; two variants of one language differ."""
    language, variant = _parts(asked)
    served_language, served_variant = _parts(served)
    return language == served_language and (not variant or not served_variant or variant == served_variant)


def deepl_source(code: str) -> str:
    """DeepL's code of a source language: no variant, upper case."""
    return short_code(code).upper()


def deepl_targets(code: str) -> tuple[tuple[str, str], ...]:
    """DeepL's codes and names for a target language: its variants if DeepL has several, else the language."""
    language = short_code(code)
    found = tuple(item for item in _VARIANTS.get(language, ()) if is_language(item[0], code))
    return found or ((language.upper(), language_name(code)),)


def _parts(code: str) -> tuple[str, str]:
    """Language, and variant as DeepL's code; '' if the code names none of the language's variants."""
    language = short_code(code)
    named = {f"{language}-{part}".upper() for part in re.split("[-_]", code)[1:]}
    return language, next((name for name, _ in _VARIANTS.get(language, ()) if name in named), "")
