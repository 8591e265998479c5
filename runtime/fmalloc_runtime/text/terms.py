"""Terms of a glossary in a text: the longest ones, also inflected, whole words only."""

from collections.abc import Collection, Iterable, Sequence
from functools import cached_property, lru_cache
from hashlib import sha256
from itertools import islice
from typing import NamedTuple

from fmalloc_runtime.text.words import is_word, words
from fmalloc_runtime.tokenizer.offsets import Span
from fmalloc_shared.languages import short_code
from fmalloc_shared.stems import has_stems, stem

# What inflection may put in the place of what, at the end of a word, by language. A stemmer alone goes too far: to
# Snowball's, university and universe are one.
_ENDINGS = {
    "de": frozenset(("", "e", "en", "ens", "er", "ern", "es", "n", "ns", "s", "em", "se", "sen", "ses", "nen")),
    "en": frozenset(("", "s", "es", "y", "ies", "e", "ed", "d", "ing", "ied", "'s", "’s")),
}
# Of other languages, any ending of so many letters.
_LONGEST_ENDING = 3
_FOLDED = str.maketrans("äöüáéíóúàèìòùâêîôû", "aouaeiouaeiouaeiou")
# Entries that are forms of each other and compared with a text that has another form.
_MOST_FORMS = 32


class Entry(NamedTuple):
    """A term and how it is to be translated."""

    source: str
    target: str


class Match(NamedTuple):
    """An entry of a glossary at characters `begin` to `end` of a text; `target`: in the case that fits the place."""

    begin: int
    end: int
    target: str


class Inflection:
    """Which words of a language are forms of one word, by Snowball's stemmer and the endings that inflection has."""

    def __init__(self, language: str) -> None:
        self._code = short_code(language)
        self._has_stems = has_stems(self._code)
        self._endings = _ENDINGS.get(self._code)

    def key(self, word: str) -> str:
        """The same for all forms of a word, and for some others."""
        return _stem(self._code, word.casefold())

    def are_one(self, one: str, other: str) -> bool:
        """Whether two words are the same, in any case, or forms of one."""
        one, other = one.casefold(), other.casefold()
        if one == other:
            return True
        if not self._has_stems or self.key(one) != self.key(other):
            return False
        one, other = one.translate(_FOLDED), other.translate(_FOLDED)
        common = next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
        common = min(len(one), len(other)) if common is None else common
        return all(self._is_ending(word[common:]) for word in (one, other))

    def _is_ending(self, ending: str) -> bool:
        return len(ending) <= _LONGEST_ENDING if self._endings is None else ending in self._endings


class _Node:
    """Entries that begin with the same words: those that end here, by their words, and what comes next, by its key."""

    def __init__(self) -> None:
        self.exact: dict[tuple[str, ...], Entry] = {}
        self.next: dict[str, _Node] = {}


class Terms:
    """The entries of a glossary, to be found in texts of its source language."""

    def __init__(self, entries: Iterable[Entry], source: str, target: str) -> None:
        """`source` and `target`: codes of the languages. The first of several entries with one source counts."""
        self._languages = source, target
        self.source, self.target = Inflection(source), Inflection(target)
        # German writes its nouns with a capital: Essen is food, essen is to eat.
        self._strict_case = short_code(source) == "de"
        self.entries = tuple({entry.source: entry for entry in reversed(tuple(entries))}.values())[::-1]
        self._root = _Node()
        for entry in self.entries:
            node = self._root
            parts = tuple(entry.source[slice(*span)] for span in words(entry.source))
            for part in parts:
                node = node.next.setdefault(self.source.key(part), _Node())
            node.exact[parts] = entry

    @cached_property
    def digest(self) -> str:
        """The same for equal entries."""
        return sha256(repr((self._languages, self.entries)).encode()).hexdigest()[:16]

    def __repr__(self) -> str:
        """Entries by their digest: what is translated with others is not the same."""
        return f"Terms({self.digest})"

    def then(self, others: "Terms") -> "Terms":
        """These entries and those of another glossary of the same languages; of two with one source, the first."""
        return Terms((*self.entries, *others.entries), *self._languages)

    def __len__(self) -> int:
        """How many entries there are."""
        return len(self.entries)

    def find(self, text: str, whole: Sequence[Span] = (), cuts: Collection[int] = ()) -> list[Match]:
        """The terms of a text, disjoint and in order: of those at one place the longest, and of these the most alike.

        None is in a span of `whole`, which are disjoint and in order, or crosses a place of `cuts`, or is a part of a
        word with a hyphen.
        """
        spans = words(text, whole, cuts)
        kept = set(whole)
        parts = ["" if span in kept else text[slice(*span)] for span in spans]
        found: list[Match] = []
        at = 0
        while at < len(spans):
            entry, length = self._at(parts, at)
            end = at + length
            if entry is not None and not (
                _is_joined(text, spans[at][0], -1)
                or _is_joined(text, spans[end - 1][1], 1)
                or any(spans[at][0] < cut < spans[end - 1][1] for cut in cuts)
            ):
                shown = text[spans[at][0] : spans[end - 1][1]]
                found.append(Match(spans[at][0], spans[end - 1][1], _in_case(entry, shown)))
                at = end
            else:
                at += 1
        return found

    def _at(self, parts: Sequence[str], at: int) -> tuple[Entry | None, int]:
        """The entry that begins at a word, and of how many words it is."""
        path = [self._root]
        for part in parts[at:]:
            node = path[-1].next.get(self.source.key(part)) if part else None
            if node is None:
                break
            path.append(node)
        for length in range(len(path) - 1, 0, -1):
            here = tuple(parts[at : at + length])
            if (entry := path[length].exact.get(here)) is not None:
                return entry, length
            forms = [
                (sum(map(str.__eq__, wanted, here)), entry)
                for wanted, entry in islice(path[length].exact.items(), _MOST_FORMS)
                if all(map(self._is_form, wanted, here))
            ]
            if forms:
                return max(forms, key=lambda form: form[0])[1], length
        return None, 0

    def _is_form(self, wanted: str, word: str) -> bool:
        if not word or (is_acronym(wanted) and word != wanted):
            return False
        if self._strict_case and wanted[0].isupper() and not word[0].isupper():
            return False
        return self.source.are_one(wanted, word)


def is_acronym(word: str) -> bool:
    """Whether a word is written in capitals alone: IT is not it."""
    return len(word) > 1 and word.isupper()


def _is_joined(text: str, at: int, side: int) -> bool:
    """Whether there is a hyphen before (-1) or after (1) a place, and a word right behind that."""
    near, far = (text[at - 1 : at], text[at - 2 : at - 1]) if side < 0 else (text[at : at + 1], text[at + 1 : at + 2])
    return near in ("-", "\u2010", "\u2011") and far.isalnum()


def _in_case(entry: Entry, shown: str) -> str:
    """The target; in capitals where the text has the term in capitals and the glossary does not."""
    loud = shown.isupper() and len(shown) > 1 and not entry.source.isupper()
    return entry.target.upper() if loud else entry.target


@lru_cache(1 << 16)
def _stem(language: str, word: str) -> str:
    return stem(language, word).translate(_FOLDED) if has_stems(language) and is_word(word) else word
