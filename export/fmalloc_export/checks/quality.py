"""Translation quality before and after compiling, on held-out pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fmalloc.corpus import Pair, digest
from fmalloc.evaluation.evaluate import MAXIMUM_NEW_TOKENS, score
from fmalloc.evaluation.significance import METRICS, MetricName, Statistics, difference, signature
from fmalloc.store.records import Score
from fmalloc_export.options import Options
from fmalloc_runtime.bundle.bundle import Drop, Quality
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.live.translator import Translation, Translator

NAMES: Mapping[MetricName, str] = {"bleu": "BLEU", "chrf": "chrF"}


@dataclass(frozen=True)
class QualityCheck:
    """Held-out pairs, at least one, and the learned model's translations of their sources."""

    pairs: tuple[Pair, ...]
    learned: tuple[Translation, ...]

    @classmethod
    def of(cls, pairs: Sequence[Pair], learned: Translator) -> "QualityCheck":
        """Translate the sources of `pairs`; `learned`: the model at -O0 in float32, which parity holds to PyTorch's."""
        return cls(tuple(pairs), tuple(_translated(learned, pairs)))

    @property
    def references(self) -> list[str]:
        """The pairs' targets."""
        return [pair.target for pair in self.pairs]

    def translated(self, emitted: Translator, beam_size: int | None = None) -> list[Translation]:
        """An emitted model's translations of the sources, with its own beam or `beam_size`."""
        return _translated(emitted, self.pairs, beam_size)

    def score(self, translations: Sequence[Translation]) -> Score:
        """BLEU and chrF."""
        return score(_texts(translations), self.references).score

    def compare(self, translations: Sequence[Translation], bound: float | None) -> Quality:
        """The learned model's scores, those of `translations`, and the confidence interval of the difference.

        `bound`: most points that a score may fall; `exceeds` tells whether one did.
        """
        before, after = self.score(self.learned), self.score(translations)
        texts = _texts(self.learned), _texts(translations)
        return Quality(
            pairs=len(self.pairs),
            held_out=digest(self.pairs),
            bleu_before=round(before.bleu, 2),
            bleu_after=round(after.bleu, 2),
            bleu_drop=drop("bleu", *texts, self.references),
            chrf_before=round(before.chrf, 2),
            chrf_after=round(after.chrf, 2),
            chrf_drop=drop("chrf", *texts, self.references),
            signature=" ".join(f"{NAMES[metric]}|{signature(metric, resampled=True)}" for metric in METRICS),
            bound=bound,
            allowed=False,
        )


def _translated(model: Translator, pairs: Sequence[Pair], beam_size: int | None = None) -> list[Translation]:
    options = TranslationOptions(beam_size, MAXIMUM_NEW_TOKENS)
    return model.translate([pair.source for pair in pairs], options)


def _texts(translations: Sequence[Translation]) -> list[str]:
    return [translation.text for translation in translations]


def drop(metric: MetricName, before: Sequence[str], after: Sequence[str], references: Sequence[str]) -> Drop:
    """By how much the corpus score falls, with the 95 % interval of a paired bootstrap, to two decimals."""
    found = difference(Statistics.of(metric, before, references), Statistics.of(metric, after, references))
    low, high = found.interval
    return Drop(value=points(found.value), low=points(low), high=points(high))


def points(drop: float) -> float:
    """To two decimals, as scores are stated; what is stated is what a bound is compared with."""
    return round(drop, 2) + 0.0  # -0.0 becomes 0.0


def exceeds(quality: Quality) -> bool:
    """Whether BLEU or chrF fell by more than the bound."""
    return quality.bound is not None and max(drop.value for drop in _drops(quality).values()) > quality.bound


def losses(quality: Quality) -> str:
    """Both drops with their intervals, and what they were measured on."""
    found = [f"{drop.value:.2f} {name} [{drop.low:.2f} to {drop.high:.2f}]" for name, drop in _drops(quality).items()]
    return f"{' and '.join(found)} (95 % intervals, {quality.pairs} held-out pairs)"


def refusal(quality: Quality, options: Options) -> str:
    """Why a model is not published, and what would help."""
    remedies = [
        ("a larger --keep or none", options.keep is not None),
        ("a larger --vocabulary or none", options.vocabulary is not None),
        (f"another --quantization than {options.quantization}", options.quantization != "float32"),
        (f"a wider beam than {options.beam_size}", options.beam_size is not None),
        ("more --calibration text", options.level != "O0"),
        ("more --updates or --minutes, --sources, another --depth", options.level == "O3"),
        (f"-O{int(options.level[1:]) - 1}", options.level != "O0"),
    ]
    helpful = [remedy for remedy, applies in remedies if applies]
    advice = f"What may help: {'; '.join(helpful)}. " if helpful else ""
    return (
        f"-{options.level} {options.quantization} loses {losses(quality)}: more than the bound of {quality.bound}, "
        f"so it is not published. {advice}--max-quality-drop sets another bound, --allow-quality-drop publishes it all "
        "the same"
    )


def warning(quality: Quality) -> str | None:
    """What a user should know of a model that is published; None if no interval reaches above the bound."""
    if exceeds(quality):
        return f"published although it loses {losses(quality)}: more than the bound of {quality.bound}"
    if quality.bound is not None and max(drop.high for drop in _drops(quality).values()) > quality.bound:
        return (
            f"loses {losses(quality)}: within the bound of {quality.bound}, but a 95 % interval reaches above it; "
            "`fmalloc eval` on a larger test set tells more"
        )
    return None


def _drops(quality: Quality) -> Mapping[str, Drop]:
    return {NAMES["bleu"]: quality.bleu_drop, NAMES["chrf"]: quality.chrf_drop}
