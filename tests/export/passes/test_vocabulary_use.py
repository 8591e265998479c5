import numpy as np
import pytest

from fmalloc.model.text.tokens import target_ids
from fmalloc_export.domain.domain import Domain
from fmalloc_export.domain.vocabulary import Vocabulary
from fmalloc_export.passes.vocabulary_use import most_frequent, safety_set, token_counts, trimming
from tests.support.stores import PAIRS, write_store


@pytest.fixture(scope="module", params=["marian", "nllb", "fsmt"])
def domain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Domain:
    return Domain.load(write_store(tmp_path_factory.mktemp(request.param) / "store", request.param), "it")


def test_counts_are_those_of_the_tokenizer(domain: Domain) -> None:
    texts = [pair.target for pair in PAIRS]
    counts = token_counts(domain.vocabulary, domain.tokenizer, texts)
    ids = [token for text in texts for token in target_ids(domain.tokenizer, [text])[0]]
    assert counts.sum() == len(ids)
    assert all(counts[token] == ids.count(token) for token in set(ids))


def test_used_tokens_are_those_of_targets_and_of_copied_sources(domain: Domain) -> None:
    pairs = PAIRS[:3]
    found = trimming(domain, pairs, PAIRS[3:])
    texts = [side for pair in pairs for side in pair]
    used = {token for text in texts for token in target_ids(domain.tokenizer, [text])[0]}
    assert set(found.used.tolist()) == {token for token in used if token < len(domain.vocabulary.target)}
    held_out = [token for pair in PAIRS[3:] for token in target_ids(domain.tokenizer, [pair.target])[0]]
    assert found.counts.sum() == len(held_out)


def test_special_tokens_and_what_spells_anything_are_safe(domain: Domain) -> None:
    found = trimming(domain, PAIRS[:1], ())
    safe = {domain.vocabulary.target[index] for index in found.safety}
    assert set(domain.vocabulary.special) & set(domain.vocabulary.target) <= safe
    assert {token for token in domain.vocabulary.target if len(token) == 1} <= safe


def test_words_are_not_safe_but_bytes_digits_and_punctuation_are() -> None:
    tokens = (
        "</s>",
        "<unk>",
        "▁the",
        "▁a",
        "▁",
        "2024",
        "▁...",
        "<0xE4>",
        "ing</w>",
        "ß",
        "Ġ7",
        "▁10th",
        "x@@",
        "ab@@",
    )
    vocabulary = Vocabulary(tokens, tokens, ("</s>", "<unk>"), "<unk>", "</s>")
    assert [tokens[index] for index in safety_set(vocabulary, ["▁10th"])] == [
        *("</s>", "<unk>", "▁a", "▁", "2024", "▁...", "<0xE4>", "ß", "Ġ7", "▁10th", "x@@")
    ]


def test_a_limit_keeps_the_most_frequent_tokens_beside_the_safety_set() -> None:
    written, copied = np.array([0, 5, 9, 0, 7, 7, 0, 0]), np.array([0, 0, 0, 8, 0, 9, 0, 9])
    safety = np.array([0, 4])
    assert most_frequent(written, copied, safety, None).tolist() == [1, 2, 3, 4, 5, 7]
    assert most_frequent(written, copied, safety, 5).tolist() == [1, 2, 4, 5]
    assert most_frequent(written, copied, safety, 6).tolist() == [1, 2, 4, 5, 7]
    assert most_frequent(written, copied, safety, 100).tolist() == [1, 2, 3, 4, 5, 7]
    assert most_frequent(written, copied, safety, 1).tolist() == [4]


def test_the_number_that_came_out_as_a_limit_gives_the_same_tokens(domain: Domain) -> None:
    whole = trimming(domain, PAIRS[:3], ())
    kept = np.union1d(whole.used, whole.safety)
    again = trimming(domain, PAIRS[:3], (), limit=len(kept))
    np.testing.assert_array_equal(again.used, whole.used)
