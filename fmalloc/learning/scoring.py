"""Rows of the score matrix: each score is measured, or proven by an earlier record that it would come out the same.

A model's files decide its translations, so a score is carried over from an earlier row of the same store if everything
that it follows from has the same digest: see `_digest`. The cost of a task's row then does not grow with their number.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fmalloc.corpus import digest
from fmalloc.evaluation.evaluate import MAXIMUM_NEW_TOKENS, Evaluation, evaluate_test
from fmalloc.learning.run import Run
from fmalloc.model.devices import environment_of
from fmalloc.store.chain.growth import CELLS_FILE, GROWN
from fmalloc.store.chain.links import TASK_FILE, TASKS
from fmalloc.store.chain.versions import domain_of
from fmalloc.store.invariants import GENERAL_FILES
from fmalloc.store.records import Score, Scores
from fmalloc.store.store import Store
from fmalloc.training.distributed import Group
from fmalloc_shared.commands.progress import bar, console
from fmalloc_shared.files import sha256, sha256_files, write_atomically

Load = Callable[[str], tuple[Any, Any]]  # a domain's model and tokenizer
ModelFiles = Mapping[str, str]  # SHA-256 of all files that make a model
_NOT_OF_THE_MODEL = (TASK_FILE, "routing.safetensors", "samples.jsonl")


@dataclass(frozen=True)
class Scorer:
    """Scores of models on the run's test sets: each is measured once and kept in `folder`, also over a kill.

    `name` says in the progress bar what is scored. `known`: earlier rows of the same store, whose scores may be proven.
    """

    run: Run
    folder: Path
    name: str
    known: tuple[Scores, ...] = ()

    def score(self, domain: str, load: Load, known: Evaluation | None = None, *, kept_as: str = "") -> Evaluation:
        """Evaluate the model that `load` gives for a domain on its test set, unless the scores are kept or `known`.

        All processes of a run translate some of it, and the first one writes.
        """
        path, group = self.folder / f"{kept_as or domain}.json", Group.current()
        if not group.on_first(path.is_file):
            evaluation = known or group.alike(lambda: self._measured(domain, load))
            group.on_first(lambda: self._keep(path, evaluation))
        return Evaluation.read(path)

    def _keep(self, path: Path, evaluation: Evaluation) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, evaluation.to_bytes())

    def row(self, load: Load, files: Callable[[str], ModelFiles]) -> Scores:
        """One row of the matrix: the model that `load` gives for each domain, on that domain's test set.

        `files`: of that model, as they are now.
        """
        scores: dict[str, Score] = {}
        digests = {domain: self._digest(domain, files(domain)) for domain in self.run.tests()}
        signatures: dict[str, str] = {}
        proven = []
        for domain, key in digests.items():
            if (earlier := self._proven(domain, key)) is not None:
                proven.append(domain)
                scores[domain], signatures = earlier.domains[domain], earlier.signatures
                continue
            evaluation = self.score(domain, load, kept_as=key)
            scores[domain], signatures = evaluation.score, evaluation.signatures
        if proven:
            console.print(f"{self.name}: {len(proven)} of {len(scores)} scores are carried over: proven by hash")
        return Scores(domains=scores, signatures=signatures, digests=digests, proven=proven)

    def _proven(self, domain: str, key: str) -> Scores | None:
        """The first row that has this score, from the same model, text, search and machine; None: it is measured."""
        if self.run.measure_again:
            return None
        return next((row for row in self.known if row.digests.get(domain) == key and domain in row.domains), None)

    def _digest(self, domain: str, files: ModelFiles) -> str:
        """SHA-256 of all that a score follows from."""
        run, settings = self.run, self.run.recipe.evaluation
        pairs = run.corpora[domain].test[: settings.sentences]
        decisive = {
            "model": dict(files),
            "test": [len(pairs), digest(pairs)],
            "languages": [*run.languages],
            "beam_size": settings.beam_size,
            "longest": MAXIMUM_NEW_TOKENS,
            "environment": environment_of(run.device),
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    def _measured(self, domain: str, load: Load) -> Evaluation:
        model, tokenizer = load(domain)
        model.to(self.run.device.torch)
        settings = self.run.recipe.evaluation
        pairs = self.run.corpora[domain].test[: settings.sentences]
        with bar(f"scoring {self.name} on {domain}", len(pairs)) as advance:
            return evaluate_test(
                model,
                tokenizer,
                pairs,
                self.run.languages,
                beam_size=settings.beam_size,
                on_progress=advance,
                share=Group.current().shared,
            )


def with_known(row: Scores, store: Store, domain: str) -> Scores:
    """A row of a new version of a `domain`, completed with domains that it was not scored on.

    Their models are what they were when each was learned, and so are their scores then.
    """
    known = dict.fromkeys(store.description.general_scores.domains, store.description.general_scores)
    known |= {domain_of(task.name): task.scores for task in store.served()}
    found = {
        name: scores
        for name, scores in known.items()
        if name not in (domain, *row.domains)
        and name in scores.domains
        and name in scores.digests
        and scores.signatures == row.signatures
    }
    return Scores(
        domains={**row.domains, **{name: scores.domains[name] for name, scores in found.items()}},
        signatures=row.signatures,
        digests={**row.digests, **{name: scores.digests[name] for name, scores in found.items()}},
        proven=[*row.proven, *found],
    )


def base_files(folder: Path) -> ModelFiles:
    """Of the base in a store, or in the folder that a store is made in."""
    return {f"base/{name}": value for name, value in sha256_files(folder / "base").items()}


def general_files(folder: Path) -> ModelFiles:
    """Of the general model: the base and the general mask."""
    return {**base_files(folder), **_decisive(folder / name for name in GENERAL_FILES)}


def files_with(store: Store, task: str, reads: Sequence[str], staged: Path) -> Callable[[str], ModelFiles]:
    """Of each domain's model, once the folder `staged` is the store's task `task`, current, and `reads` those.

    What is not learned is general's.
    """
    general, chain, folder = general_files(store.path), store.chain(), store.path / TASKS
    current = {**chain.current, domain_of(task): task}
    read_by = {record.name: record.reads for record in chain.tasks} | {task: reads}
    grown = [sha256(store.path / GROWN / str(number) / CELLS_FILE) for number in range(1, len(chain.growths) + 1)]

    def files(domain: str) -> ModelFiles:
        if (served := current.get(domain)) is None:
            return general
        found, added = dict(general), chain.cells_before(None if served == task else served)
        for number, growth in enumerate(chain.growths):
            if added > 0:
                found[f"grown/{number}"] = grown[number]
                added -= growth.cells
        folders = [*(folder / name for name in read_by[served]), staged if served == task else folder / served]
        for place, part in enumerate(folders):
            found |= {f"{place}/{name}": value for name, value in _decisive(sorted(part.iterdir())).items()}
        return found

    return files


def _decisive(paths: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of the files that a translation depends on, by name."""
    return {path.name: sha256(path) for path in paths if path.name not in _NOT_OF_THE_MODEL}
