"""Do sentences of a batch change each other's translations? `python -m benchmarks.serving.independence`, see --help.

Writes results/independence.json. A domain's test sentences are translated alone, in batches of sixteen as they come,
and in batches of equally long ones, by every engine and type of weights: how many translations differ from those alone,
and by how much scores do. Three minutes on one core.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.common import Goal, versions, write_results
from fmalloc.corpus import read_pairs
from fmalloc.store.store import Store
from fmalloc_export.bundles.publish import writing
from fmalloc_export.domain.domain import Domain
from fmalloc_export.options import Options
from fmalloc_export.publication import export_domain
from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_runtime.engines.base import Hypothesis, TranslationOptions
from fmalloc_runtime.live.translator import EngineSettings, Translator
from fmalloc_shared.commands.command import Command

_KINDS = tuple((engine, weights) for engine in ("ctranslate2", "onnx") for weights in ("float32", "int8"))
_BATCH = 16


@click.command(cls=Command)
@click.option("--store", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--corpora", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--task", default="it", show_default=True)
@click.option("--sentences", type=click.IntRange(min=1), default=300, show_default=True)
def main(store: Path, corpora: Path, task: str, sentences: int) -> None:
    """Count translations that depend on their batch."""
    learned = Store.open(store)
    pairs = read_pairs(corpora / task / "test", learned.description.languages)[:sentences]
    found: dict[str, Any] = {}
    goals: list[Goal] = []
    for engine, weights in _KINDS:
        name = f"{engine} {weights}"
        with tempfile.TemporaryDirectory() as folder, writing(Path(folder)):
            bundle = export_domain(Domain.load(learned, task), Path(folder), Options(engine, weights), live=False).path
            translator = Translator.load(Bundle.open(bundle), EngineSettings("cpu", intra_threads=1))
            found[name] = measure(translator, [translator.encode(pair.source) for pair in pairs])
        click.echo(f"{name}: {found[name]}")
        mixing = found[name]["mixing"]
        changed = found[name]["mixed" if mixing == "any" else mixing]["changed"]
        goals.append(
            {"name": f"{name}: changed in the server's batches", "value": changed, "goal": "0", "met": changed == 0}
        )
    payload = {"versions": versions("ctranslate2", "onnxruntime"), "sentences": len(pairs), "engines": found}
    write_results("independence", payload, goals)


def measure(translator: Translator, sources: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Translations that differ from those alone, by the way to make batches."""
    positions = range(len(sources))
    alone = _translated(translator, sources, [[position] for position in positions])
    results: dict[str, Any] = {"mixing": translator.engine.mixing}
    for name, batches in (
        ("mixed", _batches([list(positions)])),
        ("equal", _batches([[p for p in positions if len(sources[p]) == n] for n in sorted(set(map(len, sources)))])),
    ):
        pairs = list(zip(alone, _translated(translator, sources, batches), strict=True))
        same = [abs(one.score - other.score) for one, other in pairs if one.tokens == other.tokens]
        results[name] = {
            "changed": len(pairs) - len(same),
            "largest_difference_of_scores": max(same, default=None),
            "sentences_a_batch": round(len(sources) / len(batches), 1),
        }
    return results


def _batches(groups: Sequence[Sequence[int]]) -> list[Sequence[int]]:
    return [group[start : start + _BATCH] for group in groups for start in range(0, len(group), _BATCH)]


def _translated(
    translator: Translator, sources: Sequence[Sequence[str]], batches: Sequence[Sequence[int]]
) -> list[Hypothesis]:
    found: dict[int, Hypothesis] = {}
    prefix, options = translator.tokenizer.target_prefix, TranslationOptions(beam_size=4)
    for batch in batches:
        hypotheses = translator.engine.translate([sources[position] for position in batch], prefix, options)
        found |= {position: best for position, (best, *_) in zip(batch, hypotheses, strict=True)}
    return [found[position] for position in range(len(sources))]


if __name__ == "__main__":
    main()
