"""All contenders of a domain, made once below the work folder."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.scoreboard.contenders.compiled import compiled, contender, of_random_cells, shallow, shape_of
from benchmarks.scoreboard.contenders.contender import Contender, Field
from benchmarks.scoreboard.contenders.marian import Marian
from benchmarks.scoreboard.contenders.tuned import tuned
from fmalloc.corpus import Corpus
from fmalloc.store.store import Store
from fmalloc_export.bench.contestant import Contestant, converted
from fmalloc_export.domain.domain import Domain
from fmalloc_runtime.bundle.bundle import Bundle
from fmalloc_shared.commands.progress import console
from fmalloc_shared.errors import FmallocError

_BASE_WEIGHTS = ("int8", "float32")
# Decoder layers of what stands for students.
_DEPTHS = (3, 2, 1)
# By how much the product of bfloat16 may be slower than that of float32 for it to be worth measuring.
_HOPELESS = 4


@dataclass(frozen=True)
class Choice:
    """`keep`: share of cells at -O2. `minutes`: of fine-tuning per model; 0: none, unless a folder has it.

    `students`: bundles of -O3 by domain. `marian`: the interpreter that has pymarian. `tuned`: folders of models of
    transformers, by name.
    """

    keep: float = 0.5
    minutes: float = 0.0
    students: dict[str, Path] | None = None
    marian: Path | None = None
    tuned: dict[str, Path] | None = None


def gather(store: Store, name: str, corpora: Path, work: Path, choice: Choice, products: Mapping[str, float]) -> Field:
    """Make what is not there yet; `products`: as of Machine, which decide what is worth measuring."""
    domain = Domain.load(store, name)
    corpus = read(corpora, name, domain)
    left_out: dict[str, str] = {}
    own = compiled(domain, corpus, choice.keep, work / name)
    tokenizer = own[0].contestant.path
    base = Contestant("base, PyTorch float32", "transformers", store.base, domain.languages)
    rows = _converted(base, "base", "CTranslate2", tokenizer, domain.base.config, work / "base", left_out)
    pytorch = Contender(base, "PyTorch", "float32", shape_of(domain.base.config), slow=True)
    rows.append(pytorch)
    slower = products["float32"] / products["bfloat16"]
    half = replace(base, name="base, PyTorch bfloat16", precision="bfloat16")
    if slower < _HOPELESS:
        rows.append(replace(pytorch, contestant=half, weights="bfloat16"))
    else:
        left_out[half.name] = f"a plain product of bfloat16 is {slower:.0f} times as slow as of float32 here"
    for label, folder in tuned(store, name, corpora, work / "tuned", choice.minutes, choice.tuned, left_out).items():
        origin = replace(base, name=label, path=folder)
        rows += _converted(
            origin, label, "fine-tuned", tokenizer, domain.base.config, work / "tuned" / f"{name}-{label}", left_out
        )
    rows += Marian(choice.marian, store.base, domain, corpus, work / "marian").contenders(left_out)
    rows += own
    like = next(row for row in own if row.level == "O2")
    if student := (choice.students or {}).get(name):
        weights = Bundle.open(student).manifest.engine.quantization
        rows.append(contender(domain, f"-O3, {weights}", student, weights, "O3"))
    else:
        left_out["-O3"] = "no student was named for it"
        for depth in (depth for depth in _DEPTHS if depth <= domain.base.config.decoder_layers):
            rows.append(shallow(domain, like, corpus, depth, work / name / f"depth-{depth}"))
    rows.append(of_random_cells(domain, like, work / name / "random"))
    return Field(tuple(rows), left_out)


def read(corpora: Path, name: str, domain: Domain) -> Corpus:
    """The domain's text."""
    from fmalloc.corpus import read_corpus

    return read_corpus(corpora / name, domain.languages)


def _converted(
    base: Contestant, label: str, group: Any, tokenizer: Path, config: Any, folder: Path, left_out: dict[str, str]
) -> list[Contender]:
    """By CTranslate2's own converter; tokens are made by our tokenizer, so that its process has no PyTorch in it."""
    found = []
    for weights in _BASE_WEIGHTS:
        name, path = f"{label}, CTranslate2 {weights}", folder / weights
        try:
            if not (path / "model.bin").exists():
                console.print(f"converting {name}", markup=False)
                folder.mkdir(parents=True, exist_ok=True)
                converted(base, weights, path)
        except FmallocError as error:
            left_out[name] = str(error)
            continue
        model = Contestant(name, "ctranslate2", path, base.languages, tokenizer)
        found.append(Contender(model, group, weights, shape_of(config)))
    return found
