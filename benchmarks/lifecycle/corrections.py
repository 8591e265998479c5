"""A domain that is corrected every day: `python -m benchmarks.lifecycle.corrections --store DIR --corpora DIR`.

A copy of the store grows and learns a domain from some of its text. The rest of that text then comes as post-edits, so
many a day, a tenth of them garbage. Every night `fmalloc correct` learns from what came since a version last passed its
gate; beside it, the same model is fine-tuned as a whole on the day's file, and a third model stays as it was. Writes
the entry `corrections` of results/lifecycle.json, or another; a run that was stopped goes on.
"""

import json
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.common import Goal, add_entry, once, versions
from benchmarks.lifecycle.post_edits import KINDS, LANGUAGES, Plan, prepare, write
from fmalloc.corpus import EVERYTHING, Pair, read_corpus, read_pairs
from fmalloc.corpus.report import Tally
from fmalloc.evaluation.evaluate import nll_of, translate
from fmalloc.evaluation.evaluate import score as scored
from fmalloc.lifecycle.corrections.correct import Request, correct, gathered
from fmalloc.lifecycle.free import free_tasks
from fmalloc.model.assembly import load_sliced, trainable_parameters
from fmalloc.model.objective import smoothed_loss
from fmalloc.model.text.batches import TrainingBatches, encode
from fmalloc.recipe import Recipe
from fmalloc.store.chain.versions import domain_of
from fmalloc.store.store import Store, writing
from fmalloc.train import learn_tasks
from fmalloc_shared.commands.command import Command
from fmalloc_shared.files import sha256_files
from fmalloc_shared.names import GENERAL

_PATH = click.Path(path_type=Path, file_okay=False)
_ENTRY = "corrections"
_BATCH_TOKENS = 1024
_REPLAY = 4  # pairs per correction
_TUNING_RATE = 2e-4
_PRIVATE = ["norms", "biases", "attention", "embeddings", "output"]


@click.command(cls=Command)
@click.option("--store", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--corpora", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--domain", default="it", show_default=True, help="Folder of the corpora; not in the store yet.")
@click.option("--days", default=10, show_default=True)
@click.option("--per-day", default=100, show_default=True, help="Post-edits a day, garbage among them.")
@click.option("--known", default=1000, show_default=True, help="Pairs that the first version learns.")
@click.option("--first-updates", default=120, show_default=True, help="That it learns them in.")
@click.option("--updates", default=30, show_default=True, help="Of the parameters, each night.")
@click.option("--rate-scale", default=0.1, show_default=True, help="As of `fmalloc correct`.")
@click.option("--sentences", default=150, show_default=True, help="Of each test that is translated.")
@click.option("--cells", default=512, show_default=True, help="That the store grows by, per layer.")
@click.option("--work", default=Path(".work/corrections"), type=_PATH, show_default=True)
@click.option("--name", default="lifecycle", show_default=True, help="Of the file in results/.")
@click.option("--entry", default=_ENTRY, show_default=True, help="Of that file.")
def main(name: str, entry: str, **settings: Any) -> None:
    """Learn, correct, compare."""
    torch.set_num_threads(1)
    plan = Plan(**settings)
    test, days = prepare(plan)
    first = once(plan.work / "first.json", lambda: _first(plan, test))
    nights, waiting = [], list[tuple[Pair, str]]()
    for number, rows in enumerate(days, start=1):
        waiting += rows
        write(plan.work / f"day-{number}", [pair for pair, _ in rows])
        night = once(plan.work / f"night-{number}.json", partial(_night, plan, number, tuple(waiting), test))
        if night["passed"]:
            waiting.clear()
        tuned = once(plan.work / f"tuned-{number}.json", partial(_tune, plan, plan.work / f"day-{number}", test))
        nights.append({**night, "tuned": tuned})
        click.echo(json.dumps(nights[-1], ensure_ascii=False))
    payload = {
        "domain": plan.domain,
        "known": plan.known,
        "per_day": plan.per_day,
        "garbage": KINDS,
        "first_updates": plan.first_updates,
        "updates": plan.updates,
        "rate_scale": plan.rate_scale,
        "first": first,
        "nights": nights,
        "versions": versions("torch", "transformers"),
    }
    goals = _goals(first, nights)
    if entry != _ENTRY:  # goals of one file have names of their own
        goals = [{**goal, "name": f"{entry}: {goal['name']}"} for goal in goals]
    add_entry(name, entry, payload, goals)


def _first(plan: Plan, test: list[Pair]) -> dict[str, Any]:
    """Copy the store, let it grow, and learn the domain's first version."""
    shutil.rmtree(plan.own, ignore_errors=True)
    shutil.copytree(plan.store, plan.own)
    (plan.own / ".lock").unlink(missing_ok=True)
    with writing(plan.own):
        Store.open(plan.own).grow(plan.cells, seed=1)
    began = time.monotonic()
    learn_tasks(_recipe(plan))
    seconds = round(time.monotonic() - began)
    store = Store.open(plan.own)
    model, tokenizer = load_sliced(store, plan.domain)
    torch.save(model.state_dict(), plan.work / "tuned.pt")
    return {
        "seconds": seconds,
        "score": _score(model, tokenizer, test),
        "others_nll": _others(plan),
        "its_own_nll_on_others": _others(plan, model, tokenizer),
    }


def _recipe(plan: Plan) -> Recipe:
    description = Store.open(plan.own).description
    learning = {
        "updates": plan.first_updates,
        "batch_tokens": _BATCH_TOKENS,
        "learning_rate": 3e-3,
        "gate_learning_rate": 0.04,
        "warmup_updates": plan.first_updates // 4,
        "anneal_updates": plan.first_updates // 2,
        "validate_every": plan.first_updates // 2,
        "gates": "open",
        "share": 0.25,
        "private": _PRIVATE,
        "private_rank": 16,
        "private_learning_rate": 2e-3,
        "maximum_length": 128,
        "validation_pairs": 100,
        "validation_sentences": 0,
        "select_by": "nll",
    }
    return Recipe.model_validate(
        {
            "base": str(plan.own / "base"),
            "general": str(plan.text),
            "store": str(plan.own),
            "sparsity": description.sparsity,
            "device": "cpu",
            "languages": {"source": "de", "target": "en"},
            "evaluation": {"beam_size": 1, "sentences": 20},
            "learning": learning,
            "tasks": [{"name": plan.domain, "data": str(plan.text)}],
        }
    )


def _night(plan: Plan, number: int, rows: tuple[tuple[Pair, str], ...], test: list[Pair]) -> dict[str, Any]:
    """What `correct` made of the rows that wait, and what that cost the others."""
    file = plan.work / f"night-{number}"
    write(file, [pair for pair, _ in rows])
    request = Request(
        plan.own, plan.domain, file, plan.text, plan.updates, plan.rate_scale, sentences=100, beam_size=1, device="cpu"
    )
    store = Store.open(plan.own)
    before, files = store.resolve(plan.domain), _files(plan.own)
    material = gathered(request, store, before, Tally())
    past = {*material.learned, *material.held_out}
    began = time.monotonic()
    verdict = correct(request)
    seconds = round(time.monotonic() - began)
    assert verdict is not None
    after = _files(plan.own)
    if verdict.passed and number > 1:
        _drop(plan.own, before)  # the night before last: its cells are needed
    model, tokenizer = load_sliced(Store.open(plan.own), Store.open(plan.own).resolve(plan.domain))
    return {
        "day": number,
        "waiting": len(rows),
        "seconds": {"correct": seconds, **verdict.seconds},
        "passed": verdict.passed,
        "criteria": {criterion.name: criterion.says for criterion in verdict.criteria},
        "garbage": sum(kind != "" for _, kind in rows),
        "garbage_let_in": [kind for pair, kind in rows if kind and pair in past],
        "sound_refused": sum(kind == "" and pair not in past for pair, kind in rows),
        "others_changed": sorted(name for name, digest in files.items() if after.get(name) != digest),
        "corrected": _score(model, tokenizer, test),
    }


def _drop(store: Path, name: str) -> None:
    free_tasks(store, [name], cascade=False, dry_run=False, ask=None, output=None, bundles=None)


def _tune(plan: Plan, file: Path, test: list[Pair]) -> dict[str, Any]:
    """Fine-tune all parameters on the day's file and as much of the domain's text as `correct` replays."""
    began = time.monotonic()
    store = Store.open(plan.own)
    model, tokenizer = load_sliced(store, plan.domain)  # of the first version, whose shape the tuned one has
    model.load_state_dict(torch.load(plan.work / "tuned.pt"))
    day = read_pairs(file, LANGUAGES)
    text = [*day, *read_pairs(plan.text / "train", LANGUAGES)[: _REPLAY * len(day)]]
    examples = encode(tokenizer, text, LANGUAGES, maximum_length=128).examples
    batches = TrainingBatches(examples, _BATCH_TOKENS, tokenizer.pad_token_id, seed=1)
    parameters = trainable_parameters(model)
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(parameters.values(), lr=_TUNING_RATE, betas=(0.9, 0.98))
    model.train()
    for update in range(plan.updates):
        optimizer.zero_grad()
        smoothed_loss(model, batches.batch(update), 0.1).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    model.eval()
    torch.save(model.state_dict(), plan.work / "tuned.partial")
    (plan.work / "tuned.partial").replace(plan.work / "tuned.pt")
    seconds = round(time.monotonic() - began)
    return {"seconds": seconds, "score": _score(model, tokenizer, test), "others_nll": _others(plan, model, tokenizer)}


def _score(model: Any, tokenizer: Any, test: list[Pair]) -> dict[str, Any]:
    """BLEU, chrF and NLL of the domain's test."""
    texts = translate(model, tokenizer, [pair.source for pair in test], LANGUAGES, beam_size=1).texts
    found = scored(texts, [pair.target for pair in test]).score
    nll = nll_of(model, tokenizer, test, LANGUAGES)
    assert nll is not None
    return {"bleu": round(found.bleu, 2), "chrf": round(found.chrf, 2), "nll": round(nll, 4)}


def _others(plan: Plan, model: Any = None, tokenizer: Any = None) -> dict[str, float]:
    """NLL of each other domain's test: by this model, or by the store's own of that domain."""
    store, found = Store.open(plan.own), {}
    for name in (GENERAL, *(task.name for task in store.tasks() if domain_of(task.name) != plan.domain)):
        pairs = read_corpus(plan.corpora / name, LANGUAGES, EVERYTHING).test[: plan.sentences]
        of = (model, tokenizer) if model is not None else load_sliced(store, name)
        nll = nll_of(*of, pairs, LANGUAGES)
        assert nll is not None
        found[name] = round(nll, 4)
    return found


def _files(store: Path) -> dict[str, str]:
    """Digests of all that is not of the domain that is corrected, nor of the store's own records."""
    own = ("head.json", "current/", "freed/", ".lock", ".work/")
    return {name: digest for name, digest in sha256_files(store).items() if not name.startswith(own)}


def _goals(first: dict[str, Any], nights: list[dict[str, Any]]) -> list[Goal]:
    start, last = first["score"], nights[-1]
    changed = sum(len(night["others_changed"]) for night in nights)
    worst = min(
        b["corrected"]["chrf"] - a
        for a, b in zip([start["chrf"], *(n["corrected"]["chrf"] for n in nights)], nights, strict=False)
    )
    gained = round(last["corrected"]["chrf"] - start["chrf"], 2)
    return [
        {"name": "chrF gained over a static model", "value": gained, "goal": "> 0", "met": gained > 0},
        {
            "name": "chrF of the worst night, over the night before",
            "value": round(worst, 2),
            "goal": ">= -0.5",
            "met": worst >= -0.5,
        },
        {"name": "files of others that changed", "value": changed, "goal": "0", "met": changed == 0},
    ]


if __name__ == "__main__":
    main()
