from pathlib import Path

import pytest
import sacrebleu

from fmalloc.corpus import Pair, read_corpus
from fmalloc.evaluation.evaluate import (
    MAXIMUM_NEW_TOKENS,
    Evaluation,
    evaluate,
    evaluate_test,
    merge,
    nll_of,
    score,
    translate,
)
from fmalloc.model.architectures import load_base
from fmalloc.model.text.batches import encode
from fmalloc.store.records import Score
from fmalloc_shared.languages import LanguagePair
from tests.support.bases import BASES, PAIRS
from tests.support.corpora import LANGUAGES


def test_translations_do_not_depend_on_order_or_company(base: Path, corpora: Path) -> None:
    model, tokenizer = load_base(base)
    sources = [pair.source for pair in read_corpus(corpora / "general", LANGUAGES).test]
    together = translate(model, tokenizer, sources, LANGUAGES, beam_size=4)
    reversed_order = translate(model, tokenizer, sources[::-1], LANGUAGES, beam_size=4)
    alone = translate(model, tokenizer, sources[:3], LANGUAGES, beam_size=4)
    assert together.texts == reversed_order.texts[::-1]
    assert together.texts[:3] == alone.texts
    assert all(ids[-1] == tokenizer.eos_token_id for ids in together.tokens)
    assert translate(model, tokenizer, [], LANGUAGES, beam_size=4).texts == []


def test_scores_are_sacrebleus(base: Path, corpora: Path) -> None:
    model, tokenizer = load_base(base)
    pairs = read_corpus(corpora / "general", LANGUAGES).test
    seen: list[int] = []
    metrics = evaluate(model, tokenizer, pairs, LANGUAGES, beam_size=1, on_progress=seen.append)
    texts = translate(model, tokenizer, [pair.source for pair in pairs], LANGUAGES, beam_size=1).texts
    assert metrics.score.bleu == sacrebleu.corpus_bleu(texts, [[pair.target for pair in pairs]]).score
    assert metrics.score.chrf == sacrebleu.corpus_chrf(texts, [[pair.target for pair in pairs]]).score
    assert "tok:13a" in metrics.signatures["bleu"]
    assert sum(seen) == len(pairs)


def test_a_test_set_is_scored_with_intervals_and_nll(base: Path, corpora: Path) -> None:
    model, tokenizer = load_base(base)
    pairs = read_corpus(corpora / "general", LANGUAGES).test
    found = evaluate_test(model, tokenizer, pairs, LANGUAGES, beam_size=1)
    plain = evaluate(model, tokenizer, pairs, LANGUAGES, beam_size=1)
    assert (found.score.bleu, found.score.chrf) == (plain.score.bleu, plain.score.chrf)
    assert plain.score.nll is plain.score.bleu_interval is plain.score.chrf_interval is None
    assert found.score.bleu_interval and found.score.chrf_interval and found.score.nll
    assert found.score.bleu_interval[0] < found.score.bleu < found.score.bleu_interval[1]
    assert found.score.chrf_interval[0] < found.score.chrf < found.score.chrf_interval[1]
    assert "bs:1000|seed:12345" in found.signatures["bleu"] and "bs:" not in plain.signatures["bleu"]
    examples = encode(tokenizer, pairs, LANGUAGES, maximum_length=64).examples
    tokens = sum(len(example.target) for example in examples)
    alone = [nll_of(model, tokenizer, [pair], LANGUAGES) for pair in pairs]
    summed = sum(value * len(example.target) for value, example in zip(alone, examples, strict=True) if value)
    assert found.score.nll == pytest.approx(summed / tokens, rel=1e-5)


def test_a_source_that_is_too_long_is_cut_and_has_no_nll(base: Path) -> None:
    model, tokenizer = load_base(base)
    positions = model.config.max_position_embeddings
    pair = Pair("Der Hund " * positions, "The dog sees the mouse")
    (translated,) = translate(model, tokenizer, [pair.source], LANGUAGES, beam_size=1).tokens
    cut = tokenizer(pair.source, truncation=True, max_length=positions - 2)["input_ids"]
    assert len(cut) == positions - 2 and cut[-1] == tokenizer.eos_token_id
    assert len(translated) <= MAXIMUM_NEW_TOKENS
    assert nll_of(model, tokenizer, [pair], LANGUAGES) is None


def test_a_row_keeps_the_signatures() -> None:
    metrics = score(["a b c d e"], ["a b c d e"])
    merged = merge({"it": metrics, "law": Evaluation(score=Score(bleu=1.0, chrf=2.0), signatures=metrics.signatures)})
    assert merged.domains["it"].bleu == pytest.approx(100)
    assert merged.domains["law"].chrf == 2.0
    assert set(merged.signatures) == {"bleu", "chrf"}


@pytest.mark.parametrize("kind", BASES)
def test_no_source_is_too_long_for_any_family(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fmalloc.evaluation.evaluate.MAXIMUM_NEW_TOKENS", 4)
    write_base, _, pair = BASES[kind]
    languages = LanguagePair(*pair)
    write_base(tmp_path / "base")
    model, tokenizer = load_base(tmp_path / "base", languages)
    long = " ".join([PAIRS[0].source] * 200)
    texts = translate(model, tokenizer, [long, PAIRS[0].source], languages, beam_size=1).texts
    assert texts[1] == translate(model, tokenizer, [PAIRS[0].source], languages, beam_size=1).texts[0]
    assert nll_of(model, tokenizer, [Pair(long, long)], languages) is None
