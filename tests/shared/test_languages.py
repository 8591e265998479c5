"""Language codes of every habit are matched with those that a model or tool knows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmalloc_shared.languages import closest_code, short_code

OPUS = (
    "bos_Latn",
    "cmn_Hans",
    "cmn_Hant",
    "deu",
    "eng",
    "fr_CA",
    "fra",
    "hrv",
    "nob",
    "por",
    "pt_br",
    "srp_Cyrl",
    "srp_Latn",
)
MBART = ("ar_AR", "de_DE", "en_XX", "fr_XX", "my_MM", "zh_CN")
NLLB = ("deu_Latn", "eng_Latn", "pes_Arab", "prs_Arab", "yue_Hant", "zho_Hans", "zho_Hant", "zsm_Latn")
M2M = ("de", "en", "fr", "no", "zh")


@pytest.mark.parametrize(
    ("known", "matches"),
    [
        (OPUS, "fr:fra fra:fra FRE:fra fr-CA:fr_CA fr_FR.UTF-8:fra deu_Latn:deu de-AT:deu en_XX:eng"),
        (OPUS, "zh:cmn_Hans zho:cmn_Hans zh-TW:cmn_Hant zh_Hant:cmn_Hant sr:srp_Cyrl sr_Latn:srp_Latn"),
        (OPUS, "pt:por pt-BR:pt_br no:nob nb:nob bs:bos_Latn"),
        (MBART, "de:de_DE deu_Latn:de_DE en:en_XX eng_Latn:en_XX zho_Hans:zh_CN my:my_MM"),
        (NLLB, "de:deu_Latn zh:zho_Hans zh-TW:zho_Hant fa:pes_Arab yue:yue_Hant ms:zsm_Latn"),
        (M2M, "deu_Latn:de fra:fr nb:no cmn:zh"),
    ],
)
def test_a_code_of_another_habit_is_found(known: tuple[str, ...], matches: str) -> None:
    for match in matches.split():
        wanted, expected = match.split(":")
        assert closest_code(wanted, known) == expected, wanted


@pytest.mark.parametrize(
    ("known", "unknown"),
    [
        (OPUS, "er xx zle gmq it x hr-Cyrl"),
        (MBART, "zh-TW it nds"),
        (NLLB, "fr en-Cyrl"),
        (M2M, "nn gsw nl"),
        ((), "de"),
    ],
)
def test_no_other_language_and_no_other_script_is_taken(known: tuple[str, ...], unknown: str) -> None:
    for code in unknown.split():
        assert closest_code(code, known) is None, code


@given(st.text(max_size=12), st.lists(st.sampled_from([*OPUS, *MBART, *NLLB, *M2M]), unique=True))
def test_whatever_is_asked_for_the_answer_is_known(code: str, known: list[str]) -> None:
    found = closest_code(code, known)
    assert found is None or found in known
    assert all(closest_code(own, known) == own for own in known)


def test_a_code_is_found_under_its_short_form_where_it_is_the_only_one_of_its_language() -> None:
    for code in (*OPUS, *MBART, *NLLB, *M2M):
        if code != "cmn_Hant" and code not in ("zho_Hant", "srp_Latn"):
            assert closest_code(short_code(code), [code]) == code
