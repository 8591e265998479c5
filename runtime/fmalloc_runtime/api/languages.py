"""Language codes as models and clients write them: `de`, `DE`, `de-AT`, `deu_Latn` and `de_DE` are one language."""

import re

from fmalloc_shared.languages import LANGUAGES, short_code

_NAMES = {code: name for code, _, name in LANGUAGES}
# Languages whose variants are so far apart that a model writes one of them, and what DeepL calls them.
_VARIANTS = {
    "en": (("EN-GB", "English (British)"), ("EN-US", "English (American)")),
    "pt": (("PT-BR", "Portuguese (Brazilian)"), ("PT-PT", "Portuguese (European)")),
    "zh": (("ZH-HANS", "Chinese (simplified)"), ("ZH-HANT", "Chinese (traditional)")),
}
# Stands for no country in the codes of mBART.
_NOWHERE = "xx"


def language_name(code: str) -> str:
    """The language's English name; the code itself where we know none."""
    return _NAMES.get(_parts(code)[0], code)


def is_language(asked: str, served: str) -> bool:
    """Whether a client that asks for `asked` means the language `served`; two variants of one are not the same."""
    language, variant = _parts(asked)
    served_language, served_variant = _parts(served)
    return language == served_language and (not variant or not served_variant or variant == served_variant)


def deepl_source(code: str) -> str:
    """DeepL's code of a source language: no variant, upper case."""
    return short_code(code).upper()


def deepl_targets(code: str) -> tuple[tuple[str, str], ...]:
    """DeepL's codes and names for a target language: its variants where DeepL has several, else the language."""
    language = short_code(code)
    found = tuple(item for item in _VARIANTS.get(language, ()) if is_language(item[0], code))
    return found or ((language.upper(), language_name(code)),)


def _parts(code: str) -> tuple[str, str]:
    """Language and variant ('' where it says nothing); scripts and countries count only for languages of _VARIANTS."""
    language, rest = short_code(code), re.split("[-_]", code.lower())[1:]
    variant = rest[0] if rest and language in _VARIANTS and rest[0] != _NOWHERE else ""
    known = {name.lower().partition("-")[2] for name, _ in _VARIANTS.get(language, ())}
    return language, variant if variant in known else ""
