"""Terms that a translation lacks, put where the alignment says."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np

from fmalloc_runtime.text.rendering.alignment import Weights
from fmalloc_runtime.text.rendering.output import Edit
from fmalloc_runtime.text.terms import Inflection, Match, is_acronym
from fmalloc_runtime.text.words import is_word, words
from fmalloc_runtime.tokenizer.offsets import Span

# Places that are tried for a term; the model says which of them is the likeliest.
_TRIALS = 5
# A term takes the place of at most so many more words than it has, and of so many in all.
_MORE_WORDS, _MOST_WORDS = 2, 12


@dataclass(frozen=True)
class TermComparison:
    """Which terms of the source a target has: `matches` of the source, `taken` spans of the target that are no terms.

    A term is there in any of its forms, as whole words, and once for each time that the source has it.
    """

    matches: Sequence[Match]
    text: str
    taken: Sequence[Span]
    inflection: Inflection

    @cached_property
    def words(self) -> list[Span]:
        """The words of the target, each item as one."""
        return words(self.text, self.taken)

    @cached_property
    def found(self) -> dict[Match, Span]:
        """The words [begin, end) of the target that are a term of the source, longest terms first."""
        free = [span not in set(self.taken) for span in self.words]
        found: dict[Match, Span] = {}
        for match in sorted(self.matches, key=lambda match: -len(match.target)):
            if (span := self._occurrence(match.target, free)) is not None:
                free[slice(*span)] = [False] * (span[1] - span[0])
                found[match] = span
        return found

    @property
    def places(self) -> dict[Match, Span]:
        """The characters of the target that are a term of the source."""
        return {match: (self.words[begin][0], self.words[end - 1][1]) for match, (begin, end) in self.found.items()}

    @cached_property
    def lost(self) -> list[Match]:
        """The terms that the target lacks."""
        return [match for match in self.matches if match not in self.found]

    def _occurrence(self, target: str, free: Sequence[bool]) -> Span | None:
        wanted = [target[slice(*span)] for span in words(target)]
        for at in range(len(self.words) - len(wanted) + 1):
            end = at + len(wanted)
            if all(free[at:end]) and all(map(self._is_form, wanted, self.words[at:end])):
                return at, end
        return None

    def _is_form(self, wanted: str, span: Span) -> bool:
        word = self.text[slice(*span)]
        return word == wanted if is_acronym(wanted) else self.inflection.are_one(wanted, word)


def trials(compared: TermComparison, sources: Sequence[Span], weights: Weights) -> list[list[Edit]]:
    """Edits, in several ways, by which the target has every term of the source; the surest way is the first.

    `sources`: the words of the source, each term as one; `weights`: (target words, source words). Each term takes the
    place of words that come from it, never of an item or another term.
    """
    free = np.array([span not in set(compared.taken) for span in compared.words], dtype=bool)
    for begin, end in compared.found.values():
        free[begin:end] = False
    columns = {span: column for column, span in enumerate(sources)}
    if not free.any() or any((match.begin, match.end) not in columns for match in compared.matches):
        return []
    shares = {match: weights[:, columns[match.begin, match.end]] for match in compared.matches}
    lost = _lost(compared, shares)
    places = []
    for match in lost:
        most = min(len(words(match.target)) + _MORE_WORDS, _MOST_WORDS)
        gains = 2 * shares[match] - weights.sum(axis=1)
        places.append(list(islice(_runs(gains, free, most, compared), _TRIALS)))
    found = [_edits(compared, lost, places, number) for number in range(_TRIALS)]
    return [edits for number, edits in enumerate(found) if edits and edits not in found[:number]]


def _lost(compared: TermComparison, shares: Mapping[Match, Weights]) -> list[Match]:
    """The terms that the target lacks; of several with one translation, those that what is there does not come from."""
    lost: list[Match] = []
    for target in dict.fromkeys(match.target for match in compared.lost):
        left = [match for match in compared.matches if match.target == target]
        for span in (compared.found[match] for match in tuple(left) if match in compared.found):
            left.remove(max(left, key=lambda match: float(shares[match][slice(*span)].sum())))
        lost.extend(left)
    return lost


def _runs(gains: Weights, free: Weights, most: int, compared: TermComparison) -> Iterator[Span]:
    """Runs of free words, those that come most from a term first."""
    sums = np.concatenate([[0], np.cumsum(gains)])
    signs = [not is_word(compared.text[slice(*span)]) for span in compared.words]
    runs = []
    for begin in range(len(gains)):
        for end in range(begin + 1, min(begin + most, len(gains)) + 1):
            if not free[end - 1]:
                break
            if not (signs[begin] or signs[end - 1]):
                runs.append((-float(sums[end] - sums[begin]), begin, end))
    for _, begin, end in sorted(runs):
        yield begin, end


def _edits(
    compared: TermComparison, lost: Sequence[Match], places: Sequence[Sequence[Span]], number: int
) -> list[Edit]:
    """The edits that put each lost term at its place of this number, or at the next that is free."""
    edits: list[Edit] = []
    taken: list[Span] = []
    for match, runs in zip(lost, places, strict=True):
        for begin, end in (*runs[number:], *runs[:number]):
            if all(end <= first or last <= begin for first, last in taken):
                taken.append((begin, end))
                at, until = compared.words[begin][0], compared.words[end - 1][1]
                edits.append(Edit(at, until, _fitting(match.target, compared.text, at), (match.begin, match.end)))
                break
        else:
            return []
    return sorted(edits, key=lambda edit: edit.begin)


def _fitting(target: str, text: str, at: int) -> str:
    """The term with a capital where the text that it stands in begins with one."""
    first = not any(map(str.isalnum, text[:at]))
    return target[:1].upper() + target[1:] if first and text[at : at + 1].isupper() else target
