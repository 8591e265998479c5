"""The pairs that a task learns from beside its own: its sources with annotations."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fmalloc.corpus import Pair
from fmalloc.learning.annotation.alignment import aligned
from fmalloc.learning.annotation.similar import MOST_SEARCHED, with_similar
from fmalloc.learning.annotation.terminology import with_terms
from fmalloc.model.devices import Device
from fmalloc.model.text.tokens import known_markers, set_languages
from fmalloc.recipe import LearningSettings
from fmalloc.store.records import samples_bytes
from fmalloc_shared.commands.progress import console
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import write_atomically
from fmalloc_shared.languages import LanguagePair

FILE = "annotated.jsonl"
# Pairs that get an annotation of each kind, at most: what is learned is to read them, not what they say.
MOST = 4_000
_NO_TERMS = "no words of the training pairs translate each other, as far as the base can tell; words are told by spaces"
_NONE_SIMILAR = "no two sources of the training pairs are similar: this domain has nothing to learn that from"


def annotate(
    path: Path,
    model: Any,
    tokenizer: Any,
    pairs: Sequence[Pair],
    languages: LanguagePair,
    settings: LearningSettings,
    device: Device,
) -> None:
    """Write annotated pairs to a file, which a run that goes on reads: where the model looks may depend on threads.

    `model`: the general model.

    Raises:
        FmallocError: the base has no signs to mark annotations with, or the text has nothing to annotate.
    """
    if path.exists():
        return
    set_languages(tokenizer, languages)
    markers, found = known_markers(tokenizer), []
    chosen = _some(pairs, MOST, settings.seed)
    if settings.terminology:
        console.print(f"terminology: aligning the words of {len(chosen):,} pairs")
        with device.autocast():
            links = aligned(model.to(device.torch).eval(), tokenizer, chosen, longest=settings.maximum_length)
        found += _told(with_terms(links, markers, settings.seed, languages), "terminology", _NO_TERMS)
    if settings.memory:
        among = _some(pairs, MOST_SEARCHED, settings.seed)
        found += _told(with_similar(chosen, among, markers), "memory", _NONE_SIMILAR)
    write_atomically(path, samples_bytes(tuple(found)))


def _told(found: list[Pair], name: str, nothing: str) -> list[Pair]:
    if not found:
        raise FmallocError(f"{name}: {nothing}")
    console.print(f"{name}: {len(found):,} pairs with annotations")
    return found


def _some(pairs: Sequence[Pair], most: int, seed: int) -> list[Pair]:
    """At most so many pairs, in their order."""
    drawn = random.Random(seed).sample(range(len(pairs)), min(most, len(pairs)))
    return [pairs[at] for at in sorted(drawn)]


def read_annotated(path: Path) -> list[Pair]:
    """The pairs that `annotate` wrote."""
    return [Pair(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines() if line]
