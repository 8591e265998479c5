"""Terms that are kept: `python -m benchmarks.serving.desk --bundles DIR --corpora DIR`.

Writes `terminology` of results/desk.json, and `terminology-learned` of domains that have learned to read terms. Terms
are drawn from pairs of the test set, as WMT25's terminology task does:
`proper` ones are nouns whose translation is told by how often the two words occur together in all pairs (Dice, 1945),
one glossary for all lines; `random` ones are a random word of each line, with its translation there; `none` are lines
without a word of the glossary. Each set is translated with the glossary and without: terms that are there as the
glossary writes them, and in any form; BLEU and chrF; seconds of CPU on one thread.
"""

import random
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import sacrebleu

from benchmarks.common import Goal, add_entry, once, versions
from fmalloc_runtime.bundle.bundle import Bundle, LiveIndex
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.live.translator import EngineSettings, Translator
from fmalloc_runtime.text.terms import Entry, Inflection, Terms
from fmalloc_runtime.text.translation import TextOptions
from fmalloc_shared.commands.command import Command
from fmalloc_shared.languages import LanguagePair

_WORD = re.compile(r"[^\W\d_]{4,}")
_SEED = 19
# Pairs of words that are translations of each other: occur together so often, and so seldom apart.
_LEAST_TOGETHER, _LEAST_DICE = {"proper": 5, "random": 2}, {"proper": 0.5, "random": 0.3}
_LONGEST_LINE = 350
_LEAST_KEPT, _MOST_LOST, _LEAST_SPEED = 0.95, 0.3, 0.8


class _Line(NamedTuple):
    source: str
    reference: str
    terms: tuple[Entry, ...]


@click.command(cls=Command)
@click.option("--bundles", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--corpora", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--lines", type=click.IntRange(min=1), default=100, show_default=True, help="Of each set.")
@click.option("--rounds", type=click.IntRange(min=1), default=2, show_default=True, help="Of timing, interleaved.")
@click.option("--work", type=click.Path(path_type=Path, file_okay=False), default=Path(".work/desk"))
@click.option("--domain", "wanted", multiple=True, help="Only this domain; repeat it.")
def main(bundles: Path, corpora: Path, lines: int, rounds: int, work: Path, wanted: tuple[str, ...]) -> None:
    """Measure terminology on real text. What a run finished for a bundle is kept in --work."""
    measured: dict[str, Any] = {}
    for domain, name in sorted(LiveIndex.of(bundles).domains.items()):
        folder = corpora / domain
        if folder.is_dir() and (not wanted or domain in wanted):
            kept = work / f"terms-{name}-{lines}-{rounds}.json"
            measured[domain] = once(kept, partial(_measure, bundles / name, folder, lines, rounds))
            click.echo(f"{domain}: {measured[domain]}")
    for learned, entry in enumerate(("terminology", "terminology-learned")):
        domains = {name: found for name, found in measured.items() if found["learned"] == learned}
        if domains:
            payload = {"versions": versions("ctranslate2", "sacrebleu", "snowballstemmer"), "domains": domains}
            add_entry("desk", entry, payload, [goal for name, found in domains.items() for goal in _goals(name, found)])


def _goals(domain: str, found: dict[str, Any]) -> list[Goal]:
    goals = []
    if found["learned"]:
        domain = f"{domain}, learned"
    for kind in ("proper", "random"):
        kept = found[kind]["with"]["kept"]
        gain = round(found[kind]["with"]["bleu"] - found[kind]["without"]["bleu"], 2)
        goals += [
            Goal(name=f"{domain}, {kind}: terms kept", value=kept, goal="0.95 or more", met=kept >= _LEAST_KEPT),
            Goal(name=f"{domain}, {kind}: BLEU gained", value=gain, goal="0 or more", met=gain >= 0),
        ]
    lost = round(found["none"]["without"]["bleu"] - found["none"]["with"]["bleu"], 2)
    seconds = found["seconds_raw"]
    speed = round(min(seconds["without"]) / min(seconds["with"]), 3)
    return [
        *goals,
        Goal(name=f"{domain}, none: BLEU lost", value=lost, goal="0.3 or less", met=lost <= _MOST_LOST),
        Goal(name=f"{domain}: speed of all sets", value=speed, goal="0.8 or more", met=speed >= _LEAST_SPEED),
    ]


def _measure(bundle: Path, folder: Path, lines: int, rounds: int) -> dict[str, Any]:
    translator = Translator.load(Bundle.read(bundle), EngineSettings("cpu", intra_threads=1))
    languages = translator.bundle.manifest.languages
    train, test = (_pairs(folder / f"{name}.tsv") for name in ("train", "test"))
    known = {kind: _translations([*train, *test], kind) for kind in ("proper", "random")}
    short = [pair for pair in test if len(pair[0]) <= _LONGEST_LINE]
    proper = [line for pair in short if (line := _line(pair, known["proper"])).terms]
    drawn = random.Random(_SEED)
    chosen = [
        line._replace(terms=(drawn.choice(line.terms),))
        for pair in short
        if (line := _line(pair, known["random"])).terms
    ]
    sets = {"proper": proper[:lines], "random": chosen[:lines]}
    glossary = {entry.source: entry for line in sets["proper"] for entry in line.terms}
    without = (pair for pair in short if not glossary.keys() & set(_WORD.findall(pair[0])))
    sets["none"] = [_Line(*pair, ()) for _, pair in zip(range(lines), without, strict=False)]
    return _Measurement(translator, languages, list(glossary.values())).run(sets, rounds)


class _Measurement:
    """Of one domain. `glossary`: for all lines but the random ones, each of which has its own."""

    def __init__(self, translator: Translator, languages: LanguagePair, glossary: Sequence[Entry]) -> None:
        self._translator, self._languages = translator, languages
        self._glossary = Terms(glossary, *languages)
        self._forms = Inflection(languages.target)

    def run(self, sets: Mapping[str, Sequence[_Line]], rounds: int) -> dict[str, Any]:
        learned = self._translator.term_markers is not None
        found: dict[str, Any] = {"glossary": len(self._glossary), "learned": learned}
        seconds: dict[str, list[float]] = {"with": [], "without": []}
        for number in range(rounds):
            spent = {"without": 0.0, "with": 0.0}
            for kind, lines in sets.items():
                entry: dict[str, Any] = {"lines": len(lines), "terms": sum(len(line.terms) for line in lines)}
                for name in ("without", "with"):
                    began = time.process_time()
                    texts = self._translate(lines, kind, with_terms=name == "with")
                    spent[name] += time.process_time() - began
                    entry[name] = self._scores(lines, texts)
                if not number:
                    found[kind] = entry
            for name, taken in spent.items():
                seconds[name].append(round(taken, 2))
        return {**found, "seconds_raw": seconds}

    def _translate(self, lines: Sequence[_Line], kind: str, *, with_terms: bool) -> list[str]:
        search = TranslationOptions(beam_size=4)
        if kind != "random":
            options = TextOptions(terms=self._glossary if with_terms else None, search=search)
            return [text.text for text in self._translator.translate_texts([line.source for line in lines], options)]
        texts = []
        for line in lines:
            terms = Terms(line.terms, *self._languages) if with_terms else None
            (text,) = self._translator.translate_texts([line.source], TextOptions(terms=terms, search=search))
            texts.append(text.text)
        return texts

    def _scores(self, lines: Sequence[_Line], texts: Sequence[str]) -> dict[str, Any]:
        exact = kept = total = 0
        for line, text in zip(lines, texts, strict=True):
            said = set(re.findall(r"\w+", text))
            folded = {word.casefold() for word in said}
            for entry in line.terms:
                total += 1
                exact += entry.target.casefold() in folded
                kept += any(self._forms.are_one(entry.target, word) for word in said)
        references = [line.reference for line in lines]
        return {
            "bleu": round(sacrebleu.corpus_bleu(texts, [references]).score, 2),
            "chrf": round(sacrebleu.corpus_chrf(texts, [references]).score, 2),
            "exact": round(exact / total, 4) if total else None,
            "kept": round(kept / total, 4) if total else None,
        }


def _pairs(path: Path) -> list[tuple[str, str]]:
    found = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    return [(source, target) for source, target, *_ in found]


def _translations(pairs: Iterable[tuple[str, str]], kind: str) -> dict[str, list[str]]:
    """The words that translate each word, the surest first."""
    sources, targets, both = Counter[str](), Counter[str](), Counter[tuple[str, str]]()
    for source, target in pairs:
        here, there = set(_WORD.findall(source)), set(_WORD.findall(target))
        sources.update(here)
        targets.update(there)
        both.update((one, other) for one in here for other in there)
    found: dict[str, list[tuple[float, str]]] = {}
    for (one, other), count in both.items():
        dice = 2 * count / (sources[one] + targets[other])
        if count >= _LEAST_TOGETHER[kind] and dice >= _LEAST_DICE[kind] and (kind == "random" or one[0].isupper()):
            found.setdefault(one, []).append((-dice, other))
    best = 1 if kind == "proper" else None
    return {one: [other for _, other in sorted(others)[:best]] for one, others in found.items()}


def _line(pair: tuple[str, str], known: Mapping[str, Sequence[str]]) -> _Line:
    """A pair with its terms whose translation is in the reference."""
    return _Line(*pair, tuple(_terms(*pair, known)))


def _terms(source: str, reference: str, known: Mapping[str, Sequence[str]]) -> Iterator[Entry]:
    there = set(_WORD.findall(reference))
    for word in dict.fromkeys(_WORD.findall(source)):
        if target := next((other for other in known.get(word, ()) if other in there), None):
            yield Entry(word, target)


if __name__ == "__main__":
    main()
