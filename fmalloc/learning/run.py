"""A recipe with its inputs read, its work folders, and the rows of the score matrix that it measures."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fmalloc.corpus import Corpus, digest, read_corpus
from fmalloc.corpus.overlap import between
from fmalloc.evaluation.evaluate import Evaluation, evaluate_test, merge
from fmalloc.model.architectures import family_of, languages_of
from fmalloc.model.devices import Device, select
from fmalloc.progress import bar, console
from fmalloc.recipe import Recipe, TaskPlan
from fmalloc.store.records import DataRecord, Scores
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import write_atomically
from fmalloc_shared.languages import LanguagePair
from fmalloc_shared.names import GENERAL

Load = Callable[[str], tuple[Any, Any]]  # a domain's model and tokenizer


@dataclass(frozen=True)
class Run:
    """A recipe with its corpora read: nothing long starts before every input was seen to be good.

    scored: the domains whose test sets are scored; None for all.
    """

    recipe: Recipe
    languages: LanguagePair
    corpora: Mapping[str, Corpus]
    device: Device
    scored: frozenset[str] | None = None

    @classmethod
    def of(cls, recipe: Recipe) -> "Run":
        """Read and check all inputs."""
        family_of(recipe.base)
        named = recipe.languages
        languages = LanguagePair(named.source, named.target) if named else languages_of(recipe.base)
        if languages is None:
            raise FmallocError(f"{recipe.base}: its tokenizer names no language pair; set languages: source and target")
        sources = {GENERAL: recipe.general} | {task.name: task.data for task in recipe.tasks}
        corpora = {}
        for name, path in sources.items():
            corpora[name] = read_corpus(path, languages, recipe.corpus)
            corpora[name].report.show(name)
        for message in between(corpora):
            console.print(message, markup=False)
        return cls(recipe, languages, corpora, select(recipe.device, recipe.precision))

    @cached_property
    def plans(self) -> Mapping[str, TaskPlan]:
        """How each of the recipe's tasks is learned, by name, in their order."""
        return {plan.name: plan for plan in self.recipe.plans()}

    def settings_of(self, plan: TaskPlan) -> dict[str, Any]:
        """All that decides how a task is learned, JSON-able."""
        evaluation = self.recipe.evaluation.model_dump(exclude={"continual"})
        return plan.learning.model_dump() | {"evaluation": evaluation, "samples": self.recipe.samples}

    def tests(self) -> dict[str, Corpus]:
        """The corpora whose test sets are scored."""
        return {name: corpus for name, corpus in self.corpora.items() if self.scored is None or name in self.scored}

    def data_of(self, name: str) -> dict[str, DataRecord]:
        """Size and digest of each part of a corpus."""
        corpus = self.corpora[name]
        parts = {"train": corpus.train, "dev": corpus.dev, "test": corpus.test}
        return {part: DataRecord(pairs=len(pairs), sha256=digest(pairs)) for part, pairs in parts.items()}


def claim_work(work: Path, settings: Mapping[str, Any], *, keep: bool = False) -> None:
    """Make a work folder; what a run with other settings or data left there is dropped, not mixed in.

    Raises:
        FmallocError: with `keep`, instead of dropping it.
    """
    file = work / "settings.json"
    text = json.dumps(settings, indent=1, sort_keys=True)
    if work.exists() and not (file.is_file() and file.read_text(encoding="utf-8") == text):
        if keep:
            raise FmallocError(f"{work.name}: was begun with other settings or data; restore them to finish it")
        console.print(f"{work.name}: settings or data changed since the last run, this step starts anew")
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    write_atomically(file, text.encode())


@dataclass(frozen=True)
class Scorer:
    """Scores of models on the run's test sets: each is measured once and kept in `folder`, also over a kill.

    `name` says in the progress bar what is scored.
    """

    run: Run
    folder: Path
    name: str

    def score(self, domain: str, load: Load, known: Evaluation | None = None) -> Evaluation:
        """Evaluate the model that `load` gives for a domain on its test set, unless the scores are kept or `known`."""
        path = self.folder / f"{domain}.json"
        if not path.is_file():
            evaluation = known or self._measured(domain, load)
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, evaluation.to_bytes())
        return Evaluation.read(path)

    def row(self, load: Load) -> Scores:
        """One row of the matrix: the model that `load` gives for each domain, on that domain's test set."""
        return merge({domain: self.score(domain, load) for domain in self.run.tests()})

    def _measured(self, domain: str, load: Load) -> Evaluation:
        model, tokenizer = load(domain)
        model.to(self.run.device.torch)
        settings = self.run.recipe.evaluation
        pairs = self.run.corpora[domain].test[: settings.sentences]
        with bar(f"scoring {self.name} on {domain}", len(pairs)) as advance:
            return evaluate_test(
                model, tokenizer, pairs, self.run.languages, beam_size=settings.beam_size, on_progress=advance
            )
