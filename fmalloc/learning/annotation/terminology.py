"""Pairs whose sources say how some of their words are to be translated (Dinu et al. 2019).

The words are the domain's own: those that translate each other in a pair, and that few pairs have. What is written
beside a term is the word that the target has or, half of the time, another form of it that the domain has more often,
so that inflecting is learned too.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cache, partial

from fmalloc.corpus import Pair
from fmalloc.learning.annotation.alignment import Aligned, Word
from fmalloc_shared.annotations import Markers, term_note, with_notes
from fmalloc_shared.languages import LanguagePair, short_code
from fmalloc_shared.stems import stem

# Terms of one source.
_MOST_TERMS = 3
# Of all pairs, those that a word of either side may be in: others are no terms.
_COMMON = 0.05
_SHORTEST = 3  # letters
# Links of two words that make them a term, and of the pairs with the first of them.
_LEAST_LINKS, _LEAST_SHARE = 2, 0.3
# Of the terms, those beside which the usual form stands rather than the one of the pair.
_USUAL = 0.5

Link = tuple[Word, Word]


def with_terms(pairs: Sequence[Aligned], markers: Markers, seed: int, languages: LanguagePair) -> list[Pair]:
    """Each pair that has terms, with one to three of them annotated.

    They are drawn by weights of one over the pairs that a term is in (Efraimidis and Spirakis 2006): how a frequent one
    is translated, a model knows without reading it.
    """
    drawn, terms = random.Random(seed), _Terms(pairs, languages)
    annotated = []
    for aligned in pairs:
        links = [link for link in aligned.links if terms.has(link)]
        if not links or markers.are_in(aligned.pair.source):
            continue
        rarest = sorted(links, key=lambda link: drawn.random() ** terms.pairs_with(link), reverse=True)
        chosen = rarest[: drawn.randint(1, _MOST_TERMS)]
        notes = [
            term_note(source.end, terms.usual(target) if drawn.random() < _USUAL else target.text, markers)
            for source, target in sorted(chosen, key=lambda link: link[0].begin)
        ]
        annotated.append(Pair(with_notes(aligned.pair.source, notes), aligned.pair.target))
    return annotated


class _Terms:
    """Which words of a text are terms, and the forms of their translations."""

    def __init__(self, pairs: Sequence[Aligned], languages: LanguagePair) -> None:
        source, target = (short_code(language) for language in languages)
        self._source, self._target = (cache(partial(_stemmed, language)) for language in (source, target))
        self._often = max(1.0, _COMMON * len(pairs))
        self._links = Counter[tuple[str, str]]()
        self._pairs = (Counter[str](), Counter[str]())
        forms: dict[str, Counter[str]] = defaultdict(Counter)
        for aligned in pairs:
            self._links.update(map(self._stems, aligned.links))
            for counter, words in zip(self._pairs, zip(*map(self._stems, aligned.links), strict=True), strict=False):
                counter.update(set(words))
            for _, word in aligned.links:
                forms[self._target(word.text)][word.text] += 1
        self._usual = {one: min(found, key=lambda text: (-found[text], text)) for one, found in forms.items()}

    def has(self, link: Link) -> bool:
        """Whether it is a term: two words, in few pairs, that are linked more than once and often enough."""
        if not all(word.text.isalpha() and len(word.text) >= _SHORTEST for word in link):
            return False
        stems = self._stems(link)
        within = [counter[one] for counter, one in zip(self._pairs, stems, strict=True)]
        return max(within) <= self._often and self._links[stems] >= max(_LEAST_LINKS, _LEAST_SHARE * within[0])

    def pairs_with(self, link: Link) -> int:
        """How many pairs have the source word in a link."""
        return self._pairs[0][self._source(link[0].text)]

    def usual(self, word: Word) -> str:
        """The form of a target word that is there most often; of several the first by the alphabet."""
        return self._usual[self._target(word.text)]

    def _stems(self, link: Link) -> tuple[str, str]:
        return self._source(link[0].text), self._target(link[1].text)


def _stemmed(language: str, word: str) -> str:
    return stem(language, word.casefold())
