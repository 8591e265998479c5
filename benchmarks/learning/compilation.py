"""Does torch.compile help? `python -m benchmarks.learning.compilation --base DIR --corpora DIR` (ten minutes).

Writes results/compilation.json: updates of our blocks, and of the same with every layer compiled, in turns. Batches are
those of learning, whose shapes differ.
"""

from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.common import Goal, versions, write_results
from benchmarks.learning.contenders import COMPILED, case_of
from benchmarks.learning.train import CASES, OURS, measure_speed
from fmalloc.model.devices import select
from fmalloc_shared.commands.command import Command


@click.command(cls=Command)
@click.option("--base", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--corpora", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--seconds", type=click.FloatRange(0), default=200.0, show_default=True, help="Of timing, per case.")
@click.option("--device", "kind", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
def main(base: Path, corpora: Path, seconds: float, kind: Any) -> None:
    """Measure updates per second with and without torch.compile."""
    torch.set_num_threads(1)
    device = select(kind)
    results: dict[str, Any] = {}
    goals: list[Goal] = []
    for name in CASES:
        torch.compiler.reset()
        results[name] = found = measure_speed(case_of(name, base, corpora), device, seconds, (OURS, COMPILED))
        speed = round(1 / found[COMPILED]["speed_of_blocks"], 3)
        goals.append({"name": f"speed of compiled blocks, {name}", "value": speed, "goal": "> 1", "met": speed > 1})
        click.echo(f"{name}: {speed} times as fast; first update {found[COMPILED]['first_seconds']} s")
    payload = {"device": str(device.torch), "results": results, "versions": versions("torch", "transformers")}
    write_results("compilation", payload, goals)


if __name__ == "__main__":
    main()
