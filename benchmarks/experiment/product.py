"""From a learned store to the product: compiled, packed and routed, on full test sets of real text.

It can be run alone; `--results` adds an entry `product` to experiment.json there. `product` returns, for JSON:

    compiled                        as of benchmarks.experiment.compiled: quality and size of every level and type
    packed.LABEL                    all domains at -O0, by their label there: megabytes of `one_bundle` on average, of
                                    `domains` of them `plain` and `packed`; `in_bundles`: packed, in units of one
    routed.LABEL                    as of benchmarks.experiment.routed: mixed documents, and what a wrong domain costs
"""

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from benchmarks.common import RESULTS, add_entry, once
from benchmarks.experiment.compiled import LEVELS, TYPES, Build, compiled, folder_of
from benchmarks.experiment.routed import check_routable, routed
from fmalloc.store.chain.versions import domain_of
from fmalloc.store.store import Store
from fmalloc_export.bundles.inventory import Inventory
from fmalloc_export.bundles.pack import pack
from fmalloc_export.bundles.publish import bundle_paths, writing
from fmalloc_runtime.bundle.bundle import Bundle, LiveIndex
from fmalloc_shared.commands.command import Command
from fmalloc_shared.commands.progress import console

# What is packed and routed, among what is compiled.
_SERVED = tuple(Build("O0", "ctranslate2", quantization) for quantization in ("float32", "int8"))


def product(
    store: Path,
    corpora: Path,
    work: Path,
    *,
    domains: Sequence[str] = (),
    sentences: int | None = None,
    misrouted: int = 200,
    beam_size: int = 4,
    **compilation: Any,
) -> dict[str, Any]:
    """Everything, of `domains`, general among them (none named: all); parameters as of `routed` and of `compiled`.

    What is finished in `work` is not done again. Only types at -O0 in CTranslate2 are packed and routed.
    """
    check_routable([domain_of(task) for task in Store.open(store).chosen(domains)])
    of: dict[str, Any] = {"domains": domains, "sentences": sentences, "beam_size": beam_size}
    found = compiled(store, corpora, work, **of, **compilation)
    rows = [row["label"] for one in found["domains"].values() for row in one["bundles"]]
    served = {build.label: folder_of(work, build) for build in _SERVED if build.label in rows}
    return {
        "compiled": found,
        "packed": {label: _packed(bundles, work / "packed") for label, bundles in served.items()},
        "routed": {
            label: routed(
                bundles, corpora, work / "routed", sentences=sentences, misrouted=misrouted, beam_size=beam_size
            )
            for label, bundles in served.items()
        },
    }


def _packed(bundles: Path, work: Path) -> dict[str, Any]:
    """Megabytes of the live bundles, plain and packed; they are packed in a copy."""
    live = sorted(LiveIndex.of(bundles).domains.values())
    name = "-".join((bundles.name, *(bundle.partition("@")[2] for bundle in live)))
    found: dict[str, Any] = once(work / f"{name}.json", partial(_pack_copy, bundles, live, work / bundles.name))
    return found


def _pack_copy(bundles: Path, live: Sequence[str], copy: Path) -> dict[str, Any]:
    shutil.rmtree(copy, ignore_errors=True)
    try:
        for bundle in live:
            shutil.copytree(bundles / bundle, copy / bundle)
        with writing(copy):
            plain = Inventory.of(copy)
            pack(copy, [Bundle.open(path) for path in bundle_paths(copy)])
        found = Inventory.of(copy)
    finally:
        shutil.rmtree(copy, ignore_errors=True)
    console.print(f"{bundles.name}: {plain.plain / 1e6:.1f} MB, packed {found.disk / 1e6:.1f} MB", markup=False)
    return {
        "domains": len(found.entries),
        "one_bundle": plain.plain / len(plain.entries) / 1e6,
        "plain": plain.plain / 1e6,
        "packed": found.disk / 1e6,
        "in_bundles": found.ratio,
    }


FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command(cls=Command)
@click.option("--store", type=FOLDER, required=True, help="A memory store that learned domains.")
@click.option("--corpora", type=FOLDER, required=True, help="A folder per domain, with train, dev and test.")
@click.option("--work", type=click.Path(path_type=Path), default=Path(".work/experiment/product"))
@click.option("--domain", "domains", multiple=True, help="Of the store; repeat it.  [default: general and all]")
@click.option("--level", "levels", type=click.Choice(LEVELS), multiple=True, default=LEVELS, show_default=True)
@click.option("--type", "types", type=(str, str), multiple=True, default=TYPES, help="Engine and type; repeat it.")
@click.option("--sentences", type=click.IntRange(1), help="The first of each test set.  [default: all]")
@click.option("--misrouted", type=click.IntRange(1), default=200, help="Lines per cell of the matrix of wrong domains.")
@click.option("--beam-size", type=click.IntRange(1), default=4)
@click.option("--keep", type=float, help="-O2: share of the cells, instead of the smallest that is good enough.")
@click.option("--results", type=click.Path(path_type=Path), default=RESULTS, help="Folder of experiment.json.")
def main(store: Path, corpora: Path, work: Path, results: Path, **settings: Any) -> None:
    """Compile, pack and route what a store learned, and measure what each costs."""
    path = add_entry("experiment", "product", product(store, corpora, work, **settings), (), directory=results)
    console.print(f"wrote {path}", markup=False)


if __name__ == "__main__":
    main()
