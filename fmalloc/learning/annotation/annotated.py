"""The pairs that a task learns from beside its own: its sources with annotations."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fmalloc.corpus import Pair
from fmalloc.learning.annotation.alignment import aligned
from fmalloc.learning.annotation.terminology import MOST_PAIRS, known_markers, with_terms
from fmalloc.model.devices import Device
from fmalloc.model.text.tokens import set_languages
from fmalloc.recipe import LearningSettings
from fmalloc.store.records import samples_bytes
from fmalloc_shared.commands.progress import console
from fmalloc_shared.errors import FmallocError
from fmalloc_shared.files import write_atomically
from fmalloc_shared.languages import LanguagePair

FILE = "annotated.jsonl"


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
        FmallocError: the base has no tokens to mark annotations with, or no words translate each other.
    """
    if path.exists():
        return
    set_languages(tokenizer, languages)
    markers = known_markers(tokenizer)
    some = range(len(pairs))
    chosen = [pairs[at] for at in sorted(random.Random(settings.seed).sample(some, min(MOST_PAIRS, len(pairs))))]
    console.print(f"terminology: aligning the words of {len(chosen):,} pairs")
    with device.autocast():
        links = aligned(model.to(device.torch).eval(), tokenizer, chosen, longest=settings.maximum_length)
    found = with_terms(links, markers, settings.seed, languages)
    if not found:
        raise FmallocError(
            "terminology: no words of the training pairs translate each other, as far as the base can tell; words are "
            "told by spaces"
        )
    console.print(f"terminology: {len(found):,} pairs with terms")
    write_atomically(path, samples_bytes(tuple(found)))


def read_annotated(path: Path) -> list[Pair]:
    """The pairs that `annotate` wrote."""
    return [Pair(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines() if line]
