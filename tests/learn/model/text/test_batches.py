from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fmalloc.cache.cache import Cache
from fmalloc.corpus import Pair, read_corpus
from fmalloc.model.architectures import load_base
from fmalloc.model.text.batches import IGNORED, Batch, Example, TrainingBatches, batch_indices, collate, encode
from fmalloc.model.text.groups import Groups
from fmalloc.model.text.tokens import Frame, target_frame, target_ids
from fmalloc_shared.languages import LanguagePair
from tests.support.bases import BASES
from tests.support.tiny_pieces import PAIRS

DE_EN = LanguagePair("de", "en")
LENGTHS = [3, 9, 4, 4, 12, 7, 1, 30, 5, 5, 6, 8]


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_every_example_is_in_one_batch_within_the_budget(seed: int | None) -> None:
    groups = batch_indices(LENGTHS, 20, seed=seed)
    assert sorted(index for group in groups for index in group) == list(range(len(LENGTHS)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(LENGTHS[i] for i in group) <= 20


def test_the_order_depends_on_the_seed_alone() -> None:
    assert batch_indices(LENGTHS, 20, seed=1) == batch_indices(LENGTHS, 20, seed=1)
    assert batch_indices(LENGTHS, 20, seed=1) != batch_indices(LENGTHS, 20, seed=2)


def test_a_batch_is_the_same_whatever_came_before() -> None:
    examples = [Example([2] * n, [3] * n) for n in LENGTHS]
    straight, resumed = (TrainingBatches(examples, 20, 0, seed=1) for _ in range(2))
    expected = [straight.batch(update).source for update in range(25)]
    assert torch.equal(resumed.batch(24).source, expected[24])
    assert torch.equal(resumed.batch(3).source, expected[3])


def grouped_in_lists(lengths: list[int], batch_tokens: int, seed: int | None) -> list[list[int]]:
    """What batch_indices is to give, step by step."""

    def groups(order: list[int]) -> Iterator[list[int]]:
        group: list[int] = []
        for index in order:
            if group and max(lengths[i] for i in (*group, index)) * (len(group) + 1) > batch_tokens:
                yield group
                group = []
            group.append(index)
        if group:
            yield group

    if seed is None:
        return list(groups(sorted(range(len(lengths)), key=lambda i: (lengths[i], i))))
    random = np.random.default_rng(seed)
    shuffled = random.permutation(len(lengths)).tolist()
    pool = max(1, 64 * batch_tokens // max(1, int(np.mean(lengths))))
    found = []
    for start in range(0, len(shuffled), pool):
        found.extend(groups(sorted(shuffled[start : start + pool], key=lambda i: lengths[i])))
    return [found[i] for i in random.permutation(len(found)).tolist()]


@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=300),
    batch_tokens=st.integers(1, 60),
    seed=st.none() | st.integers(0, 9),
)
def test_groups_in_arrays_are_those_in_lists(lengths: list[int], batch_tokens: int, seed: int | None) -> None:
    expected = grouped_in_lists(lengths, batch_tokens, seed)
    assert batch_indices(lengths, batch_tokens, seed=seed) == expected
    groups = Groups.of(np.array(lengths), batch_tokens, seed=seed)
    assert [group.tolist() for group in groups[1::2]] == expected[1::2]


def test_ids_of_a_cache_make_the_same_batches(base: Path, tmp_path: Path, corpora: Path) -> None:
    tokenizer = load_base(base)[1]
    pairs = read_corpus(corpora / "general", DE_EN).train
    cache = Cache(tmp_path / "cache", smallest=0)
    sources = tokenizer([pair.source for pair in pairs])["input_ids"]
    targets = target_ids(tokenizer, [pair.target for pair in pairs])
    every = [Example(*sides) for sides in zip(sources, targets, strict=True)]
    middle = int(np.median([example.length for example in every]))
    expected = tuple(example for example in every if example.length <= middle)
    few = encode(tokenizer, list(pairs), DE_EN, maximum_length=middle)
    assert 0 < few.too_long == len(pairs) - len(expected)
    for _ in range(2):
        encoded = encode(tokenizer, pairs, DE_EN, maximum_length=middle, cache=cache)
        assert encoded == few
        assert encoded.examples == expected
        assert encoded.examples[3:9:2] == expected[3:9:2]
        straight, mapped, resumed = (
            TrainingBatches(examples, 300, 0, seed=1) for examples in (expected, encoded.examples, encoded.examples)
        )
        batches = [straight.batch(update) for update in range(60)]
        for update, batch in enumerate(batches):
            assert all(map(torch.equal, tensors(batch), tensors(mapped.batch(update))))
        assert all(map(torch.equal, tensors(batches[59]), tensors(resumed.batch(59))))
    assert len(list((tmp_path / "cache").glob("tokens-*"))) == 1
    longer = encode(tokenizer, pairs, DE_EN, maximum_length=100, cache=cache)
    assert len(longer.examples) > len(few.examples)
    assert len(list((tmp_path / "cache").glob("tokens-*"))) == 1
    encode(tokenizer, read_corpus(corpora / "office", DE_EN).train, DE_EN, maximum_length=middle, cache=cache)
    assert len(list((tmp_path / "cache").glob("tokens-*"))) == 2


def test_padding_is_masked_and_ignored() -> None:
    batch = collate([Example([5, 6, 0], [7, 0]), Example([5, 0], [7, 8, 9, 0])], pad=99)
    assert batch.source.tolist() == [[5, 6, 0], [5, 0, 99]]
    assert batch.source_mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch.target.tolist() == [[7, 0, IGNORED, IGNORED], [7, 8, 9, 0]]
    assert batch.target_tokens == 6


def test_pairs_that_are_too_long_are_left_out_and_counted(base: Path) -> None:
    tokenizer = load_base(base)[1]
    pairs = [Pair("Der Hund", "The dog"), Pair("Hund " * 90, "dog"), Pair("Hund", "dog " * 90)]
    encoded = encode(tokenizer, pairs, LanguagePair("de", "en"), maximum_length=40)
    assert (len(encoded.examples), encoded.too_long) == (1, 2)
    assert encoded.described(40) == "1 pairs; 2 over 40 tokens left out (66.7%)"
    assert encoded._replace(too_long=0).described(40) == "1 pairs"
    assert encoded.examples[0].source[-1] == tokenizer.eos_token_id


# What stands before a target's pieces and behind its end token, and what the decoder starts with.
FRAMES = {
    "m2m100": (["__en__"], [], "</s>"),
    "nllb": (["eng_Latn"], [], "</s>"),
    "bart": (["<s>"], [], "</s>"),
    "mbart": ([], ["en_XX"], "en_XX"),
    "mbart50": (["en_XX"], [], "</s>"),
    "pegasus": ([], [], "<pad>"),
    "fsmt": ([], [], "</s>"),
    "marian-separate": ([], [], "<pad>"),
}


@pytest.mark.parametrize("kind", sorted(FRAMES))
def test_targets_are_read_as_the_decoder_writes_them(kind: str, tmp_path: Path) -> None:
    """With the target's own vocabulary, where there is one, and its language."""
    write, _, codes = BASES[kind]
    write(tmp_path / "base")
    model, tokenizer = load_base(tmp_path / "base", LanguagePair(*codes))
    prefix, behind, start = FRAMES[kind]
    ids = [tokenizer.convert_tokens_to_ids(token) for token in (*prefix, *behind, start)]
    assert target_frame(tokenizer) == Frame(tuple(ids[: len(prefix)]), tuple(ids[len(prefix) : -1]))
    assert model.config.decoder_start_token_id == model.generation_config.decoder_start_token_id == ids[-1]
    sources = tokenizer([pair.source for pair in PAIRS])["input_ids"]
    found = target_ids(tokenizer, [pair.target for pair in PAIRS])
    assert encode(tokenizer, PAIRS, LanguagePair(*codes), maximum_length=100).examples == tuple(
        Example(source, target) for source, target in zip(sources, found, strict=True)
    )
    for pair, target in zip(PAIRS, found, strict=True):
        assert target[: len(prefix)] == ids[: len(prefix)]
        assert target[-1] == model.config.eos_token_id
        text = tokenizer.batch_decode([target[len(prefix) :]], skip_special_tokens=True)[0]
        if tokenizer.unk_token_id not in target:
            assert text.strip() == pair.target
    assert sum(tokenizer.unk_token_id not in target for target in found) > len(PAIRS) // 2


def tensors(batch: Batch) -> list[Tensor]:
    """What a batch holds; places of tokens are there only on an accelerator."""
    return [part for part in (batch.source, batch.source_mask, batch.target, batch.places) if part is not None]
