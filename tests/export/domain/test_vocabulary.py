"""Tokens by id, of every kind of tokenizer."""

from pathlib import Path
from typing import Any

import pytest
import torch

from fmalloc.model.assembly import load_dense
from fmalloc.store.store import Store
from fmalloc_export.domain.vocabulary import language_token, needed_tokens, vocabulary_of
from fmalloc_shared.errors import FmallocError
from tests.support.stores import BASES, write_store

SEPARATE = {"marian-separate", "marian-larger", "fsmt"}
# Start, prefix, end and unknown token.
NEEDED = {
    "marian": ("</s>", "<unk>"),
    "marian-targets": ("</s>", "<unk>"),
    "marian-separate": ("</s>", "<unk>"),
    "marian-larger": ("</s>", "<unk>"),
    "m2m100": ("</s>", "__en__", "<unk>"),
    "nllb": ("</s>", "eng_Latn", "<unk>"),
    "bart": ("</s>", "<s>", "<unk>"),
    "mbart": ("en_XX", "</s>", "<unk>"),
    "mbart50": ("</s>", "en_XX", "<unk>"),
    "pegasus": ("<pad>", "</s>", "<unk>"),
    "fsmt": ("</s>", "<unk>"),
    "fsmt-joint": ("</s>", "<unk>"),
}


@pytest.fixture(scope="module")
def marian(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("marian") / "store")


@pytest.mark.parametrize("kind", sorted(BASES))
def test_vocabularies_are_complete_and_without_repetition(kind: str, tmp_path: Path) -> None:
    model, tokenizer = load_dense(write_store(tmp_path / "store", kind), "general")
    vocabulary = vocabulary_of(model, tokenizer)
    marian = model.config.model_type == "marian"
    rows = [len(table.weight) for table in (model.get_input_embeddings(), model.get_output_embeddings())]
    assert (len(vocabulary.source), len(vocabulary.target)) == (rows[0] - marian, rows[1] - marian)
    assert len(set(vocabulary.target)) == len(vocabulary.target)
    assert (vocabulary.source == vocabulary.target) == (kind not in SEPARATE)
    assert ("<pad>" in vocabulary.target) != marian
    assert {"</s>", "<unk>"} <= set(vocabulary.special)
    assert needed_tokens(model, tokenizer, vocabulary) == NEEDED[kind]
    for index, token in enumerate(vocabulary.source):
        if not token.startswith("madeupword"):
            assert tokenizer.convert_tokens_to_ids(token) == index
    for index, token in enumerate(vocabulary.target):
        if not token.startswith("madeupword"):
            assert (tokenizer.decoder[index] if marian else tokenizer.convert_ids_to_tokens(index)) == token


def test_an_unknown_language_lists_examples(tmp_path: Path) -> None:
    for kind, unknown, example in (("m2m100", "tlh", "am"), ("nllb", "de", "deu_Latn"), ("mbart", "de", "de_DE")):
        model, tokenizer = load_dense(write_store(tmp_path / kind, kind), "general")
        vocabulary = vocabulary_of(model, tokenizer)
        with pytest.raises(FmallocError, match=rf"language '{unknown}': .* it knows .*\b{example}\b"):
            language_token(vocabulary, unknown)


def changed_marian(store: Store, **changes: Any) -> Any:
    model, _ = load_dense(store, "general")
    for key, value in changes.items():
        setattr(model.config, key, value)
    return model


@pytest.mark.parametrize("kind", ["marian", "marian-separate"])
def test_a_marian_pad_row_that_drifted_is_refused(kind: str, tmp_path: Path) -> None:
    model, tokenizer = load_dense(write_store(tmp_path / "store", kind), "general")
    with torch.no_grad():
        model.model.decoder.embed_tokens.weight[-1, 3] = 0.25
    with pytest.raises(
        FmallocError, match=r"embedding of the pad token \d+: largest absolute value is 0.25, expected 0"
    ):
        vocabulary_of(model, tokenizer)


def test_marian_variants_that_the_engine_would_misread_are_refused(marian: Store) -> None:
    model, tokenizer = load_dense(marian, "general")
    with pytest.raises(FmallocError, match=r"pad_token_id is 0 and .* the ids of <pad> .* 71 and 71, below 72"):
        vocabulary_of(changed_marian(marian, pad_token_id=0), tokenizer)
    model.lm_head = torch.nn.Linear(16, 60)
    with pytest.raises(FmallocError, match="expected the ids of <pad> .* 71 and 71, below 72 and 60"):
        vocabulary_of(model, tokenizer)


def test_an_end_token_that_only_one_side_has_is_refused(tmp_path: Path) -> None:
    model, tokenizer = load_dense(write_store(tmp_path / "store", "fsmt"), "general")
    tokenizer.encoder = {("end" if token == "</s>" else token): i for token, i in tokenizer.encoder.items()}
    with pytest.raises(FmallocError, match="special token '</s>' is not among the model's tokens"):
        vocabulary_of(model, tokenizer)
