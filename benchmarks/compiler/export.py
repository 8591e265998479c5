"""What the compiler keeps of quality: every level, engine and type of weights, and compact-cells against other ways.

Of a store that `make real` learned; speed and size are the scoreboard's. Every part is kept below `--work`, so that a
killed run goes on where it stopped. Writes results/export.json.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from benchmarks.common import Goal, once, versions, write_results
from benchmarks.compiler.compaction import study
from benchmarks.compiler.learned import measure_real
from fmalloc.store.store import Store
from fmalloc_shared.commands.progress import console


def goals(results: Mapping[str, Any]) -> list[Goal]:
    """What the compiler is meant to reach."""
    found: list[Goal] = []
    for task, rows in results["real"].items():
        models = rows["models"]
        lost = models["O0, ctranslate2 float32"]["bleu"] - models["O2, ctranslate2 int8"]["bleu"]
        name = f"{task}: BLEU that -O2 int8 loses on the test set"
        found.append({"name": name, "value": round(lost, 2), "goal": "<= 0.3", "met": lost <= 0.3})
    for task, rows in results["compaction"].items():
        half = {row["how"]: row["nll"] - rows["whole"]["nll"] for row in rows["cut"] if row["keep"] == 0.25}
        for name, value, least in (
            ("without the refit, in units of with it", half["no refit"] / half["compact"], 2),
            ("by chance, in units of our choice without refit", half["random"] / half["no refit"], 1),
        ):
            title = f"{task}, 25 % of the cells: NLL lost {name}"
            found.append({"name": title, "value": round(value, 2), "goal": f">= {least}", "met": value >= least})
    return found


@click.command()
@click.option("--store", "store_path", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--corpora", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path(".work/export"))
def main(store_path: Path, corpora: Path, work: Path) -> None:
    """Measure the compiler."""
    store = Store.open(store_path)
    results = {
        "compaction": once(work / "compaction.json", lambda: study(store, corpora)),
        "real": once(work / "real.json", lambda: measure_real(store, corpora, work / "real")),
    }
    payload = {**results, "versions": versions("torch", "transformers", "ctranslate2", "onnxruntime", "sacrebleu")}
    console.print(f"wrote {write_results('export', payload, goals(results))}")


if __name__ == "__main__":
    main()
