"""What keeping items costs: `python -m benchmarks.serving.protection --bundles DIR --corpora DIR`.

Writes results/protection.json. Sources of each served domain's dev.tsv are translated with items protected and not:
how many sentences are asked again without their items, BLEU and chrF where the source has items and where not, seconds.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import sacrebleu

from benchmarks.common import versions, write_results
from fmalloc_runtime.bundle.bundle import Bundle, LiveIndex
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.live.translator import EngineSettings, Translator
from fmalloc_runtime.text.items import find_items
from fmalloc_runtime.text.pipeline import work_on
from fmalloc_runtime.text.translation import Found, SourceBatch, TextOptions, drive
from fmalloc_shared.command import Command


@click.command(cls=Command)
@click.option("--bundles", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--corpora", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--lines", type=click.IntRange(min=1), default=200, show_default=True, help="Of dev, per domain.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Of timing, interleaved.")
def main(bundles: Path, corpora: Path, lines: int, rounds: int) -> None:
    """Measure protection on real text."""
    domains = LiveIndex.of(bundles).domains
    measured = {}
    for domain, name in sorted(domains.items()):
        if (path := corpora / domain / "dev.tsv").is_file():
            translator = Translator.load(Bundle.read(bundles / name), EngineSettings("cpu", intra_threads=1))
            measured[domain] = _measure(translator, path, lines, rounds)
            click.echo(f"{domain}: {measured[domain]}")
    write_results("protection", {"versions": versions("ctranslate2", "sacrebleu"), "domains": measured}, [])


def _measure(translator: Translator, path: Path, lines: int, rounds: int) -> dict[str, Any]:
    pairs = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    # Half are the first lines that have an item, half the first that have none.
    with_items = [pair for pair in pairs if find_items(pair[0])][: lines // 2]
    chosen = [*with_items, *[pair for pair in pairs if not find_items(pair[0])][: lines - len(with_items)]]
    sources, references = [pair[0] for pair in chosen], [pair[1] for pair in chosen]
    results: dict[str, Any] = {"lines": len(chosen), "lines_with_items": len(with_items)}
    seconds: dict[str, list[float]] = {"protected": [], "unprotected": []}
    for _ in range(rounds):
        for name, protect in (("protected", True), ("unprotected", False)):
            begin = time.perf_counter()
            outputs, batches = _translate(translator, sources, protect)
            seconds[name].append(round(time.perf_counter() - begin, 3))
            results[name] = {"sentences": batches, **_scores(outputs, references, len(with_items))}
    return {**results, "seconds_raw": seconds}


def _translate(translator: Translator, sources: Sequence[str], protect: bool) -> tuple[list[str], list[int]]:
    """Translations, and how many different sentences were asked of the model in each round."""
    options = TextOptions(protect=protect, search=TranslationOptions(beam_size=4))
    prefix = translator.tokenizer.target_prefix
    sizes: list[int] = []

    def translate(batch: SourceBatch) -> Found:
        sizes.append(len(batch.sources))
        return translator.engine.translate(batch.sources, prefix, batch.options)

    translations = drive(work_on(sources, options, translator), translate)
    return [translation.text for translation in translations], sizes


def _scores(outputs: Sequence[str], references: Sequence[str], with_items: int) -> dict[str, float]:
    parts = {"": slice(None), "_with_items": slice(with_items), "_without_items": slice(with_items, None)}
    scores = {}
    for name, part in parts.items():
        if outputs[part]:
            scores[f"bleu{name}"] = round(sacrebleu.corpus_bleu(outputs[part], [references[part]]).score, 2)
            scores[f"chrf{name}"] = round(sacrebleu.corpus_chrf(outputs[part], [references[part]]).score, 2)
    return scores


if __name__ == "__main__":
    main()
