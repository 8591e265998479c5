"""Stems of words."""

import pytest

from fmalloc_shared.stems import has_stems, stem


@pytest.mark.parametrize(
    ("language", "forms"),
    [("de", ("fenster", "fenstern", "fensters")), ("en", ("file", "files")), ("fr", ("chat", "chats"))],
)
def test_forms_of_a_word_have_one_stem(language: str, forms: tuple[str, ...]) -> None:
    assert has_stems(language) and len({stem(language, form) for form in forms}) == 1


@pytest.mark.parametrize("language", ["ja", "xx", "no such", ""])
def test_other_languages_have_words_as_they_are(language: str) -> None:
    assert not has_stems(language) and stem(language, "files") == "files"
