"""What the translation of a similar sentence is worth: `python -m benchmarks.serving.reminders --bundles DIR ...`.

Writes `similar` of results/desk.json. Bundles are of domains that were learned with `memory: true`, and hold their
training text as a memory. Lines of the test set that have a similar source there, by how similar it is, are translated
with the memory and without. Exact matches, which the memory answers itself, are left out.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import sacrebleu

from benchmarks.common import Goal, add_entry, versions
from fmalloc.corpus import EVERYTHING, Pair, read_corpus
from fmalloc_runtime.bundle.bundle import Bundle, LiveIndex
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.live.translator import EngineSettings, Translator
from fmalloc_runtime.text.translation import TextOptions
from fmalloc_shared.commands.command import Command

# Least similarity of each band, in per cent.
_BANDS = (50, 60, 70, 80, 90)


@click.command(cls=Command)
@click.option("--bundles", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--corpora", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
def main(bundles: Path, corpora: Path) -> None:
    """Measure, by band of similarity, what a domain gains that has learned to read its memory."""
    measured, goals = {}, []
    for domain, name in sorted(LiveIndex.of(bundles).domains.items()):
        translator = Translator.load(Bundle.read(bundles / name), EngineSettings("cpu", intra_threads=1))
        if translator.bundle.manifest.memory_markers is None or not translator.bundle.manifest.memory:
            continue
        measured[domain] = found = _measure(
            translator, read_corpus(corpora / domain, translator.bundle.manifest.languages, EVERYTHING).test
        )
        click.echo(f"{domain}: {found}")
        every = found["all"]
        gain = round(every["with"]["bleu"] - every["without"]["bleu"], 2)
        goals.append(Goal(name=f"{domain}: BLEU gained", value=gain, goal="above 0", met=gain > 0))
    add_entry("desk", "similar", {"versions": versions("ctranslate2", "sacrebleu"), "domains": measured}, goals)


def _measure(translator: Translator, pairs: Sequence[Pair]) -> dict[str, Any]:
    memory = translator.bundle.memory()
    assert memory is not None
    bands: dict[int, list[Pair]] = {band: [] for band in _BANDS}
    for pair in pairs:
        similar = memory.similar(pair[0], _BANDS[0], 1)
        if similar and similar[0].similarity < 100:
            bands[max(band for band in _BANDS if band <= similar[0].similarity)].append(pair)
    wanted = {f"{band} %": some for band, some in bands.items() if some}
    wanted["all"] = [pair for some in bands.values() for pair in some]
    return {name: _scored(translator, some) for name, some in wanted.items()}


def _scored(translator: Translator, pairs: Sequence[Pair]) -> dict[str, Any]:
    found: dict[str, Any] = {"lines": len(pairs)}
    references = [[reference for _, reference in pairs]]
    for name in ("without", "with"):
        # By line, since it is lines that are compared.
        options = TextOptions(splitting="lines", memory=name == "with", search=TranslationOptions(beam_size=4))
        texts = [text.text for text in translator.translate_texts([source for source, _ in pairs], options)]
        found[name] = {
            "bleu": round(sacrebleu.corpus_bleu(texts, references).score, 2),
            "chrf": round(sacrebleu.corpus_chrf(texts, references).score, 2),
        }
    return found


if __name__ == "__main__":
    main()
