"""Signs that a vocabulary does not know: emoji, foreign scripts and symbols, which a model could only lose."""

from collections.abc import Callable, Collection, Sequence
from functools import cache

from fmalloc_runtime.text.document.sentences import readable
from fmalloc_runtime.text.words import words
from fmalloc_runtime.tokenizer.offsets import Span


def find_signs(text: str, knows: Callable[[str], bool], whole: Sequence[Span], cuts: Collection[int]) -> list[Span]:
    """Spans of the words and graphemes that the vocabulary does not know, from left to right; touching ones are one.

    A word with an unknown letter is unknown, since half of it could not be read. `whole`: spans in order without signs
    to find; `cuts`: places that no span crosses.
    """
    unknown = {sign for sign in set(text) if sign == readable(sign) and not sign.isspace() and not knows(sign)}
    if not unknown:
        return []
    taken = set(whole)
    # The same few signs often fill a text.
    is_known = cache(lambda piece: unknown.isdisjoint(piece) or knows(readable(piece)))
    found: list[Span] = []
    for span in words(text, whole, cuts):
        if span in taken or is_known(text[slice(*span)]):
            continue
        if found and found[-1][1] == span[0] and span[0] not in cuts:
            found[-1] = (found[-1][0], span[1])
        else:
            found.append(span)
    return found
