"""Whether a store is whole: every invariant of docs/formats.md beyond what the records alone tell.

The records themselves are checked in fmalloc/store/chain/chain.py, what one file of tensors may hold where it is read.
"""

import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from fmalloc.store.chain.certificate import FREED
from fmalloc.store.chain.chain import Chain
from fmalloc.store.chain.growth import CELLS_FILE, GROWN, read_keys
from fmalloc.store.chain.links import HEAD_FILE, STORE_FILE, TASK_FILE, TASKS
from fmalloc.store.chain.parts import MERGED, RESERVED
from fmalloc.store.chain.versions import CURRENT
from fmalloc.store.distilled import DISTILLED, distilled_models
from fmalloc.store.invariants import BrokenStoreError, Kind, Problem
from fmalloc.store.ownership import cell_problems
from fmalloc.store.records import Score, read_samples
from fmalloc.store.tensors import (
    Form,
    d_model_of,
    feed_forward_forms,
    tensor_forms,
)
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import sha256
from fmalloc_shared.ngrams import NgramCounts
from fmalloc_shared.strict import read_json

LOCK_FILE, WORK = ".lock", ".work"
_FOLDERS = ("base", TASKS, GROWN, FREED, CURRENT, DISTILLED, RESERVED, MERGED)


def check_files(chain: Chain, most: int | None = None) -> int:
    """Whether exactly the files of the records lie there, plain ones, with their digests; returns how many.

    `most`: digests of larger files are not compared. Raises FmallocError naming each that is missing, changed, linked,
    special or unexpected.
    """
    expected: dict[str, str | None] = {**chain.store.files, **chain.digests}
    for task in chain.tasks:
        expected |= {f"{TASKS}/{task.name}/{file}": digest for file, digest in task.files.items()}
    for number, growth in enumerate(chain.growths, start=1):
        expected |= {f"{GROWN}/{number}/{file}": digest for file, digest in growth.files.items()}
    for student in distilled_models(chain.path):
        expected |= student.files
    if chain.reservation:
        expected |= {f"{RESERVED}/{file}": digest for file, digest in chain.reservation.files.items()}
    if chain.stated:
        expected[HEAD_FILE] = None
    problems: list[Problem] = []
    # What was stopped leaves a record that is not in the chain, or files that are not.
    counts = ((FREED, chain.certificates), (CURRENT, chain.choices), (MERGED, chain.merges))
    stopped = (*(f"{folder}/{len(records) + 1}.json" for folder, records in counts),
               *(f"{TASKS}/{name}/" for name in chain.leftovers))  # fmt: skip
    found = {name: what for name, what in _entries(chain.path) if what or not name.startswith(stopped)}
    for name in sorted({*found, *expected}):
        if name not in found:
            problems.append(("missing", f"{name}: missing"))
        elif found[name]:
            problems.append(("special", f"{name}: is {found[name]}, expected a plain file"))
        elif name not in expected:
            problems.append(("foreign", f"{name}: not listed, so not expected here"))
        elif most is not None and (chain.path / name).stat().st_size > most:
            continue
        elif (digest := expected[name]) and (actual := sha256(chain.path / name)) != digest:
            problems.append(("changed", f"{name}: sha256 is {actual}, expected {digest}"))
    if problems:
        raise BrokenStoreError([(kind, f"{chain.path}/{problem}") for kind, problem in problems])
    return len(expected)


def _entries(root: Path) -> Iterator[tuple[str, str]]:
    """All that lies in a store, but for what writers use: its path below the store, and what it is unless a file."""
    folders = [root]
    while folders:
        for path in folders.pop().iterdir():
            name, mode = path.relative_to(root).as_posix(), path.lstat().st_mode
            if stat.S_ISDIR(mode):
                if name == WORK:
                    continue
                if (name.startswith("base/") or name in _FOLDERS or _is_numbered(name)) and any(path.iterdir()):
                    folders.append(path)
                elif name not in _FOLDERS:
                    yield name, "a folder"
            elif not stat.S_ISREG(mode):
                yield name, "a link" if stat.S_ISLNK(mode) else "special"
            # A partial record is of a commit that goes on, or was stopped.
            elif name != LOCK_FILE and not re.fullmatch(rf"\.({HEAD_FILE}|{STORE_FILE})\.\d+\.partial", name):
                yield name, ""


def _is_numbered(name: str) -> bool:
    """Whether it is the folder of one task, growth or distilled model."""
    return name.startswith((f"{TASKS}/", f"{GROWN}/", f"{DISTILLED}/")) and name.count("/") == 1


def check_content(chain: Chain) -> None:
    """Whether base, masks and memories fit together; FmallocError names all that do not, by file and value."""
    problems: list[Problem] = []

    def read(kind: Kind, check: Callable[[], Iterator[str]]) -> None:
        try:
            for problem in check():
                problems.append(("certificate" if problem.startswith(f"{FREED}/") else kind, f"{chain.path}/{problem}"))
        except FmallocError as error:
            problems.append((kind, str(error)))

    read("base", lambda: _base_problems(chain))
    read("grown", lambda: _growth_problems(chain))
    read("text", lambda: _text_problems(chain))
    read("distilled", lambda: _distilled_problems(chain))
    read("scores", lambda: _score_problems(chain))
    if not problems:
        read("cells", lambda: cell_problems(chain))
    if problems:
        raise BrokenStoreError(problems)


def _base_problems(chain: Chain) -> Iterator[str]:
    """Family and layers against the base's configuration and weights."""
    base = chain.path / "base"
    config = read_json(base / "config.json")
    family = config.get("model_type") if isinstance(config, dict) else None
    if family != chain.store.family:
        yield f"{STORE_FILE}: family is {chain.store.family!r}, but base/config.json says {family!r}"
    forms = feed_forward_forms(base)
    widths = {layer.name: layer.width for layer in chain.store.layers}
    if set(forms) != set(widths):
        yield f"{STORE_FILE}: layers are {', '.join(widths)}, but base/ has weights of {', '.join(forms)}"
        return
    size = d_model_of(base)
    for layer, width in widths.items():
        stack = layer.partition(".")[0]
        stated = config.get(f"{stack}_ffn_dim", width)
        if stated != width:
            yield f"{STORE_FILE}: {layer} has width {width}, but base/config.json says {stack}_ffn_dim {stated!r}"
        shapes = {"fc1.weight": (width, size), "fc1.bias": (width,), "fc2.weight": (size, width), "fc2.bias": (size,)}
        for part, shape in shapes.items():
            found = forms[layer].get(part, Form("missing", ())).shape
            if found != shape:
                yield f"base/: {part} of {layer} has the shape {found}, expected {shape} by {STORE_FILE}"


def _growth_problems(chain: Chain) -> Iterator[str]:
    """Fresh cells that are not as their record says; reading them tells."""
    layers = [layer.name for layer in chain.store.layers]
    for number, growth in enumerate(chain.growths, start=1):
        path = chain.path / GROWN / str(number) / CELLS_FILE
        read_keys(path, layers, growth.cells, d_model_of(chain.path / "base"))
    yield from ()


def _text_problems(chain: Chain) -> Iterator[str]:
    """Counts and samples of general and of every task, against the data that they are of."""
    folders = {"": None} | {f"{TASKS}/{task.name}/": task for task in chain.tasks}
    for folder, task in folders.items():
        data = task.data if task else {}
        counts = NgramCounts.read(chain.path / folder / "routing.safetensors")
        samples = read_samples(chain.path / folder / "samples.jsonl")
        if "train" in data and counts.sentences > data["train"].pairs:
            pairs = data["train"].pairs
            yield f"{folder}routing.safetensors: counts {counts.sentences} sentences, but train has {pairs} pairs"
        if "dev" in data and len(samples) > data["dev"].pairs:
            yield f"{folder}samples.jsonl: has {len(samples)} pairs, but dev has {data['dev'].pairs}"


def _distilled_problems(chain: Chain) -> Iterator[str]:
    """Shapes of distilled models but for their cells, as far as the base's weight files name the parameter."""
    forms = tensor_forms(chain.path / "base").items()
    base = {f"model.{name.removeprefix('model.')}": form.shape for name, form in forms}
    for student in distilled_models(chain.path):
        for name, values in student.tensors().items():
            origin = student.origin(name)
            is_cells = ".fc1." in name or name.endswith(".fc2.weight")
            if not is_cells and values.shape != (shape := base.get(origin, values.shape)):
                where = student.model.relative_to(chain.path).as_posix()
                yield f"{where}: {name} is {values.shape}, but the base's {origin} is {shape}"


def _score_problems(chain: Chain) -> Iterator[str]:
    """Scores that are marked as proven, but are not those of an earlier record with the same digest.

    A record that was freed may have been that one: then nobody can tell.
    """
    rows = [(STORE_FILE, chain.store.base_scores), (STORE_FILE, chain.store.general_scores)]
    rows += [(f"{TASKS}/{task.name}/{TASK_FILE}", task.scores) for task in chain.tasks]
    known: dict[tuple[str, str], list[Score]] = {}
    for where, scores in rows:
        for domain in scores.proven:
            if domain not in scores.domains or domain not in scores.digests:
                yield f"{where}: scores.proven names {domain!r}, which has no digest and score there"
                continue
            digest, score = scores.digests[domain], scores.domains[domain]
            earlier = known.get((domain, digest), [])
            if earlier and score not in earlier:
                yield (
                    f"{where}: scores.proven: {domain!r} has {score}, but the earlier record with the digest {digest} "
                    f"has {earlier[0]}"
                )
            elif not earlier and not any(link.kind == "freed" for link in chain.links):
                yield f"{where}: scores.proven: no earlier record has a score of {domain!r} with the digest {digest}"
        for domain, digest in scores.digests.items():
            if domain in scores.domains:
                known.setdefault((domain, digest), []).append(scores.domains[domain])
