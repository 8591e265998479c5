"""A sentence under translation: what was found for it so far, and what it still lacks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fmalloc_runtime.engines.base import Hypothesis
from fmalloc_runtime.text.document.reading import Reading
from fmalloc_runtime.text.rendering.renderer import Draft, Rendered, Renderer
from fmalloc_runtime.text.terms import Match
from fmalloc_runtime.text.translation import (
    Numbers,
    SentenceTranslation,
)


@dataclass(frozen=True)
class Repair:
    """The best translation of a sentence, and the same with the quantities that it lacks."""

    sentence: "Sentence"
    before: Draft
    after: Draft


class Sentence:
    """A segment and its good translations, best first."""

    def __init__(self, reading: Reading, matches: Sequence[Match], renderer: Renderer) -> None:
        """`matches`: the terms of the segment."""
        self.segment = reading.segment
        self.reading = reading
        self.matches = matches
        self.rendered: list[Rendered] = []
        self._restored = self._remembered = False
        self._renderer = renderer
        self._failed: list[bool] = []
        self._best: Draft | None = None

    @property
    def has_lost_items(self) -> bool:
        """Whether a second translation, without items and notes, would help."""
        return any(self._failed) and bool(self.reading.read or self.reading.notes)

    @property
    def is_checked(self) -> bool:
        """Whether there are numbers or terms, which a translation may lack."""
        return self.reading.has_quantities or bool(self.matches)

    def remember(self, found: Mapping[str, str]) -> bool:
        """Take the translation that the memory has, if there is one with all that must be kept."""
        translation = found.get(self.segment.text)
        kept = [item.text for item in self.segment.items if item.kind != "number"]
        if translation is None or self.segment.tags or self.matches:
            return False
        if any(translation.count(item) != self.segment.text.count(item) for item in kept):
            return False
        self.rendered, self._remembered = [self._renderer.remembered(translation)], True
        return True

    def take(self, hypotheses: Sequence[Hypothesis], tokens: Sequence[str]) -> None:
        """Keep the hypotheses that preserve what they must; `tokens` are those of the source."""
        drafts = [self._renderer.draft(self.reading, tokens, hypothesis) for hypothesis in hypotheses]
        found = [None if draft is None else self._renderer.finish(draft, self.matches) for draft in drafts]
        if self._failed[:1] == [True]:
            # The best hypothesis of the first round was lost: the best of this round takes its place.
            self.rendered, found = [], [*found[:1], *self.rendered, *found[1:]]
        if not self.rendered:
            self._best = next(iter(drafts), None)
        self._failed = [rendered is None for rendered in found]
        for rendered in found:
            if rendered is not None and all(rendered.written.raw != other.written.raw for other in self.rendered):
                self.rendered.append(rendered)

    def term_trials(self) -> list[Draft]:
        """The best translation with the terms that it lacks, in several ways."""
        if self._best is None or not (self.rendered and self.matches):
            return []
        return self._renderer.term_trials(self._best, self.matches)

    def use(self, draft: Draft) -> None:
        """Take a translation with terms for the best one."""
        self._best = draft
        self.rendered[0] = self._renderer.finish(draft, self.matches)

    def repair(self) -> Repair | None:
        """The best translation with the quantities that it lacks, if there are any and it can have them."""
        if self._best is None or not self.rendered[0].missing:
            return None
        after = self._renderer.repair(self._best)
        if after is None or (self.matches and self._lost_terms(after) > self._lost_terms(self._best)):
            return None
        return Repair(self, self._best, after)

    def _lost_terms(self, draft: Draft) -> int:
        return self._renderer.lost_terms(draft, self.matches)

    def restore(self, repaired: Draft) -> None:
        """Take the repaired translation for the best one."""
        self.rendered[0] = self._renderer.finish(repaired, self.matches)
        self._restored = True

    @property
    def told(self) -> SentenceTranslation:
        """The best translation and what became of the source's numbers and terms."""
        best = self.rendered[0]
        terms = best.terms if self._renderer.has_terms else None
        if self._remembered:
            return SentenceTranslation(self.segment.text, best.written.shown, None, remembered=True, terms=terms)
        numbers: Numbers = "missing" if best.missing else "restored" if self._restored else "kept"
        checked = numbers if self._renderer.protect else None
        source, shown = self.segment.text, best.written.shown
        doubt = self._renderer.needs_editing(source, best)
        return SentenceTranslation(source, shown, best.score, best.alignment, checked, best.missing, doubt, terms=terms)
