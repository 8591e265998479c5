"""Students of domains, for -O3: taken from the store, or distilled from the learned model and kept there.

The teacher's own translations come from its emitted -O0 model in int8, many times faster than PyTorch's search.
"""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from fmalloc.corpus import Pair, read_pairs, read_sources, spread
from fmalloc.distillation.distill import DistillationText, Start, Teacher
from fmalloc.distillation.keeping import (
    claim_of,
    forget_student,
    kept_student,
    make_student,
    paused_student,
    work_folder,
)
from fmalloc.distillation.settings import UNLIMITED, DistillationSettings, Limit
from fmalloc.distillation.start import shallow_general, start_of
from fmalloc.distillation.student import check_depth, depth_of
from fmalloc.model.architectures import base_bytes
from fmalloc.model.assembly import load_sliced
from fmalloc.model.devices import Device, DeviceName, select
from fmalloc.store.distilled import DistillationClaim, Distilled
from fmalloc.store.store import Store, writing
from fmalloc_export.compiler import compile_at
from fmalloc_export.domain.domain import Domain
from fmalloc_export.options import Options
from fmalloc_runtime.engines.base import TranslationOptions
from fmalloc_runtime.live.translator import Translator
from fmalloc_shared.commands.outputs import check_folder
from fmalloc_shared.commands.progress import bar
from fmalloc_shared.files import write_atomically
from fmalloc_shared.names import GENERAL

# Pairs to choose the best state by: one in this many, and at most so many.
_DEV_SHARE, _MOST_DEV = 20, 300
# Sentences that are translated at a time; what is translated is kept.
_CHUNK = 256
# Models: in a checkpoint those that are trained now and at their best, and two moments; the student itself.
_ROOM = 5


class StudentArguments(NamedTuple):
    """What a command was told of students: settings, `[NAME=]PATH` each of `sources`, general text, a device, what
    their depth is searched for, and the minutes that the whole search has.
    """

    settings: DistillationSettings
    sources: Sequence[str]
    general: Path | None
    device: DeviceName
    use: Literal["latency", "throughput"] | None = None
    budget: float | None = None


@dataclass(frozen=True)
class Distillation:
    """How students are made: settings, more `sources` by domain, general pairs, and where to compute."""

    settings: DistillationSettings
    sources: Mapping[str, tuple[str, ...]]
    general: tuple[Pair, ...]
    device: Device

    @classmethod
    def read(cls, arguments: StudentArguments, sources: Mapping[str, Path], store: Store) -> "Distillation":
        """Read the texts; FmallocError if one cannot be read, or if the device is not there."""
        general = read_pairs(arguments.general, store.description.languages) if arguments.general else ()
        found = {name: read_sources(path) for name, path in sources.items()}
        return cls(arguments.settings, found, general, select(arguments.device))


@dataclass(frozen=True)
class Lesson:
    """What the student of one domain is to learn from; pairs without a target are translated by its teacher.

    `start`: the shallow general model that it begins as, if the store has one of its depth. `anew`: general's own
    students are made of the text that is given; otherwise the one that is there serves.
    """

    domain: Domain
    distillation: Distillation
    text: DistillationText
    sources: tuple[str, ...]
    start: Distilled | None
    claim: DistillationClaim
    anew: bool

    @classmethod
    def of(
        cls,
        domain: Domain,
        distillation: Distillation,
        pairs: Sequence[Pair],
        held_out: Sequence[Pair],
        *,
        anew: bool = False,
    ) -> "Lesson":
        """Put the text together: `pairs`, and the domain's sources in `distillation`.

        Sources of held-out pairs are left out, wherever they are from. FmallocError if the decoder is too shallow.
        """
        settings, store = distillation.settings, domain.store
        check_depth(settings.depth, depth_of(domain.base))
        hidden = {pair.source for pair in held_out}
        pairs = [pair for pair in pairs if pair.source not in hidden]
        known = hidden | {pair.source for pair in pairs}
        sources = tuple(source for source in distillation.sources.get(domain.name, ()) if source not in known)
        chosen_from = pairs or [Pair(source, "") for source in sources]
        dev = spread(chosen_from, min(_MOST_DEV, max(1, len(chosen_from) // _DEV_SHARE)))
        chosen = {pair.source for pair in dev}
        train = tuple(pair for pair in pairs if pair.source not in chosen)
        sources = tuple(source for source in sources if source not in chosen)
        # What is lost on general text is measured on the store's samples of it.
        unseen = hidden | chosen | {pair.source for pair in store.samples(GENERAL)}
        general = tuple(pair for pair in distillation.general if pair.source not in unseen)
        text = DistillationText(train, general, dev)
        start = None if domain.name == GENERAL else shallow_general(store, settings.depth)
        claim = claim_of(store, domain.task, settings, text, sources, start)
        return cls(domain, distillation, text, sources, start, claim, anew)

    def kept(self) -> Distilled | None:
        """The student that was made from the same before; of general, one that `fmalloc shallow` made."""
        store = self.domain.store
        found = kept_student(store, self.claim)
        if found is None and self.domain.name == GENERAL and not self.anew:
            return shallow_general(store, self.distillation.settings.depth)
        return found

    def explain(self) -> str:
        """What would be done."""
        settings, whole = self.distillation.settings, depth_of(self.domain.base)
        if kept := self.kept():
            return f"the student with {settings.depth} of {whole} decoder layers is there: {kept.path}"
        budget = f"{settings.updates} updates" if settings.minutes is None else f"{settings.minutes:g} minutes"
        start = f"the shallow general model {self.start.path.name}" if self.start else "the learned model"
        return (
            f"would distil a student with {settings.depth} of {whole} decoder layers in {budget}, from {start}: on "
            f"{len(self.text.domain)} pairs, the learned model's translations of {len(self._translated())} sources, "
            f"and {len(self.text.general)} general pairs"
        )

    def student(self, limit: Limit = UNLIMITED, text: DistillationText | None = None) -> Distilled:
        """Take it from the store, or make it and keep it there; errors as of fmalloc.distillation.distill.

        `limit`: how far it learns for now; a student that pauses is not in the store yet, but goes on from there.
        `text`: what `translated` gave.
        """
        store, name = self.domain.store, self.domain.task
        if kept := self.kept():
            return kept
        check_folder(store.path, room=_ROOM * base_bytes(store.base))
        with writing(store.path):
            work, settings = work_folder(store, self.claim), self.distillation.settings
            if paused := paused_student(work, settings, limit):
                return paused
            text = text or self._with_translations(work, UNLIMITED)
            model, tokenizer = load_sliced(store, name)
            start = None
            if self.start:
                start = Start(start_of(store, name, self.start), self.start.record.decoder_layers)
            teacher, device = Teacher(model, tokenizer, self.domain.languages), self.distillation.device
            return make_student(store, self.claim, teacher, text, settings, device, start, limit)

    def translated(self, limit: Limit) -> DistillationText:
        """The text with the teacher's translations, as many as there is time for; what is translated is kept."""
        with writing(self.domain.store.path):
            return self._with_translations(work_folder(self.domain.store, self.claim), limit)

    def forget(self) -> None:
        """Give up a student that paused."""
        with writing(self.domain.store.path):
            forget_student(self.domain.store, self.claim)

    def _translated(self) -> Sequence[str]:
        """The sources to learn from that the teacher translates, evenly spaced."""
        sources = [*(pair.source for pair in self.text.domain), *self.sources]
        return spread(sources, self.distillation.settings.translations)

    def _with_translations(self, work: Path, limit: Limit) -> DistillationText:
        """The text with the teacher's translations of its sources."""
        dev = [pair.source for pair in self.text.dev if not pair.target]
        with tempfile.TemporaryDirectory(dir=work) as directory:
            tokenizer = Path(directory) / "tokenizer"
            self.domain.write_tokenizer(tokenizer)
            teacher = compile_at(self.domain, Options()).run(Path(directory) / "teacher", "int8", tokenizer)
            longest = min(self.distillation.settings.maximum_length, teacher.maximum_length)
            sources = [source for source in (*dev, *self._translated()) if len(teacher.encode(source)) <= longest]
            with bar(f"{self.domain.name}: translating for its student", len(sources)) as advance:
                translated = translate_kept(teacher, sources, longest, work, advance, limit)
        # Where there was no time for all, the last ones have none.
        pairs = {source: Pair(source, text) for source, text in zip(sources, translated, strict=False) if text}
        of_dev = [pair if pair.target else pairs.pop(pair.source, None) for pair in self.text.dev]
        return replace(
            self.text,
            domain=(*self.text.domain, *pairs.values()),
            dev=tuple(pair for pair in of_dev if pair),
        )


def translate_kept(
    teacher: Translator,
    sources: Sequence[str],
    longest: int,
    work: Path,
    advance: Callable[[int], None],
    limit: Limit = UNLIMITED,
) -> list[str]:
    """Beam-search translations, also over a stop: what is done lies in `work`, in files of 256 sentences.

    Once the deadline of `limit` has passed, the sources that are left get none, but for the first file's.
    """
    options = TranslationOptions(max_length=longest)
    translations: list[str] = []
    for number, start in enumerate(range(0, len(sources), _CHUNK)):
        path, chunk = work / f"translations-{number:06}.json", sources[start : start + _CHUNK]
        if not path.is_file():
            if translations and limit.passed():
                break
            found = [translation.text.strip() for translation in teacher.translate(chunk, options)]
            write_atomically(path, json.dumps(found, ensure_ascii=False).encode())
        translations += json.loads(path.read_text(encoding="utf-8"))
        advance(len(chunk))
    return translations
