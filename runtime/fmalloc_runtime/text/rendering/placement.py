"""Places the tags and items of a source in its translation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fmalloc_runtime.text.rendering.alignment import Weights
from fmalloc_runtime.text.rendering.tree import Beside, Node, Part, Point, TagPair
from fmalloc_runtime.tokenizer.offsets import Span

# Factor by which the influence of words on a place between words decays with distance.
_FADING = 0.6
# Weight of all words before and after a place, relative to the two adjacent ones.
_WHOLE = 0.5
# Breaks ties in favour of the same relative position in the text.
_TIE = 1e-5


@dataclass(frozen=True)
class Placed:
    """Markup to write before target word `at`; several at one place are in the order of the list."""

    at: int
    kind: Literal["open", "close", "point"]
    parts: Sequence[Part]
    beside: tuple[Beside, Beside] = ("word", "word")


def place(tree: Sequence[Node], weights: Weights, signs: Sequence[bool], quotes: Sequence[int] = ()) -> list[Placed]:
    """The places of all nodes, well-formed; `weights` (target words, source words) as of word_weights.

    `signs`: which source words, then which target words, are punctuation. `quotes`: the target words that close a
    pair of quotation marks or brackets with nothing in it, where quoted points belong.
    """
    return list(_Placer(weights, signs, quotes).run(tree))


class _Placer:
    def __init__(self, weights: Weights, signs: Sequence[bool], quotes: Sequence[int]) -> None:
        self._count, self._sources = weights.shape
        self._sums = np.concatenate([np.zeros((self._count, 1), np.float32), np.cumsum(weights, axis=1)], axis=1)
        self._weights = weights
        self._quotes = list(quotes)
        self._source_signs, self._target_signs = signs[: self._sources], signs[self._sources :]
        self._source_end, self._target_end = _words_end(self._source_signs), _words_end(self._target_signs)

    def run(self, tree: Sequence[Node]) -> Iterator[Placed]:
        waiting: list[Placed | tuple[Node, Span]] = list(reversed(self._arrange(tree, 0, self._count)))
        while waiting:
            step = waiting.pop()
            if isinstance(step, Placed):
                yield step
                continue
            node, (begin, end) = step
            if isinstance(node, Point):
                yield Placed(begin, "point", node.parts, node.beside)
                continue
            if node.reach != "begin":
                yield Placed(begin, "open", node.opens)
            if node.reach != "end":
                waiting.append(Placed(end, "close", node.closes))
            waiting.extend(reversed(self._arrange(node.children, begin, end)))

    def _arrange(self, nodes: Sequence[Node], low: int, high: int) -> list[tuple[Node, Span]]:
        """Disjoint spans of target words for the nodes, within `low` to `high`, in order of position."""
        found: list[tuple[Span, int]] = []
        free = [(low, high)]
        inside = np.zeros(self._count + 1, dtype=bool)  # places inside a pair
        for index in sorted(range(len(nodes)), key=lambda index: self._urgency(nodes[index], low, high)):
            node = nodes[index]
            if isinstance(node, Point):
                span = self._quoted_gap(node, low, high, inside) or self._gap(node.at, low, high, inside)
            elif node.reach == "both":
                span = self._run(node, free) or self._gap(node.begin, low, high, inside)
                free = _without(free, span)
                inside[span[0] + 1 : span[1]] = True
            else:
                at = self._edge(node, low, high)
                span, low, high = ((at, high), low, at) if node.reach == "end" else ((low, at), at, high)
                free = [(low, high)]
            found.append((span, index))
        return [(nodes[index], span) for span, index in sorted(found)]

    def _urgency(self, node: Node, low: int, high: int) -> tuple[int, float]:
        """Pairs that must reach an edge first, then pairs by certainty, then points."""
        if isinstance(node, Point):
            return 2, 0.0
        if node.reach != "both" or low == high:
            return 0, 0.0
        return 1, -_best_run(self._gains(node), low, high)[0]

    def _gains(self, pair: TagPair) -> Weights:
        """How much more each target word comes from inside the pair than from outside."""
        gains: Weights = 2 * (self._sums[:, pair.end] - self._sums[:, pair.begin]) - self._sums[:, -1]
        return gains

    def _run(self, pair: TagPair, free: Sequence[Span]) -> Span | None:
        """The run of words that comes most from inside the pair; None if no word is free."""
        gains = self._gains(pair)
        runs = [_best_run(gains, *span) for span in free if span[0] < span[1]]
        if not runs:
            return None
        _, begin, end = max(runs)
        # Punctuation at an edge belongs inside only if it does in the source.
        while end - begin > 1 and self._target_signs[end - 1] and not self._source_signs[pair.end - 1]:
            end -= 1
        while end - begin > 1 and self._target_signs[begin] and not self._source_signs[pair.begin]:
            begin += 1
        return begin, end

    def _edge(self, pair: TagPair, low: int, high: int) -> int:
        """The beginning of a pair that reaches to the end, or the end of one that reaches to the beginning."""
        gains = self._gains(pair)[low:high]
        sums = np.concatenate([[0], np.cumsum(gains if pair.reach == "begin" else -gains)])
        if pair.begin < pair.end and low < high:  # then it encloses at least one word
            sums[0 if pair.reach == "begin" else -1] = -np.inf
        return low + int(sums.argmax())

    def _quoted_gap(self, point: Point, low: int, high: int, inside: NDArray[np.bool_]) -> Span | None:
        """The empty quotation marks nearest to where a quoted point would be."""
        free = [at for at in self._quotes if low < at < high and not inside[at]] if point.quoted else []
        if not free:
            return None
        wanted, _ = self._gap(point.at, low, high, inside)
        at = min(free, key=lambda at: abs(at - wanted))
        self._quotes.remove(at)
        return at, at

    def _gap(self, at: int, low: int, high: int, inside: NDArray[np.bool_]) -> Span:
        """The place between target words for a point that was before source word `at`."""
        if at > self._source_end:  # in the final punctuation: keep the distance from the end
            low = max(low, min(high, self._count - (self._sources - at)))
        elif self._source_end < self._sources:
            high = max(low, min(high, self._target_end))
        distance = np.arange(self._sources, dtype=np.float32) - (at - 0.5)
        before = self._weights[low:high] @ (-np.sign(distance) * _FADING ** (np.abs(distance) - 0.5))
        scores = _WHOLE * np.concatenate([[0], np.cumsum(before)])
        scores[1:] += before
        scores[:-1] -= before
        wanted = low + at / max(self._sources, 1) * (high - low)
        scores -= _TIE * np.abs(np.arange(low, high + 1) - wanted)
        scores[inside[low : high + 1]] = -np.inf
        best = low + int(scores.argmax())
        return best, best


def _words_end(signs: Sequence[bool]) -> int:
    """The beginning of a text's final punctuation."""
    return max((at + 1 for at, sign in enumerate(signs) if not sign), default=0)


def _best_run(gains: Weights, low: int, high: int) -> tuple[float, int, int]:
    """The nonempty run of words with the largest sum of gains: sum, begin, end."""
    sums = np.concatenate([[0], np.cumsum(gains[low:high])])
    lowest = np.minimum.accumulate(sums[:-1])
    end = int((sums[1:] - lowest).argmax()) + 1
    begin = int(sums[:end].argmin())
    return float(sums[end] - sums[begin]), low + begin, low + end


def _without(free: Sequence[Span], taken: Span) -> list[Span]:
    rest = []
    for begin, end in free:
        if begin <= taken[0] and taken[1] <= end and taken[0] < taken[1]:
            rest.extend([(begin, taken[0]), (taken[1], end)])
        else:
            rest.append((begin, end))
    return rest
