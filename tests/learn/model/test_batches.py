from pathlib import Path

import pytest
import torch

from fmalloc.corpus import Pair
from fmalloc.model.architectures import load_base
from fmalloc.model.batches import IGNORED, Example, TrainingBatches, batch_indices, collate, encode
from fmalloc.model.tokens import Frame, target_frame, target_ids
from fmalloc_shared.languages import LanguagePair
from tests.support.bases import BASES
from tests.support.tiny_pieces import PAIRS

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
