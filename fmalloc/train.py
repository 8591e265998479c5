"""fmalloc-train: base, importance, general mask, every task in order, the matrix; nothing is done twice."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from fmalloc.architectures import family_of, feed_forward_layers, languages_of, load_base
from fmalloc.batches import encode
from fmalloc.cells import GENERAL_OWNER, Cells, general_mask
from fmalloc.corpus import Corpus, Languages, digest, read_corpus
from fmalloc.devices import Device, select
from fmalloc.evaluate import Metrics, evaluate, merge
from fmalloc.importance import Importance, cell_importance
from fmalloc.learn import Allocation, Learner, TaskData, claim_work
from fmalloc.models import load_sliced, overlay, slice_masks
from fmalloc.progress import bar, console
from fmalloc.recipe import LearningSettings, Recipe, TaskSettings, read_recipe, validate_recipe
from fmalloc.status import print_status
from fmalloc.store import (
    DataRecord,
    ImportanceRecord,
    LanguagePair,
    Layer,
    Memory,
    Score,
    Scores,
    Store,
    TaskRecord,
    general_bytes,
    memory_bytes,
    read_importance,
    samples_bytes,
    writing,
)
from fmalloc_shared.command import Command
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256_files, write_atomically
from fmalloc_shared.names import GENERAL, check_name
from fmalloc_shared.ngrams import NgramCounts

_ROUTING_LINES = 12_000
_MODEL_FILES = {".json", ".safetensors", ".spm", ".model", ".txt"}


@dataclass(frozen=True)
class Job:
    """A recipe with its corpora read: nothing long starts before every input was seen to be good."""

    recipe: Recipe
    languages: Languages
    corpora: Mapping[str, Corpus]
    device: Device

    @classmethod
    def of(cls, recipe: Recipe) -> "Job":
        """Read and check all inputs."""
        family_of(recipe.base)
        named = recipe.languages
        languages = Languages(named.source, named.target) if named else languages_of(recipe.base)
        if languages is None:
            raise FmallocError(f"{recipe.base}: its tokenizer names no language pair; set languages: source and target")
        sources = {GENERAL: recipe.general} | {task.name: task.data for task in recipe.tasks}
        corpora = {name: read_corpus(path, languages) for name, path in sources.items()}
        return cls(recipe, languages, corpora, select(recipe.device, recipe.precision))

    def settings_of(self, task: TaskSettings) -> dict[str, Any]:
        """All that decides how a task is learned, JSON-able."""
        settings = self.recipe.learning_of(task).model_dump()
        return settings | {"evaluation": self.recipe.evaluation.model_dump(), "samples": self.recipe.samples}

    def data_of(self, name: str) -> dict[str, DataRecord]:
        """Size and digest of each part of a corpus."""
        corpus = self.corpora[name]
        parts = {"train": corpus.train, "dev": corpus.dev, "test": corpus.test}
        return {part: DataRecord(pairs=len(pairs), sha256=digest(pairs)) for part, pairs in parts.items()}


class Scorer:
    """One row of the matrix, scored domain by domain; what was scored before a kill is kept."""

    def __init__(self, job: Job, work: Path, row: str) -> None:
        self.job, self.path, self.row = job, work / f"scores-{row}.json", row

    def score(self, load: Callable[[str], tuple[Any, Any]]) -> Scores:
        """Evaluate the model that `load` gives for each domain on that domain's test set."""
        done: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8")) if self.path.is_file() else {}
        limit, beam = self.job.recipe.evaluation.sentences, self.job.recipe.evaluation.beam_size
        for domain, corpus in self.job.corpora.items():
            if domain in done:
                continue
            model, tokenizer = load(domain)
            model.to(self.job.device.torch)
            pairs = corpus.test[:limit]
            with bar(f"scoring {self.row} on {domain}", len(pairs)) as advance:
                metrics = evaluate(model, tokenizer, pairs, self.job.languages, beam_size=beam, on_progress=advance)
            done[domain] = {"score": metrics.score.model_dump(), "signatures": metrics.signatures}
            write_atomically(self.path, json.dumps(done).encode())
        return merge(
            {name: Metrics(Score(**done[name]["score"]), done[name]["signatures"]) for name in self.job.corpora}
        )


def run(recipe: Recipe) -> Store:
    """Bring the store to where the recipe wants it."""
    job = Job.of(recipe)
    with writing(recipe.store):
        store = open_store(job) if Store.exists(recipe.store) else create_store(job)
        for task in recipe.tasks:
            learn_task(job, store, task)
    return store


def open_store(job: Job) -> Store:
    """Open the existing store, whole and made as the recipe says."""
    recipe = job.recipe
    store = Store.open(recipe.store)
    store.verify()
    description = store.description
    stored = {f.removeprefix("base/"): d for f, d in description.files.items() if f.startswith("base/")}
    given = {name: digest for name, digest in sha256_files(recipe.base).items() if name in stored}
    made = {"sparsity": description.sparsity, "languages": tuple(description.languages.model_dump().values())}
    wanted = {"sparsity": recipe.sparsity, "languages": tuple(job.languages)}
    problems = [f"{key} {made[key]!r}, not {wanted[key]!r}" for key in made if made[key] != wanted[key]]
    if given.get("config.json") != stored.get("config.json"):
        problems.append(f"another base than {recipe.base}")
    if problems:
        raise FmallocError(f"{recipe.store}: was made with {'; '.join(problems)}; choose another store")
    return store


def create_store(job: Job) -> Store:
    """Copy the base, measure importance, prune, score the base and the general model, commit."""
    recipe = job.recipe
    work = recipe.store / ".work" / "create"
    claim_work(
        work, {"recipe": recipe.model_dump(mode="json", exclude={"tasks", "learning"}), "corpora": _digests(job)}
    )
    prepared = work / "prepared"
    (prepared / "base").mkdir(parents=True, exist_ok=True)
    _copy_base(recipe.base, prepared / "base")
    importance = _importance(job, work, prepared / "base")
    masks = {name: general_mask(values, recipe.sparsity) for name, values in importance.values.items()}
    write_atomically(prepared / "general.safetensors", general_bytes(importance.values, masks))
    general = job.corpora[GENERAL]
    write_atomically(prepared / "routing.safetensors", _routing(general))
    write_atomically(prepared / "samples.jsonl", samples_bytes(general.dev[: recipe.samples]))

    def load_general(_domain: str) -> tuple[Any, Any]:
        model, tokenizer = load_base(prepared / "base")
        slice_masks(model, masks)
        return model, tokenizer

    base_scores = Scorer(job, work, "base").score(lambda _domain: load_base(prepared / "base"))
    general_scores = Scorer(job, work, GENERAL).score(load_general)
    store = Store.create(
        recipe.store,
        prepared,
        family=family_of(recipe.base).model_type,
        languages=LanguagePair(source=job.languages.source, target=job.languages.target),
        layers=[Layer(name=name, width=len(mask)) for name, mask in masks.items()],
        sparsity=recipe.sparsity,
        importance=importance.record,
        base_scores=base_scores,
        general_scores=general_scores,
    )
    shutil.rmtree(work)
    return store


def _digests(job: Job) -> dict[str, Any]:
    return {name: {p: r.sha256 for p, r in job.data_of(name).items()} for name in job.corpora}


def _copy_base(source: Path, destination: Path) -> None:
    """The model's own files; weights in another format than safetensors are converted."""
    files = [path for path in sorted(source.iterdir()) if path.suffix in _MODEL_FILES and path.is_file()]
    for path in files:
        if not (destination / path.name).is_file() or path.stat().st_size != (destination / path.name).stat().st_size:
            shutil.copyfile(path, destination / path.name)
    if not any(path.suffix == ".safetensors" for path in files):
        from transformers import AutoModelForSeq2SeqLM

        AutoModelForSeq2SeqLM.from_pretrained(source, local_files_only=True).save_pretrained(destination)


def _importance(job: Job, work: Path, base: Path) -> Importance:
    """Measured importance, from the work folder if it was measured there before."""
    settings, values_path, record_path = (
        job.recipe.importance,
        work / "importance.safetensors",
        work / "importance.json",
    )
    if record_path.is_file():
        record = ImportanceRecord.model_validate_json(record_path.read_bytes())
        values = read_importance(values_path)
        return Importance({layer: values[layer] for layer in record.dead_cells}, record)
    _, tokenizer = load_base(base)
    train = job.corpora[GENERAL].train
    needed = min(len(train), settings.batches * settings.batch_tokens)
    chosen = np.random.default_rng(settings.seed).permutation(len(train))[:needed]
    pairs = [train[i] for i in chosen]
    encoded = encode(tokenizer, pairs, job.languages, maximum_length=job.recipe.learning.maximum_length)
    importance = cell_importance(base, encoded.examples, job.device, **settings.model_dump())
    ones = {name: np.ones(len(values), dtype=np.bool_) for name, values in importance.values.items()}
    write_atomically(values_path, general_bytes(importance.values, ones))
    write_atomically(record_path, importance.record.model_dump_json().encode())
    return importance


def _routing(corpus: Corpus) -> bytes:
    """Counts of at most _ROUTING_LINES sources, evenly spaced: a domain with many times more would route worse."""
    step = max(1, len(corpus.train) / _ROUTING_LINES)
    chosen = (corpus.train[int(index * step)] for index in range(min(len(corpus.train), _ROUTING_LINES)))
    return NgramCounts.of(pair.source for pair in chosen).to_bytes()


def learn_task(job: Job, store: Store, task: TaskSettings) -> TaskRecord:
    """Learn, score and commit one task; a task that exists as the recipe says is left as it is."""
    settings, data = job.settings_of(task), job.data_of(task.name)
    if existing := {record.name: record for record in store.tasks()}.get(task.name):
        _check_same(store, existing, settings, data)
        console.print(f"{task.name}: learned already")
        return existing
    work = store.path / ".work" / task.name
    claim_work(work, {"settings": settings, "data": {part: record.sha256 for part, record in data.items()}})
    earlier = store.tasks()
    learner = _learner(job, store, task, work)
    learner.run(task.name)
    memories = learner.memories()
    reads = [record.name for record in earlier if _reads(memories, store.memory(record.name))]

    def load(domain: str) -> tuple[Any, Any]:
        if domain != task.name:
            return load_sliced(store, domain if domain in {record.name for record in earlier} else GENERAL)
        model, tokenizer = load_base(store.base)
        overlay(model, [*(store.memory(name) for name in reads), memories])
        slice_masks(model, {layer: memory.mask for layer, memory in memories.items()})
        return model, tokenizer

    scores = Scorer(job, work, task.name).score(load)
    corpus, best = job.corpora[task.name], learner.progress.curve[learner.progress.best]
    staged = work / "staged"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    (staged / "memory.safetensors").write_bytes(memory_bytes(memories))
    (staged / "routing.safetensors").write_bytes(_routing(corpus))
    (staged / "samples.jsonl").write_bytes(samples_bytes(corpus.dev[: job.recipe.samples]))
    record = store.commit(
        staged,
        name=task.name,
        order=max((record.order for record in earlier), default=GENERAL_OWNER) + 1,
        reads=reads,
        settings=settings,
        data=data,
        scores=scores,
        dev=Score(bleu=best.bleu, chrf=best.chrf),
        curve=learner.progress.curve,
    )
    shutil.rmtree(work)
    return record


def _check_same(store: Store, record: TaskRecord, settings: Mapping[str, Any], data: Mapping[str, DataRecord]) -> None:
    changed = [
        f"{key} {record.settings.get(key)!r}, not {value!r}"
        for key, value in settings.items()
        if record.settings.get(key) != value
    ]
    changed += [f"other {part} data" for part in data if record.data.get(part) != data[part]]
    if changed:
        raise FmallocError(
            f"{store.path}: task {record.name!r} exists already, learned with {'; '.join(changed)}. "
            "A task is never written again: restore the recipe, or give the new task another name"
        )


def _reads(memories: Mapping[str, Memory], owner: Mapping[str, Memory]) -> bool:
    return any(bool(memory.mask[owner[layer].cells].any()) for layer, memory in memories.items())


def _learner(job: Job, store: Store, task: TaskSettings, work: Path) -> Learner:
    settings = job.recipe.learning_of(task)
    table, earlier = store.cells(), store.tasks() if settings.reads == "earlier" else ()
    model, tokenizer = load_base(store.base)
    overlay(model, [store.memory(record.name) for record in earlier])
    allocations = {}
    for layer in feed_forward_layers(model):
        owned = [table.owned(layer.name, record.order) for record in earlier]
        allocations[layer.name] = Allocation(
            width=layer.width,
            general=table.owned(layer.name, GENERAL_OWNER),
            earlier=np.sort(np.concatenate([*owned, np.empty(0, dtype=np.int64)])),
            writable=_offered(table.free(layer.name), settings),
        )
    if not any(len(allocation.writable) for allocation in allocations.values()):
        raise FmallocError(f"{store.path}: no free cell is left for task {task.name!r}")
    corpus = job.corpora[task.name]
    parts = {}
    for part, pairs in (("train", corpus.train), ("dev", corpus.dev)):
        encoded = encode(tokenizer, pairs, job.languages, maximum_length=settings.maximum_length)
        console.print(f"{task.name} {part}: {len(encoded.examples)} pairs, {encoded.too_long} too long left out")
        if not encoded.examples:
            raise FmallocError(
                f"{task.name}: no {part} pair of at most maximum_length {settings.maximum_length} tokens"
            )
        parts[part] = encoded.examples
    data = TaskData(parts["train"], parts["dev"], corpus.dev)
    return Learner(model, tokenizer, job.languages, allocations, data, settings, job.device, work)


def _offered(free: Cells, settings: LearningSettings) -> Cells:
    """The task's share of the free cells, drawn by its seed; the others are kept for later tasks."""
    count = round(settings.share * len(free))
    return np.sort(np.random.default_rng(settings.seed).permutation(free)[:count])


def _assignments(values: Sequence[str]) -> list[dict[str, str]]:
    tasks = []
    for value in values:
        name, separator, path = value.partition("=")
        if not separator or not path:
            raise FmallocError(f"--task {value!r}: expected NAME=PATH, e.g. --task it=corpora/it")
        tasks.append({"name": check_name(name), "data": path})
    return tasks


def print_plan(recipe: Recipe) -> None:
    """What a run would do."""
    exists = Store.exists(recipe.store)
    learned = {record.name for record in Store.open(recipe.store).tasks()} if exists else set()
    job = Job.of(recipe)
    console.print(f"base {recipe.base}, device {job.device.torch}, languages {'-'.join(job.languages)}")
    console.print(
        f"store {recipe.store}: {'exists' if exists else f'to be made, {recipe.sparsity:.0%} of the cells freed'}"
    )
    for task in recipe.tasks:
        corpus = job.corpora[task.name]
        sizes = f"{len(corpus.train)} train, {len(corpus.dev)} dev, {len(corpus.test)} test pairs"
        console.print(f"task {task.name}: {'learned already' if task.name in learned else 'to be learned'} ({sizes})")


@click.command(cls=Command)
@click.argument("recipe", type=click.Path(path_type=Path), required=False)
@click.option("--base", help="Folder of the pretrained model, as transformers saves it.")
@click.option("--general", help="Parallel text of the general domain: a .tsv file, Moses pair or folder.")
@click.option(
    "--task", "tasks", multiple=True, metavar="NAME=PATH", help="A domain to learn; repeat it, the order counts."
)
@click.option("--output", help="Folder of the memory store.  [default: store]")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="auto takes CUDA where there is one.")
@click.option("--updates", type=click.IntRange(1), help="Most updates a task (learning.updates).")
@click.option("--dry-run", is_flag=True, help="Check every input and say what would be done.")
def main(recipe: Path | None, tasks: tuple[str, ...], dry_run: bool, updates: int | None, **options: Any) -> None:
    """Learn domains one after another into a memory store, forgetting nothing.

    Runs from a RECIPE or from flags; flags override the recipe's keys. If it was killed, the same command goes on where
    it stopped. Examples:

    \b
        fmalloc-train recipe.yaml
        fmalloc-train --base opus-mt-de-en --general news.tsv --task it=corpora/it --task law=corpora/law
    """
    overrides: dict[str, Any] = {
        key: options[option]
        for option, key in (("base", "base"), ("general", "general"), ("output", "store"), ("device", "device"))
        if options[option] is not None
    }
    if tasks:
        overrides["tasks"] = _assignments(tasks)
    if updates:
        overrides["learning.updates"] = updates
    if recipe is None and not tasks:
        raise FmallocError("give a RECIPE, or --base, --general and at least one --task NAME=PATH; see --help")
    settings = read_recipe(recipe, overrides) if recipe else validate_recipe(overrides, "command line")
    if dry_run:
        print_plan(settings)
    else:
        print_status(run(settings))


if __name__ == "__main__":
    main()
