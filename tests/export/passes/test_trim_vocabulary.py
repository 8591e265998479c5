"""Trimming, and models that can write only some target tokens: the PyTorch model restricted to these."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fmalloc.model.assembly import load_masked
from fmalloc_export.checks.parity import TOLERANCE, problem_of
from fmalloc_export.checks.reference import outputs as pytorch
from fmalloc_export.checks.sentences import Sentences, sentences_of
from fmalloc_export.domain.vocabulary import needed_tokens
from fmalloc_export.emit import ctranslate2
from fmalloc_export.passes.trim_vocabulary import TrimVocabulary
from fmalloc_shared.errors import FmallocError
from tests.support.calibrated import stack_of
from tests.support.compiled import compile_domain
from tests.support.stores import BASES, write_store


def trimming(used: list[int], safety: list[int]) -> TrimVocabulary:
    counts = np.arange(20, dtype=np.int64)
    return TrimVocabulary(np.array(used), np.array(safety), counts)


def test_it_keeps_what_the_text_uses_and_the_safety_set() -> None:
    before = stack_of(3)
    after, report = trimming([19, 4, 7], [0, 1, 4]).apply(before)
    after.verify()
    assert after.target_tokens.tolist() == [0, 1, 4, 7, 19]
    assert after.feed_forward is before.feed_forward
    share = (0 + 1 + 4 + 7 + 19) / 190
    assert report == (
        "kept 5 of 20 target tokens (3 of the domain's text, 2 for safety); "
        f"they cover {share:.2%} of held-out target tokens"
    )


def test_it_brings_nothing_back() -> None:
    before = replace(stack_of(3), target_tokens=np.arange(0, 20, 2))
    after, _ = trimming([2, 3, 4], [5]).apply(before)
    assert after.target_tokens.tolist() == [2, 4]


def test_it_does_not_apply_where_it_would_hardly_help() -> None:
    before = stack_of(3)
    nearly_all = trimming(list(range(1, 20)), [])
    after, report = nearly_all.apply(before)
    assert after is before
    assert report == nearly_all.explain(before)
    assert report.startswith("does not apply: the domain needs 19 of 20 target tokens")
    assert trimming([1], []).explain(before).startswith("would keep 1 of 20 target tokens")


def test_without_held_out_text_it_says_so() -> None:
    empty = replace(trimming([1], []), counts=np.zeros(20, dtype=np.int64))
    assert empty.apply(stack_of(3))[1].endswith("they cover no held-out target tokens")


def half(compiled: Any) -> NDArray[np.int64]:
    """Every second target token, and those that every output needs."""
    needed = needed_tokens(compiled.domain.base, compiled.domain.tokenizer, compiled.domain.vocabulary)
    tokens = enumerate(compiled.domain.vocabulary.target)
    return np.array([index for index, token in tokens if index % 2 or token in needed], dtype=np.int64)


@pytest.mark.parametrize("kind", sorted(BASES))
def test_a_trimmed_model_is_the_model_restricted_to_its_tokens(kind: str, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store", kind)
    compiled = compile_domain(store, "it")
    tokenizer = compiled.domain.write_tokenizer(tmp_path / "tokenizer")
    vocabulary, kept = compiled.domain.vocabulary, half(compiled)
    model = tmp_path / "model"
    model.mkdir()
    trimmed = replace(compiled.after, target_tokens=kept)
    ctranslate2.emit(compiled.domain, trimmed, model, "float32")
    found = sentences_of([p.source for p in store.samples("it")], tokenizer, vocabulary, compiled.domain.maximum_length)
    sentences = Sentences(found.tokens[:24], found.real)
    problem = problem_of(sentences, vocabulary, kept, tokenizer.target_prefix, 40)
    expected = pytorch("PyTorch", load_masked(store, "it")[0], problem, 4)
    emitted = ctranslate2.outputs(model, problem, vocabulary, 4)
    assert emitted.greedy == expected.greedy
    assert emitted.beam == expected.beam
    assert len(set(expected.beam)) > 1
    pairs = list(enumerate(expected.beam))
    for wanted, got in zip(expected.score(pairs), emitted.score(pairs), strict=True):
        assert np.abs(np.subtract(wanted, got)).max() < TOLERANCE
    written = [json.loads((model / f"{side}_vocabulary.json").read_text()) for side in ("source", "target")]
    assert written[0] == list(vocabulary.source)
    assert written[1] == [vocabulary.target[index] for index in kept]


@pytest.mark.parametrize("quantization", ["int8", "int16", "float16"])
def test_trimming_shrinks_every_kind_of_weights(quantization: str, tmp_path: Path) -> None:
    compiled = compile_domain(write_store(tmp_path / "store", "mbart"), "odd", quantization)
    sizes = []
    for tokens in (compiled.after.target_tokens, half(compiled)):
        directory = tmp_path / str(len(tokens))
        directory.mkdir()
        ctranslate2.emit(compiled.domain, replace(compiled.after, target_tokens=tokens), directory, quantization)
        sizes.append((directory / "model.bin").stat().st_size)
    # Tied embeddings are stored once; trimmed ones beside the encoder's.
    rows = len(half(compiled)) * compiled.domain.base.config.d_model
    assert sizes[1] - sizes[0] == pytest.approx(rows * (1 if quantization == "int8" else 2), rel=0.5)


@pytest.mark.parametrize(
    ("kind", "token"), [("marian", "</s>"), ("nllb", "eng_Latn"), ("bart", "<s>"), ("mbart", "en_XX")]
)
def test_tokens_that_every_output_needs_cannot_be_trimmed(kind: str, token: str, tmp_path: Path) -> None:
    compiled = compile_domain(write_store(tmp_path / "store", kind), "it")
    index = compiled.domain.vocabulary.target.index(token)
    without = replace(compiled.after, target_tokens=np.setdiff1d(compiled.after.target_tokens, [index]))
    with pytest.raises(FmallocError, match=f"the trimmed vocabulary lacks {token}, which every output needs"):
        ctranslate2.emit(compiled.domain, without, tmp_path, "float32")
    beyond = replace(compiled.after, target_tokens=np.append(compiled.after.target_tokens, 9_999))
    with pytest.raises(FmallocError, match=r"writes token 9999, the model's last is \d+"):
        ctranslate2.emit(compiled.domain, beyond, tmp_path, "float32")
