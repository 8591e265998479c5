"""A recipe with its inputs read, and its work folders."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fmalloc.cache.cache import NOTHING_KEPT, Cache
from fmalloc.corpus import Corpus, Pair, digest, read_corpus, spread
from fmalloc.corpus.overlap import between
from fmalloc.model.architectures import languages_of, load_base, load_tokenizer
from fmalloc.model.base import stored_precision
from fmalloc.model.devices import Device, select
from fmalloc.model.text.batches import encode
from fmalloc.model.text.tokens import target_mark
from fmalloc.recipe import Recipe, TaskPlan, updates_for
from fmalloc.store.records import BEGUN_AS, DataRecord, Part
from fmalloc_shared.commands.progress import console
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import write_atomically
from fmalloc_shared.languages import LanguagePair
from fmalloc_shared.names import GENERAL

# Pairs by which the size of a text is estimated.
_SAMPLED = 1000


@dataclass(frozen=True)
class Run:
    """A recipe with its corpora read: nothing long starts before every input was seen to be good.

    mark: the token with which a base of several target languages is told one.
    scored: the domains whose test sets are scored; None for all.
    cache: of the arrays that are made of the text.
    measure_again: scores that an earlier record proves are measured all the same.
    only: the one task that is learned, in a part of the store that is all its own; None for all.
    """

    recipe: Recipe
    languages: LanguagePair
    corpora: Mapping[str, Corpus]
    device: Device
    mark: str | None = None
    scored: frozenset[str] | None = None
    cache: Cache = NOTHING_KEPT
    measure_again: bool = False
    only: str | None = None

    @classmethod
    def of(cls, recipe: Recipe, cache: Cache = NOTHING_KEPT, texts: Mapping[str, Path] | None = None) -> "Run":
        """Read and check all inputs; `texts`: by domain, instead of all that the recipe names."""
        languages = languages_of(recipe.base, recipe.languages.source, recipe.languages.target)
        if (precision := stored_precision(recipe.base)) != "float32":
            console.print(f"base {recipe.base}: its weights are {precision}, read as float32")
        model, tokenizer = load_base(recipe.base, languages)  # to see that it is whole
        sources = texts or {GENERAL: recipe.general} | {task.name: task.data for task in recipe.tasks}
        # Files are named by the codes that the recipe uses, which the base may write otherwise.
        files = LanguagePair(recipe.languages.source or languages.source, recipe.languages.target or languages.target)
        corpora = {}
        for name, path in sources.items():
            corpora[name] = read_corpus(path, files, recipe.corpus, cache)
            corpora[name].report.show(name)
        for message in between(corpora):
            console.print(message, markup=False)
        device = select(recipe.device, recipe.precision, width=model.config.d_model)
        return cls(recipe, languages, corpora, device, target_mark(tokenizer, languages), cache=cache)

    @cached_property
    def plans(self) -> Mapping[str, TaskPlan]:
        """How each of the recipe's tasks is learned, by name, in their order, in as many updates as fit its text."""
        return {plan.name: self._fitted(plan) for plan in self.recipe.plans()}

    def _fitted(self, plan: TaskPlan) -> TaskPlan:
        wanted = plan.wanted
        if wanted.updates:
            return plan
        return plan.fitted(updates_for(self._tokens(plan.name, wanted.maximum_length), wanted.batch_tokens))

    def _tokens(self, name: str, maximum_length: int) -> float:
        """Tokens of a domain's training text, of the longer side, by those of a thousand of its pairs."""
        train = self.corpora[name].train
        sample = spread(train, _SAMPLED)
        tokenizer = load_tokenizer(self.recipe.base)
        lengths = encode(tokenizer, sample, self.languages, maximum_length=maximum_length).examples.lengths
        return float(lengths.sum()) / max(1, len(sample)) * len(train)

    def settings_of(self, plan: TaskPlan) -> dict[str, Any]:
        """All that decides how a task is learned, JSON-able."""
        evaluation = self.recipe.evaluation.model_dump(exclude={"continual"})
        settings = plan.learning.model_dump() | {"evaluation": evaluation, "samples": self.recipe.samples}
        if plan.renewal and plan.renewal.begun_as:
            settings[BEGUN_AS] = list(plan.renewal.begun_as)
        return settings

    def tests(self) -> dict[str, Corpus]:
        """The corpora whose test sets are scored."""
        return {name: corpus for name, corpus in self.corpora.items() if self.scored is None or name in self.scored}

    def data_of(self, name: str) -> dict[Part, DataRecord]:
        """Size and digest of each part of a corpus."""
        corpus = self.corpora[name]
        parts: dict[Part, Sequence[Pair]] = {"train": corpus.train, "dev": corpus.dev, "test": corpus.test}
        return {part: DataRecord(pairs=len(pairs), sha256=digest(pairs)) for part, pairs in parts.items()}


def claim_work(work: Path, settings: Mapping[str, Any], *, keep: bool = False) -> None:
    """Make a work folder; what a run with other settings or data left there is dropped, not mixed in.

    Raises:
        FmallocError: with `keep`, instead of dropping it.
    """
    file = work / "settings.json"
    content = json.dumps(settings, indent=1, sort_keys=True).encode()
    if work.exists() and not (file.is_file() and file.read_bytes() == content):
        if keep:
            raise FmallocError(f"{work.name}: was begun with other settings or data; restore them to finish it")
        console.print(f"{work.name}: settings or data changed since the last run, this step starts anew")
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    write_atomically(file, content)
