"""Language codes of clients and of models."""

import pytest

from fmalloc_runtime.api.languages import deepl_source, deepl_targets, is_language, language_name
from fmalloc_shared.languages import short_code


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("de", "de"),
        ("DE", "de"),
        ("de-AT", "de"),
        ("de", "de_DE"),
        ("de", "deu_Latn"),
        ("deu_Latn", "de"),
        ("ger", "de"),
        ("de-DE-1996", "deu"),
        ("fa", "pes_Arab"),
        ("zsm_Latn", "ms"),
        ("iw", "he"),
        ("EN-GB", "en"),
        ("EN-US", "en_XX"),
        ("EN", "eng_Latn"),
        ("pt", "pt_BR"),
        ("PT-BR", "pt_BR"),
        ("zh", "zho_Hans"),
        ("ZH-HANS", "zho_Hans"),
        ("qxq", "qxq"),
        ("ger-DE", "de"),
        ("DE_at", "de"),
        ("x-de", "de"),
        ("X-GER-at", "deu_Latn"),
        ("de_DE.UTF-8", "de"),
        (" de ", "de"),
        ("x-eng-US", "en"),
        ("x-Klingon", "x-klingon"),
    ],
)
def test_one_language_in_two_spellings(asked: str, served: str) -> None:
    assert is_language(asked, served)


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("fr", "de"),
        ("PT-PT", "pt_BR"),
        ("ZH-HANT", "zho_Hans"),
        ("", "de"),
        ("d", "de"),
        ("-", "de"),
        ("xx", "en_XX"),
        ("no", "nb"),
        ("x" * 40, "de"),
        ("dé", "de"),
        ("x-klingon", "x-elvish"),
        ("i-klingon", "i-lux"),
        ("x-none", "x"),
        ("German", "de"),
    ],
)
def test_two_languages(asked: str, served: str) -> None:
    assert not is_language(asked, served)


@pytest.mark.parametrize(
    ("bibliographic", "code"),
    [
        *(("alb", "sq"), ("arm", "hy"), ("baq", "eu"), ("bur", "my"), ("chi", "zh"), ("cze", "cs"), ("dut", "nl")),
        *(("fre", "fr"), ("geo", "ka"), ("ger", "de"), ("gre", "el"), ("ice", "is"), ("mac", "mk"), ("mao", "mi")),
        *(("may", "ms"), ("per", "fa"), ("rum", "ro"), ("slo", "sk"), ("tib", "bo"), ("wel", "cy")),
    ],
)
def test_codes_of_libraries_are_known(bibliographic: str, code: str) -> None:
    """ISO 639-2/B, all of it; memoQ writes them."""
    for asked in (bibliographic, bibliographic.upper(), f"{bibliographic}-XX", f"x-{bibliographic}"):
        assert is_language(asked, code)


def test_codes_that_clients_are_told() -> None:
    assert [short_code(code) for code in ("de", "deu_Latn", "en_XX", "zho_Hant", "qxq")] == [
        "de",
        "de",
        "en",
        "zh",
        "qxq",
    ]
    assert [language_name(code) for code in ("de", "deu_Latn", "qxq")] == ["German", "German", "Qashqa'i"]
    assert [language_name(code) for code in ("cmn_Hans", "lvs", "xx", "d")] == ["Chinese", "Latvian", "xx", "d"]
    assert deepl_source("en_XX") == "EN"
    assert [code for code, _ in deepl_targets("en")] == ["EN-GB", "EN-US"]
    assert deepl_targets("pt_BR") == (("PT-BR", "Portuguese (Brazilian)"),)
    assert deepl_targets("deu_Latn") == (("DE", "German"),)
