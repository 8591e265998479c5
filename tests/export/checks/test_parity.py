from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fmalloc.model.assembly import load_masked, load_sliced
from fmalloc.store.store import Store
from fmalloc_export.checks import parity
from fmalloc_export.checks.sentences import Sentences, sentences_of
from fmalloc_export.emit.emitter import Outputs
from fmalloc_runtime.tokenizer.tokenizer import Tokenizer
from fmalloc_shared.errors import FmallocError
from tests.support.compiled import compile_domain, tokens_agree
from tests.support.stores import BASES, CORE_BASES, write_store

# With a layer without cells, and with cells of two tasks.
CASES = [*((kind, "odd") for kind in sorted(BASES)), *((kind, "late") for kind in CORE_BASES)]


@pytest.fixture(scope="module", params=CORE_BASES)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store of the families that differ most."""
    return write_store(tmp_path_factory.mktemp(request.param) / "store", request.param)


def prepare(store: Store, name: str, directory: Path) -> tuple[Any, Tokenizer, Sentences]:
    compiled = compile_domain(store, name, "float32")
    compiled.emit(directory / "model", "float32")
    tokenizer = compiled.domain.write_tokenizer(directory / "tokenizer")
    texts = [pair.source for pair in store.samples(name)]
    return (
        compiled,
        tokenizer,
        sentences_of(texts, tokenizer, compiled.domain.vocabulary, compiled.domain.maximum_length),
    )


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_masked_sliced_and_emitted_models_agree(kind: str, name: str, tmp_path: Path) -> None:
    """76 sentences of every family and kind of tokenizer."""
    store = write_store(tmp_path / "store", kind)
    compiled, tokenizer, sentences = prepare(store, name, tmp_path)
    models = parity.ComparedModels(load_masked(store, name)[0], load_sliced(store, name)[0], None, tmp_path / "model")
    report = parity.check(
        models,
        compiled.emitter,
        compiled.domain.vocabulary,
        compiled.after.target_tokens,
        sentences,
        tokenizer.target_prefix,
        compiled.domain.maximum_length,
    )
    assert (report.parity.real_sentences, report.parity.random_sentences) == (12, 64)
    assert tokens_agree(report.parity)
    assert report.largest_difference <= parity.TOLERANCE


def test_a_model_with_one_wrong_cell_is_refused(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    compiled, tokenizer, sentences = prepare(store, "it", tmp_path)
    layers = list(compiled.after.feed_forward)
    values = layers[3].fc2_weight.copy()
    values[0, 2] += 0.01
    layers[3] = replace(layers[3], fc2_weight=values)
    step = replace(compiled.steps[-1], model=replace(compiled.after, feed_forward=tuple(layers)))
    wrong = replace(compiled, steps=(step,))
    wrong.emit(tmp_path / "wrong", "float32")
    masked, sliced = load_masked(store, "it")[0], load_sliced(store, "it")[0]
    vocabulary, kept = compiled.domain.vocabulary, compiled.after.target_tokens
    rest = (compiled.emitter, vocabulary, kept, sentences, tokenizer.target_prefix, compiled.domain.maximum_length)
    with pytest.raises(FmallocError, match="emitted model: log-probabilities differ from masked PyTorch"):
        parity.check(parity.ComparedModels(masked, sliced, None, tmp_path / "wrong"), *rest)
    # The mask of another task: the sliced model is to blame.
    other = load_sliced(store, "late")[0]
    with pytest.raises(FmallocError, match="sliced PyTorch model: log-probabilities differ"):
        parity.check(parity.ComparedModels(masked, other, None, tmp_path / "model"), *rest)


def outputs(name: str, tokens: list[tuple[int, ...]], score: float = -1.0) -> Outputs:
    return Outputs(name, tokens, tokens, lambda pairs: [[score] * (len(output) + 1) for _, output in pairs])


def test_few_ties_are_counted_and_more_are_refused() -> None:
    expected = outputs("masked", [(1, 2)] * 200)
    assert parity._compare(expected, outputs("emitted", [(1, 2)] * 200))[0] == (200, 200)
    assert parity._compare(expected, outputs("emitted", [(1, 2)] * 198 + [(2, 1)] * 2))[0] == (198, 198)
    with pytest.raises(FmallocError, match=r"emitted model: greedy search .* in 3 of 200 sentences \(first: 197\)"):
        parity._compare(expected, outputs("emitted", [(1, 2)] * 197 + [(2, 1)] * 3))


@pytest.mark.parametrize("score", [-1.001, float("nan")])
def test_equal_tokens_with_other_scores_are_refused(score: float) -> None:
    with pytest.raises(FmallocError, match="log-probabilities differ from masked"):
        parity._compare(outputs("masked", [(1, 2)]), outputs("emitted", [(1, 2)], score))


def test_the_random_sentences_are_always_the_same(store: Store, tmp_path: Path) -> None:
    compiled, tokenizer, sentences = prepare(store, "it", tmp_path)
    again = sentences_of([], tokenizer, compiled.domain.vocabulary, compiled.domain.maximum_length)
    assert again.real == 0
    assert again.tokens == sentences.tokens[sentences.real :]
    assert len(set(again.tokens)) > 60
    special = set(compiled.domain.vocabulary.special) - {
        *tokenizer.config.source_prefix,
        *tokenizer.config.source_suffix,
    }
    assert not any(special.intersection(tokens) for tokens in again.tokens)


def test_sentences_are_no_longer_than_the_model_can_read(store: Store, tmp_path: Path) -> None:
    compiled, tokenizer, _ = prepare(store, "it", tmp_path)
    texts = ["der bote", "der bote bringt den brief " * 40, "  "]
    sentences = sentences_of(texts, tokenizer, compiled.domain.vocabulary, 12)
    assert sentences.real == 1
    assert max(len(tokens) for tokens in sentences.tokens) <= 12


def test_differences_are_means_over_tokens() -> None:
    expected = Outputs("masked", [(1, 2, 3)], [(1, 2, 3)], lambda pairs: [[-1.0, -2.0, -3.0, -4.0] for _ in pairs])
    shifted = replace(expected, name="emitted", score=lambda pairs: [[-1.0, -2.0, -3.0, -4.0002] for _ in pairs])
    _, largest = parity._compare(expected, shifted)
    assert np.isclose(largest, 5e-5, rtol=1e-3)
