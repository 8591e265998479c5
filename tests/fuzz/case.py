"""One mutation of one file of one subject, drawn from a seed and a number, and whether it was borne."""

import os
import random
import shutil
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.commands import Outcome
from tests.fuzz.contents import mutate_bytes
from tests.fuzz.places import mutate_place
from tests.fuzz.seal import seal
from tests.fuzz.subjects import Subject
from tests.fuzz.tensors import mutate_tensors
from tests.fuzz.texts import mutate_text
from tests.fuzz.values import mutate_json

_TREE = dict[str, tuple[int, int, int, str]]
_MUTATORS = {
    ".json": (mutate_json, mutate_json, mutate_json, mutate_bytes),
    ".jsonl": (mutate_json, mutate_json, mutate_text, mutate_bytes),
    ".safetensors": (mutate_tensors, mutate_tensors, mutate_tensors, mutate_bytes),
    ".delta": (mutate_tensors, mutate_tensors, mutate_bytes),
}
_TEXTS = (".yaml", ".toml", ".tsv", ".tmx", ".de", ".en", ".xliff", ".xlf", ".po", ".srt", ".vtt", ".html", ".md")
_TEXTS += (".txt", ".xml", ".strings", ".stringsdict", ".minisig", ".pub", ".key")
_PLACES, _SEALED = 0.14, 0.2


@dataclass(frozen=True)
class Ready:
    """A subject that was built in `folder`, and what its commands made of it."""

    subject: Subject
    folder: Path
    answers: tuple[str | None, ...]


def answers_of(subject: Subject, folder: Path, work: Path) -> list[str | None]:
    """Run the commands once on what is whole: the answers."""
    with chdir(_fresh(folder, work)):
        outcomes = subject.outcomes()
    for outcome in outcomes:
        assert outcome.code == 0 and not outcome.wrong, (subject.name, outcome)
    return [outcome.answer for outcome in outcomes]


@dataclass(frozen=True)
class Verdict:
    """What came of a case: where and what it was, its outcomes, and all that is wrong."""

    number: int
    subject: str
    mutation: str
    outcomes: list[Outcome]
    wrong: list[str]


def judge(ready: list[Ready], seed: int, number: int, work: Path) -> Verdict:
    """Draw the mutation, apply it to a copy below `work`, run the commands, and compare."""
    draw = random.Random(f"{seed}/{number}")
    one = draw.choices(ready, [item.subject.weight for item in ready])[0]
    folder = _fresh(one.folder, work)
    kept = _tree(one.folder)
    mutation, sealed = _mutate(one.subject, folder, draw, work / "aside")
    before = _tree(folder)
    with chdir(folder):
        outcomes = one.subject.outcomes(draw)
    wrong = [f"{outcome.call}: {problem}" for outcome in outcomes for problem in outcome.wrong]
    answers = {call.name: answer for call, answer in zip(one.subject.calls, one.answers, strict=True)}
    for outcome in outcomes:
        answer = answers[outcome.call]
        if outcome.code == 0 and not sealed and outcome.answer != answer:
            wrong.append(f"{outcome.call}: answers as another model does: {outcome.text[:300]!r}")
    after = _tree(folder)
    if changed := [name for name in {*before, *after} if before.get(name) != after.get(name)]:
        wrong.append(f"the input was changed: {', '.join(sorted(changed)[:5])}")
    assert _tree(one.folder) == kept, f"{seed}/{number}: a command wrote into a file that it read"
    return Verdict(number, one.subject.name, mutation, outcomes, wrong)


def _mutate(subject: Subject, folder: Path, draw: random.Random, aside: Path) -> tuple[str, bool]:
    name = draw.choice(subject.files(folder))
    path = folder / name
    sealed = False
    if draw.random() < _PLACES:
        note = mutate_place(path, draw, aside)
    else:
        content = path.read_bytes()
        kinds = _MUTATORS.get(
            path.suffix, (mutate_text, mutate_text, mutate_bytes) if path.suffix in _TEXTS else (mutate_bytes,)
        )
        content, note = draw.choice(kinds)(content, draw)
        path.unlink()
        path.write_bytes(content)
        if subject.sealed and draw.random() < _SEALED:
            sealed = seal(subject.sealed, folder, path)
    return f"{name}: {note}{', sealed' if sealed else ''}", sealed


def _fresh(folder: Path, work: Path) -> Path:
    """A copy whose files are hard links, below `work`, and an empty folder `aside` there."""
    for name in ("case", "aside", "output"):
        if (path := work / name).is_symlink():
            path.unlink()
        shutil.rmtree(path, ignore_errors=True)
    (work / "aside").mkdir(parents=True)
    shutil.copytree(folder, work / "case", copy_function=os.link, symlinks=True)
    return work / "case"


def _tree(folder: Path) -> _TREE:
    found = {}
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(root, name)  # noqa: PTH118
            status = os.lstat(path)
            link = os.readlink(path) if os.path.islink(path) else ""  # noqa: PTH114, PTH115
            is_folder = name in folders
            found[path] = (
                status.st_mode,
                0 if is_folder else status.st_size,
                0 if is_folder else status.st_mtime_ns,
                link,
            )
    return found
