"""What freeing a domain leaves of it: `python -m benchmarks.lifecycle.free --store DIR --corpora DIR` (half an hour).

A copy of the store grows, learns a domain from few pairs, so that it remembers them well, and frees it. Before and
after, every model of the store is attacked: by its losses, does it tell the pairs that were learned from others of the
same corpus? Writes results/lifecycle.json; a run that was stopped goes on.
"""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from benchmarks.common import Goal, once, versions, write_results
from benchmarks.lifecycle.attack import attack
from fmalloc.corpus import EVERYTHING, Pair, read_corpus
from fmalloc.evaluation.likelihood import losses
from fmalloc.lifecycle.freeing import certificate_of, complete, free
from fmalloc.model.assembly import load_sliced
from fmalloc.recipe import Recipe
from fmalloc.store.store import Store, writing
from fmalloc.train import learn_tasks
from fmalloc_shared.commands.command import Command
from fmalloc_shared.files import sha256_files
from fmalloc_shared.names import GENERAL

_WORK = Path(".work/lifecycle")
_CANARY = "canary"
_CELLS = 256
_NEAR = 0.02
# What writers use, and what a freeing writes.
_OWN = ("head.json", "freed/", ".lock", ".work/")


@click.command(cls=Command)
@click.option("--store", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--corpora", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--domain", default="medical", show_default=True, help="Folder of the corpora to learn from.")
@click.option("--pairs", default=1000, show_default=True, help="How many are learned, and how many are not.")
@click.option("--updates", default=180, show_default=True, help="Of the parameters, a multiple of 60.")
@click.option("--work", default=_WORK, type=click.Path(path_type=Path), show_default=True)
@click.option("--name", default="lifecycle", show_default=True, help="Of the file in results/.")
def main(store: Path, corpora: Path, domain: str, pairs: int, updates: int, work: Path, name: str) -> None:
    """Learn, attack, free, attack."""
    torch.set_num_threads(1)
    members, others = _texts(corpora / domain, pairs)
    own = work / "store"
    if not (work / "ready").exists():
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(store, own)
        (own / ".lock").unlink(missing_ok=True)
        with writing(own):
            Store.open(own).grow(_CELLS, seed=1)
        (work / "ready").touch()
    never = once(work / "never.json", lambda: _files(own))
    learned = once(work / "learned.json", lambda: _learn(own, corpora, work, members, others, updates))
    before = once(work / "before.json", lambda: _attacks(Store.open(own), members, others))
    freed = once(work / "freed.json", lambda: _free(own))
    after = once(work / "after.json", lambda: _attacks(Store.open(own), members, others))
    same = _files(own) == never
    goals = _goals(before, after, same)
    payload = {
        "store": {"cells": _CELLS, "tasks": sorted(set(after) - {GENERAL})},
        "domain": {"corpus": domain, "learned": len(members), "not_learned": len(others), **learned},
        "before": before,
        "after": after,
        "freed": freed,
        "files_equal_to_never_learned": same,
        "versions": versions("torch", "transformers"),
    }
    click.echo(json.dumps({"before": before, "after": after, "goals": goals}, indent=1))
    write_results(name, payload, goals)


def _texts(folder: Path, count: int) -> tuple[list[Pair], list[Pair]]:
    """Pairs to learn, and as many from the same corpus that are not, drawn at random."""
    from fmalloc_shared.languages import LanguagePair

    corpus = read_corpus(folder, LanguagePair("de", "en"), EVERYTHING)
    drawn = np.random.default_rng(1).permutation(len(corpus.train))[: 2 * count]
    chosen = [corpus.train[index] for index in drawn]
    return chosen[:count], chosen[count:]


def _learn(store: Path, corpora: Path, work: Path, members: list[Pair], others: list[Pair], updates: int) -> Any:
    description = Store.open(store).description
    folder = work / "text"
    folder.mkdir(exist_ok=True)
    for part, chosen in (("train", members), ("dev", others[:100]), ("test", others[100:200])):
        lines = (f"{pair.source}\t{pair.target}\n" for pair in chosen)
        (folder / f"{part}.tsv").write_text("".join(lines), encoding="utf-8")
    recipe = Recipe.model_validate(
        {
            "base": str(store / "base"),
            "general": str(corpora / GENERAL),
            "store": str(store),
            "sparsity": description.sparsity,
            "device": "cpu",
            "languages": {"source": "de", "target": "en"},
            "samples": 20,
            "evaluation": {"beam_size": 1, "sentences": 50},
            "learning": {
                "updates": updates,
                "batch_tokens": 1024,
                "learning_rate": 3e-3,
                "gate_learning_rate": 0.04,
                "warmup_updates": 20,
                "anneal_updates": 60,
                "gates": "open",
                "share": 0.5,
                "reads": GENERAL,
                "private": ["norms", "biases", "attention", "embeddings", "output"],
                "private_rank": 16,
                "private_learning_rate": 2e-3,
                "label_smoothing": 0.0,
                "maximum_length": 128,
                "validate_every": 60,
                "validation_pairs": 100,
                "validation_sentences": 0,
                "select_by": "nll",
                "patience": 100,
                "seed": 1,
            },
            "tasks": [{"name": _CANARY, "data": str(folder)}],
        }
    )
    began = time.monotonic()
    learned = learn_tasks(recipe)
    record = learned.task(_CANARY)
    return {
        "updates": updates,
        "kept_update": record.selected.update if record.selected else None,
        "seconds": round(time.monotonic() - began),
        "cells": sum(learned.cells().count(record.order).values()),
    }


def _attacks(store: Store, members: list[Pair], others: list[Pair]) -> dict[str, Any]:
    """By model of the store, both attacks; the reference is the general model."""
    names = [GENERAL, *(task.name for task in store.tasks())]
    languages = store.description.languages
    found = {}
    for name in names:
        model, tokenizer = load_sliced(store, name)
        found[name] = [losses(model, tokenizer, pairs, languages) for pairs in (members, others)]
    reference = found[GENERAL]
    return {
        name: {
            "nll": [round(float(np.nanmean(values)), 4) for values in (learned, unseen)],
            "loss_threshold": attack(-learned, -unseen),
            "likelihood_ratio": attack(reference[0] - learned, reference[1] - unseen),
        }
        for name, (learned, unseen) in found.items()
    }


def _free(path: Path) -> dict[str, Any]:
    began = time.monotonic()
    with writing(path):
        store = Store.open(path)
        complete(store)
        store.verify()
        certificate = certificate_of(store, [_CANARY], ())
        free(store, certificate)
        store.verify()
    return {
        "seconds": round(time.monotonic() - began, 2),
        "rows_searched": certificate.rows_searched,
        "bytes_searched": certificate.bytes_searched,
        "bytes": certificate.freed[0].bytes,
    }


def _files(store: Path) -> dict[str, str]:
    return {name: digest for name, digest in sha256_files(store).items() if not name.startswith(_OWN)}


def _goals(before: dict[str, Any], after: dict[str, Any], same: bool) -> list[Goal]:
    goals: list[Goal] = []
    for kind in ("loss_threshold", "likelihood_ratio"):
        words = kind.replace("_", " ")
        value = before[_CANARY][kind]["auc"]
        goals.append({"name": f"AUC of {words} before", "value": value, "goal": "> 0.52", "met": value > 0.5 + _NEAR})
        worst = max((after[name][kind]["auc"] for name in after), key=lambda found: abs(found - 0.5))
        near = abs(worst - 0.5) <= _NEAR
        goals.append({"name": f"AUC of {words} after, worst model", "value": worst, "goal": "0.50 ± 0.02", "met": near})
    equal = "files but head.json and the certificate equal those of a store that never learned it"
    goals.append({"name": equal, "value": same, "goal": "true", "met": same})
    return goals


if __name__ == "__main__":
    main()
