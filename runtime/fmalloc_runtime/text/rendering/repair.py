"""Numbers, dates and references that a translation lacks, put where the alignment says."""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property

from fmalloc_runtime.text.quantities import Notation, Part, Quantity
from fmalloc_runtime.text.rendering.alignment import Weights
from fmalloc_runtime.text.rendering.output import Edit
from fmalloc_runtime.text.rendering.placement import place
from fmalloc_runtime.text.rendering.tree import Point
from fmalloc_runtime.text.words import in_word, is_opening, is_quote, is_word, words
from fmalloc_runtime.tokenizer.offsets import Span

# How surely one number stands for another: its share of attention and the likeness of the digits, together.
_SURE = 0.6
# The digits of longer numbers are not compared: the comparison takes quadratic time.
_LONGEST_COMPARED = 40
# With more missing quantities times foreign numbers, none is exchanged.
_MOST_PAIRS = 2_500


@dataclass(frozen=True)
class Said:
    """A text, the spans of its items in order, and the notation that it is written in."""

    text: str
    items: Sequence[Span]
    notation: Notation

    @cached_property
    def quantities(self) -> list[Quantity]:
        """The quantities outside the items."""
        found, items = [], deque(self.items)
        for one in self.notation.find(self.text):
            while items and items[0][1] <= one.begin:
                items.popleft()
            after = items[0][0] if items else len(self.text)
            if (last := one.parts[-1].end) <= after:
                found.append(one if one.end <= after else Quantity(one.parts, last))
        return found

    @cached_property
    def words(self) -> list[Span]:
        """Words, each quantity and each item as one."""
        return words(self.text, sorted([*self.items, *((one.begin, one.end) for one in self.quantities)]))


class Comparison:
    """Which of the source's quantities the target has: whole ones are compared first, then the parts of others."""

    def __init__(self, source: Said, target: Said) -> None:
        self.source, self.target = source, target
        self.partner: dict[Part, Quantity] = {}  # by part of the source
        free: dict[tuple[str, ...], deque[Quantity]] = {}
        for one in target.quantities:
            free.setdefault(_values(one), deque()).append(one)
        for one in source.quantities:
            if same := free.get(_values(one)):
                self.partner |= dict.fromkeys(one.parts, same.popleft())
        rest: dict[str, deque[tuple[Part, Quantity]]] = {}
        for one in sorted((one for left in free.values() for one in left), key=lambda one: one.begin):
            for part in one.parts:
                rest.setdefault(part.value, deque()).append((part, one))
        for part in (part for one in source.quantities for part in one.parts if part not in self.partner):
            if left := rest.get(part.value):
                self.partner[part] = left.popleft()[1]
        self.foreign = self._match_pieces([found for left in rest.values() for found in left])
        self.lost = [one for one in source.quantities if self.missing(one)]

    def _match_pieces(self, left: Sequence[tuple[Part, Quantity]]) -> set[Part]:
        """Match numbers with spaces piece by piece, for they may be several: the parts of the target that remain."""
        pieces: dict[str, deque[tuple[Part, Quantity]]] = {}
        for part, one in sorted(left, key=lambda found: found[0].begin):
            for value in part.values:
                pieces.setdefault(value, deque()).append((part, one))
        foreign = {part for part, _ in left}
        for part in (part for one in self.source.quantities for part in one.parts if part not in self.partner):
            if all(len(pieces.get(value, ())) >= count for value, count in Counter(part.values).items()):
                for value in part.values:
                    used, self.partner[part] = pieces[value].popleft()
                    foreign.discard(used)
        return foreign

    @property
    def shown(self) -> tuple[str, ...]:
        """What the target lacks, as the source writes it."""
        return tuple(self.source.text[one.begin : one.end] for one in self.lost)

    def missing(self, one: Quantity) -> list[Part]:
        """The parts of a quantity of the source that the target lacks."""
        return [part for part in one.parts if part not in self.partner]

    def begun(self, one: Quantity) -> Quantity | None:
        """What the target has of an incomplete date, if it has it at one place and nothing else there."""
        partners = [self.partner[part] for part in one.parts if part in self.partner]
        if not partners or any(other is not partners[0] for other in partners):
            return None
        return partners[0] if len(partners) == len(partners[0].parts) else None


def repairs(compared: Comparison, weights: Weights) -> list[Edit]:
    """Edits of the target, in order, by which it has every quantity of the source.

    `weights`: (target words, source words) of the two texts. A number at the place of another one is exchanged, a date
    of which a part is missing is written anew, and what has no counterpart is put between the words that come from
    the words around it, never inside an item or a quantity.
    """
    return sorted(_Repair(compared, weights).edits(), key=lambda edit: (edit.begin, edit.end))


@dataclass(frozen=True)
class _Unit:
    """A quantity or a part of one, as one number stands for another."""

    begin: int
    end: int
    value: str
    month: bool
    parts: tuple[Part, ...]


class _Repair:
    def __init__(self, compared: Comparison, weights: Weights) -> None:
        self._compared = compared
        self._source, self._target = compared.source, compared.target
        self._weights = weights

    def edits(self) -> Iterator[Edit]:
        exchanged: set[Part] = set()
        for unit, other in self._exchanges():
            exchanged.update(unit.parts)
            yield Edit(other.begin, other.end, self._written(unit), (unit.begin, unit.end))
        waiting = []
        for one in self._compared.lost:
            if exchanged.issuperset(self._compared.missing(one)):
                continue
            if begun := self._compared.begun(one):
                yield Edit(begun.begin, begun.parts[-1].end, self._write(one), (one.begin, one.end))
            else:
                waiting.append(one)
        yield from self._insertions(waiting)

    def _write(self, one: Quantity) -> str:
        return self._target.notation.write(one, self._source.text, self._source.notation)

    def _written(self, unit: _Unit) -> str:
        if len(unit.parts) > 1:
            return self._write(Quantity(unit.parts, unit.end))
        return self._target.notation.write_part(unit.parts[0], self._source.text, self._source.notation)

    def _exchanges(self) -> list[tuple[_Unit, _Unit]]:
        """Missing numbers and the foreign numbers that stand in their place, the surest first."""
        compared = self._compared
        lost = [unit for one in compared.lost for unit in _units(one, set(compared.missing(one)))]
        foreign = [unit for one in self._target.quantities for unit in _units(one, compared.foreign)]
        if len(lost) * len(foreign) > _MOST_PAIRS:
            return []
        pairs = []
        for unit in lost:
            for other in foreign:
                sure = self._weight(unit, other) + _likeness(unit.value, other.value)
                if sure >= _SURE and unit.month == other.month:
                    pairs.append((-sure, unit.begin, other.begin, unit, other))
        chosen: dict[int, tuple[_Unit, _Unit]] = {}  # by where the foreign one begins
        done: set[int] = set()
        for *_, unit, other in sorted(pairs, key=lambda pair: pair[:3]):
            if unit.begin not in done and other.begin not in chosen:
                done.add(unit.begin)
                chosen[other.begin] = unit, other
        return list(chosen.values())

    def _weight(self, unit: _Unit, other: _Unit) -> float:
        columns = _overlapping(self._source.words, unit.begin, unit.end)
        rows = _overlapping(self._target.words, other.begin, other.end)
        return float(self._weights[rows, columns].sum(axis=1).mean())

    def _insertions(self, quantities: Sequence[Quantity]) -> Iterator[Edit]:
        """Each quantity as an edit without characters of its own."""
        gone = {(one.begin, one.end) for one in quantities}
        sources, targets = self._source.words, self._target.words
        kept = [at for at, span in enumerate(sources) if span not in gone]
        signs = [
            *(not is_word(self._source.text[slice(*sources[at])]) for at in kept),
            *(not is_word(self._target.text[slice(*span)]) for span in targets),
        ]
        points, before = [], 0
        for number, one in enumerate(quantities):
            while before < len(kept) and sources[kept[before]][1] <= one.begin:
                before += 1
            points.append(
                Point(before, one.begin, one.end, deque([(self._quoted(one), str(number))]), ("space", "space"))
            )
        text = self._target.text
        for placed in place(points, self._weights[:, kept], signs):
            ((written, which),) = placed.parts
            one = quantities[int(which)]
            at = targets[placed.at - 1][1] if placed.at else 0
            lead = " " if at and not is_opening(text[at - 1]) and not text[at - 1].isspace() else ""
            trail = " " if not at or in_word(text[at : at + 1]) else ""
            yield Edit(at, at, f"{lead}{written}{trail}", (one.begin, one.end))

    def _quoted(self, one: Quantity) -> str:
        """A quantity as the target's language writes it, with the brackets that are right around it in the source."""
        text = self._source.text
        before, after = text[max(one.begin - 1, 0) : one.begin], text[one.end : one.end + 1]
        written = self._write(one)
        return f"{before}{written}{after}" if is_quote(before, after) else written


def _values(quantity: Quantity) -> tuple[str, ...]:
    return tuple(sorted(part.value for part in quantity.parts))


def _units(one: Quantity, chosen: set[Part]) -> list[_Unit]:
    """A quantity as one unit if all its parts are chosen, else those that are."""
    if chosen.issuperset(one.parts):
        value = ".".join(part.value for part in one.parts)
        return [_Unit(one.begin, one.parts[-1].end, value, False, one.parts)]
    return [_Unit(part.begin, part.end, part.value, part.month, (part,)) for part in one.parts if part in chosen]


def _likeness(one: str, other: str) -> float:
    if max(len(one), len(other)) > _LONGEST_COMPARED:
        return float(one == other)
    return SequenceMatcher(None, one, other, autojunk=False).ratio()


def _overlapping(spans: Sequence[Span], begin: int, end: int) -> slice:
    """The spans, which are disjoint and in order, that have characters in common with another one."""
    first = next((at for at, span in enumerate(spans) if begin < span[1]), len(spans))
    last = next((at for at in range(first, len(spans)) if end <= spans[at][0]), len(spans))
    return slice(first, last)
