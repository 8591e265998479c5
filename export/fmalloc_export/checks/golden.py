"""Golden records: sentences that another machine should translate alike, as far as this one can tell.

On a CPU with other instructions, a near-tie between two translations may be decided differently. So a sentence is
chosen only if its translation depends neither on its neighbours in a batch nor on their order. Preferred are sentences
whose translation survives a far coarser change: int8 weights computed in float32, or float32 weights in int8. (The
margin between the best and the second hypothesis says little: with a weak model, int8 changes sentences of any margin.)
"""

from collections.abc import Sequence

from fmalloc_runtime.bundle.bundle import GoldenRecord
from fmalloc_runtime.live.translator import EngineSettings, Translator

RECORDS = 16
_CANDIDATES = 32


def choose_golden(translator: Translator, texts: Sequence[str]) -> list[GoldenRecord]:
    """At most 16 records, in order, from the first 32 of `texts` that fit into the model.

    `translator` must run on a CPU with one thread.
    """
    candidates = list(dict.fromkeys(text for text in texts if text.strip() and _fits(translator, text)))[:_CANDIDATES]
    expected = _translated(translator, candidates)
    backwards = _translated(translator, candidates[::-1])[::-1]
    coarser = _translated(_coarser(translator), candidates)
    chosen: list[int] = []
    for index in sorted(range(len(candidates)), key=lambda index: coarser[index] != expected[index]):
        if len(chosen) == RECORDS:
            break
        alone = _translated(translator, [candidates[index]])
        if [expected[index]] == [backwards[index]] == alone:
            chosen.append(index)
    return [GoldenRecord(source=candidates[index], translation=expected[index]) for index in sorted(chosen)]


def _coarser(translator: Translator) -> Translator:
    """The same model, computed in another type if the engine can."""
    engine = translator.bundle.manifest.engine
    if engine.name != "ctranslate2":
        return translator
    other = "float32" if engine.quantization.startswith("int") else "int8"
    return Translator.load(translator.bundle, EngineSettings(device="cpu", compute_type=other, intra_threads=1))


def _fits(translator: Translator, text: str) -> bool:
    return len(translator.tokenizer.encode(text)) <= translator.bundle.manifest.maximum_length


def _translated(translator: Translator, texts: Sequence[str]) -> list[str]:
    return [translation.text for translation in translator.translate(texts)]
