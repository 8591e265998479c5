"""Which translations need editing, and how well that is told: `python -m benchmarks.serving.confidence --bundles DIR
--corpora DIR`.

Writes results/confidence.json. The test set of each live domain that has an estimate is translated by its bundle. A
translation needs editing if its sentence chrF is below the bundle's own number; neither the model nor the estimate has
seen the test set. Beside the estimate stands plain log-probability: 1 less the mean probability per token.
"""

from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.common import Goal, once, versions, write_results
from fmalloc.evaluation.significance import Statistics
from fmalloc_export.checks.confidence import auroc, calibration_error
from fmalloc_runtime.bundle.bundle import Bundle, LiveIndex
from fmalloc_runtime.live.translator import EngineSettings, Translator
from fmalloc_shared.commands.command import Command

_BINS = 10
_FIFTH = 5


@click.command(cls=Command)
@click.option("--bundles", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--corpora", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--lines", type=click.IntRange(min=20), default=300, show_default=True, help="Of each test set.")
@click.option("--work", type=click.Path(path_type=Path, file_okay=False), default=Path(".work/confidence"))
def main(bundles: Path, corpora: Path, lines: int, work: Path) -> None:
    """Measure estimates of what needs editing on real text. What a run finished for a bundle is kept in --work."""
    measured: dict[str, Any] = {}
    goals: list[Goal] = []
    for domain, name in sorted(LiveIndex.of(bundles).domains.items()):
        bundle, path = Bundle.open(bundles / name), corpora / domain / "test.tsv"
        if bundle.manifest.confidence and path.is_file():
            measured[domain] = once(work / f"{name}-{lines}.json", partial(_measure, bundle, path, lines))
            goals.extend(_goals(domain, measured[domain]))
            click.echo(f"{domain}: {measured[domain]['estimate']} plain {measured[domain]['plain']}")
    write_results("confidence", {"versions": versions("ctranslate2", "sacrebleu"), "domains": measured}, goals)


def _measure(bundle: Bundle, path: Path, lines: int) -> dict[str, Any]:
    confidence = bundle.manifest.confidence
    assert confidence
    translator = Translator.load(bundle, EngineSettings("cpu", intra_threads=1))
    pairs = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[:lines]]
    sources, references = ([pair[side] for pair in pairs] for side in (0, 1))
    found = translator.translate(sources)
    scores = Statistics.of("chrf", [one.text for one in found], references).sentences()
    wrong = (scores < confidence.below).astype(np.float64)
    likely = np.array([one.score for one in found], dtype=np.float64)
    estimates = np.array(
        [
            translator.needs_editing(source, one.text, score)
            for source, one, score in zip(sources, found, likely.tolist(), strict=True)
        ],
        dtype=np.float64,
    )
    manifest = confidence.model_dump(mode="json")
    return {
        "bundle": bundle.name,
        "lines": len(pairs),
        "manifest": {name: manifest[name] for name in ("below", "pairs", "share", "estimate", "plain")},
        "needs_editing": round(float(wrong.mean()), 4),
        "estimate": _reliability(estimates, wrong),
        "plain": _reliability(1 - np.exp(likely), wrong),
        "chrf_raw": [round(score, 1) for score in scores.tolist()],
        "estimates_raw": [round(estimate, 3) for estimate in estimates.tolist()],
        "log_probabilities_raw": [round(value, 4) for value in likely.tolist()],
    }


def _reliability(estimates: NDArray[np.float64], wrong: NDArray[np.float64]) -> dict[str, Any]:
    """AUROC, calibration error and its bins, and the share that needs editing of the most and least doubtful fifth."""
    order = np.argsort(estimates, kind="stable")
    fifth = len(order) // _FIFTH
    bins = np.minimum((estimates * _BINS).astype(np.int64), _BINS - 1)
    return {
        "auroc": round(auroc(estimates, wrong), 4),
        "calibration_error": round(calibration_error(estimates, wrong), 4),
        "most_doubtful_fifth": round(float(wrong[order[-fifth:]].mean()), 4),
        "least_doubtful_fifth": round(float(wrong[order[:fifth]].mean()), 4),
        "bins": [
            {
                "sentences": int((bins == index).sum()),
                "estimated": round(float(estimates[bins == index].mean()), 4),
                "needs_editing": round(float(wrong[bins == index].mean()), 4),
            }
            for index in sorted(set(bins.tolist()))
        ],
    }


def _goals(domain: str, found: dict[str, Any]) -> list[Goal]:
    ours, plain = found["estimate"], found["plain"]
    error, gain = ours["calibration_error"], round(ours["auroc"] - plain["auroc"], 4)
    return [
        Goal(name=f"{domain}: AUROC", value=ours["auroc"], goal="0.75 or more", met=ours["auroc"] >= 0.75),
        Goal(name=f"{domain}: AUROC against plain log-probability", value=gain, goal="0 or more", met=gain >= 0),
        Goal(name=f"{domain}: calibration error", value=error, goal="0.1 or less", met=error <= 0.1),
    ]


if __name__ == "__main__":
    main()
