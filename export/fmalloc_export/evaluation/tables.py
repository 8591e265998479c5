"""The results of fmalloc eval as tables."""

from collections.abc import Callable

from rich.table import Column, Table
from rich.text import Text

from fmalloc_export.evaluation.results import ModelScore, Results
from fmalloc_shared.commands.terminal import Terminal

_LABELS = {"bleu": "BLEU", "chrf": "chrF", "nll": "NLL"}
_MISSING = "–"


def print_results(results: Results, console: Terminal | None = None) -> None:
    """Print tables of scores and of differences to standard output."""
    console = console or Terminal(markup=False)
    metrics = [name for name in _LABELS if any(getattr(score, name) is not None for score in results.scores)]
    if len(results.tests) == 1:
        (test,) = results.tests
        console.print(_table(f"{test}, {_size(results, test)}", results, [(test, metric) for metric in metrics]))
    else:
        for metric in metrics:
            title = f"{_LABELS[metric]} of each model on each test set"
            console.print(_table(title, results, [(test, metric) for test in results.tests]))
    if results.differences:
        console.print(_differences(results))
    for note in _notes(results):
        console.print(note, soft_wrap=True, highlight=False, markup=False)


def _table(title: str, results: Results, columns: list[tuple[str, str]]) -> Table:
    """Rows of models, columns of (test set, metric); the best of each column is bold."""
    scores = {(score.model, score.test): score for score in results.scores}
    one_test = len(results.tests) == 1
    names = (_LABELS[metric] if one_test else test for test, metric in columns)
    table = Table("model", *(Column(name, justify="right") for name in names), title=title)
    best = {
        column: _best([score for score in results.scores if score.test == column[0]], column[1]) for column in columns
    }
    for model in dict.fromkeys(score.model for score in results.scores):
        cells = []
        for test, metric in columns:
            shown = _shown(scores[model, test], metric)
            is_best = getattr(scores[model, test], metric) == best[test, metric]
            cells.append(Text(shown, style="bold") if is_best and len(results.models) > 1 else shown)
        table.add_row(model, *cells)
    return table


def _best(scores: list[ModelScore], metric: str) -> float | None:
    values = [value for score in scores if (value := getattr(score, metric)) is not None]
    choose: Callable[..., float | None] = min if metric == "nll" else max
    return choose(values, default=None)


def _shown(score: ModelScore, metric: str) -> str:
    if metric == "nll":
        return _MISSING if score.nll is None else f"{score.nll:.3f}"
    low, high = score.bleu_interval if metric == "bleu" else score.chrf_interval
    return f"{getattr(score, metric):.2f} ±{(high - low) / 2:.2f}"


def _differences(results: Results) -> Table:
    """One row per model, test set and metric; the title names what all are compared with, if it is the same."""
    sides = {found.against for found in results.differences}
    places = {found.against.removesuffix(f":{found.model}") for found in results.differences}
    common = next((name for names in (sides, places) if len(names) == 1 for name in names), None)
    title = f"Difference from {common}, paired bootstrap" if common else "Differences, paired bootstrap"
    titles = ("model", *(() if common else ("against",)), "test", "metric")
    numbers = (Column(name, justify="right", no_wrap=True) for name in ("difference", "95 % interval", "p"))
    table = Table(*titles, *numbers, title=title)
    for found in results.differences:
        low, high = found.interval
        against = () if common else (found.against,)
        interval = rf"\[{low:+.2f}, {high:+.2f}]"
        p_value = f"{found.p_value:.3f}" if found.p_value >= 0.001 else "< 0.001"
        name = _LABELS[found.metric]
        table.add_row(found.model, *against, found.test, name, f"{found.difference:+.2f}", interval, p_value)
    return table


def _size(results: Results, test: str) -> str:
    found = results.tests[test]
    return f"{found.pairs} {'dev samples' if found.samples else 'sentences'}"


def _notes(results: Results) -> list[str]:
    notes = [f"{_LABELS[metric]}: {signature}" for metric, signature in sorted(results.signatures.items())]
    if len(results.tests) > 1:
        notes.insert(0, ", ".join(f"{test}: {_size(results, test)}" for test in results.tests))
    if any(test.samples for test in results.tests.values()):
        notes.append("Dev samples of the store: learning used them for model selection. Name a test set with --test.")
    if results.kind == "bundles":
        notes.append("Bundles as the server runs them: one sentence per line, nothing in it protected, no NLL.")
    return notes
