"""The experiment: five domains on a real base, every method, both ends of the compiler.

`python -m benchmarks.experiment` writes results/experiment.json, of which `python -m benchmarks.experiment.page` makes
docs/experiment.md. Everything is kept below the work folder, so a killed run goes on; runs that the results have
already are not repeated.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click

from benchmarks.common import RESULTS, Goal, add_entry, once, versions
from benchmarks.experiment.defaults import VARIANTS, variants
from benchmarks.experiment.exposure import Exposure, exposure
from benchmarks.experiment.goals import goals
from benchmarks.experiment.neighbours import neighbours
from benchmarks.experiment.product import product
from benchmarks.experiment.rates import Search
from benchmarks.experiment.runs import Named, Runs, by_seed, wanted
from benchmarks.experiment.setting import RECIPE, Setting
from fmalloc.methods import METHODS
from fmalloc.methods.comparison.summary import summaries
from fmalloc.methods.comparison.table import comparison_table
from fmalloc.model.architectures import languages_of
from fmalloc_shared.commands.command import Command
from fmalloc_shared.commands.progress import console
from fmalloc_shared.errors import FmallocError

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
PARTS = ("rates", "methods", "defaults", "exposure", "neighbours", "product")
NAME, _COMPILED = "experiment", "fmalloc-private"


class _LackingError(FmallocError):
    """A part needs what another one makes."""


@click.command(cls=Command)
@click.option("--base", type=FOLDER, required=True, help="A model of any supported family.")
@click.option("--corpora", type=FOLDER, required=True, help="A folder per domain, with train, dev and test.")
@click.option("--work", type=click.Path(path_type=Path), default=Path(".work/experiment"), show_default=True)
@click.option("--recipe", type=click.Path(path_type=Path, exists=True), default=RECIPE, show_default=True)
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="Only this part; repeat it.")
@click.option("--methods", default=",".join(METHODS), help="Comma-separated; without it, all.")
@click.option("--orders", type=click.IntRange(1, 2), default=2, show_default=True, help="Of the domains.")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Of the main methods.")
@click.option("--updates", type=click.IntRange(1), help="Per domain, instead of the recipe's.")
@click.option("--tuning-updates", type=click.IntRange(1), default=80, show_default=True, help="Of each rate tried.")
@click.option("--variant-updates", type=click.IntRange(1), default=120, show_default=True, help="Of each variant.")
@click.option("--tuning-domain", default="law", show_default=True, help="Whose dev set decides on rates and variants.")
@click.option("--store", type=FOLDER, help="Compiled as the product.  [default: what fmalloc-private learned here]")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Runs at once.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, help="Folder of experiment.json.")
def main(
    base: Path,
    corpora: Path,
    work: Path,
    recipe: Path,
    parts: tuple[str, ...],
    methods: str,
    orders: int,
    seeds: int,
    updates: int | None,
    tuning_updates: int,
    variant_updates: int,
    tuning_domain: str,
    store: Path | None,
    jobs: int,
    results: Path,
) -> None:
    """Run what is missing, and write results/experiment.json."""
    setting = Setting(base, corpora, work, recipe, updates)
    names = [name.strip() for name in methods.split(",")]
    if unknown := sorted(set(names) - set(METHODS)):
        raise click.UsageError(f"--methods {unknown[0]}: expected some of {', '.join(METHODS)}")
    work.mkdir(parents=True, exist_ok=True)
    measures: dict[str, Callable[[], tuple[dict[str, Any], list[Goal]]]] = {
        "rates": lambda: _rates(Search(setting, tuning_updates, tuning_domain), names, results),
        "methods": lambda: _methods(setting, names, orders, seeds, jobs, results),
        "defaults": lambda: _defaults(setting, variant_updates, tuning_domain, results),
        "exposure": lambda: _exposure(setting),
        "neighbours": lambda: _neighbours(setting),
        "product": lambda: _product(setting, store),
    }
    for part in parts or PARTS:
        console.rule(part)
        try:
            payload, found = measures[part]()
        except _LackingError as error:
            if parts:
                raise
            console.print(f"left out: {error}", markup=False)
            continue
        console.print(f"wrote {add_entry(NAME, part, payload, found, directory=results)}")


def _rates(search: Search, names: list[str], results: Path) -> tuple[dict[str, Any], list[Goal]]:
    searched = {"base": search.setting.base.name, "updates": search.updates, "domain": search.domain}
    earlier = _entry(results, "rates")
    known = earlier["methods"] if searched.items() <= earlier.items() else {}
    return searched | {"methods": known | search.of(names, known)}, []


def _methods(
    setting: Setting, names: list[str], orders: int, seeds: int, jobs: int, results: Path
) -> tuple[dict[str, Any], list[Goal]]:
    rates = _rates_of(setting, names, results)
    earlier = _entry(results, "methods").get("runs", [])
    records = Runs(setting, rates, earlier).learn(wanted(names, orders, seeds), jobs)
    comparisons = by_seed(records)
    first = comparisons[min(comparisons)]
    console.print(comparison_table(first))
    return {
        "versions": versions("fmalloc", "torch", "transformers", "peft", "sacrebleu"),
        "runs": records,
        "summaries": {
            str(seed): [
                asdict(row) | {"mean_gain": row.mean_gain, "least_gain": row.least_gain} for row in summaries(one)
            ]
            for seed, one in comparisons.items()
        },
    }, goals(first)


def _defaults(setting: Setting, updates: int, domain: str, results: Path) -> tuple[dict[str, Any], list[Goal]]:
    found = variants(
        setting, _rates_of(setting, dict.fromkeys(one.method for one in VARIANTS), results), updates, domain
    )
    return {"base": setting.base.name, "updates": updates, "domain": domain, "variants": found}, []


def _exposure(setting: Setting) -> tuple[dict[str, Any], list[Goal]]:
    recipe = setting.read()
    languages = languages_of(recipe.base, recipe.languages.source, recipe.languages.target)

    def measured(domain: str) -> Exposure:
        return exposure(setting.corpora, [domain], languages)[domain]

    kept = setting.work / "exposure"
    names = [task.name for task in recipe.tasks]
    return {name: once(kept / f"{name}.json", partial(measured, name)) for name in names}, []


def _neighbours(setting: Setting) -> tuple[dict[str, Any], list[Goal]]:
    recipe, kept = setting.read(), setting.work / "neighbours"

    def measured(domain: str) -> dict[str, Any]:
        evaluation = recipe.evaluation
        return neighbours(
            setting.base,
            setting.corpora,
            domain,
            kept,
            beam_size=evaluation.beam_size,
            sentences=evaluation.sentences,
        )

    names = [task.name for task in recipe.tasks]
    return {name: once(kept / f"{name}.json", partial(measured, name)) for name in names}, []


def _product(setting: Setting, store: Path | None) -> tuple[dict[str, Any], list[Goal]]:
    store = store or Runs(setting, {}).store_of(Named(_COMPILED))
    if store is None:
        raise _LackingError(f"{setting.work}: no store that {_COMPILED} learned; say --store, or learn it here")
    sentences = setting.read().evaluation.sentences
    return product(store, setting.corpora, setting.work / "product", sentences=sentences), []


def _rates_of(setting: Setting, methods: Iterable[str], results: Path) -> dict[str, Any]:
    entry = _entry(results, "rates")
    rates: dict[str, Any] = entry.get("methods", {})
    asked = {name: rates[name] for name in methods if name in rates}
    standing = Search(setting, entry["updates"], entry["domain"]).standing(asked) if asked else {}
    if missing := [name for name in methods if name not in standing]:
        raise _LackingError(f"no rate of {', '.join(missing)} in {results}, with its settings: run --part rates first")
    return rates


def _entry(results: Path, part: str) -> dict[str, Any]:
    path = results / f"{NAME}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")).get(part, {}) if path.exists() else {}
    return found


if __name__ == "__main__":
    main()
