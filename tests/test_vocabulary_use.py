import pytest
from export_fixtures import PAIRS, write_store

from fmalloc.batches import target_ids
from fmalloc_export.domain import Domain
from fmalloc_export.vocabulary import Vocabulary
from fmalloc_export.vocabulary_use import safety_set, token_counts, trimming


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
