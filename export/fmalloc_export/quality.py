"""Translation quality before and after compiling, on the pairs that the store keeps."""

from collections.abc import Sequence
from typing import Any

from fmalloc.corpus import Languages, Pair
from fmalloc.evaluate import MAXIMUM_NEW_TOKENS, score, translate
from fmalloc_runtime.bundle import Quality
from fmalloc_runtime.engine import TranslationOptions
from fmalloc_runtime.translator import Translator

_OPTIONS = TranslationOptions(max_length=MAXIMUM_NEW_TOKENS)


def measure(
    masked: Any, tokenizer: Any, emitted: Translator, pairs: Sequence[Pair], languages: Languages
) -> Quality | None:
    """BLEU and chrF of the masked PyTorch model and of the emitted one, with the same search; None without pairs."""
    if not pairs:
        return None
    sources, references = [pair.source for pair in pairs], [pair.target for pair in pairs]
    before = score(translate(masked, tokenizer, sources, languages, beam_size=_OPTIONS.beam_size).texts, references)
    after = score([translation.text for translation in emitted.translate(sources, _OPTIONS)], references)
    return Quality(
        pairs=len(pairs),
        bleu_before=round(before.score.bleu, 2),
        bleu_after=round(after.score.bleu, 2),
        chrf_before=round(before.score.chrf, 2),
        chrf_after=round(after.score.chrf, 2),
        signature=f"BLEU|{after.signatures['bleu']} chrF|{after.signatures['chrf']}",
    )
