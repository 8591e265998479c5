"""What the defaults follow from: variants of fmalloc-private on one domain, by the dev NLL of their best state.

All learn the same batches in the same number of updates, at the rate that was chosen for the method, unless the variant
has another. The copy of the base that is fine-tuned is beside them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, get_args

from benchmarks.common import once
from benchmarks.experiment.rates import with_rates
from benchmarks.experiment.setting import Setting
from fmalloc.learning.preflight import read_inputs
from fmalloc.learning.run import Run
from fmalloc.methods.comparison.run import learn_once, make_method
from fmalloc.store.records import PrivateKind
from fmalloc_shared.commands.progress import console

COPY, OWN = "every parameter of a copy", "as in the experiment"
_SINGLE, _OWN = "single", "fmalloc-private"


@dataclass(frozen=True)
class Variant:
    """`changes`: what differs of the method's settings; those of learning in their own mapping."""

    name: str
    learning: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    method: str = _OWN


_KINDS = frozenset(get_args(PrivateKind))

VARIANTS = (
    Variant(COPY, method=_SINGLE),
    Variant(OWN),
    Variant("5 % freed", changes={"sparsity": 0.05}),
    Variant("10 % freed", changes={"sparsity": 0.1}),
    Variant("20 % freed", changes={"sparsity": 0.2}),
    Variant("general's cells as they are", {"private": sorted(_KINDS - {"feedforward"})}),
    Variant("embeddings of rank 16", {"private_embedding_rank": 16}),
    Variant("rank 8", {"private_rank": 8}),
    Variant("rank 32", {"private_rank": 32}),
    Variant("cells alone", {"private": []}),
    Variant("cells alone, 20 % freed", {"private": []}, {"sparsity": 0.2}),
    Variant("gates at a quarter of the rate", {"gate_learning_rate": 1e-2}),
)


def variants(
    setting: Setting, rates: Mapping[str, Mapping[str, Any]], updates: int, domain: str
) -> list[dict[str, Any]]:
    """Of each its `name`, `nll`, lowest dev NLL, `before` the first update, `bytes` of its state, `trained` parameters.

    `rates`: of `Search.of`, by method. What is finished in the work folder is not done again.
    """
    found, recipe = [], setting.alone(domain, updates)
    for one in VARIANTS:
        methods = with_rates(recipe, rates)
        own = methods.setdefault(one.method, {})
        own |= one.changes
        if one.learning:
            own["learning"] = own.get("learning", {}) | dict(one.learning)
        run = read_inputs(recipe.model_copy(update={"methods": methods}), setting.work, room=0)
        name = one.name.replace(" ", "-").replace(",", "").replace("%", "percent")
        path = setting.work / "defaults" / f"{domain}-{updates}" / name
        found.append({"name": one.name} | once(path / "found.json", partial(_measured, run, one, path)))
        console.print(str(found[-1]), markup=False)
    return found


def _measured(run: Run, one: Variant, path: Path) -> dict[str, Any]:
    learned = learn_once(make_method(run, one.method, path), run.recipe.tasks[0], ())
    return {
        "nll": min(point.nll for point in learned.curve),
        "before": learned.curve[0].nll,
        "bytes": learned.bytes,
        "trained": learned.trained_parameters,
    }
