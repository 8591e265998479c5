"""Translate test sets, score them with sacreBLEU, and what the matrix of scores says (METHOD: R[i][j])."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import sacrebleu
import torch

from fmalloc.batches import batch_indices, set_languages, target_frame
from fmalloc.corpus import Languages, Pair
from fmalloc.records import Score, Scores

MAXIMUM_NEW_TOKENS = 256
_BATCH_TOKENS = 2048


class Translations(NamedTuple):
    """Token ids and text of each translation; the ids without start, prefix and padding tokens, `</s>` kept."""

    tokens: list[list[int]]
    texts: list[str]


@torch.inference_mode()
def translate(
    model: Any,
    tokenizer: Any,
    sources: Sequence[str],
    languages: Languages,
    *,
    beam_size: int,
    on_progress: Callable[[int], None] | None = None,
) -> Translations:
    """Beam search (length penalty 1, early stopping) in the model's own precision, of sentences in any order."""
    set_languages(tokenizer, languages)
    encoded = tokenizer(list(sources), verbose=False)["input_ids"] if sources else []
    tokens: list[list[int]] = [[] for _ in sources]
    limit = min(MAXIMUM_NEW_TOKENS, model.config.max_position_embeddings - 2)
    prefix = target_frame(tokenizer).prefix  # a language token (M2M100, NLLB, mBART-50) or <s> (BART), if any
    for group in batch_indices([len(ids) for ids in encoded], _BATCH_TOKENS):
        batch = tokenizer.pad({"input_ids": [encoded[i] for i in group]}, return_tensors="pt").to(model.device)
        output = model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            num_beams=beam_size,
            do_sample=False,
            early_stopping=True if beam_size > 1 else None,
            length_penalty=1.0 if beam_size > 1 else None,
            max_new_tokens=limit,
            renormalize_logits=True,  # without the padding piece, which no other engine scores
            forced_bos_token_id=prefix[0] if prefix else None,
        )
        for index, ids in zip(group, output.tolist(), strict=True):
            tokens[index] = _trimmed(ids[1 + len(prefix) :], model.config)
        if on_progress:
            on_progress(len(group))
    texts = [text.strip() for text in tokenizer.batch_decode(tokens, skip_special_tokens=True)] if tokens else []
    return Translations(tokens, texts)


def _trimmed(ids: list[int], config: Any) -> list[int]:
    if config.eos_token_id in ids:
        return ids[: ids.index(config.eos_token_id) + 1]
    return [token for token in ids if token != config.pad_token_id]


class Metrics(NamedTuple):
    """BLEU and chrF of a test set and sacreBLEU's signatures of both."""

    score: Score
    signatures: dict[str, str]


def score(translations: Sequence[str], references: Sequence[str]) -> Metrics:
    """Corpus BLEU and chrF, 0 to 100."""
    bleu, chrf = sacrebleu.BLEU(), sacrebleu.CHRF()
    scores = [metric.corpus_score(list(translations), [list(references)]).score for metric in (bleu, chrf)]
    signatures = {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())}
    return Metrics(Score(bleu=float(scores[0]), chrf=float(scores[1])), signatures)


def evaluate(
    model: Any,
    tokenizer: Any,
    pairs: Sequence[Pair],
    languages: Languages,
    *,
    beam_size: int,
    on_progress: Callable[[int], None] | None = None,
) -> Metrics:
    """Translate the pairs' sources and score them."""
    sources = [pair.source for pair in pairs]
    texts = translate(model, tokenizer, sources, languages, beam_size=beam_size, on_progress=on_progress).texts
    return score(texts, [pair.target for pair in pairs])


def forgetting(rows: Sequence[Scores], tasks: Sequence[str]) -> float:
    """mean over j < T of (R[j][j] - R[T][j]) / R[j][j], in BLEU; rows[i] after learning tasks[i]; 0 for one task."""
    ratios = []
    for index, task in enumerate(tasks[:-1]):
        learned, last = rows[index].domains[task].bleu, rows[-1].domains[task].bleu
        ratios.append((learned - last) / learned if learned else 0.0)
    return sum(ratios) / len(ratios) if ratios else 0.0


def merge(metrics: Mapping[str, Metrics]) -> Scores:
    """One row of the matrix."""
    signatures = next(iter(metrics.values())).signatures if metrics else {}
    return Scores(domains={name: metric.score for name, metric in metrics.items()}, signatures=signatures)
