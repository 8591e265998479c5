"""Stems of words, by Snowball's stemmers."""

import threading
from functools import lru_cache
from typing import Any

import snowballstemmer
from babel import Locale, UnknownLocaleError

_lock = threading.Lock()


def has_stems(language: str) -> bool:
    """Whether there is a stemmer of a language, by its code."""
    return _stemmer(language) is not None


def stem(language: str, word: str) -> str:
    """The stem of a word in lower case; the word itself where there is no stemmer of its language."""
    stemmer = _stemmer(language)
    if stemmer is None:
        return word
    with _lock:  # a stemmer holds the word that it works on
        return str(stemmer.stemWord(word))


@lru_cache
def _stemmer(language: str) -> Any:
    try:
        name = Locale.parse(language).get_language_name("en")
    except (UnknownLocaleError, ValueError):
        return None
    name = {"Norwegian Bokm\u00e5l": "norwegian"}.get(name or "", (name or "").lower())
    return snowballstemmer.stemmer(name) if name in snowballstemmer.algorithms() else None
