"""Translation quality before and after compiling, on held-out pairs, and the fewest cells that keep it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.metrics.base import Metric

from fmalloc.corpus import Pair
from fmalloc.evaluation.evaluate import MAXIMUM_NEW_TOKENS, Evaluation, score, translate
from fmalloc_export.domain.domain import Domain
from fmalloc_runtime.bundle.bundle import Drop, Quality
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.live.translator import Translator

_OPTIONS = TranslationOptions(max_length=MAXIMUM_NEW_TOKENS)
_RESAMPLES = 1000
_SEED = 12345
# Shares of the cells that are tried: sixteenths.
_STEPS = 16


@dataclass(frozen=True)
class QualityCheck:
    """Held-out pairs, and the learned model's translations of their sources (masked, in PyTorch)."""

    pairs: tuple[Pair, ...]
    learned: tuple[str, ...]

    @classmethod
    def of(cls, domain: Domain, pairs: Sequence[Pair]) -> "QualityCheck":
        """Translate the sources of `pairs`, at least one, with beam search."""
        sources = [pair.source for pair in pairs]
        translated = translate(domain.masked, domain.tokenizer, sources, domain.languages, beam_size=_OPTIONS.beam_size)
        return cls(tuple(pairs), tuple(translated.texts))

    @property
    def references(self) -> list[str]:
        """The pairs' targets."""
        return [pair.target for pair in self.pairs]

    def translated(self, emitted: Translator) -> list[str]:
        """An emitted model's translations of the sources, with the same search."""
        translations = emitted.translate([pair.source for pair in self.pairs], _OPTIONS)
        return [translation.text for translation in translations]

    def score(self, translations: Sequence[str]) -> Evaluation:
        """BLEU and chrF."""
        return score(translations, self.references)

    def compare(self, translations: Sequence[str]) -> Quality:
        """The learned model's scores, those of `translations`, and the confidence interval of the difference."""
        before, after = self.score(self.learned), self.score(translations)
        return Quality(
            pairs=len(self.pairs),
            bleu_before=round(before.score.bleu, 2),
            bleu_after=round(after.score.bleu, 2),
            bleu_drop=drop(BLEU(), self.learned, translations, self.references),
            chrf_before=round(before.score.chrf, 2),
            chrf_after=round(after.score.chrf, 2),
            chrf_drop=drop(CHRF(), self.learned, translations, self.references),
            signature=f"BLEU|{after.signatures['bleu']} chrF|{after.signatures['chrf']}",
        )


def drop(metric: Metric, before: Sequence[str], after: Sequence[str], references: Sequence[str]) -> Drop:
    """By how much the corpus score falls, with the 95 % interval of a paired bootstrap (Koehn, 2004).

    Both sides are scored on the same 1,000 draws of sentences, from a fixed seed: the result is reproducible.
    """
    statistics = [
        np.array(metric._extract_corpus_statistics(list(side), [list(references)]), dtype=np.float64)
        for side in (before, after)
    ]
    draws = np.random.default_rng(_SEED).integers(len(references), size=(_RESAMPLES, len(references)))

    def scores(rows: np.ndarray) -> float:
        first, second = (metric._compute_score_from_stats(side[rows].sum(axis=0).tolist()).score for side in statistics)
        return float(first - second)

    low, high = np.percentile([scores(rows) for rows in draws], [2.5, 97.5])
    return Drop(value=round(scores(np.arange(len(references))), 2), low=round(low, 2), high=round(high, 2))


def smallest_share(drop: Callable[[float], float], maximum: float) -> float:
    """The smallest share of the cells that loses at most `maximum`, or 1; found by bisection over sixteenths.

    `drop(keep)`: the quality lost with the share `keep`, taken to fall as `keep` rises.
    """
    low, high = 0, _STEPS
    while high - low > 1:
        middle = (low + high) // 2
        if drop(middle / _STEPS) <= maximum:
            high = middle
        else:
            low = middle
    return high / _STEPS
