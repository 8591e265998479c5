"""Whether boosted probabilities tell better what needs editing: `python -m benchmarks.serving.boosted --store DIR ...`.

At each token they count all of the likely ones, of which several may be right (Dinh and Niehues 2025, by their library
boostedprob). Writes results/boosted.json: AUROC of 1 less the mean over tokens, boosted and plain, for
translations of the test set with greedy search, of which those with a sentence chrF below 50 need editing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from boostedprob import calculate_boostedprob

from benchmarks.common import Goal, versions, write_results
from fmalloc.corpus import EVERYTHING, Pair, read_corpus
from fmalloc.evaluation.evaluate import translate
from fmalloc.evaluation.significance import Statistics
from fmalloc.model.assembly import load_sliced
from fmalloc.model.text.batches import IGNORED, encode, ordered_batches
from fmalloc.store.store import Store
from fmalloc_export.checks.confidence import auroc
from fmalloc_shared.commands.command import Command

_BELOW = 50.0
_BATCH_TOKENS = 1024


@click.command(cls=Command)
@click.option("--store", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--corpora", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--lines", type=click.IntRange(min=20), default=300, show_default=True, help="Of each test set.")
def main(store: Path, corpora: Path, lines: int) -> None:
    """Measure it for every domain of a store, on real text."""
    opened, measured, goals = Store.open(store), {}, []
    for name in (task.name for task in opened.served()):
        pairs = read_corpus(corpora / name, opened.description.languages, EVERYTHING).test[:lines]
        measured[name] = found = _measure(opened, name, pairs)
        click.echo(f"{name}: {found}")
        gain = round(found["auroc"]["boosted"] - found["auroc"]["plain"], 4)
        goals.append(Goal(name=f"{name}: AUROC, boosted against plain", value=gain, goal="above 0", met=gain > 0))
    payload = {"versions": versions("torch", "boostedprob", "sacrebleu"), "below": _BELOW, "domains": measured}
    write_results("boosted", payload, goals)


def _measure(store: Store, name: str, pairs: Sequence[Pair]) -> dict[str, Any]:
    model, tokenizer = load_sliced(store, name)
    languages = store.description.languages
    sources, references = ([pair[side] for pair in pairs] for side in (0, 1))
    texts = translate(model, tokenizer, sources, languages, beam_size=1).texts
    wrong = Statistics.of("chrf", texts, references).sentences() < _BELOW
    told = [Pair(source, text) for source, text in zip(sources, texts, strict=True)]
    said = {kind: np.array(values) for kind, values in _means(model, tokenizer, told, languages).items()}
    return {
        "lines": len(pairs),
        "needs_editing": round(float(wrong.mean()), 4),
        "auroc": {kind: round(auroc(1 - values, wrong.astype(np.float64)), 4) for kind, values in said.items()},
    }


@torch.inference_mode()
def _means(model: Any, tokenizer: Any, pairs: Sequence[Pair], languages: Any) -> dict[str, list[float]]:
    """Of each pair the mean probability per target token, plain and boosted."""
    found: dict[str, list[float]] = {"plain": [], "boosted": []}
    for pair in pairs:
        examples = encode(tokenizer, [pair], languages, maximum_length=10_000).examples
        (batch,) = ordered_batches(examples, _BATCH_TOKENS, tokenizer.pad_token_id)
        logits = model(input_ids=batch.source, attention_mask=batch.source_mask, labels=batch.target).logits
        assert not bool((batch.target == IGNORED).any())
        log_probabilities = torch.log_softmax(logits.double(), dim=-1)
        plain = log_probabilities.gather(-1, batch.target[..., None]).exp()
        found["plain"].append(float(plain.mean()))
        found["boosted"].append(float(calculate_boostedprob(log_probabilities, batch.target).mean()))
    return found


if __name__ == "__main__":
    main()
