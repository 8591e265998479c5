"""What a wrong domain costs: scores of every live domain's model on every domain's held-out text."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fmalloc.corpus import EVERYTHING, Pair, digest, read_corpus
from fmalloc.evaluation.evaluate import MAXIMUM_NEW_TOKENS, score
from fmalloc_export.bundles.publish import writing
from fmalloc_export.routing.threshold import Documents, choose_threshold
from fmalloc_runtime.bundle.bundle import LIVE_FILE, Bundle, LiveIndex
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.live.translator import EngineSettings, Translator, check_loadable
from fmalloc_runtime.routing.costs import PARTIAL_FILE, ROUTING_COSTS_FILE, Metric, RoutingCosts, Score, ScoredText
from fmalloc_runtime.routing.router import Router
from fmalloc_runtime.tokenizer.tokenizer import Tokenizer
from fmalloc_shared.commands.outputs import check_folder
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import write_atomically
from fmalloc_shared.names import GENERAL
from fmalloc_shared.strict import StrictModel

Part = Literal["dev", "test"]
_CHUNK_LINES = 50


class ScoreMatrix(StrictModel):
    """`scores` by bundle and digest of the text; what is in it is not translated again."""

    beam_size: int
    signatures: dict[Metric, str]
    scores: dict[str, dict[str, Score]]

    @classmethod
    def known(cls, bundles: Path, beam_size: int) -> "ScoreMatrix":
        """The scores of routing.json and of an interrupted run that were measured in the same way."""
        found = score(["x"], ["x"]).signatures
        signatures: dict[Metric, str] = {"bleu": found["bleu"], "chrf": found["chrf"]}
        scores: dict[str, dict[str, Score]] = {}
        for before in (_of_costs(bundles), _of_partial(bundles)):
            if before is not None and (before.beam_size, before.signatures) == (beam_size, signatures):
                for bundle, row in before.scores.items():
                    scores.setdefault(bundle, {}).update(row)
        return cls(beam_size=beam_size, signatures=signatures, scores=scores)

    def get(self, bundle: str, text: str) -> Score | None:
        """The score of a bundle on the text of this digest, None if it is not known."""
        return self.scores.get(bundle, {}).get(text)

    def adding(self, bundle: str, text: str, score: Score) -> "ScoreMatrix":
        """A copy with the score of one bundle on one text."""
        scores = {**self.scores, bundle: {**self.scores.get(bundle, {}), text: score}}
        return self.model_copy(update={"scores": scores})


def _of_costs(bundles: Path) -> ScoreMatrix | None:
    try:
        costs = RoutingCosts.of(bundles)
    except FmallocError:
        return None  # routing.json is about to be replaced
    if costs is None:
        return None
    scores = {
        costs.bundles[model]: {costs.texts[text].digest: score for text, score in row.items()}
        for model, row in costs.matrix.items()
    }
    return ScoreMatrix(beam_size=costs.beam_size, signatures=costs.signatures, scores=scores)


def _of_partial(bundles: Path) -> ScoreMatrix | None:
    try:
        return ScoreMatrix.read(bundles / PARTIAL_FILE)
    except FmallocError:
        return None


@dataclass(frozen=True)
class HeldOutText:
    """A domain's held-out text: all its source `lines`, for simulating routing, and the `pairs` that are translated."""

    lines: tuple[str, ...]
    pairs: tuple[Pair, ...]

    @property
    def digest(self) -> str:
        """SHA-256 of the pairs."""
        return digest(self.pairs)

    def chunks(self) -> Iterator[list[str]]:
        """The sources to translate, some at a time."""
        sources = [pair.source for pair in self.pairs]
        return (sources[start : start + _CHUNK_LINES] for start in range(0, len(sources), _CHUNK_LINES))

    @classmethod
    def read(cls, path: Path, bundle: Bundle, fits: Callable[[str], bool], lines: int, part: Part) -> "HeldOutText":
        """A part of a corpus, and at most `lines` evenly spaced pairs whose source fits into every model."""
        corpus = read_corpus(path, bundle.manifest.languages, EVERYTHING)
        pairs = corpus.dev if part == "dev" else corpus.test
        usable = [pair for pair in pairs if fits(pair.source)]
        if not usable:
            raise FmallocError(f"{path}: no line of {part} is short enough for every model")
        count = min(lines, len(usable))
        chosen = tuple(usable[index * len(usable) // count] for index in range(count))
        return cls(tuple(pair.source for pair in pairs), chosen)


@dataclass
class Measurement:
    """Live bundles and held-out texts, both by domain, and the scores that are known so far."""

    bundles: Path
    live: Mapping[str, Bundle]
    texts: Mapping[str, HeldOutText]
    scores: ScoreMatrix

    @classmethod
    def of(
        cls, bundles: Path, texts: Mapping[str, Path], *, lines: int, beam_size: int, part: Part = "dev"
    ) -> "Measurement":
        """Read live.json, the bundles and one part of `texts`, which are corpora by domain.

        A threshold is chosen on dev; what it then costs is told by test.

        Raises FmallocError if fewer than two domains are live, if one cannot be loaded here, if the text of one is
        missing, or if `bundles` cannot be written.
        """
        index = LiveIndex.of(bundles)
        if len(index.domains) < 2:
            found = ", ".join(index.domains) or "none"
            raise FmallocError(
                f"{bundles / LIVE_FILE}: expected two live domains or more to route between, found {found}"
            )
        if unknown := sorted(set(texts) - set(index.domains)):
            known = ", ".join(sorted(index.domains))
            raise FmallocError(f"--text {unknown[0]}=…: {unknown[0]} is not live; {known} are")
        if missing := sorted(set(index.domains) - set(texts)):
            options = " ".join(f"--text {domain}=PATH" for domain in missing)
            raise FmallocError(f"text of {', '.join(missing)} is missing, and every live domain needs some: {options}")
        check_folder(bundles)
        live = {domain: Bundle.open(bundles / name) for domain, name in sorted(index.domains.items())}
        for bundle in live.values():
            check_loadable(bundle)
        fits = _fitting(list(live.values()))
        read = {domain: HeldOutText.read(texts[domain], bundle, fits, lines, part) for domain, bundle in live.items()}
        return cls(bundles, live, read, ScoreMatrix.known(bundles, beam_size))

    @property
    def missing(self) -> list[tuple[str, str]]:
        """Model and text of each score that is not known yet."""
        return [
            (model, domain)
            for model, bundle in self.live.items()
            for domain, text in self.texts.items()
            if self.scores.get(bundle.name, text.digest) is None
        ]

    def complete(self, settings: EngineSettings, on_lines: Callable[[int, str], None]) -> None:
        """Measure the missing scores, with one model in memory at a time; each finished score survives a kill.

        `on_lines` is called with the number of lines just translated, and with the model and text they belong to.
        """
        for model, group in groupby(self.missing, key=lambda pair: pair[0]):
            self._measure(model, [domain for _, domain in group], settings, on_lines)

    def result(self, metric: Metric) -> RoutingCosts:
        """The complete matrix, and the threshold that loses least by it."""
        matrix = {
            model: {domain: self._score(bundle, text) for domain, text in self.texts.items()}
            for model, bundle in self.live.items()
        }
        names = {domain: bundle.name for domain, bundle in self.live.items()}
        router = Router({domain: bundle.routing() for domain, bundle in self.live.items()}, names)
        lines = {domain: text.lines for domain, text in self.texts.items()}
        general = router.domains.index(GENERAL) if GENERAL in router.domains else None
        costs = _costs(router.domains, matrix, metric)
        threshold, simulation = choose_threshold(Documents.of(router, lines), costs, general)
        return RoutingCosts(
            threshold=threshold,
            metric=metric,
            bundles=names,
            texts={
                domain: ScoredText(lines=len(text.pairs), digest=text.digest) for domain, text in self.texts.items()
            },
            matrix=matrix,
            beam_size=self.scores.beam_size,
            signatures=self.scores.signatures,
            simulation=simulation,
        )

    def write(self, costs: RoutingCosts) -> None:
        """Replace routing.json atomically. FmallocError if bundles are being written; the measured scores are kept."""
        with writing(self.bundles):
            write_atomically(self.bundles / ROUTING_COSTS_FILE, costs.to_bytes())
            for left in (*self.bundles.glob(f".{PARTIAL_FILE}.*"), *self.bundles.glob(f".{ROUTING_COSTS_FILE}.*")):
                left.unlink()

    def _measure(
        self, model: str, domains: Sequence[str], settings: EngineSettings, on_lines: Callable[[int, str], None]
    ) -> None:
        bundle = self.live[model]
        translator = Translator.load(bundle, settings)
        options = TranslationOptions(self.scores.beam_size, MAXIMUM_NEW_TOKENS)
        for domain in domains:
            text = self.texts[domain]
            translations: list[str] = []
            for sources in text.chunks():
                translations += [item.text for item in translator.translate(sources, options)]
                on_lines(len(sources), f"{model} on {domain}")
            found = score(translations, [pair.target for pair in text.pairs]).score
            rounded = Score(bleu=round(found.bleu, 4), chrf=round(found.chrf, 4))
            self.scores = self.scores.adding(bundle.name, text.digest, rounded)
            write_atomically(self.bundles / PARTIAL_FILE, self.scores.to_bytes())

    def _score(self, bundle: Bundle, text: HeldOutText) -> Score:
        found = self.scores.get(bundle.name, text.digest)
        assert found is not None, f"{bundle.name}: not measured on every text"
        return found


def _fitting(bundles: Sequence[Bundle]) -> Callable[[str], bool]:
    """Tells whether a text fits into the positions of every model."""
    limits = [(Tokenizer.load(bundle.tokenizer), bundle.manifest.maximum_length) for bundle in bundles]
    return lambda text: all(len(tokenizer.encode(text)) <= longest for tokenizer, longest in limits)


def _costs(domains: Sequence[str], matrix: Mapping[str, Mapping[str, Score]], metric: Metric) -> NDArray[np.float64]:
    """(texts, models): points that the text of one domain loses with the model of another."""
    quality = np.array([[getattr(matrix[model][text], metric) for model in domains] for text in domains])
    return np.asarray(quality.diagonal()[:, None] - quality, dtype=np.float64)
