from pathlib import Path

import pytest
import sacrebleu
from conftest import LANGUAGES

from fmalloc.architectures import load_base
from fmalloc.corpus import read_corpus
from fmalloc.evaluate import Metrics, evaluate, forgetting, merge, score, translate
from fmalloc.records import Score, Scores


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


def row(**bleu: float) -> Scores:
    return Scores(domains={name: Score(bleu=value, chrf=0.0) for name, value in bleu.items()}, signatures={})


def test_forgetting() -> None:
    rows = [row(a=40.0, b=10.0, c=5.0), row(a=30.0, b=50.0, c=6.0), row(a=20.0, b=40.0, c=60.0)]
    assert forgetting(rows, ["a", "b", "c"]) == pytest.approx((0.5 + 0.2) / 2)
    assert forgetting(rows[:1], ["a"]) == 0


def test_a_row_keeps_the_signatures() -> None:
    metrics = score(["a b c d e"], ["a b c d e"])
    merged = merge({"it": metrics, "law": Metrics(Score(bleu=1.0, chrf=2.0), metrics.signatures)})
    assert merged.domains["it"].bleu == pytest.approx(100)
    assert merged.domains["law"].chrf == 2.0
    assert set(merged.signatures) == {"bleu", "chrf"}
