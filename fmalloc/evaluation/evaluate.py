"""Translate test sets and score them: sacreBLEU's BLEU and chrF, and the NLL (METHOD: R[i][j])."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from fmalloc.corpus import Pair
from fmalloc.evaluation.search import Search, memory_budget, unwritten
from fmalloc.evaluation.significance import METRICS, Statistics, signature
from fmalloc.model.devices import Device
from fmalloc.model.objective import Share, alone, nll
from fmalloc.model.text.batches import encode
from fmalloc.model.text.tokens import decode, set_languages, target_frame
from fmalloc.store.records import Score, Scores
from fmalloc_shared.languages import LanguagePair
from fmalloc_shared.strict import StrictModel

MAXIMUM_NEW_TOKENS = 256
_BATCH_TOKENS, _MOST_TOKENS = 2048, 65_536
_BYTES_PER_LOGIT = 12  # a float32, a copy of it, and the loss of it


class Translations(NamedTuple):
    """Token ids and text of each translation; the ids without start, prefix and padding tokens, `</s>` kept."""

    tokens: list[list[int]]
    texts: list[str]


def translate(
    model: Any,
    tokenizer: Any,
    sources: Sequence[str],
    languages: LanguagePair,
    *,
    beam_size: int,
    on_progress: Callable[[int], None] | None = None,
) -> Translations:
    """Beam search in the model's own precision, of sentences in any order.

    A source that the model has no positions for is cut.
    """
    set_languages(tokenizer, languages)
    longest, config = _longest(model), model.config
    prefix = target_frame(tokenizer).prefix  # a language token (M2M100, NLLB, mBART-50) or <s> (BART), if any
    search = Search(
        beam_size,
        (config.decoder_start_token_id, *prefix),
        longest=min(MAXIMUM_NEW_TOKENS, longest),
        forbidden=unwritten(model),
    )
    found = search.run(model, _source_ids(tokenizer, sources, longest), on_progress)
    tokens = [_trimmed(ids, config) for ids in found]
    texts = [text.strip() for text in decode(tokenizer, tokens)] if tokens else []
    return Translations(tokens, texts)


def _source_ids(tokenizer: Any, sources: Sequence[str], longest: int) -> list[list[int]]:
    if not sources:
        return []
    return list(tokenizer(list(sources), truncation=True, max_length=longest, verbose=False)["input_ids"])


def _longest(model: Any) -> int:
    """Tokens a side that every family has positions for."""
    return int(model.config.max_position_embeddings) - 2


def _trimmed(ids: list[int], config: Any) -> list[int]:
    if config.eos_token_id in ids:
        return ids[: ids.index(config.eos_token_id) + 1]
    return [token for token in ids if token != config.pad_token_id]


class Evaluation(StrictModel):
    """BLEU and chrF of a test set and sacreBLEU's signatures of both."""

    score: Score
    signatures: dict[str, str]


def score(translations: Sequence[str], references: Sequence[str], *, intervals: bool = False) -> Evaluation:
    """Corpus BLEU and chrF, 0 to 100; with `intervals` also their confidence intervals."""
    found = {metric: Statistics.of(metric, translations, references) for metric in METRICS}
    return Evaluation(
        score=Score(
            bleu=found["bleu"].score(),
            chrf=found["chrf"].score(),
            bleu_interval=found["bleu"].interval() if intervals else None,
            chrf_interval=found["chrf"].interval() if intervals else None,
        ),
        signatures={metric: signature(metric, resampled=intervals) for metric in METRICS},
    )


def evaluate(
    model: Any,
    tokenizer: Any,
    pairs: Sequence[Pair],
    languages: LanguagePair,
    *,
    beam_size: int,
    on_progress: Callable[[int], None] | None = None,
    intervals: bool = False,
    share: Share = alone,
) -> Evaluation:
    """Translate the pairs' sources and score them, as validation needs."""

    def texts_of(sources: Sequence[str]) -> list[str]:
        return translate(model, tokenizer, sources, languages, beam_size=beam_size, on_progress=on_progress).texts

    texts = share([pair.source for pair in pairs], texts_of)
    return score(texts, [pair.target for pair in pairs], intervals=intervals)


def evaluate_test(
    model: Any,
    tokenizer: Any,
    pairs: Sequence[Pair],
    languages: LanguagePair,
    *,
    beam_size: int,
    on_progress: Callable[[int], None] | None = None,
    share: Share = alone,
) -> Evaluation:
    """Translate and score a test set, with intervals and the NLL, as a report needs."""
    how: dict[str, Any] = {"beam_size": beam_size, "on_progress": on_progress, "intervals": True, "share": share}
    metrics = evaluate(model, tokenizer, pairs, languages, **how)
    found = nll_of(model, tokenizer, pairs, languages, share)
    return metrics.model_copy(update={"score": metrics.score.model_copy(update={"nll": found})})


def nll_of(
    model: Any, tokenizer: Any, pairs: Sequence[Pair], languages: LanguagePair, share: Share = alone
) -> float | None:
    """Nats per target token, in the model's own precision; pairs that the model has no positions for are left out."""
    examples = encode(tokenizer, pairs, languages, maximum_length=_longest(model)).examples
    device = Device(model.device, bfloat16=False)
    pad = tokenizer.pad_token_id
    return nll(model, examples, device, batch_tokens=_together(model), pad=pad, share=share) if examples else None


def _together(model: Any) -> int:
    """Padded tokens of a batch whose logits are held whole: on a GPU as many as fit."""
    if model.device.type != "cuda":
        return _BATCH_TOKENS
    rows = memory_budget(model.device) // (_BYTES_PER_LOGIT * len(model.lm_head.weight))
    return max(_BATCH_TOKENS, min(_MOST_TOKENS, rows))


def merge(metrics: Mapping[str, Evaluation]) -> Scores:
    """One row of the matrix."""
    signatures = next(iter(metrics.values())).signatures if metrics else {}
    return Scores(domains={name: metric.score for name, metric in metrics.items()}, signatures=signatures)
