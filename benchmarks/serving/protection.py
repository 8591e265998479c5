"""What keeping items costs: `python -m benchmarks.serving.protection --bundles DIR --corpora DIR`.

Writes results/protection.json. The test set of each domain that is served is translated with items protected and not:
BLEU and chrF, numbers that are right (as the target's language writes them), placeholders and addresses that are lost,
seconds of CPU on one thread, and how BLEU and numbers depend on the bound for sentences with numbers put back.
"""

import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click
import sacrebleu

from benchmarks.common import Goal, once, versions, write_results
from fmalloc_runtime.bundle.bundle import Bundle, LiveIndex
from fmalloc_runtime.engines.base import Hypothesis, TranslationOptions, score_exactly
from fmalloc_runtime.live.translator import EngineSettings, Translator
from fmalloc_runtime.text.items import find_items
from fmalloc_runtime.text.pipeline import MOST_LOST, work_on
from fmalloc_runtime.text.quantities import Notation, notation
from fmalloc_runtime.text.rendering.repair import Comparison, Said
from fmalloc_runtime.text.translation import Found, SourceBatch, TextOptions, TextTranslation, drive
from fmalloc_shared.commands.command import Command

_BOUNDS = (0.0, 0.1, 0.3, 0.5, 0.7, 1.0, MOST_LOST, 3.0)
_LEAST_BLEU, _LEAST_NUMBERS, _MOST_TIME = -0.1, 0.99, 1.15


@click.command(cls=Command)
@click.option("--bundles", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--corpora", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--lines", type=click.IntRange(min=1), default=500, show_default=True, help="Of each test set.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Of timing, interleaved.")
@click.option("--work", type=click.Path(path_type=Path, file_okay=False), default=Path(".work/protection"))
@click.option("--domain", "wanted", multiple=True, help="Only this domain; repeat it.")
def main(bundles: Path, corpora: Path, lines: int, rounds: int, work: Path, wanted: tuple[str, ...]) -> None:
    """Measure protection on real text. What a run finished for a bundle is kept in --work."""
    measured: dict[str, Any] = {}
    goals: list[Goal] = []
    for domain, name in sorted(LiveIndex.of(bundles).domains.items()):
        path = corpora / domain / "test.tsv"
        if path.is_file() and (not wanted or domain in wanted):
            kept = work / f"{name}-{lines}-{rounds}.json"
            measured[domain] = once(kept, partial(_measure, bundles / name, path, lines, rounds))
            goals.extend(_goals(domain, measured[domain]))
            click.echo(f"{domain}: {measured[domain]}")
    write_results("protection", {"versions": versions("ctranslate2", "sacrebleu", "babel"), "domains": measured}, goals)


def _measure(bundle: Path, path: Path, lines: int, rounds: int) -> dict[str, Any]:
    translator = Translator.load(Bundle.read(bundle), EngineSettings("cpu", intra_threads=1))
    pairs = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[:lines]]
    sources, references = ([pair[side] for pair in pairs] for side in (0, 1))
    return _Measurement(translator, sources, references).run(rounds)


def _goals(domain: str, found: dict[str, Any]) -> list[Goal]:
    protected, unprotected = found["protected"], found["unprotected"]
    gain = round(protected["bleu"] - unprotected["bleu"], 2)
    right, lost = protected["numbers_right"], protected["items_lost"]
    ratio = round(min(found["seconds_raw"]["protected"]) / min(found["seconds_raw"]["unprotected"]), 3)
    return [
        Goal(name=f"{domain}: BLEU against unprotected", value=gain, goal="-0.1 or more", met=gain >= _LEAST_BLEU),
        Goal(name=f"{domain}: numbers right", value=right, goal="0.99 or more", met=right >= _LEAST_NUMBERS),
        Goal(name=f"{domain}: placeholders and addresses lost", value=lost, goal="0", met=lost == 0),
        Goal(name=f"{domain}: time against unprotected", value=ratio, goal="1.15 or less", met=ratio <= _MOST_TIME),
    ]


@dataclass
class _Measurement:
    """Of one domain. `answers`: what the model said to a batch, so that other bounds need no model."""

    translator: Translator
    sources: Sequence[str]
    references: Sequence[str]
    answers: dict[SourceBatch, Found] = field(default_factory=dict)

    def run(self, rounds: int) -> dict[str, Any]:
        found: dict[str, Any] = {"lines": len(self.sources)}
        seconds: dict[str, list[float]] = {"protected": [], "unprotected": []}
        for _ in range(rounds):
            for name, protect in (("unprotected", False), ("protected", True)):
                self.answers.clear()
                begin = time.process_time()
                translations = self._translate(protect, MOST_LOST)
                seconds[name].append(round(time.process_time() - begin, 2))
                batches = [len(batch.sources) for batch in self.answers]
                found[name] = {"sentences_asked": batches, **self._scores(translations)}
        translations = self._translate(True, MOST_LOST)
        numbers = Counter(sentence.numbers for text in translations for sentence in text.sentences)
        found["protected"]["sentences"] = {str(key): count for key, count in sorted(numbers.items(), key=str)}
        found["bounds"] = {str(bound): self._scores(self._translate(True, bound)) for bound in _BOUNDS}
        return {**found, "seconds_raw": seconds}

    def _translate(self, protect: bool, most_lost: float) -> list[TextTranslation]:
        options = TextOptions(protect=protect, search=TranslationOptions(beam_size=4))
        return drive(work_on(self.sources, options, self.translator, most_lost=most_lost), self._answer)

    def _answer(self, batch: SourceBatch) -> Found:
        """Batches as a server without `exact` makes them."""
        if batch not in self.answers:
            engine, prefix = self.translator.engine, self.translator.tokenizer.target_prefix
            found: list[tuple[Hypothesis, ...]]
            if batch.targets:
                found = score_exactly(engine, batch.sources, batch.targets, prefix)
            else:
                found = engine.translate(batch.sources, prefix, batch.options)
            self.answers[batch] = found
        return self.answers[batch]

    def _scores(self, translations: Sequence[TextTranslation]) -> dict[str, Any]:
        outputs = [translation.text for translation in translations]
        languages = self.translator.bundle.manifest.languages
        source_notation, target_notation = notation(languages.source), notation(languages.target)
        lost = total = wrong = 0
        for source, output in zip(self.sources, outputs, strict=True):
            items = {source[slice(*span)] for span, kind in find_items(source) if kind != "number"}
            compared = Comparison(_said(source, items, source_notation), _said(output, items, target_notation))
            total += sum(len(one.parts) for one in compared.source.quantities)
            wrong += sum(len(compared.missing(one)) for one in compared.lost)
            lost += sum(output.count(item) != source.count(item) for item in items)
        return {
            "bleu": round(sacrebleu.corpus_bleu(outputs, [self.references]).score, 2),
            "chrf": round(sacrebleu.corpus_chrf(outputs, [self.references]).score, 2),
            "numbers": total,
            "numbers_right": round(1 - wrong / max(total, 1), 4),
            "items_lost": lost,
        }


def _said(text: str, items: Collection[str], language: Notation) -> Said:
    """The quantities of a text outside the placeholders and addresses."""
    return Said(text, [span for span, _ in find_items(text) if text[slice(*span)] in items], language)


if __name__ == "__main__":
    main()
